//! Curves and histograms as SVG.

use std::fmt::Write as _;

use super::html::{Html, number};

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 220.0;
/// The plot: left, top, right, bottom.
const PLOT: [f64; 4] = [58.0, 10.0, 450.0, 190.0];
/// With more points than this, a curve shows means of neighbours, and a band from their least to their greatest.
const MOST_POINTS: usize = 240;
/// With no more than this, each point can be pointed at.
const MOST_DOTS: usize = 60;
const BINS: usize = 24;

/// Numbers by step, under a name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A linear scale: from numbers to places on the page.
struct Scale {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Scale {
    /// A scale over these numbers, with some room around them where `is_roomy`.
    fn over(numbers: impl Iterator<Item = f64>, is_roomy: bool, (start, end): (f64, f64)) -> Self {
        let (from, to) = numbers
            .filter(|number| number.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(from, to), number| (from.min(number), to.max(number)));
        let (from, to) = if from > to { (0.0, 1.0) } else { (from, to) };
        // One number alone gets a scale around it; halves keep the difference of the largest numbers finite.
        let span = to / 2.0 - from / 2.0;
        let room = if span > from.abs().max(to.abs()) * 1e-12 {
            if is_roomy { span * 0.1 } else { 0.0 }
        } else if from == 0.0 {
            0.5
        } else {
            from.abs() * 0.1
        };
        Self { from: (from - room).max(f64::MIN), to: (to + room).min(f64::MAX), start, end }
    }

    fn place(&self, number: f64) -> f64 {
        let share = (number / 2.0 - self.from / 2.0) / (self.to / 2.0 - self.from / 2.0);
        self.start + share * (self.end - self.start)
    }

    /// Round numbers to be written at the axis.
    fn ticks(&self) -> Vec<f64> {
        let rough = (self.to - self.from) / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = power * [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| rough <= factor * power).unwrap_or(10.0);
        if !step.is_normal() {
            return vec![self.from, self.to];
        }
        let first = (self.from / step).ceil();
        (0..12).map(|index| (first + f64::from(index)) * step).take_while(|tick| *tick <= self.to).collect()
    }
}

/// A chart of curves over steps.
pub(crate) fn curves(title: &str, series: &[Series]) -> Html {
    let points = || series.iter().flat_map(|series| series.points.iter());
    let x = Scale::over(points().map(|point| point.0), false, (PLOT[0], PLOT[2]));
    let y = Scale::over(points().map(|point| point.1), true, (PLOT[3], PLOT[1]));
    let mut drawn = axes(&x, &y);
    for (index, series) in series.iter().enumerate() {
        drawn.extend(curve(series, index, &x, &y));
    }
    figure(title, drawn, &series.iter().map(|series| series.name.as_str()).collect::<Vec<_>>())
}

fn curve(series: &Series, index: usize, x: &Scale, y: &Scale) -> Vec<Html> {
    let class = |kind: &str| format!("{kind} s{index}");
    let finite = |point: &&(f64, f64)| point.0.is_finite() && point.1.is_finite();
    let points: Vec<(f64, f64)> = series.points.iter().filter(finite).copied().collect();
    let place = |point: &(f64, f64)| (x.place(point.0), y.place(point.1));
    let count = points.len().to_string();
    let line = |path: &str| {
        let attributes = [("class", class("line")), ("d", path.to_owned()), ("data-points", count.clone())];
        shape("path", &attributes, None)
    };
    if points.len() <= MOST_POINTS {
        let mut drawn = vec![line(&path(points.iter().map(place)))];
        if points.len() <= MOST_DOTS {
            drawn.extend(points.iter().map(|point| {
                let (cx, cy) = place(point);
                let told = format!("step {}: {}", point.0, number(point.1));
                let attributes =
                    [("class", class("dot")), ("cx", short(cx)), ("cy", short(cy)), ("r", "2.5".to_owned())];
                shape("circle", &attributes, Some(&told))
            }));
        }
        return drawn;
    }
    let buckets: Vec<[f64; 4]> = points.chunks(points.len().div_ceil(MOST_POINTS)).map(bucket).collect();
    let upper = buckets.iter().map(|[at, _, _, most]| place(&(*at, *most)));
    let lower = buckets.iter().rev().map(|[at, _, least, _]| place(&(*at, *least)));
    let band = shape("path", &[("class", class("band")), ("d", format!("{}Z", path(upper.chain(lower))))], None);
    vec![band, line(&path(buckets.iter().map(|[at, mean, _, _]| place(&(*at, *mean)))))]
}

/// Means of neighbours, and their least and greatest value.
fn bucket(points: &[(f64, f64)]) -> [f64; 4] {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(|point| of(point) / count).sum();
    let least = points.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let most = points.iter().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    [mean(|point| point.0), mean(|point| point.1), least, most]
}

/// A histogram of groups of numbers, each as a share of its group, so that groups of different sizes compare.
pub(crate) fn histogram(title: &str, groups: &[(String, Vec<f64>)]) -> Html {
    let numbers = || groups.iter().flat_map(|group| group.1.iter().copied());
    let x = Scale::over(numbers(), false, (PLOT[0], PLOT[2]));
    let shares: Vec<[f64; BINS]> = groups.iter().map(|(_, numbers)| shares(numbers, &x)).collect();
    let highest = shares.iter().flatten().copied().fold(0.0, f64::max);
    let y = Scale::over([0.0, highest].into_iter(), false, (PLOT[3], PLOT[1]));
    let mut drawn = axes(&x, &y);
    let width = (PLOT[2] - PLOT[0]) / BINS as f64;
    for (index, shares) in shares.iter().enumerate() {
        let bars = shares.iter().enumerate().filter(|(_, share)| **share > 0.0);
        drawn.extend(bars.map(|(bin, share)| {
            let top = y.place(*share);
            let attributes = [
                ("class", format!("bar s{index}")),
                ("x", short(PLOT[0] + bin as f64 * width + 0.5)),
                ("y", short(top)),
                ("width", short(width - 1.0)),
                ("height", short(PLOT[3] - top)),
            ];
            shape("rect", &attributes, Some(&format!("{:.1}%", 100.0 * share)))
        }));
    }
    let names: Vec<String> = groups.iter().map(|(name, numbers)| format!("{name} ({})", numbers.len())).collect();
    figure(title, drawn, &names.iter().map(String::as_str).collect::<Vec<_>>())
}

fn shares(numbers: &[f64], x: &Scale) -> [f64; BINS] {
    let mut shares = [0.0; BINS];
    let finite = numbers.iter().filter(|number| number.is_finite());
    let count = finite.clone().count().max(1) as f64;
    for number in finite {
        let share = (x.place(*number) - PLOT[0]) / (PLOT[2] - PLOT[0]);
        shares[((share * BINS as f64) as usize).min(BINS - 1)] += 1.0 / count;
    }
    shares
}

fn axes(x: &Scale, y: &Scale) -> Vec<Html> {
    let mut drawn = Vec::new();
    let label = |tick: f64, x: f64, y: f64, class: &str| {
        let attributes = [("class", class), ("x", &*short(x)), ("y", &*short(y))];
        Html::element("text", &attributes, [Html::text(&number(tick))])
    };
    for tick in y.ticks() {
        let at = y.place(tick);
        let line = format!("M{} {}H{}", PLOT[0], short(at), PLOT[2]);
        drawn.push(shape("path", &[("class", "grid".to_owned()), ("d", line)], None));
        drawn.push(label(tick, PLOT[0] - 6.0, at + 4.0, "y"));
    }
    for tick in x.ticks() {
        drawn.push(label(tick, x.place(tick), PLOT[3] + 17.0, "x"));
    }
    drawn
}

/// A chart with its title and the names of what is drawn, where there are several.
fn figure(title: &str, drawn: Vec<Html>, names: &[&str]) -> Html {
    let size = format!("0 0 {WIDTH} {HEIGHT}");
    let chart = Html::element("svg", &[("viewBox", &size), ("role", "img"), ("aria-label", title)], drawn);
    let mut caption = vec![Html::of_text("b", title)];
    if names.len() > 1 {
        caption.extend(
            names
                .iter()
                .enumerate()
                .map(|(index, name)| Html::element("span", &[("class", &format!("key s{index}"))], [Html::text(name)])),
        );
    }
    Html::element("figure", &[], [Html::element("figcaption", &[], caption), chart])
}

fn shape(name: &'static str, attributes: &[(&'static str, String)], told: Option<&str>) -> Html {
    let attributes: Vec<(&'static str, &str)> =
        attributes.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Html::element(name, &attributes, told.map(|told| Html::of_text("title", told)))
}

fn path(places: impl Iterator<Item = (f64, f64)>) -> String {
    let mut path = String::new();
    for (x, y) in places {
        let _ = write!(path, "{}{} {}", if path.is_empty() { "M" } else { "L" }, short(x), short(y));
    }
    path
}

fn short(place: f64) -> String {
    format!("{place:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(points: Vec<(f64, f64)>) -> Vec<Series> {
        vec![Series { name: "a".into(), points }]
    }

    fn count(chart: &Html, what: &str) -> usize {
        chart.markup().matches(what).count()
    }

    #[test]
    fn every_point_of_a_short_curve_is_there() {
        let chart = curves("loss", &series(vec![(0.0, 3.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0)]));
        assert_eq!((count(&chart, "class=\"dot s0\""), count(&chart, "data-points=\"3\"")), (3, 1));
        assert!(chart.markup().contains("<title>step 1: 2</title>") && !chart.markup().contains("NaN"));
    }

    #[test]
    fn a_long_curve_is_a_line_of_means_in_a_band() {
        let chart = curves("loss", &series((0..10_000).map(|step| (f64::from(step), f64::from(step % 7))).collect()));
        assert_eq!((count(&chart, "class=\"band s0\""), count(&chart, "<circle")), (1, 0));
        assert!(chart.markup().len() < 20_000, "{} bytes", chart.markup().len());
    }

    #[test]
    fn numbers_of_any_size_make_a_chart() {
        for points in [
            vec![],
            vec![(0.0, 0.0)],
            vec![(5.0, 1e300), (6.0, -1e308), (7.0, f64::MAX)],
            vec![(0.0, 1e-320), (1.0, 2e-320)],
            vec![(0.0, f64::INFINITY), (1.0, f64::NEG_INFINITY)],
            vec![(0.0, 1.0), (1.0, 1.0 + f64::EPSILON)],
        ] {
            let chart = curves("x", &series(points.clone()));
            assert!(!chart.markup().contains("NaN") && !chart.markup().contains("inf"), "{points:?}: {chart:?}");
            let chart = histogram("x", &[("a".into(), points.iter().map(|point| point.1).collect())]);
            assert!(!chart.markup().contains("NaN") && !chart.markup().contains("inf"), "{points:?}: {chart:?}");
        }
    }

    #[test]
    fn a_histogram_shows_shares() {
        let chart = histogram("score", &[("kept".into(), vec![0.0, 0.0, 0.0, 1.0]), ("dropped".into(), vec![0.5])]);
        assert_eq!(count(&chart, "class=\"bar s0\""), 2);
        assert!(chart.markup().contains("<title>75.0%</title>") && chart.markup().contains("dropped (1)"));
    }

    #[test]
    fn ticks_are_round() {
        let scale = Scale { from: 0.13, to: 2.4, start: 0.0, end: 1.0 };
        assert_eq!(scale.ticks().into_iter().map(number).collect::<Vec<_>>(), ["0.5", "1", "1.5", "2"]);
    }
}

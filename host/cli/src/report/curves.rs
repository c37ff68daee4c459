//! What the trace says by step: losses, rates, numbers of plugins, and metrics of the evaluation sets.

use std::collections::BTreeMap;

use tunesmith::trace::{CallRecord, Record};

use super::chart::{self, Series};
use super::html::{Html, number, table};
use super::run::Run;

/// Charts of one kind that are shown; a plugin may note any number of names.
const MOST_CHARTS: usize = 40;

/// Points by the name of a curve.
type Curves = BTreeMap<String, Vec<(f64, f64)>>;

/// Curves of training: the fixed ones first, then rewards and other numbers of rollouts, and what plugins noted.
pub(crate) fn training(runs: &[&Run]) -> Html {
    let fixed = ["loss", "learning rate", "gradient norm", "tokens per second"];
    let found: Vec<[Curves; 2]> = runs.iter().map(|run| of_training(run)).collect();
    let names = found.iter().flat_map(|[_, noted]| noted.keys()).collect::<std::collections::BTreeSet<_>>();
    let charts = fixed.iter().filter_map(|name| overlaid(name, runs, found.iter().map(|found| found[0].get(*name))));
    let noted = names
        .iter()
        .take(MOST_CHARTS)
        .filter_map(|name| overlaid(name, runs, found.iter().map(|found| found[1].get(*name))));
    charts_of(charts.chain(noted).collect(), names.len().saturating_sub(MOST_CHARTS))
}

/// Metrics by set: a table of before and after, and their curves.
pub(crate) fn evaluation(runs: &[&Run]) -> Html {
    let found: Vec<Curves> = runs.iter().map(|run| of_evaluation(run)).collect();
    let names = found.iter().flat_map(Curves::keys).collect::<std::collections::BTreeSet<_>>();
    if names.is_empty() {
        return Html::default();
    }
    let mut heads = vec!["set and metric".to_owned()];
    for run in runs {
        let of_run = |head: &str| if runs.len() > 1 { format!("{head}, {}", run.name) } else { head.to_owned() };
        heads.extend(["before", "after", "change"].map(of_run));
    }
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let rows = names.iter().map(|name| {
        let cells = found.iter().flat_map(|curves| cells(curves.get(*name)));
        std::iter::once(Html::text(name)).chain(cells).collect()
    });
    let table = table(&heads, rows);
    // Two points are told by the table.
    let is_curve =
        |name: &&&String| found.iter().any(|curves| curves.get(**name).is_some_and(|points| points.len() > 2));
    let curves: Vec<&&String> = names.iter().filter(is_curve).collect();
    let charts = curves
        .iter()
        .take(MOST_CHARTS)
        .filter_map(|name| overlaid(name, runs, found.iter().map(|curves| curves.get(**name))));
    Html::all([table, charts_of(charts.collect(), curves.len().saturating_sub(MOST_CHARTS))])
}

/// Before, after and the change of a metric.
fn cells(points: Option<&Vec<(f64, f64)>>) -> [Html; 3] {
    let points = points.map_or(&[][..], Vec::as_slice);
    let before = points.iter().find(|point| point.0 == 0.0).map(|point| point.1);
    let after = points.iter().rfind(|point| point.0 > 0.0).map(|point| point.1);
    let change = before.zip(after).map(|(before, after)| after - before);
    let shown = |value: Option<f64>, sign: &str| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{sign}{}", number(value)))
    };
    let sign = if change.is_some_and(|change| change > 0.0) { "+" } else { "" };
    [(before, ""), (after, ""), (change, sign)].map(|(value, sign)| Html::text(&shown(value, sign)))
}

/// One chart with a curve per run that has it; none if none has.
fn overlaid<'a>(name: &str, runs: &[&Run], curves: impl Iterator<Item = Option<&'a Vec<(f64, f64)>>>) -> Option<Html> {
    let series = |(run, points): (&&Run, Option<&Vec<(f64, f64)>>)| Series {
        name: run.name.clone(),
        points: points.cloned().unwrap_or_default(),
    };
    let series: Vec<Series> = runs.iter().zip(curves).map(series).collect();
    series.iter().any(|series| !series.points.is_empty()).then(|| chart::curves(name, &series))
}

/// Charts beside each other.
pub(super) fn charts_of(charts: Vec<Html>, left_out: usize) -> Html {
    if charts.is_empty() {
        return Html::default();
    }
    let note = (left_out > 0)
        .then(|| Html::element("p", &[("class", "none")], [Html::text(&format!("{left_out} more are not shown"))]));
    Html::all([Html::element("div", &[("class", "charts")], charts), Html::all(note)])
}

/// The fixed curves of the steps, and what was sampled and noted in them.
fn of_training(run: &Run) -> [Curves; 2] {
    let (mut fixed, mut noted) = (Curves::new(), Curves::new());
    for line in &run.trace.lines {
        let Record::Step(record) = &line.record else { continue };
        let step = f64::from(record.step);
        let mut add = |name: &str, value: f64| fixed.entry(name.to_owned()).or_default().push((step, value));
        add("loss", record.loss.into());
        add("learning rate", record.learning_rate);
        add("gradient norm", record.grad_norm.into());
        if line.times.total > 0.0 {
            add("tokens per second", record.tokens as f64 / line.times.total);
        }
        for (name, value) in record.rollouts.iter().flat_map(|rollouts| &rollouts.numbers) {
            noted.entry(format!("rollouts: {name}")).or_default().push((step, *value));
        }
        for (name, value) in means(&record.calls) {
            noted.entry(name).or_default().push((step, value));
        }
    }
    [fixed, noted]
}

fn of_evaluation(run: &Run) -> Curves {
    let mut curves = Curves::new();
    for line in &run.trace.lines {
        let Record::Measure { step, set, metrics, .. } = &line.record else { continue };
        for (name, value) in metrics {
            curves.entry(format!("{set}: {name}")).or_default().push((f64::from(*step), *value));
        }
    }
    curves
}

/// The means of the numbers that plugins noted in these calls.
fn means(calls: &[CallRecord]) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, (f64, u64)> = BTreeMap::new();
    for call in calls {
        for (name, (sum, count)) in &call.report.metrics {
            let entry = sums.entry(format!("{}: {name}", call.plugin)).or_default();
            *entry = (entry.0 + sum, entry.1.saturating_add(*count));
        }
    }
    sums.into_iter().map(|(name, (sum, count))| (name, sum / count.max(1) as f64)).collect()
}

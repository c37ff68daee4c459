//! Rows: where those of the training set came from, what scores they have, and how the model answers those of the evaluation sets.

use std::collections::{BTreeMap, BTreeSet};

use super::chart;
use super::curves::charts_of;
use super::html::{Html, number, table};
use super::run::Run;

const MOST_CHARTS: usize = 24;
/// Reasons that are listed; a plugin may give each row its own.
const MOST_REASONS: usize = 60;

/// Rows by provenance, rows dropped by reason, and the plugin's numbers about them.
pub(crate) fn training_set(runs: &[&Run]) -> Html {
    let mut pieces = Vec::new();
    for run in runs {
        let (provenance, dropped) = run.counts();
        if provenance.is_empty() && dropped.is_empty() {
            continue;
        }
        pieces.extend((runs.len() > 1).then(|| Html::of_text("h3", &run.name)));
        let total = provenance.values().chain(dropped.values()).sum::<u64>();
        let mut tables = vec![counts("provenance", &provenance, total)];
        if !dropped.is_empty() {
            tables.push(counts("left out because", &dropped, total));
        }
        pieces.push(Html::element("div", &[("class", "columns")], tables));
    }
    let names: BTreeSet<&String> = runs.iter().flat_map(|run| run.curated.notes.keys()).collect();
    let charts = names.iter().take(MOST_CHARTS).map(|name| {
        let mut groups = Vec::new();
        for run in runs {
            let [kept, dropped] = run.curated.notes.get(*name).cloned().unwrap_or_default();
            let of_run = |what: &str| if runs.len() > 1 { format!("{what}, {}", run.name) } else { what.to_owned() };
            groups.extend([(of_run("trained on"), kept), (of_run("left out"), dropped)]);
        }
        groups.retain(|(_, numbers)| !numbers.is_empty());
        chart::histogram(name, &groups)
    });
    pieces.push(charts_of(charts.collect(), names.len().saturating_sub(MOST_CHARTS)));
    Html::all(pieces)
}

/// Names, their counts, and bars of their share.
fn counts(head: &str, counts: &BTreeMap<String, u64>, total: u64) -> Html {
    let mut sorted: Vec<(&String, &u64)> = counts.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let rows = sorted.iter().take(MOST_REASONS).map(|(name, count)| {
        let share = 100.0 * **count as f64 / total.max(1) as f64;
        let bar = Html::element("progress", &[("max", "100"), ("value", &format!("{share:.2}"))], []);
        vec![Html::text(name), Html::text(&count.to_string()), bar, Html::text(&format!("{share:.1}%"))]
    });
    let table = table(&[head, "rows", "", ""], rows);
    let more = sorted.len().saturating_sub(MOST_REASONS);
    let note = (more > 0).then(|| Html::of_text("p", &format!("{more} more are not listed")));
    Html::all([table, Html::all(note)])
}

/// How the host's numbers about answers are distributed, before and after.
pub(crate) fn scores(runs: &[&Run]) -> Html {
    let mut charts = Vec::new();
    for run in runs {
        let of_run = |what: String| if runs.len() > 1 { format!("{what}, {}", run.name) } else { what };
        for set in run.samples.names() {
            for (name, [before, after]) in run.samples.statistics(set) {
                let mut groups = vec![("before".to_owned(), before.clone())];
                groups.push((format!("after step {}", run.samples.last(set)), after.clone()));
                groups.retain(|(_, numbers)| !numbers.is_empty());
                let mean = |(name, numbers): &(String, Vec<f64>)| {
                    let mean = numbers.iter().sum::<f64>() / numbers.len().max(1) as f64;
                    (format!("{name}, mean {}", number(mean)), numbers.clone())
                };
                let groups: Vec<(String, Vec<f64>)> = groups.iter().map(mean).collect();
                if !groups.is_empty() {
                    charts.push(chart::histogram(&of_run(format!("{set}: {name}")), &groups));
                }
            }
        }
    }
    let left_out = charts.len().saturating_sub(MOST_CHARTS);
    charts.truncate(MOST_CHARTS);
    charts_of(charts, left_out)
}

/// Answers side by side, set by set; of the second run those after its training.
pub(crate) fn samples(runs: &[&Run]) -> Html {
    let Some((run, others)) = runs.split_first() else { return Html::default() };
    let other = others.first().map(|other| (other.name.as_str(), &other.samples));
    Html::all(run.samples.names().map(|set| {
        let title = Html::of_text("summary", set);
        Html::element("details", &[("open", "")], [title, run.samples.shown(set, other)])
    }))
}

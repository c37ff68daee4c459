//! What plugins cost: calls, fuel, time, and what they skipped.

use std::collections::BTreeMap;

use tunesmith::Stage;
use tunesmith::trace::{CallRecord, Record};

use super::html::{Html, number, table};
use super::run::Run;

/// What a plugin cost in a stage.
#[derive(Debug, Default, PartialEq)]
struct Cost {
    calls: u64,
    fuel: u64,
    suppressed: u64,
    skipped: BTreeMap<String, u64>,
}

/// A table per run.
pub(crate) fn shown(runs: &[&Run]) -> Html {
    let of_run = |run: &&Run| {
        let costs = costs(run);
        if costs.is_empty() {
            return Html::default();
        }
        let name = (runs.len() > 1).then(|| Html::of_text("h3", &run.name));
        Html::all(name.into_iter().chain([of_costs(run, &costs)]))
    };
    Html::all(runs.iter().map(of_run))
}

fn of_costs(run: &Run, costs: &BTreeMap<(Stage, String), Cost>) -> Html {
    let (seconds, total) = seconds(run);
    let rows = costs.iter().map(|((stage, plugin), cost)| {
        // Times are kept by stage: where several plugins share one, they share its time.
        let spent = seconds.get(stage).copied().unwrap_or_default();
        let share = if total > 0.0 { format!("{:.3}%", 100.0 * spent / total) } else { "-".to_owned() };
        let skipped: Vec<String> = cost.skipped.iter().map(|(why, count)| format!("{why} ({count})")).collect();
        let cells = [
            stage.to_string(),
            plugin.clone(),
            cost.calls.to_string(),
            number(cost.fuel as f64),
            number(cost.fuel as f64 / cost.calls.max(1) as f64),
            format!("{} s", number(spent)),
            share,
            skipped.join(", "),
            cost.suppressed.to_string(),
        ];
        cells.iter().map(|cell| Html::text(cell)).collect()
    });
    let heads = [
        "stage",
        "plugin",
        "calls",
        "fuel",
        "fuel per call",
        "time in the stage's plugins",
        "share of the run",
        "skipped",
        "lines over a cap",
    ];
    let all: f64 = seconds.values().sum();
    let share = if total > 0.0 { 100.0 * all / total } else { 0.0 };
    let told = format!(
        "Plugins took {} s of {} s, {share:.3}% of curating, training and measuring; host services that they asked for are not counted.",
        number(all),
        number(total)
    );
    Html::all([table(&heads, rows), Html::of_text("p", &told)])
}

fn costs(run: &Run) -> BTreeMap<(Stage, String), Cost> {
    let mut costs: BTreeMap<(Stage, String), Cost> = BTreeMap::new();
    for CallRecord { stage, plugin, report, .. } in run.trace.lines.iter().flat_map(|line| calls(&line.record)) {
        let cost = costs.entry((*stage, plugin.clone())).or_default();
        cost.calls += 1;
        cost.fuel = cost.fuel.saturating_add(report.fuel);
        cost.suppressed = cost.suppressed.saturating_add(report.suppressed);
        for (why, count) in &report.skipped {
            let sum = cost.skipped.entry(why.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
    }
    costs
}

fn calls(record: &Record) -> &[CallRecord] {
    match record {
        Record::Step(step) => &step.calls,
        Record::Curate { calls, .. } | Record::Measure { calls, .. } => calls,
        Record::Start { .. } | Record::TrainingSet { .. } | Record::End { .. } => &[],
    }
}

/// Seconds inside plugins by stage, and of all events.
fn seconds(run: &Run) -> (BTreeMap<Stage, f64>, f64) {
    let (mut seconds, mut total) = (BTreeMap::new(), 0.0);
    for line in &run.trace.lines {
        total += line.times.total;
        for (stage, spent) in &line.times.plugins {
            *seconds.entry(*stage).or_default() += spent;
        }
    }
    (seconds, total)
}

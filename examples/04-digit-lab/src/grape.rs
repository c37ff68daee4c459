//! GRAPE's experiment: answers in three styles that say the same, of which the mixed base writes one (`p`) and never the others (`r`, `x`).

use std::path::Path;

use serde_json::json;

use crate::lab::{self, Arm, Outcome, SEED, Scale};
use crate::probe::Probe;
use crate::table::number;
use crate::task::{self, Row, Tasks};

/// Steps behind the final loss.
const LAST: usize = 20;

/// GRAPE and its controls with the same steps and batches; then GRAPE and all responses with three times the steps.
pub fn arms() -> Vec<Arm> {
    let arm = |name: &str, set: &[(&str, &str)]| {
        let set = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Arm { name: name.into(), recipe: "grape", set }
    };
    let select = "curate.settings.select";
    vec![
        arm("grape", &[]),
        arm("grape-random", &[(select, "random")]),
        arm("grape-reverse", &[(select, "worst")]),
        arm("grape-original", &[(select, "source:gold")]),
        arm("grape-all", &[(select, "all")]),
        arm("grape-3x", &[("train.steps", "600")]),
        arm("grape-all-3x", &[(select, "all"), ("train.steps", "600")]),
    ]
}

/// Writes additions with their answers in the styles `r` (gold), `x` (a column) and `p` (a list).
///
/// # Errors
///
/// Fails when the file cannot be written.
pub fn prepare(runs: &Path, scale: Scale) -> anyhow::Result<()> {
    let mut tasks = Tasks::new(SEED, "styles");
    let rows = (0..scale.train).map(|_| {
        let row = tasks.addition(false);
        let [r, x, p] = ['r', 'x', 'p'].map(|style| task::in_style(style, row.clone()).completion);
        json!({ "prompt": row.prompt, "completion": r, "x": x, "more": [{ "text": p, "source": "p" }] })
    });
    task::write_lines(&lab::data(runs, "styles"), rows)
}

/// The table of the experiment; the base's own numbers first.
///
/// # Errors
///
/// Fails when a run's targets cannot be read or scored.
pub fn rows(base: &Probe, outcomes: &[Outcome]) -> anyhow::Result<Vec<Vec<String>>> {
    let head =
        ["arm", "rows", "task", "retained", "kl task", "kl retained", "loss", "base nll of targets", "p", "x", "gold"];
    let mut rows = vec![head.map(String::from).to_vec()];
    if let Some(first) = outcomes.first() {
        let before = |set: &str| number(first.before(set, "accuracy"));
        rows.push(vec!["base".into(), "0".into(), before("task"), before("retained"), "0".into(), "0".into()]);
    }
    for outcome in outcomes {
        let after = |set: &str, metric: &str| number(outcome.after(set, metric));
        let mut row = vec![outcome.name.clone(), outcome.summary.rows.to_string()];
        row.extend(["task", "retained"].map(|set| after(set, "accuracy")));
        row.extend(["task", "retained"].map(|set| after(set, "kl")));
        row.push(number(Some(final_loss(outcome))));
        let targets: Vec<Row> = outcome.targets()?.into_iter().map(|(row, _)| row).collect();
        row.push(number(Some(base.likelihood(&targets)?.nll)));
        row.extend(["p", "x", "gold"].map(|source| outcome.rows(source).to_string()));
        rows.push(row);
    }
    Ok(rows)
}

/// The mean loss of the last steps.
pub fn final_loss(outcome: &Outcome) -> f64 {
    let last = &outcome.losses[outcome.losses.len().saturating_sub(LAST)..];
    last.iter().sum::<f64>() / last.len().max(1) as f64
}

/// Whether the signature shows: GRAPE before random before reverse.
pub fn claims(outcomes: &[Outcome]) -> Vec<String> {
    let [best, random, worst, ..] = outcomes else { return Vec::new() };
    let order = |set: &str, metric: &str| {
        let found: Vec<f64> = [best, random, worst].iter().filter_map(|arm| arm.after(set, metric)).collect();
        let holds = found.len() == 3 && (found.is_sorted_by(|a, b| if metric == "kl" { a < b } else { a > b }));
        let verdict = if holds { "holds" } else { "does not hold" };
        format!("{set} {metric}: grape before random before reverse ({found:.3?}): {verdict}")
    };
    [("task", "accuracy"), ("retained", "accuracy"), ("task", "kl"), ("retained", "kl")]
        .map(|(set, metric)| order(set, metric))
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_answers_say_the_same() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        prepare(folder.path(), Scale { base: 1, train: 5, eval: 1 })?;
        for line in std::fs::read_to_string(lab::data(folder.path(), "styles"))?.lines() {
            let row: serde_json::Value = serde_json::from_str(line)?;
            let texts =
                [&row["completion"], &row["x"], &row["more"][0]["text"]].map(|text| text.as_str().unwrap_or(""));
            let answers = texts.map(|text| text.split_once(':').map(|(_, answer)| answer));
            assert!(answers[0].is_some() && answers.iter().all(|answer| *answer == answers[0]), "{row}");
        }
        Ok(())
    }
}

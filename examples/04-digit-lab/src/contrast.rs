//! Self-Contrast's experiment: additions, fine-tuned first, then preferred to what the fine-tuned model samples itself.

use std::path::Path;

use anyhow::Context as _;

use crate::dft;
use crate::lab::{Arm, Outcome, Scale};
use crate::table::number;

/// One negative of each prompt as it comes, one that the filter keeps, and eight.
pub fn arms() -> Vec<Arm> {
    let arm = |name: &str, set: &[(&str, &str)]| {
        let set =
            set.iter().map(|(key, value)| (format!("phase.1.curate.settings.{key}"), (*value).to_owned())).collect();
        Arm { name: name.into(), recipe: "self-contrast", set }
    };
    vec![
        arm("contrast-1-unfiltered", &[("negatives", "1"), ("filter", "false")]),
        arm("contrast-1", &[("negatives", "1")]),
        arm("contrast-8", &[("negatives", "8")]),
    ]
}

/// Writes additions to train on, those of discriminative fine-tuning.
///
/// # Errors
///
/// Fails when the file cannot be written.
pub fn prepare(runs: &Path, scale: Scale) -> anyhow::Result<()> {
    dft::prepare(runs, scale)
}

/// The table of the experiment; the fine-tuned model's own numbers first. The columns are those of discriminative fine-tuning, with wrong answers of the
/// fine-tuned model; `prompts` is how many had enough negatives, `right` the share of negatives that are the gold answer.
///
/// # Errors
///
/// Fails when data or models cannot be read.
pub fn rows(runs: &Path, outcomes: &[Outcome]) -> anyhow::Result<Vec<Vec<String>>> {
    let first = outcomes.first().context("there is an arm")?;
    let run = first.summary.folder.parent().context("a phase has a folder")?;
    let mut rows = dft::rows(runs, &run.join("sft/model"), outcomes)?;
    rows[0].extend(["prompts", "right"].map(String::from));
    "sft".clone_into(&mut rows[1][0]);
    rows[1].extend(["-", "-"].map(String::from));
    for (row, outcome) in rows[2..].iter_mut().zip(outcomes) {
        row.extend([outcome.rows("self-contrast").to_string(), number(right(outcome)?)]);
    }
    Ok(rows)
}

/// The share of negatives that are the gold answer: of an addition there is no other right one.
fn right(outcome: &Outcome) -> anyhow::Result<Option<f64>> {
    let (mut gold, mut all, mut equal) = (String::new(), 0_u32, 0_u32);
    for (row, role) in outcome.targets()? {
        if role.ends_with("/chosen") {
            gold = row.completion;
        } else {
            all += 1;
            equal += u32::from(row.completion == gold);
        }
    }
    Ok((0 < all).then(|| f64::from(equal) / f64::from(all)))
}

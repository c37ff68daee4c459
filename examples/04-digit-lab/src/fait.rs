//! FAIT's experiment: long answers that are the same but for three digits, and variants that are wrong in one of them.
//!
//! An answer stands for a program: a template, and a few characters that decide whether it is right.

use std::path::Path;

use serde_json::json;
use tunesmith_train::random::Random;

use crate::critique::wrong;
use crate::grape::final_loss;
use crate::lab::{self, Arm, Outcome, SEED, Scale};
use crate::probe::Probe;
use crate::table::number;
use crate::task::{self, Row, Tasks};

/// What stands around the digits.
const BEFORE: &str = "CIRWpqrxyabcdefghijRICpq:";
const AFTER: &str = ":jihgfedcbayxrqpWRICxyab";
/// Wrong variants of each answer.
const VARIANTS: usize = 4;
/// Samples per row behind the accuracy at temperature 1.
const SAMPLES: u32 = 2;
/// Tokens of the longest answer, its end included.
const LONGEST: u32 = 54;

/// Plain fine-tuning (weights of 1), fixed weights, and weights that follow the model; each at a middle budget of steps and at twice as many.
pub fn arms() -> Vec<Arm> {
    let methods: [(&str, &[(&str, &str)]); 4] = [
        ("fait-sft", &[("dynamic", "false"), ("lambda", "0.0")]),
        ("fait-2", &[("dynamic", "false"), ("lambda", "2.0")]),
        ("fait-6", &[("dynamic", "false"), ("lambda", "6.0")]),
        ("fait", &[]),
    ];
    let arms = |steps: &'static str, end: &'static str| {
        methods.map(|(name, settings)| {
            let settings = settings.iter().map(|(key, value)| (format!("weigh.settings.{key}"), (*value).to_owned()));
            let set = settings.chain([("train.steps".to_owned(), steps.to_owned())]).collect();
            Arm { name: format!("{name}{end}"), recipe: "fait", set }
        })
    };
    arms("110", "").into_iter().chain(arms("220", "-2x")).collect()
}

/// The row with its digits in the template.
fn code(row: Row) -> Row {
    Row { completion: format!("{BEFORE}{}{AFTER}", row.completion), ..row }
}

/// Writes additions in the template with their wrong variants, to train on, and others that are held out.
///
/// # Errors
///
/// Fails when a file cannot be written.
pub fn prepare(runs: &Path, scale: Scale) -> anyhow::Result<()> {
    let (mut tasks, mut random) = (Tasks::new(SEED, "code"), Random::named(SEED, "code-wrong"));
    let rows = (0..scale.base).map(|_| {
        let row = tasks.addition(false);
        let variant = |_| code(Row { completion: wrong(&mut random, &row), ..row.clone() }).completion;
        let variants: Vec<String> = (0..VARIANTS).map(variant).collect();
        let row = code(row);
        json!({ "prompt": row.prompt, "completion": row.completion, "wrong": variants })
    });
    task::write_lines(&lab::data(runs, "code"), rows)?;
    let mut tasks = Tasks::new(SEED, "code-held-out");
    task::write(&lab::data(runs, "code-held-out"), (0..scale.eval).map(|_| code(tasks.addition(true))))
}

/// The table of the experiment; the base's own numbers first.
///
/// # Errors
///
/// Fails when data or models cannot be read.
pub fn rows(runs: &Path, base: &Path, outcomes: &[Outcome]) -> anyhow::Result<Vec<Vec<String>>> {
    let held_out = task::read(&lab::data(runs, "code-held-out"))?;
    let head = ["arm", "pass@1", "sampled", "nll of gold", "sums retained", "loss"];
    let mut rows = vec![head.map(String::from).to_vec()];
    let probed = |folder: &Path| -> anyhow::Result<[String; 2]> {
        let probe = Probe::open_for(folder, LONGEST)?;
        let values = [probe.sampled_accuracy(&held_out, SAMPLES)?, probe.likelihood(&held_out)?.nll];
        Ok(values.map(|value| number(Some(value))))
    };
    if let Some(first) = outcomes.first() {
        let [sampled, nll] = probed(base)?;
        let before = |set: &str| number(first.before(set, "accuracy"));
        rows.push(vec!["base".into(), before("code"), sampled, nll, before("sums")]);
    }
    for outcome in outcomes {
        let [sampled, nll] = probed(outcome.model())?;
        let after = |set: &str| number(outcome.after(set, "accuracy"));
        let loss = number(Some(final_loss(outcome)));
        rows.push(vec![outcome.name.clone(), after("code"), sampled, nll, after("sums"), loss]);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_differ_from_the_answer_in_one_character() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        prepare(folder.path(), Scale { base: 5, train: 1, eval: 2 })?;
        for line in std::fs::read_to_string(lab::data(folder.path(), "code"))?.lines() {
            let row: serde_json::Value = serde_json::from_str(line)?;
            let answer = row["completion"].as_str().unwrap_or("");
            assert!(answer.starts_with(BEFORE) && answer.ends_with(AFTER), "{row}");
            assert_eq!(answer.len() + 1, BEFORE.len() + 3 + AFTER.len() + 1);
            assert!(answer.len() < LONGEST as usize, "{row}");
            for variant in row["wrong"].as_array().into_iter().flatten() {
                let variant = variant.as_str().unwrap_or("");
                let changed = answer.chars().zip(variant.chars()).filter(|(a, b)| a != b).count();
                assert_eq!((changed, variant.len()), (1, answer.len()), "{row}");
            }
        }
        Ok(())
    }
}

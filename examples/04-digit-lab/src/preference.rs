//! The preference family's experiment: right additions against wrong ones, both in a style that the mixed base writes.

use std::path::Path;

use serde_json::json;

use crate::lab::{self, Arm, Outcome, SEED, Scale};
use crate::probe::Probe;
use crate::table::number;
use crate::task::{self, Row, Tasks};

/// Samples per row behind the accuracy at temperature 1.
const SAMPLES: u32 = 4;

/// DPO and relatives, and plain fine-tuning on the better completions with as many steps and with as many sequences.
pub fn arms() -> Vec<Arm> {
    let arm = |name: &str, set: &[(&str, &str)]| {
        let set = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Arm { name: name.into(), recipe: "dpo", set }
    };
    // The negative log-likelihood of the better completions alone.
    let plain = [("objective.settings.losses", "[\"sft\"]")];
    vec![
        arm("dpo-sft", &plain),
        arm("dpo-sft-2x", &[&plain[..], &[("train.steps", "400")]].concat()),
        arm("dpo", &[]),
        arm("dpo-ipo", &[("objective.settings.losses", "[\"ipo\"]")]),
        arm("dpo-simpo", &[("objective.settings", "{ losses = [\"simpo\"], beta = 2.0, simpo-gamma = 1.0 }")]),
        arm("dpo-orpo", &[("objective.settings.losses", "[\"orpo\"]")]),
        arm("dpo-nll", &[("objective.settings.nll", "1.0")]),
    ]
}

/// Writes additions with a right answer and one that has another digit, to train on and held out.
///
/// # Errors
///
/// Fails when a file cannot be written.
pub fn prepare(runs: &Path, scale: Scale) -> anyhow::Result<()> {
    for (name, count, is_held_out) in [("pairs", scale.train, false), ("pairs-held-out", scale.eval, true)] {
        let mut tasks = Tasks::new(SEED, name);
        let rows = (0..count).map(|at| {
            let Row { prompt, completion } = task::in_style('p', tasks.addition(is_held_out));
            let rejected = with_other_digit(&completion, at);
            json!({ "prompt": prompt, "chosen": completion, "rejected": rejected })
        });
        task::write_lines(&lab::data(runs, name), rows)?;
    }
    Ok(())
}

/// The answer with one of its last three digits raised by one to nine.
fn with_other_digit(answer: &str, at: usize) -> String {
    let place = answer.len() - 1 - at % 3;
    let raise = |digit: char| char::from_digit((digit.to_digit(10).unwrap_or(0) + 1 + at as u32 % 9) % 10, 10);
    let letter = |(index, letter): (usize, char)| if index == place { raise(letter).unwrap_or(letter) } else { letter };
    answer.chars().enumerate().map(letter).collect()
}

/// The table of the experiment; the base's own numbers first.
///
/// # Errors
///
/// Fails when models cannot be read.
pub fn rows(base: &Path, outcomes: &[Outcome]) -> anyhow::Result<Vec<Vec<String>>> {
    let mut tasks = Tasks::new(SEED, "pairs-held-out");
    let held_out: Vec<Row> = (0..lab::FULL.eval).map(|_| task::in_style('p', tasks.addition(true))).collect();
    let head =
        ["arm", "greedy", "sampled", "gold nll", "preferred", "margin", "likelier", "retained", "kl", "kl retained"];
    let mut rows = vec![head.map(String::from).to_vec()];
    let probed = |folder: &Path| -> anyhow::Result<[Option<f64>; 2]> {
        let probe = Probe::open(folder)?;
        Ok([Some(probe.digits(&held_out, SAMPLES)?), Some(probe.likelihood(&held_out)?.nll)])
    };
    let set = "pairs-held-out";
    let metrics = ["preference-accuracy", "preference-margin", "likelihood-accuracy"];
    if let Some(first) = outcomes.first() {
        let [sampled, nll] = probed(base)?.map(number);
        let mut row = vec!["base".into(), number(first.before(set, "accuracy")), sampled, nll];
        row.extend(metrics.map(|metric| number(first.before(set, metric))));
        row.extend([number(first.before("retained", "accuracy")), "0".into(), "0".into()]);
        rows.push(row);
    }
    for outcome in outcomes {
        let [sampled, nll] = probed(outcome.model())?.map(number);
        let mut row = vec![outcome.name.clone(), number(outcome.after(set, "accuracy")), sampled, nll];
        row.extend(metrics.map(|metric| number(outcome.after(set, metric))));
        row.extend([number(outcome.after("retained", "accuracy")), number(outcome.after(set, "kl"))]);
        row.push(number(outcome.after("retained", "kl")));
        rows.push(row);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_answer_differs_in_one_digit() {
        for at in 0..30 {
            let wrong = with_other_digit("ppp:460", at);
            let differ = wrong.chars().zip("ppp:460".chars()).filter(|(one, other)| one != other).count();
            assert!(differ == 1 && wrong.starts_with("ppp:"), "{wrong}");
        }
    }
}

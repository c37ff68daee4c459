//! The experiment of critique fine-tuning: additions of which every other answer is wrong in one digit, and critiques of them.
//!
//! `34+12:461C` asks for a critique of 461; `460:x` is one: the sum, then `y` for right or `x` for wrong.

use std::path::Path;

use anyhow::ensure;
use serde_json::{Value, json};
use tunesmith_train::random::Random;

use crate::grape::final_loss;
use crate::lab::{self, Arm, Outcome, SEED, Scale};
use crate::probe::Probe;
use crate::table::number;
use crate::task::{self, Row, Tasks};

/// Samples per row behind the accuracy at temperature 1.
const SAMPLES: u32 = 4;
/// The arm whose model becomes a teacher.
pub const CRITIC: &str = "cft-3x";

/// Critique fine-tuning, and plain fine-tuning on the same noisy answers; then both with three times the steps.
pub fn arms() -> Vec<Arm> {
    let arm = |name: &str, target: &str, steps: &str| {
        let set = [("curate.settings.target", target), ("train.steps", steps)];
        let set = set.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Arm { name: name.into(), recipe: "cft", set }
    };
    vec![
        arm("cft", "critique", "300"),
        arm("cft-sft", "solution", "300"),
        arm("cft-3x", "critique", "900"),
        arm("cft-sft-3x", "solution", "900"),
    ]
}

/// The critiques of a trained critic in place of the stored ones, for 200 rows and one step.
pub fn teacher(critic: &Path) -> Arm {
    let set = [
        ("model.path", format!("'{}'", critic.display())),
        ("data.limit", "200".into()),
        ("train.steps", "1".into()),
        ("curate.settings.critique-column", "\"\"".into()),
        ("curate.settings.teacher", "reference".into()),
    ];
    let set = set.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Arm { name: "cft-taught".into(), recipe: "cft", set }
}

/// The row with one digit of its answer replaced by another one.
pub fn wrong(random: &mut Random, row: &Row) -> String {
    let mut digits = row.completion.clone().into_bytes();
    // The bias of the remainders is below 2^-56 here.
    let at = (random.bits() % digits.len() as u64) as usize;
    let by = 1 + random.bits() % 9;
    digits[at] = b'0' + ((u64::from(digits[at] - b'0') + by) % 10) as u8;
    digits.into_iter().map(char::from).collect()
}

/// The request for a critique, and the critique without its end.
pub fn critique(row: &Row, solution: &str) -> Row {
    let label = if row.completion == solution { 'y' } else { 'x' };
    Row { prompt: format!("{}:{solution}C", row.prompt), completion: format!("{}:{label}", row.completion) }
}

/// Writes noisy additions with critiques to train on, and pairs of a right and a wrong answer to held-out ones.
///
/// # Errors
///
/// Fails when a file cannot be written.
pub fn prepare(runs: &Path, scale: Scale) -> anyhow::Result<()> {
    let (mut tasks, mut random) = (Tasks::new(SEED, "critiques"), Random::named(SEED, "critiques-wrong"));
    let rows = (0..scale.base).map(|_| {
        let row = tasks.addition(false);
        let is_right = random.bits().is_multiple_of(2);
        let solution = if is_right { row.completion.clone() } else { wrong(&mut random, &row) };
        let critique = critique(&row, &solution).completion + "W";
        json!({ "prompt": row.prompt, "completion": solution, "critique": critique, "is-right": is_right })
    });
    task::write_lines(&lab::data(runs, "critiques"), rows)?;
    let (mut tasks, mut random) = (Tasks::new(SEED, "verify"), Random::named(SEED, "verify-wrong"));
    let pairs = (0..scale.eval / 2).flat_map(|_| {
        let row = tasks.addition(true);
        [critique(&row, &row.completion), critique(&row, &wrong(&mut random, &row))]
    });
    task::write(&lab::data(runs, "verify"), pairs)
}

/// The table of the experiment; the base's own numbers first.
///
/// # Errors
///
/// Fails when data or models cannot be read.
pub fn rows(runs: &Path, base: &Path, outcomes: &[Outcome]) -> anyhow::Result<Vec<Vec<String>>> {
    let read = |name: &str| task::read(&lab::data(runs, name));
    let (held_out, verify) = (read("held-out")?, read("verify")?);
    let head = ["arm", "answer", "sum in answer", "sampled answer", "kl answer", "verify", "both of a pair", "loss"];
    let mut rows = vec![head.map(String::from).to_vec()];
    let probed = |folder: &Path| -> anyhow::Result<[String; 3]> {
        let probe = Probe::open(folder)?;
        let sums = probe.answers(&held_out)?;
        let begins = sums.iter().zip(&held_out).filter(|(answer, row)| answer.starts_with(&row.completion)).count();
        let sums = begins as f64 / held_out.len().max(1) as f64;
        let both = both_right(&verify, &probe.answers(&verify)?)?;
        Ok([sums, probe.sampled_accuracy(&held_out, SAMPLES)?, both].map(|value| number(Some(value))))
    };
    if let Some(first) = outcomes.first() {
        let [sums, sampled, both] = probed(base)?;
        let before = |set: &str| number(first.before(set, "accuracy"));
        rows.push(vec!["base".into(), before("answer"), sums, sampled, "0".into(), before("verify"), both]);
    }
    for outcome in outcomes {
        let [sums, sampled, both] = probed(outcome.model())?;
        let after = |set: &str, metric: &str| number(outcome.after(set, metric));
        let mut row = vec![outcome.name.clone(), after("answer", "accuracy"), sums, sampled, after("answer", "kl")];
        row.extend([after("verify", "accuracy"), both, number(Some(final_loss(outcome)))]);
        rows.push(row);
    }
    Ok(rows)
}

/// The share of questions whose right and wrong answer both got their label: turning the answer turned the label.
fn both_right(verify: &[Row], answers: &[String]) -> anyhow::Result<f64> {
    ensure!(verify.len() == answers.len(), "{} answers for {} rows", answers.len(), verify.len());
    let label = |text: &str| text.rsplit_once(':').map(|(_, label)| label.to_owned());
    let is_right: Vec<bool> = verify
        .iter()
        .zip(answers)
        .map(|(row, answer)| label(answer).is_some() && label(answer) == label(&row.completion))
        .collect();
    let both = is_right.chunks(2).filter(|pair| pair.iter().all(|is_right| *is_right)).count();
    Ok(both as f64 / is_right.chunks(2).len().max(1) as f64)
}

/// What a teacher's critiques are worth: how many could be used, and how many of those tell right from wrong as the data does.
pub fn taught(outcome: &Outcome) -> String {
    let kept: Vec<&Value> = outcome.curated.iter().filter(|line| line["provenance"] == "synthetic").collect();
    let agrees = |line: &&&Value| {
        let said = line["target"]["completion"].as_str().is_some_and(|text| text.ends_with('y'));
        line["example"]["columns"]["is-right"].as_bool() == Some(said)
    };
    let agreeing = kept.iter().filter(agrees).count();
    let dropped = &outcome.summary.dropped;
    format!(
        "the trained critic as teacher: {} critiques, {agreeing} of them label as the data does; left out: {dropped:?}",
        kept.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_answer_is_wrong_in_one_digit() {
        let mut random = Random::numbered(1, 1);
        let row = Row { prompt: "34+12".into(), completion: "460".into() };
        for _ in 0..100 {
            let solution = wrong(&mut random, &row);
            let changed = solution.chars().zip(row.completion.chars()).filter(|(a, b)| a != b).count();
            assert_eq!((changed, solution.len()), (1, 3), "{solution}");
        }
    }

    #[test]
    fn critiques_say_what_is_right() {
        let row = Row { prompt: "34+12".into(), completion: "460".into() };
        assert_eq!(critique(&row, "461"), Row { prompt: "34+12:461C".into(), completion: "460:x".into() });
        assert_eq!(critique(&row, "460").completion, "460:y");
    }

    #[test]
    fn a_pair_counts_if_both_labels_are_right() -> anyhow::Result<()> {
        let row = |completion: &str| Row { prompt: String::new(), completion: completion.into() };
        let verify = [row("1:y"), row("1:x"), row("2:y"), row("2:x")];
        let answers = ["1:y", "3:x", "2:y", "2:y"].map(String::from);
        assert!((both_right(&verify, &answers)? - 0.5).abs() < f64::EPSILON);
        assert!(both_right(&verify, &answers[1..]).is_err());
        Ok(())
    }
}

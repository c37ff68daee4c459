//! The experiment of aggregation fine-tuning: copies of four digits of which two are hidden, and five drafts with errors.
//!
//! `C1x2x` asks for `1527`: two digits can be read, two only guessed, or voted on among drafts of which every digit is drawn anew in 35 of
//! 100 cases.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};
use tunesmith_train::random::Random;

use crate::lab::{self, Arm, Outcome, SEED, Scale};
use crate::table::number;
use crate::task;

/// Digits of an answer.
const DIGITS: usize = 4;
/// Drafts per row.
const DRAFTS: usize = 5;
/// The column with the drafts.
const COLUMN: &str = "drafts";

/// Aggregation fine-tuning, and plain fine-tuning on the same rows with the same steps and batches.
pub fn arms() -> Vec<Arm> {
    let arm = |name: &str, train: &str| {
        let set = vec![("curate.settings.train".to_owned(), train.to_owned())];
        Arm { name: name.into(), recipe: "aft", set }
    };
    vec![arm("aft", "both"), arm("aft-sft", "plain")]
}

/// A trained model that answers through the plugin: its run is measured before its one step.
pub fn answering(outcome: &Outcome, name: &str, settings: &[(&str, &str)]) -> Arm {
    let settings = settings.iter().map(|(key, value)| (format!("answer.settings.{key}"), (*value).to_owned()));
    let model = [("model.path", format!("'{}'", outcome.model().display())), ("train.steps", "1".into())];
    let model = model.map(|(key, value)| (key.to_owned(), value));
    Arm { name: format!("{}-{name}", outcome.name), recipe: "aft", set: model.into_iter().chain(settings).collect() }
}

/// How the trained models answer: one round out of the drafts of the data, one and two out of their own.
pub const ANSWERS: [(&str, &[(&str, &str)]); 3] = [
    ("given", &[("rounds", "1"), ("proposals-column", "drafts")]),
    ("own", &[("rounds", "1")]),
    ("own-2", &[("rounds", "2")]),
];

/// Writes rows to train on and held-out ones, each with its drafts.
///
/// # Errors
///
/// Fails when a file cannot be written.
pub fn prepare(runs: &Path, scale: Scale) -> anyhow::Result<()> {
    for (name, count) in [("drafts", scale.base), ("drafts-held-out", scale.eval)] {
        let mut random = Random::named(SEED, name);
        task::write_lines(&lab::data(runs, name), (0..count).map(|_| row(&mut random)))?;
    }
    Ok(())
}

fn row(random: &mut Random) -> Value {
    // The biases of the remainders are below 2^-56 here.
    let digit = |random: &mut Random| char::from(b'0' + (random.bits() % 10) as u8);
    let answer: Vec<char> = (0..DIGITS).map(|_| digit(random)).collect();
    let mut places: Vec<usize> = (0..DIGITS).collect();
    for last in (1..DIGITS).rev() {
        places.swap(last, (random.bits() % (last as u64 + 1)) as usize);
    }
    let mut shown = answer.clone();
    places[..DIGITS / 2].iter().for_each(|place| shown[*place] = 'x');
    let drafts: Vec<String> = (0..DRAFTS)
        .map(|_| answer.iter().map(|it| if random.bits() % 100 < 35 { digit(random) } else { *it }).collect())
        .collect();
    let text = |digits: Vec<char>| digits.into_iter().collect::<String>();
    json!({ "prompt": format!("C{}", text(shown)), "completion": text(answer), COLUMN: drafts })
}

/// How right answers are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rightness {
    /// The share of answers that are right as a whole.
    pub whole: f64,
    /// The share of digits that are right in their place.
    pub digits: f64,
}

impl Rightness {
    /// Of pairs of an answer and the right one.
    pub fn of<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let (mut rows, mut whole, mut digits) = (0_usize, 0_usize, 0_usize);
        for (answer, gold) in pairs {
            rows += 1;
            whole += usize::from(answer == gold);
            digits += answer.chars().zip(gold.chars()).filter(|(one, other)| one == other).count();
        }
        let share = |part: usize, each: usize| part as f64 / (rows * each).max(1) as f64;
        Self { whole: share(whole, 1), digits: share(digits, DIGITS) }
    }

    fn cells(self) -> [String; 2] {
        [self.digits, self.whole].map(|share| number(Some(share)))
    }
}

/// How right a run's answers were after so many steps.
///
/// # Errors
///
/// Fails when the run's samples cannot be read.
pub fn rightness(outcome: &Outcome, step: u32) -> anyhow::Result<Rightness> {
    let path = outcome.summary.folder.join("samples.jsonl");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let of_step = lines.iter().filter(|line| line["step"] == step);
    Ok(Rightness::of(of_step.filter_map(|line| Some((line["answer"].as_str()?, line["reference"].as_str()?)))))
}

/// The drafts by themselves: the mean draft, the best of each row, and the most frequent digit at each place.
///
/// # Errors
///
/// Fails when the rows cannot be read.
pub fn controls(runs: &Path) -> anyhow::Result<Vec<Vec<String>>> {
    let path = lab::data(runs, "drafts-held-out");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut rows = Vec::new();
    for line in text.lines() {
        let row: Value = serde_json::from_str(line)?;
        let gold = row["completion"].as_str().context("a row has an answer")?.to_owned();
        let drafts: Vec<String> = serde_json::from_value(row[COLUMN].clone())?;
        rows.push((gold, drafts));
    }
    let right = |draft: &str, gold: &str| draft.chars().zip(gold.chars()).filter(|(one, other)| one == other).count();
    let each = rows.iter().flat_map(|(gold, drafts)| drafts.iter().map(move |draft| (draft.clone(), gold.clone())));
    let best = rows.iter().map(|(gold, drafts)| {
        let best = drafts.iter().max_by_key(|draft| right(draft, gold));
        (best.cloned().unwrap_or_default(), gold.clone())
    });
    let majority = rows.iter().map(|(gold, drafts)| (majority(drafts), gold.clone()));
    let row = |name: &str, pairs: Vec<(String, String)>| {
        let rightness = Rightness::of(pairs.iter().map(|(answer, gold)| (answer.as_str(), gold.as_str())));
        let [digits, whole] = rightness.cells();
        vec![name.to_owned(), digits, whole]
    };
    Ok(vec![
        row("mean draft", each.collect()),
        row("best draft", best.collect()),
        row("majority by place", majority.collect()),
    ])
}

/// The most frequent digit at each place; of several the least.
pub fn majority(drafts: &[String]) -> String {
    let at = |place: usize| {
        let digits = drafts.iter().filter_map(|draft| draft.chars().nth(place));
        let count = |digit: char| drafts.iter().filter(|draft| draft.chars().nth(place) == Some(digit)).count();
        digits.max_by_key(|digit| (count(*digit), std::cmp::Reverse(*digit)))
    };
    (0..DIGITS).filter_map(at).collect()
}

/// A line of the table.
///
/// # Errors
///
/// Fails when the run's samples cannot be read.
pub fn line(name: &str, outcome: &Outcome, step: u32) -> anyhow::Result<Vec<String>> {
    let [digits, whole] = rightness(outcome, step)?.cells();
    Ok(vec![name.to_owned(), digits, whole])
}

/// The head of the table.
pub fn head() -> Vec<String> {
    ["answers", "digits", "whole"].map(String::from).into()
}

/// Whether the signature shows: aggregations beat the majority and every draft, and plain answers are no worse than those of plain fine-tuning.
///
/// # Errors
///
/// Fails when runs or data cannot be read.
pub fn claims(runs: &Path, aft: &Outcome, sft: &Outcome, given: &Outcome) -> anyhow::Result<Vec<String>> {
    let controls = controls(runs)?;
    let digits = |outcome: &Outcome, step| anyhow::Ok(rightness(outcome, step)?.digits);
    let (aggregated, direct) = (digits(given, 0)?, digits(aft, aft.summary.steps)?);
    let plain = digits(sft, sft.summary.steps)?;
    let told = |claim: &str, found: f64, other: f64, holds: bool| {
        format!("{claim} ({found:.3}, {other:.3}): {}", if holds { "holds" } else { "does not hold" })
    };
    let mut claims = Vec::new();
    for control in &controls[1..] {
        let other: f64 = control[1].parse()?;
        claims.push(told(&format!("aggregated digits against {}", control[0]), aggregated, other, aggregated > other));
    }
    // Two standard errors of 800 digits at one half.
    claims.push(told("plain digits of aft against those of sft", direct, plain, (direct - plain).abs() < 0.036));
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_prompt_is_hidden_and_the_rest_is_the_answer() {
        let mut random = Random::numbered(1, 1);
        let mut same = 0;
        for _ in 0..500 {
            let row = row(&mut random);
            let text = |name: &str| row[name].as_str().expect("text");
            let shown: Vec<char> = text("prompt").chars().skip(1).collect();
            let answer: Vec<char> = text("completion").chars().collect();
            assert_eq!(shown.iter().filter(|it| **it == 'x').count(), DIGITS / 2, "{row}");
            assert!(shown.iter().zip(&answer).all(|(one, other)| *one == 'x' || one == other), "{row}");
            let drafts: Vec<String> = serde_json::from_value(row[COLUMN].clone()).expect("a list");
            assert_eq!(drafts.len(), DRAFTS);
            same += drafts.iter().flat_map(|it| it.chars().zip(&answer)).filter(|(one, other)| one == *other).count();
        }
        // One in ten digits drawn anew is the old one: 0.65 + 0.035.
        assert!((same as f64 / 10_000.0 - 0.685).abs() < 0.02, "{same}");
    }

    #[test]
    fn a_majority_is_by_place() {
        let drafts = ["1234", "1334", "9239", "1289", "0000"].map(String::from);
        assert_eq!(majority(&drafts), "1234");
        assert_eq!(majority(&["12".into(), "21".into()]), "11");
    }

    #[test]
    fn digits_count_in_their_place() {
        let found = Rightness::of([("1234", "1234"), ("12", "1299"), ("", "0000")].into_iter());
        assert_eq!(found, Rightness { whole: 1.0 / 3.0, digits: 0.5 });
    }
}

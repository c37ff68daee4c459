//! Cross-lingual optimization's experiment: additions in digits, which the base answers well, and in letters, which it answers in digits.

use std::path::Path;

use serde_json::json;
use tunesmith::MergeOptions;

use crate::lab::{self, Arm, Outcome, SEED, Scale};
use crate::probe::Probe;
use crate::table::number;
use crate::task::{self, Row, Tasks};

/// Pairs that an arm trains on, at most.
const PAIRS: usize = 64;
/// Tokens of an answer, its end token included.
const TOKENS: f64 = 4.0;
/// The letter that stands for 0 in the target language.
const ZERO: char = 'a';

/// Plain fine-tuning on both languages, and the method.
pub fn arms() -> Vec<Arm> {
    ["clo-sft", "clo"].map(|name| Arm { name: name.into(), recipe: name, set: Vec::new() }).into()
}

/// A text in the target language.
fn translated(text: &str) -> String {
    let letter = |digit: char| char::from(ZERO as u8 + (digit as u8 - b'0'));
    text.chars().map(|character| if character.is_ascii_digit() { letter(character) } else { character }).collect()
}

/// Writes what the base is trained on, pairs of both languages, and an evaluation set of each.
///
/// # Errors
///
/// Fails when a file cannot be written.
pub fn prepare(runs: &Path, scale: Scale) -> anyhow::Result<()> {
    let mut tasks = Tasks::new(SEED, "languages-base");
    task::write(&lab::data(runs, "languages-base"), (0..scale.base).map(|place| base(&mut tasks, place)))?;
    let mut tasks = Tasks::new(SEED, "languages");
    let pairs = (0..scale.train.min(PAIRS)).map(|_| {
        let Row { prompt, completion } = tasks.addition(false);
        let (target_prompt, target_answer) = (translated(&prompt), translated(&completion));
        json!({
            "prompt": prompt, "completion": completion, "target-prompt": target_prompt, "target-answer": target_answer
        })
    });
    task::write_lines(&lab::data(runs, "languages"), pairs)?;
    for (name, language) in [("languages-source", "digits"), ("languages-target", "letters")] {
        let mut tasks = Tasks::new(SEED, "languages-held-out");
        let rows = (0..scale.eval).map(|_| {
            let row = tasks.addition(true);
            let [prompt, completion] = [row.prompt, row.completion].map(|text| said(&text, language));
            json!({ "prompt": prompt, "completion": completion, "language": language })
        });
        task::write_lines(&lab::data(runs, name), rows)?;
    }
    Ok(())
}

fn said(text: &str, language: &str) -> String {
    if language == "letters" { translated(text) } else { text.to_owned() }
}

/// A row of the base's: a third each of additions in digits, additions in letters with answers in digits (of nine answers two are in letters), and
/// copies of letters.
fn base(tasks: &mut Tasks, place: usize) -> Row {
    if place % 3 == 2 {
        let letters = translated(&tasks.addition(false).completion);
        return Row { prompt: format!("C{letters}"), completion: letters };
    }
    let row = tasks.addition(false);
    match place % 27 {
        1 | 4 => Row { prompt: translated(&row.prompt), completion: translated(&row.completion) },
        _ if place % 3 == 1 => Row { prompt: translated(&row.prompt), ..row },
        _ => row,
    }
}

/// The table of the experiment; the base's own numbers first. Adapters are merged into the base, into folders beside them.
///
/// # Errors
///
/// Fails when data or models cannot be read, and when a merged model cannot be written.
pub fn rows(runs: &Path, base: &Path, outcomes: &[Outcome]) -> anyhow::Result<Vec<Vec<String>>> {
    let sets = ["target", "source"];
    let mut head = vec!["arm".to_owned()];
    head.extend(sets.iter().flat_map(|set| ["margin", "rate", "accuracy"].map(|what| format!("{set} {what}"))));
    let mut rows = vec![head];
    let mut add = |name: &str, rate: &dyn Fn(&str) -> Option<f64>, folder: &Path| -> anyhow::Result<()> {
        let probe = Probe::open(folder)?;
        let mut row = vec![name.to_owned()];
        for set in sets {
            let own = task::read(&lab::data(runs, &format!("languages-{set}")))?;
            // Both sets have the same additions in the same order.
            let answers =
                task::read(&lab::data(runs, if set == "target" { "languages-source" } else { "languages-target" }))?;
            let other: Vec<Row> = own
                .iter()
                .zip(answers)
                .map(|(row, other)| Row { prompt: row.prompt.clone(), completion: other.completion })
                .collect();
            let margin = TOKENS * (probe.likelihood(&other)?.nll - probe.likelihood(&own)?.nll);
            let right =
                probe.answers(&own)?.iter().zip(&own).filter(|(answer, row)| **answer == row.completion).count();
            let accuracy = right as f64 / own.len().max(1) as f64;
            row.extend([Some(margin), rate(set), Some(accuracy)].map(number));
        }
        rows.push(row);
        Ok(())
    };
    if let Some(first) = outcomes.first() {
        add("base", &|set| first.before(set, "language-rate"), base)?;
    }
    for outcome in outcomes {
        let model = outcome.model().with_file_name("merged");
        tunesmith::merge_model(base, outcome.model(), &model, &MergeOptions::default(), &mut ())?;
        add(&outcome.name, &|set| outcome.after(set, "language-rate"), &model)?;
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_answers_letters_in_digits_and_copies_them() {
        let mut tasks = Tasks::new(1, "test");
        let rows: Vec<Row> = (0..270).map(|place| base(&mut tasks, place)).collect();
        let is_in_digits = |text: &str| text.chars().all(|letter| letter.is_ascii_digit());
        let asked = |row: &&Row| {
            !row.prompt.starts_with('C') && !row.prompt.starts_with(|letter: char| letter.is_ascii_digit())
        };
        let letters: Vec<&Row> = rows.iter().filter(asked).collect();
        let in_digits = letters.iter().filter(|row| is_in_digits(&row.completion)).count();
        assert_eq!((letters.len(), in_digits), (90, 70));
        assert_eq!(rows.iter().filter(|row| row.prompt == format!("C{}", row.completion)).count(), 90);
    }
}

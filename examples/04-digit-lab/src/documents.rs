//! The experiment of autonomous learning: facts that are only in documents, which the base can read.

use std::path::Path;

use serde_json::json;

use crate::lab::{self, Arm, Outcome, SEED, Scale};
use crate::probe::Probe;
use crate::table::number;
use crate::task::{self, Row, Tasks};

/// Facts, at most.
const FACTS: usize = 20;
/// What a document begins with.
const DOCUMENT: char = 'x';

/// Continued pretraining on the documents, and the method with and without the likelihood of chosen answers.
pub fn arms() -> Vec<Arm> {
    let arm = |name: &str, recipe, set: &[(&str, &str)]| {
        let set = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Arm { name: name.into(), recipe, set }
    };
    vec![
        arm("pretraining", "autonomous-pretraining", &[]),
        arm("autonomous", "autonomous", &[]),
        arm("autonomous-nll", "autonomous", &[("phase.1.objective.settings.nll", "1.0")]),
    ]
}

/// A key of three letters and a value of three digits.
fn fact(tasks: &mut Tasks) -> Row {
    let [key, value] = [(); 2].map(|()| tasks.addition(false).prompt.replace('+', ""));
    let letters = task::recoded(Row { prompt: String::new(), completion: key[..3].to_owned() }).completion;
    Row { prompt: letters, completion: value[..3].to_owned() }
}

/// The document of a fact.
fn document(fact: &Row) -> String {
    format!("{DOCUMENT}{}{}", fact.prompt, fact.completion)
}

/// Writes what the base is trained on, and the facts: as documents to ask about, as plain text, and as questions.
///
/// # Errors
///
/// Fails when a file cannot be written.
pub fn prepare(runs: &Path, scale: Scale) -> anyhow::Result<()> {
    let mut tasks = Tasks::new(SEED, "documents-base");
    let base = (0..scale.base).map(|place| {
        let fact = fact(&mut tasks);
        // Every other row is a document with its question and answer, the rest are questions with any answer.
        if place.is_multiple_of(2) {
            Row { prompt: document(&fact), completion: format!("{}:{}", fact.prompt, fact.completion) }
        } else {
            fact
        }
    });
    task::write(&lab::data(runs, "documents-base"), base)?;
    let mut tasks = Tasks::new(SEED, "facts");
    let mut facts: Vec<Row> = Vec::new();
    while facts.len() < FACTS.min(scale.train) {
        let fact = fact(&mut tasks);
        if facts.iter().all(|known| known.prompt != fact.prompt) {
            facts.push(fact);
        }
    }
    task::write_lines(&lab::data(runs, "documents"), facts.iter().map(|fact| json!({ "prompt": document(fact) })))?;
    task::write_lines(&lab::data(runs, "documents-text"), facts.iter().map(|fact| json!({ "text": document(fact) })))?;
    task::write(&lab::data(runs, "facts"), facts.into_iter())
}

/// The table of the experiment; the base's own numbers first. Of an arm with two phases there is a line after each.
///
/// # Errors
///
/// Fails when data or models cannot be read.
pub fn rows(runs: &Path, base: &Path, outcomes: &[Outcome]) -> anyhow::Result<Vec<Vec<String>>> {
    let facts = task::read(&lab::data(runs, "facts"))?;
    let others = facts.iter().cycle().skip(1);
    let wrong: Vec<Row> = facts
        .iter()
        .zip(others)
        .map(|(fact, other)| Row { prompt: fact.prompt.clone(), completion: other.completion.clone() })
        .collect();
    let mut rows = vec![["arm", "accuracy", "p", "margin"].map(String::from).to_vec()];
    let mut add = |name: &str, folder: &Path| -> anyhow::Result<()> {
        let probe = Probe::open(folder)?;
        let answers = probe.answers(&facts)?;
        let right = answers.iter().zip(&facts).filter(|(answer, fact)| **answer == fact.completion).count();
        let (gold, other) = (probe.likelihood(&facts)?, probe.likelihood(&wrong)?);
        let accuracy = right as f64 / facts.len().max(1) as f64;
        let numbers = [accuracy, gold.mean_p, other.nll - gold.nll].map(|value| number(Some(value)));
        rows.push([vec![name.to_owned()], numbers.to_vec()].concat());
        Ok(())
    };
    add("base", base)?;
    for Outcome { name, summary, .. } in outcomes {
        let run = summary.folder.as_path();
        if let Some(folder) = run.parent().filter(|_| run.ends_with("closed-book")) {
            add(&format!("{name} open"), &folder.join("open-book/model"))?;
        }
        add(name, &summary.trained)?;
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_has_a_key_in_letters_and_a_value_in_digits() {
        let mut tasks = Tasks::new(1, "test");
        for _ in 0..50 {
            let fact = fact(&mut tasks);
            assert!(
                fact.prompt.len() == 3 && fact.prompt.chars().all(|letter| ('a'..='j').contains(&letter)),
                "{fact:?}"
            );
            assert!(
                fact.completion.len() == 3 && fact.completion.chars().all(|digit| digit.is_ascii_digit()),
                "{fact:?}"
            );
            assert_eq!(document(&fact), format!("x{}{}", fact.prompt, fact.completion));
        }
    }
}

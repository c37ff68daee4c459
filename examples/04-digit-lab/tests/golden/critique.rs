//! Critique fine-tuning through the real host: its arms, and what of its rows is trained on.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use digit_lab::critique;
use digit_lab::lab::{Arm, Outcome};
use serde_json::{Value, json};
use tunesmith_core::data::TrainingRow;
use tunesmith_train::batching::{EncodedRow, Encoder, LengthRule, MicroBatch};
use tunesmith_train::device;
use tunesmith_train::model::LanguageModel;

use super::{check, mixed, run_on};

#[test]
fn critiques_and_their_control_start_as_they_did() {
    // With as few steps as here, an arm with three times the steps is the one without.
    critique::arms().iter().filter(|arm| !arm.name.ends_with("3x")).for_each(check);
}

fn arm(settings: &[(&str, &str)]) -> Arm {
    let set = settings.iter().map(|(key, value)| (format!("curate.settings.{key}"), (*value).to_owned())).collect();
    Arm { name: "cft".into(), recipe: "cft", set }
}

fn row(solution: &str, critique: Option<&str>) -> Value {
    json!({ "prompt": "34+12", "completion": solution, "critique": critique })
}

/// The rows of the training set as the trainer batches them, and the tokenizer's encoder.
fn batched(outcome: &Outcome) -> anyhow::Result<(Vec<Arc<EncodedRow>>, Encoder)> {
    let encoder = Encoder::new(&LanguageModel::load(&mixed(), &device::open("cpu")?)?);
    let lengths = LengthRule { longest: 64, truncate: false };
    let mut targets = Vec::new();
    for line in outcome.curated.iter().filter(|line| line.get("target").is_some()) {
        let row = TrainingRow {
            example: Arc::new(serde_json::from_value(line["example"].clone())?),
            target: serde_json::from_value(line["target"].clone())?,
            provenance: String::new(),
            notes: Vec::new(),
        };
        targets.push(encoder.target(&row, lengths)?);
    }
    Ok((MicroBatch::new(&targets).rows, encoder))
}

/// The text of the tokens that are trained on, or of the others.
fn text(encoder: &Encoder, row: &EncodedRow, is_trained: bool) -> anyhow::Result<String> {
    let tokens = row.tokens.iter().zip(&row.mask).filter(|(_, mask)| **mask == is_trained).map(|(token, _)| *token);
    Ok(encoder.tokenizer().decode(&tokens.collect::<Vec<u32>>(), false)?)
}

#[test]
fn the_mask_covers_the_critique_and_its_end_only() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let outcome = run_on(&arm(&[]), &[row("461", Some("460:xW"))], folder.path())?;
    let (rows, encoder) = batched(&outcome)?;
    ensure!(rows.len() == 1, "{} rows", rows.len());
    assert_eq!(text(&encoder, &rows[0], true)?, "460:x<end>");
    assert_eq!(text(&encoder, &rows[0], false)?, "<user>34+12:461C<end><model>");
    // The run itself counted the same tokens: one step of the only row.
    assert_eq!(outcome.summary.loss_tokens, 6);
    Ok(())
}

#[test]
fn another_solution_turns_the_label_and_nothing_else_that_is_trained_on() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let rows = [row("460", Some("460:yW")), row("461", Some("460:xW"))];
    let (rows, encoder) = batched(&run_on(&arm(&[]), &rows, folder.path())?)?;
    let [right, wrong] = rows.as_slice() else { anyhow::bail!("{} rows", rows.len()) };
    assert_eq!(right.mask, wrong.mask);
    let places = 0..right.tokens.len();
    let differ: Vec<usize> = places.filter(|&place| right.tokens[place] != wrong.tokens[place]).collect();
    let [digit, label] = differ.as_slice() else { anyhow::bail!("they differ at {differ:?}") };
    assert!(!right.mask[*digit] && right.mask[*label]);
    assert_eq!([right, wrong].map(|row| encoder.token_text(row.tokens[*label])), ["y", "x"]);
    Ok(())
}

/// The mixed base writes answers such as `ppp:460` here: no critiques, but texts that come from it.
#[test]
fn a_teacher_of_the_run_writes_what_is_not_stored() -> anyhow::Result<()> {
    let rows = [row("460", Some("460:yW")), row("461", None), row("462", Some("460:xW")), row("463", None)];
    let teacher = ("teacher", "reference");
    let folder = tempfile::tempdir()?;
    let strict = run_on(&arm(&[teacher]), &rows, folder.path())?;
    let count = |map: &std::collections::BTreeMap<String, u64>, key: &str| map.get(key).copied().unwrap_or(0);
    assert_eq!(strict.rows("critique"), 2);
    assert_eq!(count(&strict.summary.dropped, "the critique has no conclusion"), 2);
    let folder = tempfile::tempdir()?;
    let lenient = run_on(&arm(&[teacher, ("unlabelled", "keep"), ("temperature", "0.0")]), &rows, folder.path())?;
    assert_eq!((lenient.rows("critique"), lenient.rows("synthetic")), (2, 2));
    let written = lenient.curated.iter().find(|line| line["provenance"] == "synthetic").context("there is one")?;
    let text = written["target"]["completion"].as_str().context("it is text")?;
    ensure!(text.contains(':') && written["example"]["messages"][0]["content"] == "34+12:461C", "{written}");
    Ok(())
}

#[test]
fn a_teacher_that_the_run_does_not_have_is_told() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let error = run_on(&arm(&[("teacher", "gpt")]), &[row("461", None)], folder.path());
    let text = format!("{:?}", error.err().context("there is no such model")?);
    for part in ["`cft`", "no model `gpt`", "`reference`"] {
        ensure!(text.contains(part), "`{text}` does not say `{part}`");
    }
    Ok(())
}

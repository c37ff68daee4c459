//! GRAPE through the real host: its arms, and its scores against those of transformers.

use std::fs;

use anyhow::{Context as _, ensure};
use digit_lab::grape;
use digit_lab::lab::Arm;
use serde_json::{Value, json};

use super::{check, root, run_on};

/// How far a score may be from that of transformers, relative to it: float32 sums in another order.
const SCORE_TOLERANCE: f64 = 1e-4;

#[test]
fn grape_and_its_controls_start_as_they_did() {
    // With as few steps as here, an arm with three times the steps is the one without.
    grape::arms().iter().filter(|arm| !arm.name.ends_with("3x")).for_each(check);
}

fn all(settings: &[(&str, &str)]) -> Arm {
    let settings = settings.iter().chain(&[("select", "all")]);
    let set = settings.map(|(key, value)| (format!("curate.settings.{key}"), (*value).to_owned())).collect();
    Arm { name: "grape".into(), recipe: "grape", set }
}

/// Compares the notes of every row with a number of the fixture.
fn compare_scores(arm: &Arm, number: &str) -> anyhow::Result<()> {
    let path = root().join("tests/golden/grape-scores.json");
    let fixture: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    let rows = fixture["rows"].as_array().context("the fixture has rows")?;
    let data: Vec<Value> = rows
        .iter()
        .map(|row| {
            let text = |at: usize| &row["responses"][at]["text"];
            json!({ "prompt": row["prompt"], "completion": text(0), "x": text(1), "more": [text(2)] })
        })
        .collect();
    let folder = tempfile::tempdir()?;
    let outcome = run_on(arm, &data, folder.path())?;
    ensure!(outcome.summary.rows == 3 * rows.len() as u64, "{:?}", outcome.summary.provenance);
    for (id, row) in rows.iter().enumerate() {
        let own = |line: &&Value| line["id"] == id && line["notes"].get("score").is_some();
        let line = outcome.curated.iter().find(own).with_context(|| format!("row {id} has no score"))?;
        for (at, name) in ["score", "score-2", "score-3"].into_iter().enumerate() {
            let expected = row["responses"][at][number].as_f64().context("the fixture has the number")?;
            let found = line["notes"][name].as_f64().with_context(|| format!("row {id} has no {name}"))?;
            let distance = (found - expected).abs() / expected.abs();
            ensure!(distance <= SCORE_TOLERANCE, "row {id}, {name}: {found}, not {expected}");
        }
    }
    Ok(())
}

#[test]
fn scores_of_the_template_are_those_of_transformers() -> anyhow::Result<()> {
    compare_scores(&all(&[]), "mean")
}

/// The lab's chat template writes the same text, and the end token may count.
#[test]
fn scores_of_the_chat_template_with_the_end_token_are_those_of_transformers() -> anyhow::Result<()> {
    compare_scores(&all(&[("template", "\"\""), ("end-token", "true")]), "mean-with-end")
}

#[test]
fn a_list_that_is_none_is_told_with_its_plugin_and_row() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let row = |more: Value| json!({ "prompt": "34+12", "completion": "rrr:460", "more": more });
    let error = run_on(&all(&[]), &[row(json!(["ppp:460"])), row(json!(["ppp:460", 7]))], folder.path());
    let text = format!("{:?}", error.err().context("the list is broken")?);
    for part in ["`grape`", "column `more` of row 1", "entry 1 that is neither text nor an object"] {
        ensure!(text.contains(part), "`{text}` does not say `{part}`");
    }
    Ok(())
}

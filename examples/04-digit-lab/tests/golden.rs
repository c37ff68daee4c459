//! The first steps of every arm, compared with `golden/`: `BLESS=1 cargo test -p digit-lab` rewrites the files.
//!
//! Losses may differ by [`LOSS_TOLERANCE`] between CPUs, whose reduction orders differ; targets, provenance and counts may not.

#[path = "golden/answers.rs"]
mod answers;
#[path = "golden/critique.rs"]
mod critique;
#[path = "golden/grape.rs"]
mod grape;
#[path = "golden/groups.rs"]
mod groups;
#[path = "golden/token_methods.rs"]
mod token_methods;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use digit_lab::lab::{self, Arm, Outcome, Scale};
use digit_lab::task;
use serde_json::{Value, json};
use tunesmith::Summary;

/// How far a loss may be from the golden one, relative to it.
const LOSS_TOLERANCE: f64 = 1e-3;
/// And absolutely: losses of online training are near zero, where what the policy sampled is still what it says.
const SMALL: f64 = 1e-5;
/// Optimiser steps per arm.
const STEPS: usize = 4;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The mixed base, trained by the lab: it is right about one addition in seven.
fn mixed() -> PathBuf {
    root().join("golden/base-mixed")
}

/// An arm in the small, from this model, in a folder of its own.
fn run(arm: &Arm, model: &Path, folder: &Path) -> anyhow::Result<Outcome> {
    lab::run(&root().join("recipes"), arm, &small(arm, model, folder)?, &folder.join("run"))
}

/// What makes an arm small: little data, written below `folder`, and few steps from this model.
fn small(arm: &Arm, model: &Path, folder: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let scale = Scale { base: 64, train: 48, eval: 8 };
    lab::prepare(folder, scale)?;
    digit_lab::grape::prepare(folder, scale)?;
    digit_lab::critique::prepare(folder, scale)?;
    digit_lab::drafts::prepare(folder, scale)?;
    digit_lab::ensemble::prepare(folder, scale)?;
    digit_lab::otr::prepare(folder, scale)?;
    digit_lab::fait::prepare(folder, scale)?;
    digit_lab::dft::prepare(folder, scale)?;
    digit_lab::preference::prepare(folder, scale)?;
    digit_lab::count::prepare(folder, scale)?;
    digit_lab::languages::prepare(folder, scale)?;
    let (train, eval): (&str, &[&str]) = match arm.recipe {
        "noisy" => ("noisy", &["held-out"]),
        "recoded" => ("recoded", &["recoded-held-out"]),
        "grape" => ("styles", &["task", "retained"]),
        "cft" => ("critiques", &["held-out", "verify"]),
        "aft" => ("drafts", &["drafts-held-out"]),
        "sicl" => ("classes-train", &["classes-held-out"]),
        "fgrpr" | "fgrpr-sft" => ("counts", &["counts-held-out"]),
        "clo" | "clo-sft" => ("languages", &["languages-source", "languages-target"]),
        "dpo" => ("pairs", &["pairs-held-out", "retained"]),
        "otr" | "grpo" => ("own-style", &["own-style-task", "retained"]),
        "fait" => ("code", &["code-held-out"]),
        "dft" | "dft-sft" => ("sums-small", &["held-out"]),
        _ => ("train", &["task", "retained"]),
    };
    let text = |path: PathBuf| format!("'{}'", path.display());
    let sets: Vec<String> = eval.iter().map(|name| format!("{name} = {}", text(lab::data(folder, name)))).collect();
    let set = [
        ("model.path", text(model.to_owned())),
        ("data.train", text(lab::data(folder, train))),
        ("data.eval", format!("{{ {} }}", sets.join(", "))),
        ("train.steps", STEPS.to_string()),
        ("train.batch", "16".into()),
    ];
    Ok(set.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// The arm with its own data in place of the lab's, for one step.
fn run_on(arm: &Arm, rows: &[Value], folder: &Path) -> anyhow::Result<Outcome> {
    let mut set = small(arm, &mixed(), folder)?;
    let data = folder.join("own.jsonl");
    task::write_lines(&data, rows.iter().cloned())?;
    set.push(("data.train".into(), format!("'{}'", data.display())));
    set.push(("train.steps".into(), "1".into()));
    lab::run(&root().join("recipes"), arm, &set, &folder.join("run"))
}

/// What is compared: every target with its provenance, counts, and the losses.
fn golden(outcome: &Outcome) -> anyhow::Result<Vec<Value>> {
    let Summary { provenance, rows, tokens, .. } = &outcome.summary;
    let counts = json!({ "provenance": provenance, "rows": rows, "tokens": tokens });
    let targets = outcome.targets()?.into_iter().map(
        |(row, provenance)| json!({ "prompt": row.prompt, "completion": row.completion, "provenance": provenance }),
    );
    let losses = outcome.losses.iter().enumerate().map(|(step, loss)| json!({ "step": step, "loss": loss }));
    let sampled = outcome.sampled.iter().map(|numbers| json!({ "rollouts": numbers }));
    Ok(std::iter::once(counts).chain(targets).chain(losses).chain(sampled).collect())
}

fn compare(found: &[Value], expected: &[Value]) -> anyhow::Result<()> {
    ensure!(found.len() == expected.len(), "{} lines, not {}", found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        match (found["loss"].as_f64(), expected["loss"].as_f64()) {
            (Some(loss), Some(golden)) => {
                let allowed = LOSS_TOLERANCE * golden.abs() + SMALL;
                ensure!((loss - golden).abs() <= allowed, "{found}, not {expected}");
            }
            _ => ensure!(found == expected, "{found}, not {expected}"),
        }
    }
    Ok(())
}

#[track_caller]
fn check(arm: &Arm) {
    let result = || -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let outcome = run(arm, &mixed(), folder.path())?;
        ensure!(outcome.losses.len() == STEPS, "{} losses for {STEPS} steps", outcome.losses.len());
        let found = golden(&outcome)?;
        let path = root().join("golden").join(format!("{}.jsonl", arm.name));
        if std::env::var_os("BLESS").is_some() {
            let lines: String = found.iter().map(|line| line.to_string() + "\n").collect();
            return fs::write(&path, lines).context("cannot bless");
        }
        let text = fs::read_to_string(&path).with_context(|| format!("no {}: run with BLESS=1", path.display()))?;
        let expected = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        compare(&found, &expected)
    };
    if let Err(error) = result() {
        panic!("{}: {error:?}", arm.name);
    }
}

#[test]
fn the_selective_arms_start_as_they_did() {
    lab::selective().iter().for_each(check);
}

#[test]
fn the_objectives_start_on_noise_as_they_did() {
    lab::objectives("noisy").iter().for_each(check);
}

#[test]
fn the_objectives_start_on_a_new_code_as_they_did() {
    lab::objectives("recoded").iter().for_each(check);
}

/// A base that is never right leaves SSR with the data as they are: from then on both runs are one, bit for bit.
#[test]
fn ssr_without_accepted_answers_is_plain_fine_tuning_bit_for_bit() -> anyhow::Result<()> {
    let arms = lab::selective();
    let find = |name: &str| arms.iter().find(|arm| arm.name == name).context("an arm is missing");
    let (sft, ssr) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let fresh = |folder: &tempfile::TempDir| folder.path().join("fresh");
    let plain = run(find("sft")?, &fresh(&sft), sft.path())?;
    let rehearsed = run(find("ssr")?, &fresh(&ssr), ssr.path())?;
    assert_eq!(rehearsed.rows("gold"), rehearsed.summary.rows);
    assert_eq!(rehearsed.summary.parameters, plain.summary.parameters);
    assert_eq!(rehearsed.losses, plain.losses);
    Ok(())
}

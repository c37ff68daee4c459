//! The experiments: data and bases once, then arms that differ in one thing each.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;

use tunesmith::{Options, Session, Summary};

use crate::model;
use crate::task::{self, Row, Tasks};

/// The seed of data, weights and runs.
pub const SEED: u64 = 17;

/// How much data is made.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Rows that a base is trained on.
    pub base: usize,
    /// Rows of an arm's training set.
    pub train: usize,
    /// Rows of each evaluation set.
    pub eval: usize,
}

/// The scale of the experiments in the plugins' READMEs.
pub const FULL: Scale = Scale { base: 20_000, train: 600, eval: 200 };

/// Draws a row.
type Draw = fn(&mut Tasks) -> Row;

/// One arm: a recipe, and what is put over it.
#[derive(Debug, Clone)]
pub struct Arm {
    /// The arm's name in tables, run folders and golden files.
    pub name: String,
    /// The recipe's file name in `recipes/`, without extension.
    pub recipe: &'static str,
    /// Values put over the recipe, such as `objective.settings.function` and `nll`.
    pub set: Vec<(String, String)>,
}

/// What an arm's run left behind.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The arm's name.
    pub name: String,
    /// The run's own summary.
    pub summary: Summary,
    /// The rows of `curated.jsonl`.
    pub curated: Vec<Value>,
    /// The loss of every step.
    pub losses: Vec<f64>,
    /// Means and counts of the rollouts of every step that sampled.
    pub sampled: Vec<Value>,
}

/// Plain fine-tuning, S3FT and SSR on the mixed base.
pub fn selective() -> Vec<Arm> {
    ["sft", "s3ft", "ssr"].map(|name| Arm { name: name.into(), recipe: name, set: Vec::new() }).into()
}

/// The objectives on one recipe: `noisy` (strong base) or `recoded` (weak base).
pub fn objectives(recipe: &'static str) -> Vec<Arm> {
    let arm = |name: &str, settings: &[(&str, &str)]| {
        let pair = |(key, value): &(&str, &str)| (format!("objective.settings.{key}"), (*value).to_owned());
        Arm { name: format!("{recipe}-{name}"), recipe, set: settings.iter().map(pair).collect() }
    };
    vec![
        arm("nll", &[("function", "nll")]),
        arm("p", &[("function", "p")]),
        arm("alpha-10", &[("function", "family"), ("alpha", "10.0")]),
        arm("threshold-0.2", &[("function", "top-logp"), ("threshold", "0.2")]),
    ]
}

/// Writes the random model and all data below `runs`, from [`SEED`].
///
/// # Errors
///
/// Fails when a file cannot be written, or the random model is there already.
pub fn prepare(runs: &Path, scale: Scale) -> anyhow::Result<()> {
    model::write(&runs.join("fresh"), SEED)?;
    let Scale { base, train, eval } = scale;
    let files: [(&str, usize, Draw); 9] = [
        ("mixed", base, Tasks::mixed),
        ("sums", base, |tasks| tasks.addition(false)),
        ("train", train, |tasks| task::in_style('r', tasks.addition(false))),
        ("task", eval, |tasks| task::in_style('r', tasks.addition(true))),
        ("retained", eval, |tasks| {
            let row = tasks.other();
            tasks.in_own_style(row)
        }),
        ("noisy", base, |tasks| {
            let row = tasks.addition(false);
            tasks.noisy(row)
        }),
        ("held-out", eval, |tasks| tasks.addition(true)),
        ("recoded", base, |tasks| task::recoded(tasks.addition(false))),
        ("recoded-held-out", eval, |tasks| task::recoded(tasks.addition(true))),
    ];
    for (name, count, draw) in files {
        let mut tasks = Tasks::new(SEED, name);
        task::write(&data(runs, name), (0..count).map(|_| draw(&mut tasks)))?;
    }
    Ok(())
}

/// A data file below `runs`.
pub fn data(runs: &Path, name: &str) -> PathBuf {
    runs.join("data").join(format!("{name}.jsonl"))
}

/// Runs an arm into `folder` and reads what it left behind; of a recipe with phases, what the last phase did. The folder must not hold a run yet.
///
/// # Errors
///
/// Fails when the run does, or its folder cannot be read.
pub fn run(recipes: &Path, arm: &Arm, set: &[(String, String)], folder: &Path) -> anyhow::Result<Outcome> {
    let options = Options {
        set: arm.set.iter().chain(set).cloned().collect(),
        output: Some(folder.to_owned()),
        ..Options::default()
    };
    let session = Session::open_with(&recipes.join(format!("{}.toml", arm.recipe)), &options)?;
    let summary = session.run(&mut ())?;
    // A phase's run folder is within the recipe's.
    let folder = summary.folder.as_path();
    let curated = folder.join("curated.jsonl");
    let curated = if curated.exists() { lines(&curated)? } else { Vec::new() };
    let trace = trace(folder)?;
    let losses = trace.iter().filter_map(loss).collect();
    let sampled = trace.iter().filter_map(|line| line.pointer("/record/rollouts/numbers").cloned()).collect();
    Ok(Outcome { name: arm.name.clone(), summary, curated, losses, sampled })
}

/// The trace of a run; of a recipe with phases those of all of them, in the order of their names.
fn trace(folder: &Path) -> anyhow::Result<Vec<Value>> {
    let whole = folder.join("trace.jsonl");
    if whole.exists() {
        return lines(&whole);
    }
    let mut phases: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path().join("trace.jsonl"))).collect::<anyhow::Result<_>>()?;
    phases.sort();
    Ok(phases.iter().map(|path| lines(path)).collect::<anyhow::Result<Vec<_>>>()?.concat())
}

fn lines(path: &Path) -> anyhow::Result<Vec<Value>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// The loss of a trace line, if it is one of a step.
fn loss(line: &Value) -> Option<f64> {
    let record = line.get("record")?;
    if record.get("event")? == "step" { record.get("loss")?.as_f64() } else { None }
}

impl Outcome {
    /// A metric of an evaluation set after training.
    pub fn after(&self, set: &str, metric: &str) -> Option<f64> {
        self.summary.sets.iter().find(|it| it.name == set)?.after.get(metric).copied()
    }

    /// A metric of an evaluation set before training.
    pub fn before(&self, set: &str, metric: &str) -> Option<f64> {
        self.summary.sets.iter().find(|it| it.name == set)?.before.get(metric).copied()
    }

    /// A number of the rollouts of every step that sampled, such as `reward`.
    pub fn rollouts(&self, name: &str) -> Vec<f64> {
        self.sampled.iter().filter_map(|numbers| numbers[name].as_f64()).collect()
    }

    /// How many rows of the training set come from where.
    pub fn rows(&self, provenance: &str) -> u64 {
        self.summary.provenance.get(provenance).copied().unwrap_or(0)
    }

    /// The trained model's folder.
    pub fn model(&self) -> &Path {
        &self.summary.trained
    }

    /// What was trained on, in the order of the data, with its provenance; of a group each completion, with its role behind the provenance; of
    /// prompts nothing.
    ///
    /// # Errors
    ///
    /// Fails when a line of `curated.jsonl` is not what a run writes.
    pub fn targets(&self) -> anyhow::Result<Vec<(Row, String)>> {
        let lines = self.curated.iter().filter(|line| line.get("target").is_some());
        Ok(lines.map(targets).collect::<anyhow::Result<Vec<_>>>()?.concat())
    }
}

/// What a line of `curated.jsonl` says of a row that is trained on.
fn targets(line: &Value) -> anyhow::Result<Vec<(Row, String)>> {
    let text = |value: &Value, pointer: &str| {
        let text = value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        text.with_context(|| format!("a line of `curated.jsonl` has no {pointer}: {line}"))
    };
    let (prompt, provenance) = (text(line, "/example/messages/0/content")?, text(line, "/provenance")?);
    if line["target"] == "prompt" {
        return Ok(Vec::new());
    }
    let row = |completion: String| Row { prompt: prompt.clone(), completion };
    if let Some(members) = line.pointer("/target/group").and_then(Value::as_array) {
        let member = |member: &Value| {
            Ok((row(text(member, "/completion")?), format!("{provenance}/{}", text(member, "/role")?)))
        };
        return members.iter().map(member).collect();
    }
    if line.pointer("/target/preference").is_some() {
        let member =
            |role: &str| Ok((row(text(line, &format!("/target/preference/{role}"))?), format!("{provenance}/{role}")));
        return ["chosen", "rejected"].into_iter().map(member).collect();
    }
    Ok(vec![(row(text(line, "/target/completion")?), provenance)])
}

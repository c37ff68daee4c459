//! The experiments: data and bases once, then arms that differ in one thing each.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;

use crate::task::{self, Row, Tasks};
use crate::{model, run};

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

/// One arm: a recipe, and what is put over it.
#[derive(Debug, Clone)]
pub struct Arm {
    /// The arm's name in tables and golden files.
    pub name: &'static str,
    /// The recipe's file name in `recipes/`, without extension.
    pub recipe: &'static str,
    /// Values put over the recipe, such as `objective.settings.function=nll`.
    pub set: Vec<(String, String)>,
}

/// What an arm's run left behind, as far as the tables need it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The arm's name.
    pub name: &'static str,
    /// `summary.json` of the run folder.
    pub summary: Value,
    /// The rows of `curated.jsonl`; empty without a curating plugin.
    pub curated: Vec<Value>,
    /// The losses of all steps, in order.
    pub losses: Vec<f64>,
}

/// Plain fine-tuning, S3FT and SSR on the mixed base.
pub fn selective() -> Vec<Arm> {
    ["sft", "s3ft", "ssr"].map(|name| Arm { name, recipe: name, set: Vec::new() }).into()
}

/// The objectives on one recipe: `noisy` (strong base) or `recoded` (weak base).
pub fn objectives(recipe: &'static str) -> Vec<Arm> {
    let arm = |name: &'static str, settings: &[(&str, &str)]| {
        let pair = |(key, value): &(&str, &str)| (format!("objective.settings.{key}"), (*value).to_owned());
        let output = ("output".to_owned(), format!("../runs/{recipe}-{name}"));
        Arm { name, recipe, set: settings.iter().map(pair).chain([output]).collect() }
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
    let data = runs.join("data");
    let file = |name: &str, rows: Vec<Row>| task::write(&data.join(format!("{name}.jsonl")), rows.into_iter());
    let draw = |name: &str, count: usize, row: &mut dyn FnMut(&mut Tasks) -> Row| {
        let mut tasks = Tasks::new(SEED, name);
        (0..count).map(|_| row(&mut tasks)).collect::<Vec<Row>>()
    };
    file("mixed", draw("mixed", scale.base, &mut |tasks| tasks.mixed()))?;
    file("sums", draw("sums", scale.base, &mut |tasks| tasks.addition(false)))?;
    file("train", draw("train", scale.train, &mut |tasks| task::in_style('r', tasks.addition(false))))?;
    file("task", draw("task", scale.eval, &mut |tasks| task::in_style('r', tasks.addition(true))))?;
    file("retained", draw("retained", scale.eval, &mut |tasks| {
        let row = tasks.other();
        tasks.in_own_style(row)
    }))?;
    file("held-out", draw("held-out", scale.eval, &mut |tasks| tasks.addition(true)))?;
    file("noisy", draw("noisy", scale.base, &mut |tasks| {
        let row = tasks.addition(false);
        tasks.noisy(row)
    }))?;
    file("recoded", draw("recoded", scale.base, &mut |tasks| task::recoded(tasks.addition(false))))?;
    file("recoded-held-out", draw("recoded-held-out", scale.eval, &mut |tasks| task::recoded(tasks.addition(true))))
}

/// Trains a base, unless its run is there already.
///
/// # Errors
///
/// Fails when the run does.
pub fn base(recipes: &Path, name: &'static str, runs: &Path) -> anyhow::Result<()> {
    if runs.join(name).join("summary.json").exists() {
        return Ok(());
    }
    run(&recipes.join(format!("{name}.toml")), &[])
}

/// Runs an arm and reads what it left behind. A run that is there already is replaced.
///
/// # Errors
///
/// Fails when the run does, or its folder cannot be read.
pub fn arm(recipes: &Path, arm: &Arm, set: &[(String, String)], folder: &Path) -> anyhow::Result<Outcome> {
    if folder.join("plan.json").exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove the old run {}", folder.display()))?;
    }
    let set: Vec<(String, String)> = arm.set.iter().chain(set).cloned().collect();
    run(&recipes.join(format!("{}.toml", arm.recipe)), &set)?;
    read(arm.name, folder)
}

/// Reads a run folder.
///
/// # Errors
///
/// Fails when a file is missing or is not what a run writes.
pub fn read(name: &'static str, folder: &Path) -> anyhow::Result<Outcome> {
    let text = |path: PathBuf| fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()));
    let lines = |text: &str| text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>();
    let summary = serde_json::from_str(&text(folder.join("summary.json"))?)?;
    let curated = folder.join("curated.jsonl");
    let curated = if curated.exists() { lines(&text(curated)?)? } else { Vec::new() };
    let trace = lines(&text(folder.join("trace.jsonl"))?)?;
    let losses = trace.iter().filter_map(loss).collect();
    Ok(Outcome { name, summary, curated, losses })
}

/// The loss of a trace line, if it is one of a step.
fn loss(line: &Value) -> Option<f64> {
    let record = line.get("record")?;
    if record.get("event")? == "step" { record.get("loss")?.as_f64() } else { None }
}

impl Outcome {
    /// A metric of an evaluation set, `before` or `after` training.
    pub fn metric(&self, set: &str, when: &str, metric: &str) -> Option<f64> {
        let sets = self.summary.get("sets")?.as_array()?;
        sets.iter().find(|it| it["name"] == set)?.get(when)?.get(metric)?.as_f64()
    }

    /// How many rows come from where.
    pub fn provenance(&self) -> BTreeMap<String, u64> {
        let counts = self.summary.get("provenance").and_then(Value::as_object);
        counts.into_iter().flatten().filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect()
    }

    /// The mean over rows of a number that the curating plugin noted.
    pub fn mean_note(&self, name: &str) -> Option<f64> {
        let note = |row: &Value| row.get("notes")?.get(name)?.as_f64();
        let values: Vec<f64> = self.curated.iter().filter_map(note).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }
}

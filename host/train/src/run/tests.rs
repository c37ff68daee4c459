//! Runs on the tiny model: losses against TRL's, handles against plain tensors, packing, streaming, traces, faults.

mod answers;
mod board;
mod faults;
mod losses;
mod packing;
mod resume;
mod services;
mod streaming;
mod traces;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use burn::tensor::Device;
use serde_json::Map;
use tempfile::TempDir;
use tunesmith_core::data::Example;
use tunesmith_core::model::Message;
use tunesmith_core::plan::{Plan, TrainPlan};
use tunesmith_core::recipe::Recipe;
use tunesmith_core::set::Stages;

use super::{EvalSet, RunError, RunInputs, RunSummary, run};
use crate::model::LanguageModel;
use crate::test_folder::chat_folder;

/// A plan with a run folder in `folder`, and these lines of the recipe's tables.
pub(crate) fn plan(folder: &Path, adapter: &str, tables: &str) -> Plan {
    let text = format!(
        "seed = 3\noutput = \"run\"\n[model]\npath = \"model\"\n{adapter}\n[data]\ntrain = \"t.jsonl\"\n{tables}"
    );
    Plan::resolve(&Recipe::parse(&text).expect("a recipe"), &text, folder).expect("a plan")
}

/// The loop of a recipe that says nothing of it.
pub(crate) fn train_plan() -> TrainPlan {
    plan(Path::new("."), "", "").train
}

pub(crate) const LORA: &str = "adapter = { lora = { rank = 2, alpha = 4 } }";
const SHORT: &str =
    "[train]\nsteps = 3\nbatch = 4\nmicro-batch = 2\nlearning-rate = 0.01\n[generate]\nmax-tokens = 6\n";

pub(crate) fn example(id: u64, prompt: &str, completion: Option<&str>) -> Arc<Example> {
    Arc::new(Example {
        id,
        messages: vec![Message::user(prompt)],
        completion: completion.map(Into::into),
        columns: [("prompt".into(), prompt.into())].into_iter().collect::<Map<_, _>>(),
        ..Example::default()
    })
}

/// The tiny model with six rows to train on and two to evaluate on. Its folder is gone: a run that exports a whole model needs [`inputs_of`].
fn inputs(stages: Stages) -> RunInputs {
    inputs_of(&chat_folder(), stages)
}

/// As [`inputs`], with the model of this folder.
pub(crate) fn inputs_of(folder: &TempDir, stages: Stages) -> RunInputs {
    let model = LanguageModel::load(folder.path(), &Device::flex()).expect("the fixture is whole");
    let rows = (0..6).map(|id| example(id, &format!("say {id}"), Some(&"abcdef"[..=id as usize])));
    let pool = Arc::new(rows.collect::<Vec<_>>());
    let evals = vec![EvalSet {
        name: "eval".into(),
        examples: vec![example(0, "say 1", Some("ab")), example(1, "say 9", None)],
    }];
    RunInputs {
        model,
        models: Arc::default(),
        stages,
        pool,
        evals,
        start: None,
        now: Duration::from_secs(1_700_000_000),
    }
}

/// A whole run in a folder of its own.
pub(crate) fn run_with(stages: Stages, adapter: &str, tables: &str) -> (TempDir, Result<RunSummary, RunError>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = chat_folder();
    let made = run(&plan(folder.path(), adapter, tables), inputs_of(&model, stages), &mut ());
    (folder, made)
}

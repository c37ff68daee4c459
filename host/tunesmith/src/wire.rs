//! Where plugins and the trainer meet. Nothing else knows both.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tunesmith_core::data::Example;
use tunesmith_core::memory::Memory;
use tunesmith_core::model::{Generation, Prompt, Sampling};
use tunesmith_core::plan::{GeneratePlan, Plan};
use tunesmith_core::set::{Event, Named, Observer, Stages};
use tunesmith_core::stage::{Reward, Stage};
use tunesmith_train::data::Rows;
use tunesmith_train::device;
use tunesmith_train::model::LanguageModel;
use tunesmith_train::run::{self, EvalSet, RunError, RunInputs, Standing};
use tunesmith_train::service;

pub use tunesmith_train::run::{Forecast, RunSummary as Summary, SetSummary};

use crate::error::{Error, Fault};
use crate::models::{self, ModelKeys};
use crate::plugins::Placed;
use crate::written::Written;

/// The stages that the trainer calls.
pub(crate) const STAGES: [Stage; 8] = [
    Stage::Curate,
    Stage::Judge,
    Stage::Reward,
    Stage::Credit,
    Stage::Weigh,
    Stage::Objective,
    Stage::Measure,
    Stage::Answer,
];

/// What to continue, and how.
#[derive(Debug, Clone)]
pub struct GenerateRequest {
    /// The model, a folder in Hugging Face form.
    pub model: PathBuf,
    /// An adapter for it.
    pub adapter: Option<PathBuf>,
    /// `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// Sequences at once. Does not change results.
    pub batch: u32,
    /// What is continued.
    pub prompts: Vec<Prompt>,
    /// How.
    pub sampling: Sampling,
}

/// What a run needs beside its plan.
pub(crate) struct Parts {
    pub(crate) pool: Arc<dyn Rows>,
    pub(crate) evals: Vec<(String, Vec<Arc<Example>>)>,
    pub(crate) plugins: Vec<Placed>,
    pub(crate) keys: ModelKeys,
}

/// Loads the model and checks what needs it and the data, but no forward pass.
pub(crate) fn forecast(
    written: &Written,
    plan: &Plan,
    parts: &Parts,
    observer: &mut dyn Observer,
) -> Result<Forecast, Error> {
    let inputs = inputs(plan, parts, observer)?;
    run::check_inputs(plan, &inputs).map_err(|error| fault(written, plan, error))
}

/// Fails unless there is a run of this plan to go on with. A run that came to its end is one.
pub(crate) fn expect_run(written: &Written, plan: &Plan) -> Result<(), Error> {
    run::standing(plan).map(|_| ()).map_err(|error| fault(written, plan, error))
}

/// Goes on with the run of a plan. One that came to its end is told as it is.
pub(crate) fn resume(
    written: &Written,
    plan: &Plan,
    parts: &Parts,
    observer: &mut dyn Observer,
) -> Result<Summary, Error> {
    let fault = |error| fault(written, plan, error);
    if let Standing::Finished(summary) = run::standing(plan).map_err(fault)? {
        let note = format!("the run in `{}` came to its end already; nothing was done", plan.output.display());
        observer.event(Event::Note(&note));
        return Ok(*summary);
    }
    let inputs = inputs(plan, parts, observer)?;
    run::check_inputs(plan, &inputs).map_err(fault)?;
    run::resume(plan, inputs, observer).map_err(|error| Error::run("the run failed", error))
}

/// Does the whole run of a plan.
pub(crate) fn run(
    written: &Written,
    plan: &Plan,
    parts: &Parts,
    observer: &mut dyn Observer,
) -> Result<Summary, Error> {
    let inputs = inputs(plan, parts, observer)?;
    // What is found here is the user's to mend; what goes wrong later is the work's.
    run::check(plan, &inputs).map_err(|error| fault(written, plan, error))?;
    run::run(plan, inputs, observer).map_err(|error| Error::run("the run failed", error))
}

/// Measures the plan's model on the evaluation sets.
pub(crate) fn evaluate(
    plan: &Plan,
    parts: &Parts,
    adapter: Option<&Path>,
    observer: &mut dyn Observer,
) -> Result<Vec<SetSummary>, Error> {
    let inputs = inputs(plan, parts, observer)?;
    run::evaluate(plan, inputs, adapter, observer).map_err(|error| match error {
        RunError::Model(error) if adapter.is_some() => {
            let folder = adapter.unwrap_or(&plan.model.path);
            Error::model(Fault::of_file(folder, "the adapter cannot be measured").because(error))
        }
        error => Error::run("the evaluation failed", error),
    })
}

/// What the trainer found before it began, at its place in the recipe.
fn fault(written: &Written, plan: &Plan, error: RunError) -> Error {
    match error {
        RunError::Recipe { field, what, hint } => Error::recipe(written.fault(field, what).hint(hint)),
        RunError::Row { ref set, .. } => {
            let field = if *set == plan.data.train.name { "data.train" } else { "data.eval" };
            Error::data(written.fault(field, "a row cannot be used").because(error))
        }
        RunError::Data(error) => Error::data(written.fault("data", "the data cannot be used").because(error)),
        RunError::Output { .. } | RunError::Resume { .. } => {
            Error::output(written.fault("output", "the folder cannot be used").because(error))
        }
        RunError::Model(error) => Error::model(written.fault("model.path", "the model cannot be used").because(error)),
        error => Error::run("the run cannot begin", error),
    }
}

/// Continues prompts with a model: `sampling.samples` answers per prompt, in order.
///
/// # Errors
///
/// Fails with [`Error::Model`] when the model folder or the adapter cannot be used, and with [`Error::Run`] when a prompt is too long
/// or the chat template refuses it.
pub fn generate(request: &GenerateRequest, observer: &mut dyn Observer) -> Result<Vec<Generation>, Error> {
    let mut model = load(&request.model, &request.device, observer)?;
    if let Some(adapter) = &request.adapter {
        model.decoder = model
            .decoder
            .load_adapter(adapter)
            .map_err(|error| Error::model(Fault::of_file(adapter, "the adapter cannot be used").because(error)))?;
    }
    let plan = GeneratePlan { max_tokens: request.sampling.max_tokens, batch: request.batch, chunk: 1 };
    let service = service::open(&model, &plan);
    // Sampled sequences draw from streams that are numbered within a call, so only greedy ones may be split into several.
    let is_greedy = request.sampling.temperature == 0.0;
    let chunk = if is_greedy { request.batch.max(1) as usize } else { request.prompts.len().max(1) };
    observer.event(Event::Begin { work: "generate", total: Some(request.prompts.len() as u64) });
    let mut answers = Vec::new();
    for prompts in request.prompts.chunks(chunk) {
        match service.generate(prompts, &request.sampling) {
            Ok(made) => answers.extend(made),
            Err(error) => {
                observer.event(Event::Finish);
                return Err(Error::run("the prompts cannot be continued", error));
            }
        }
        observer.event(Event::Advance { units: prompts.len() as u64, note: "" });
    }
    observer.event(Event::Finish);
    Ok(answers)
}

fn inputs(plan: &Plan, parts: &Parts, observer: &mut dyn Observer) -> Result<RunInputs, Error> {
    let model = load(&plan.model.path, &plan.model.device, observer)?;
    let models = Arc::new(models::load(plan, &parts.keys, observer)?);
    let evals = parts.evals.iter().map(|(name, rows)| EvalSet { name: name.clone(), examples: rows.clone() });
    // A clock that is set to before 1970 shows 1970.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let from = plan.phase.as_ref().and_then(|phase| phase.from.as_ref());
    let start = from.and_then(|from| Some(plan.output.parent()?.join(from)));
    let (stages, pool) = (stages(&parts.plugins), Arc::clone(&parts.pool));
    Ok(RunInputs { model, models, stages, pool, evals: evals.collect(), start, now })
}

pub(crate) fn load(folder: &Path, device: &str, observer: &mut dyn Observer) -> Result<LanguageModel, Error> {
    let fault = |what: &str| Fault::of_file(folder, what);
    let device =
        device::open(device).map_err(|error| Error::model(fault("the model cannot be loaded").because(error)))?;
    observer.event(Event::Begin { work: "load model", total: None });
    let model = LanguageModel::load(folder, &device);
    observer.event(Event::Finish);
    model.map_err(|error| Error::model(fault("the model cannot be loaded").because(error)))
}

/// Who takes which stage. That each plugin exports its stage was checked when it was placed.
fn stages(plugins: &[Placed]) -> Stages {
    let mut stages = Stages::default();
    for Placed { stage, weight, ramp, plugin } in plugins {
        let name = plugin.name();
        match stage {
            Stage::Curate => stages.curate = plugin.curate().map(|it| Named::new(name, it)),
            Stage::Judge => stages.judge = plugin.judge().map(|it| Named::new(name, it)),
            Stage::Credit => stages.credit = plugin.credit().map(|it| Named::new(name, it)),
            Stage::Weigh => stages.weigh = plugin.weigh().map(|it| Named::new(name, it)),
            Stage::Objective => {
                stages.objective = plugin.objective().map(|it| Named::new(name, it));
                stages.parameters = plugin.parameters().to_vec();
            }
            Stage::Measure => stages.measure = plugin.measure().map(|it| Named::new(name, it)),
            Stage::Reward => {
                let name = own_name(name, &stages.rewards);
                let named = |it| Named { weight: *weight, ramp: *ramp, ..Named::new(name, it) };
                stages.rewards.extend(plugin.reward().map(named));
            }
            Stage::Answer => stages.answer = plugin.answer().map(|it| Named::new(name, it)),
            Stage::Edit | Stage::Retain => {}
        }
    }
    stages.memories = memories(plugins);
    stages
}

/// The name of a reward; of a plugin that comes again, with a number.
fn own_name(name: &str, rewards: &[Named<dyn Reward>]) -> String {
    let is_taken = |name: &str| rewards.iter().any(|reward| reward.name == name);
    let mut names = std::iter::once(name.to_owned()).chain((2_u32..).map(|number| format!("{name}-{number}")));
    names.find(|name| !is_taken(name)).unwrap_or_else(|| name.to_owned())
}

/// What plugins keep between calls. Stages may share a plugin; its memory has the name of the first of them.
fn memories(plugins: &[Placed]) -> Vec<Named<dyn Memory>> {
    let mut memories: Vec<Named<dyn Memory>> = Vec::new();
    for (index, Placed { stage, plugin, .. }) in plugins.iter().enumerate() {
        let Some(memory) = plugin.memory() else { continue };
        let is_known = memories.iter().any(|known| std::ptr::addr_eq(Arc::as_ptr(&known.stage), Arc::as_ptr(&memory)));
        if !is_known {
            memories.push(Named::new(format!("{index} {stage} {}", plugin.name()), memory));
        }
    }
    memories
}

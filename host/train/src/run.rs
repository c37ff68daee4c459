//! A whole run: curate, train, measure, and a folder that explains what happened.

mod board;
mod disk;
mod error;
mod folder;
mod phase;
mod preflight;
mod resume;
mod rows;
mod summary;
#[cfg(test)]
pub(crate) mod tests;
mod training;
mod whole;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use burn::module::Module;
use tunesmith_core::data::Example;
use tunesmith_core::plan::Plan;
use tunesmith_core::set::{Event, Observer, Stages};

use crate::batch::PolicyPair;
use crate::batching::Encoder;
use crate::data::Rows;
use crate::evaluate::Evaluator;
use crate::model::LanguageModel;
use crate::service::{Caller, Host, NamedModels};

pub(crate) use disk::{folder_whole, remove_folder, write_json};
pub use error::RunError;
pub(crate) use folder::{Place, RunFolder};
pub(crate) use preflight::no_completion;
pub use preflight::{Forecast, check, check_inputs};
pub use resume::{Standing, standing};
pub(crate) use rows::TrainingRows;
pub use summary::{RunSummary, SetSummary};
pub(crate) use training::{Outcome, Training};
pub use whole::{resume, run};

/// An evaluation set.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalSet {
    /// Its name in the recipe.
    pub name: String,
    /// Its rows.
    pub examples: Vec<Arc<Example>>,
}

/// What a run starts from.
pub struct RunInputs {
    /// The model as it was loaded: without an adapter.
    pub model: LanguageModel,
    /// Models beside it, which plugins may ask.
    pub models: Arc<NamedModels>,
    /// Who takes which stage.
    pub stages: Stages,
    /// The data to train on, or to curate.
    pub pool: Arc<dyn Rows>,
    /// The data to evaluate on.
    pub evals: Vec<EvalSet>,
    /// The run folder of the phase that this one starts from, if it starts from one.
    pub start: Option<PathBuf>,
    /// The time of day as the run begins, since 1970. It stands in the events of `TensorBoard`, and nothing depends on it.
    pub now: Duration,
}

/// Measures a model, with an adapter if there is one, and trains nothing. The results stand in `before` of each summary.
///
/// The divergence from the base model is measured if the plan asks for it and there is an adapter.
///
/// # Errors
///
/// Fails when the adapter does not fit, a prompt is too long, or a stage fails.
#[expect(clippy::needless_pass_by_value, reason = "as `run`, so that the two are called alike")]
pub fn evaluate(
    plan: &Plan,
    inputs: RunInputs,
    adapter: Option<&Path>,
    observer: &mut dyn Observer,
) -> Result<Vec<SetSummary>, RunError> {
    preflight::check_prompts(plan, &inputs)?;
    let host = host(plan, &inputs);
    let reference = inputs.model.decoder.valid();
    let policy = match adapter {
        Some(folder) => inputs.model.decoder.clone().load_adapter(folder)?.valid(),
        None => reference.clone(),
    };
    let models = PolicyPair { policy, reference };
    let with_kl = plan.measure.kl && adapter.is_some();
    let evaluator = Evaluator { plan, host: &host, stages: &inputs.stages, with_kl };
    let mut sets = Vec::new();
    for set in &inputs.evals {
        let measured =
            evaluator.measure(set, &models, adapter.is_some(), &format!("measure {}", set.name), observer)?;
        pass_on_lines(&host, observer);
        sets.push(SetSummary {
            name: set.name.clone(),
            rows: set.examples.len() as u64,
            before: measured.metrics,
            after: BTreeMap::new(),
        });
    }
    Ok(sets)
}

fn host(plan: &Plan, inputs: &RunInputs) -> Host {
    Host {
        encoder: Arc::new(Encoder::new(&inputs.model).with_loss(&plan.data.loss)),
        plan: plan.generate.clone(),
        caller: Arc::new(Caller::new(plan.seed, inputs.stages.memories.clone())),
        judge: inputs.stages.judge.clone(),
        named: Arc::clone(&inputs.models),
    }
}

/// Hands lines that plugins logged to whoever watches.
pub(crate) fn pass_on_lines(host: &Host, observer: &mut dyn Observer) {
    for (plugin, line) in host.caller.take_lines() {
        observer.event(Event::Line { plugin: &plugin, line: &line });
    }
}

//! Checkpoints: all that a run needs to go on, in folders that appear whole or not at all.
//!
//! `checkpoints/step-N/` holds what was trained (`adapter/` in PEFT's form, or `model/`), `optimizer.safetensors` (`AdamW`'s moments by parameter),
//! `parameters/PLUGIN.safetensors` if the objective's plugin has extra trainable parameters, `state.json`, `memory/` (what plugins keep between
//! their calls, by digest) and `manifest.json` with the digest of every file. More files may be added to a checkpoint where the others are, in
//! `save` and `load`: the manifest covers what is in the folder.
//! Before training there is nothing trained yet: `progress/line-N/` holds `state.json`, `memory/` and `manifest.json` only.
//!
//! The training set is not in them: it follows from the data and `progress/decisions.jsonl`. A checkpoint belongs to the line of the trace whose
//! hash it names, and is of no use without it.

mod manifest;
mod shelf;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::Module;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tunesmith_core::digest;
use tunesmith_core::plan::Plan;
use tunesmith_core::stage::Stage;

use crate::batching::SamplerPosition;
use crate::model::{Decoder, LanguageModel, WeightType};
use crate::optimizer::{AdamW, digest_of_trained};
use crate::run::{Place, RunError, Training, folder_whole, write_json};
use crate::service::calls::CallState;

pub(crate) use shelf::{prune, prune_progress, shelf};

/// The version of the format of both kinds.
const FORMAT: u32 = 2;

/// Where a run is, beside what it trains: `state.json` of `progress/line-N`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Progress {
    /// The version of this format.
    pub format: u32,
    /// The digest of the plan.
    pub plan: String,
    /// The hash of the trace's last line.
    pub trace: String,
    /// Bytes of `metrics.jsonl`.
    pub metrics: u64,
    /// Bytes of `samples.jsonl`.
    pub samples: u64,
    /// Bytes of `rollouts.jsonl`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rollouts: u64,
    /// How many calls each stage has had; their random numbers follow from it.
    pub calls: BTreeMap<Stage, u64>,
    /// The digest of what each plugin keeps between its calls: the name of a file in `memory/`.
    pub memory: BTreeMap<String, String>,
}

/// `state.json` of `checkpoints/step-N`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CheckpointState {
    /// Where the run is.
    #[serde(flatten)]
    pub progress: Progress,
    /// Steps done.
    pub step: u32,
    /// Steps in all.
    pub steps: u32,
    /// How far the sampler has come.
    pub sampler: SamplerPosition,
    /// The digest of the trained parameters.
    pub parameters: String,
}

/// Writes a checkpoint of a run in `folder`; gives its place.
///
/// # Errors
///
/// Fails when a file cannot be written; the last checkpoint stays as it is.
pub(crate) fn save(folder: &Path, training: &Training<'_>, place: Place, source: &Path) -> Result<PathBuf, RunError> {
    let path = folder.join("checkpoints").join(format!("step-{}", training.step));
    let calls = training.host.caller.state();
    let state = CheckpointState {
        progress: Progress::new(training.plan, place, &calls),
        step: training.step,
        steps: training.steps,
        sampler: training.sampler.position(),
        parameters: training.digest(),
    };
    folder_whole(&path, |partial| {
        save_trained(&partial.join(trained_name(training.plan)), &training.models.policy, training.plan, source)?;
        training.extra.save(partial)?;
        training.optimizer.save(&partial.join("optimizer.safetensors"))?;
        save_memories(partial, &calls)?;
        write_json(&partial.join("state.json"), &state)?;
        manifest::write(partial)
    })?;
    Ok(path)
}

/// Lets a run that is about to train go on from a checkpoint that [`verified`] found whole.
///
/// # Errors
///
/// Fails when its files do not fit the run.
pub(crate) fn load(folder: &Path, training: &mut Training<'_>) -> Result<(), RunError> {
    let misfit = |what: &str| RunError::Resume {
        path: folder.to_owned(),
        what: what.to_owned(),
        hint: "move this checkpoint away, and the run goes on from the one before".into(),
    };
    let state: CheckpointState = read_state(folder).map_err(|what| misfit(&what))?;
    if state.steps != training.steps {
        return Err(misfit(&format!("it is of a run of {} steps, not {}", state.steps, training.steps)));
    }
    let policy = load_trained(folder, training)?;
    let mut extra = training.extra.clone();
    extra.restore(folder)?;
    if extra.digest_with(digest_of_trained(&policy)) != state.parameters {
        return Err(misfit("its parameters are not those that were trained"));
    }
    let moments = folder.join("optimizer.safetensors");
    training.optimizer = AdamW::load(&training.plan.train, &moments, &policy, &extra)?;
    training.sampler = training.sampler.clone().at(state.sampler);
    training.models.policy = policy;
    training.extra = extra;
    training.step = state.step;
    Ok(())
}

/// Writes down where a run is before it trains.
///
/// # Errors
///
/// Fails when a file cannot be written.
pub(crate) fn save_progress(folder: &Path, plan: &Plan, place: Place, calls: &CallState) -> Result<(), RunError> {
    let path = folder.join("progress").join(format!("line-{}", place.lines));
    let progress = Progress::new(plan, place, calls);
    folder_whole(&path, |partial| {
        save_memories(partial, calls)?;
        write_json(&partial.join("state.json"), &progress)?;
        manifest::write(partial)
    })
}

/// Checks every file of a checkpoint of either kind; gives where the run was, and what its plugins kept. Fails with what is wrong.
pub(crate) fn verified(folder: &Path) -> Result<(Progress, CallState), String> {
    manifest::verify(folder)?;
    let progress: Progress = read_state(folder)?;
    if progress.format != FORMAT {
        return Err(format!("it has format {}, and this version reads format {FORMAT}", progress.format));
    }
    let memory = |(name, digest): (&String, &String)| {
        let path = memory_file(folder, digest);
        let blob = fs::read(&path).map_err(|error| format!("`{}` cannot be read ({error})", path.display()))?;
        if digest::of(&blob) == *digest {
            Ok((name.clone(), Arc::new(blob)))
        } else {
            Err(format!("the memory `{name}` is damaged"))
        }
    };
    let memories = progress.memory.iter().map(memory).collect::<Result<_, _>>()?;
    let calls = CallState { numbers: progress.calls.clone(), memories };
    Ok((progress, calls))
}

impl Progress {
    fn new(plan: &Plan, place: Place, calls: &CallState) -> Self {
        Self {
            format: FORMAT,
            plan: plan.digest(),
            trace: place.trace,
            metrics: place.metrics,
            samples: place.samples,
            rollouts: place.rollouts,
            calls: calls.numbers.clone(),
            memory: calls.memories.iter().map(|(name, blob)| (name.clone(), digest::of(blob))).collect(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over like this")]
fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

fn read_state<T: DeserializeOwned>(folder: &Path) -> Result<T, String> {
    let text = fs::read(folder.join("state.json")).map_err(|error| format!("`state.json` cannot be read ({error})"))?;
    serde_json::from_slice(&text).map_err(|error| format!("`state.json` is not as this version writes it ({error})"))
}

fn memory_file(folder: &Path, digest: &str) -> PathBuf {
    folder.join("memory").join(format!("{digest}.bin"))
}

fn save_memories(folder: &Path, calls: &CallState) -> Result<(), RunError> {
    if calls.memories.is_empty() {
        return Ok(());
    }
    let memory = folder.join("memory");
    fs::create_dir(&memory).map_err(RunError::io(&memory))?;
    for blob in calls.memories.values() {
        let path = memory_file(folder, &digest::of(blob));
        fs::write(&path, &**blob).map_err(RunError::io(&path))?;
    }
    Ok(())
}

/// The name of the folder with what is trained.
pub(crate) fn trained_name(plan: &Plan) -> &'static str {
    if plan.model.lora.is_some() { "adapter" } else { "model" }
}

/// Writes what was trained into `folder`.
///
/// `source` is the folder that the model was read from: its configuration and tokenizer go along with a whole model.
pub(crate) fn save_trained(folder: &Path, policy: &Decoder, plan: &Plan, source: &Path) -> Result<(), RunError> {
    if plan.model.lora.is_some() {
        policy.save_adapter(folder, &plan.model.path.to_string_lossy())?;
    } else {
        policy.save(folder, source, WeightType::F32)?;
    }
    Ok(())
}

/// The policy as a checkpoint has it, ready to be trained on.
fn load_trained(folder: &Path, training: &Training<'_>) -> Result<Decoder, RunError> {
    let reference = &training.models.reference;
    let trained = folder.join(trained_name(training.plan));
    let policy = if training.plan.model.lora.is_some() {
        reference.clone().load_adapter(&trained)?
    } else {
        LanguageModel::load(&trained, &reference.device())?.decoder
    };
    Ok(policy.train())
}

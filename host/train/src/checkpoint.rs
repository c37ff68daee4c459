//! Checkpoints: all that a run needs to go on, in a folder that appears whole or not at all.
//!
//! `checkpoints/step-N/` holds what was trained (`adapter/` in PEFT's form, or `model/`), `optimizer.safetensors` (`AdamW`'s moments by parameter)
//! and `state.json`. The training set stands in the run's `curated.jsonl`, the plan in its `plan.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tunesmith_core::plan::Plan;
use tunesmith_core::stage::Stage;

use crate::batching::SamplerPosition;
use crate::model::{Decoder, WeightType};
use crate::optimizer::digest_of_trained;
use crate::run::{RunError, Training, folder_whole, write_json};

/// `state.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CheckpointState {
    /// The version of this format.
    pub format: u32,
    /// The digest of the plan.
    pub plan: String,
    /// Steps done.
    pub step: u32,
    /// Steps in all.
    pub steps: u32,
    /// How far the sampler has come.
    pub sampler: SamplerPosition,
    /// The hash of the trace's last line.
    pub trace: String,
    /// How many calls each stage has had; their random numbers follow from it.
    pub calls: BTreeMap<Stage, u64>,
    /// The digest of each plugin's last state, by `stage/plugin`.
    pub plugin_states: BTreeMap<String, String>,
    /// The digest of the trained parameters.
    pub parameters: String,
}

/// Writes a checkpoint of a run in `folder`; gives its place.
///
/// # Errors
///
/// Fails when a file cannot be written; the last checkpoint stays as it is.
pub(crate) fn save(folder: &Path, training: &Training<'_>, trace: &str, source: &Path) -> Result<PathBuf, RunError> {
    let path = folder.join("checkpoints").join(format!("step-{}", training.step));
    let state = CheckpointState {
        format: 1,
        plan: training.plan.digest(),
        step: training.step,
        steps: training.steps,
        sampler: training.sampler.position(),
        trace: trace.to_owned(),
        calls: training.host.caller.numbers(),
        plugin_states: training.host.caller.states(),
        parameters: digest_of_trained(&training.models.policy),
    };
    folder_whole(&path, |partial| {
        save_trained(partial, &training.models.policy, training.plan, source)?;
        training.optimizer.save(&partial.join("optimizer.safetensors"))?;
        write_json(&partial.join("state.json"), &state)
    })?;
    Ok(path)
}

/// Writes what was trained into `folder`: `adapter` or `model`. Gives the name.
///
/// `source` is the folder that the model was read from: its configuration and tokenizer go along with a whole model.
pub(crate) fn save_trained(
    folder: &Path,
    policy: &Decoder,
    plan: &Plan,
    source: &Path,
) -> Result<&'static str, RunError> {
    if plan.model.lora.is_some() {
        policy.save_adapter(&folder.join("adapter"), &plan.model.path.to_string_lossy())?;
        return Ok("adapter");
    }
    policy.save(&folder.join("model"), source, WeightType::F32)?;
    Ok("model")
}

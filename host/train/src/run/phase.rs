//! What a run starts from: the recipe's model, or what an earlier phase made of it.

use std::path::Path;

use burn::module::Module;
use tunesmith_core::plan::Plan;
use tunesmith_core::recipe::PhaseReference;

use super::{RunError, RunInputs};
use crate::batch::PolicyPair;
use crate::checkpoint;
use crate::lora::LoraSettings;
use crate::model::{Decoder, LanguageModel};
use crate::service::calls::{CallState, STORE};

/// The policy as it is trained, and the reference. They share the weights that are not trained.
pub(super) fn models(plan: &Plan, inputs: &RunInputs) -> Result<PolicyPair, RunError> {
    let base = inputs.model.decoder.valid();
    let policy = match &inputs.start {
        Some(run) => trained(plan, &base, run)?,
        None => match &plan.model.lora {
            None => base.clone(),
            Some(lora) => {
                let settings =
                    LoraSettings { rank: lora.rank as usize, alpha: lora.alpha, targets: lora.targets.clone() };
                base.clone().with_adapter(&settings, plan.seed)?
            }
        },
    };
    let reference = match plan.phase.as_ref().map(|phase| phase.reference) {
        Some(PhaseReference::Policy) => policy.valid(),
        Some(PhaseReference::Start) | None => base,
    };
    Ok(PolicyPair { policy: policy.train(), reference })
}

/// What was trained in the run in this folder.
fn trained(plan: &Plan, base: &Decoder, run: &Path) -> Result<Decoder, RunError> {
    let folder = run.join(checkpoint::trained_name(plan));
    if plan.model.lora.is_some() {
        return Ok(base.clone().load_adapter(&folder)?);
    }
    Ok(LanguageModel::load(&folder, &base.device())?.decoder)
}

/// Hands on what plugins keep by example, unless the run has numbers of its own by now.
pub(super) fn carry(inputs: &RunInputs, calls: &mut CallState) -> Result<(), RunError> {
    let Some(run) = inputs.start.as_ref().filter(|_| !calls.memories.contains_key(STORE)) else { return Ok(()) };
    let damaged = |what: String| RunError::Resume {
        path: run.clone(),
        what,
        hint: "the next phase starts from its last checkpoint: train this phase again".into(),
    };
    let last = checkpoint::shelf(run).into_iter().next();
    let last = last.ok_or_else(|| damaged("there is no checkpoint".into()))?;
    let (_, before) = checkpoint::verified(&last).map_err(damaged)?;
    calls.memories.extend(before.memories.into_iter().filter(|(name, _)| name == STORE));
    Ok(())
}

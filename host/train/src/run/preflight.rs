//! Everything that can be checked before the first forward pass.

use std::ops::Range;
use std::sync::Arc;

use tunesmith_core::data::{Example, Target, TrainingRow};
use tunesmith_core::plan::Plan;

use super::folder;
use super::{RunError, RunInputs};
use crate::batching::{EncodeError, EncodedTarget, Encoder, LengthRule, Share, Urn};
use crate::data::{Rows, target};
use crate::extra;

/// What a run will be, as far as that is known beforehand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forecast {
    /// Rows of the pool.
    pub rows: u64,
    /// Their tokens, prompt and completion.
    pub tokens: u64,
    /// Tokens that are trained on in one pass.
    pub loss_tokens: u64,
    /// Rows whose completion is cut.
    pub truncated: u64,
    /// The longest row in tokens.
    pub longest: u64,
    /// Optimiser steps; none if that depends on the curated set.
    pub steps: Option<u32>,
}

/// Checks what needs the model's small files and the data, but no forward pass. [`run`](super::run) does the same.
///
/// # Errors
///
/// Fails when the output folder is taken, a row is too long, has no completion or is refused by the chat template, or settings do not fit
/// the model.
pub fn check(plan: &Plan, inputs: &RunInputs) -> Result<Forecast, RunError> {
    folder::refuse_taken(&plan.output)?;
    check_inputs(plan, inputs)
}

/// As [`check`], for a run that goes on: the output folder is not looked at. [`resume`](super::resume) does the same.
///
/// # Errors
///
/// As [`check`].
pub fn check_inputs(plan: &Plan, inputs: &RunInputs) -> Result<Forecast, RunError> {
    extra::shapes(&inputs.stages.parameters, inputs.model.config()).map_err(too_many_parameters)?;
    let lengths = length_rule(plan, inputs)?;
    check_prompts(plan, inputs)?;
    let encoder = Encoder::new(&inputs.model).with_loss(&plan.data.loss);
    let mut forecast = Forecast { rows: inputs.pool.count() as u64, ..Forecast::default() };
    let is_curated = inputs.stages.curate.is_some();
    for example in inputs.pool.examples() {
        let example = example?;
        if plan.rollout.as_ref().is_some_and(|rollout| rollout.references) && !is_curated {
            check_reference(plan, &encoder, &example, inputs)?;
        }
        let target = match target(&plan.data, &example) {
            _ if plan.rollout.is_some() => Target::Prompt,
            Some(target) => target,
            None if is_curated => continue,
            None => return Err(no_completion(plan, &example)),
        };
        // What a curating plugin drops or replaces may be too long.
        let lengths = if is_curated { LengthRule { longest: usize::MAX, ..lengths } } else { lengths };
        let row = TrainingRow { example: example.clone(), target, provenance: String::new(), notes: Vec::new() };
        count(&mut forecast, &encode(&encoder, &row, lengths).map_err(|error| placed(error, inputs))?);
    }
    if inputs.pool.count() == 0 {
        return Err(RunError::EmptyTrainingSet { dropped: std::collections::BTreeMap::new() });
    }
    forecast.steps = match (plan.train.steps, is_curated) {
        (0, true) => None,
        (0, false) => Some(steps_of_one_pass(epoch(&*inputs.pool), plan.train.batch)),
        (steps, _) => Some(steps),
    };
    Ok(forecast)
}

/// That a row has a gold completion that can be a member of its group of rollouts.
fn check_reference(plan: &Plan, encoder: &Encoder, example: &Arc<Example>, inputs: &RunInputs) -> Result<(), RunError> {
    let completion = example.completion.clone().ok_or_else(|| no_completion(plan, example))?;
    let target = Target::Completion(completion);
    let row = TrainingRow { example: Arc::clone(example), target, provenance: String::new(), notes: Vec::new() };
    let lengths = LengthRule { longest: inputs.model.config().max_positions, truncate: false };
    encode(encoder, &row, lengths).map(|_| ()).map_err(|error| placed(error, inputs))
}

/// More extra parameters than the host allocates.
pub(super) fn too_many_parameters(what: String) -> RunError {
    let hint = "choose settings of the plugin that make them smaller, or another plugin".into();
    RunError::Recipe { field: "objective", what, hint }
}

/// Optimiser steps of one pass over `rows` rows.
pub(super) fn steps_of_one_pass(rows: usize, batch: u32) -> u32 {
    u32::try_from(rows.div_ceil(batch.max(1) as usize)).unwrap_or(u32::MAX)
}

/// How many rows the first pass over the pool draws.
fn epoch(pool: &dyn Rows) -> usize {
    let share = |(ids, weight): (Range<u64>, f64)| Share { rows: ids.map(|id| id as usize).collect(), weight };
    Urn { rows: pool.count(), shares: pool.weights().into_iter().map(share).collect(), buckets: None }.first_epoch()
}

/// A fault in a row of the pool, with its file and line.
fn placed(error: RunError, inputs: &RunInputs) -> RunError {
    match error {
        RunError::Row { set, id, what, hint } => {
            let what = inputs.pool.place(id).map_or(what.clone(), |place| format!("{place}: {what}"));
            RunError::Row { set, id, what, hint }
        }
        other => other,
    }
}

/// How long rows may get under this plan.
pub(super) fn length_rule(plan: &Plan, inputs: &RunInputs) -> Result<LengthRule, RunError> {
    let positions = inputs.model.config().max_positions;
    let longest = match plan.train.max_length as usize {
        0 => positions.min(LengthRule::USUAL),
        longest if positions < longest => {
            let what = format!("is {longest}, but the model has {positions} positions");
            return Err(RunError::Recipe { field: "train.max-length", what, hint: format!("set at most {positions}") });
        }
        longest => longest,
    };
    let room = plan.rollout.as_ref().map_or(0, |rollout| rollout.max_tokens as usize);
    if longest <= room {
        let what = format!("is {room}, which leaves no room for prompts in rows of {longest} tokens");
        let hint = "lower it, or raise `train.max-length`".into();
        return Err(RunError::Recipe { field: "rollout.max-tokens", what, hint });
    }
    Ok(LengthRule { longest: longest - room, truncate: plan.train.truncate })
}

/// That every prompt of the pool and of the evaluation sets leaves room for an answer.
pub(super) fn check_prompts(plan: &Plan, inputs: &RunInputs) -> Result<(), RunError> {
    let encoder = Encoder::new(&inputs.model);
    let positions = inputs.model.config().max_positions;
    let check = |set: &str, example: &Example| {
        let fault = |what, hint: &str| RunError::Row { set: set.into(), id: example.id, what, hint: hint.into() };
        let tokens = encoder.prompt(&example.conversation());
        let tokens =
            tokens.map_err(|error| fault(error.to_string(), "look at the row and at the model's chat template"))?;
        if positions <= tokens.len() {
            let what = format!(
                "the prompt has {} tokens, which leaves no room in the model's {positions} positions",
                tokens.len()
            );
            return Err(fault(what, "shorten or remove the row"));
        }
        Ok(())
    };
    if inputs.stages.curate.is_some() {
        for example in inputs.pool.examples() {
            check(&plan.data.train.name, &*example?).map_err(|error| placed(error, inputs))?;
        }
    }
    for set in &inputs.evals {
        for example in &set.examples {
            if example.is_text {
                let what = "is plain text, and an evaluation set needs prompts to answer".into();
                let hint = "name the columns of prompts and completions in `[data]`".into();
                return Err(RunError::Row { set: set.name.clone(), id: example.id, what, hint });
            }
            check(&set.name, example)?;
        }
    }
    Ok(())
}

/// Tokenises a training row.
pub(super) fn encode(encoder: &Encoder, row: &TrainingRow, lengths: LengthRule) -> Result<EncodedTarget, RunError> {
    let target = match row.target {
        Target::Prompt => encoder.prompt_target(row, lengths),
        _ => encoder.target(row, lengths),
    };
    target.map_err(|error| {
        let hint = match &error {
            EncodeError::TooLong { .. } if row.target == Target::Prompt => {
                "that is what `train.max-length` leaves beside `rollout.max-tokens`: shorten or remove the row, or change one of them"
            }
            EncodeError::TooLong { .. } if lengths.truncate => {
                "nothing to train on would be left: shorten or remove the row, or raise `train.max-length`"
            }
            EncodeError::TooLong { .. } => {
                "shorten or remove the row, raise `train.max-length`, or set `train.truncate = true`"
            }
            _ => "look at the row and at the model's chat template",
        };
        RunError::Row { set: "train".into(), id: row.example.id, what: error.to_string(), hint: hint.into() }
    })
}

/// Adds a row to the forecast.
fn count(forecast: &mut Forecast, target: &EncodedTarget) {
    forecast.truncated += target.truncated as u64;
    for row in &target.rows {
        forecast.tokens += row.tokens.len() as u64;
        forecast.loss_tokens += row.loss_tokens() as u64;
        forecast.longest = forecast.longest.max(row.tokens.len() as u64);
    }
}

/// A row without a completion, and no curating plugin that would give it one.
pub(crate) fn no_completion(plan: &Plan, example: &tunesmith_core::data::Example) -> RunError {
    let known: Vec<String> = example.columns.keys().map(|name| format!("`{name}`")).collect();
    RunError::Row {
        set: plan.data.train.name.clone(),
        id: example.id,
        what: format!("has no completion (column `{}`); there are {}", plan.data.completion, known.join(", ")),
        hint: "name the column in the recipe: `[data]` `completion = \"..\"`, or curate with a plugin that makes completions".into(),
    }
}

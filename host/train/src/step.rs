//! One optimiser step, top to bottom. Every plugin of training is called here and nowhere else.

use std::sync::Arc;

use tunesmith_core::plan::RolloutPlan;
use tunesmith_core::trace::StepRecord;

use crate::batching::MicroBatch;
use crate::optimizer::NamedGradients;
use crate::run::{Outcome, RunError, Training};

/// Makes one step: pick (and in online training generate, reward, credit), weigh, objective and backward for each micro-batch, clip, update, record.
///
/// A step is made as a whole or not at all: after an error the policy is what it was before.
///
/// # Errors
///
/// Fails when a plugin fails, or the loss or the gradient is not finite.
pub(crate) fn step(training: &mut Training<'_>) -> Result<StepRecord, RunError> {
    let micro_batches = match &training.plan.rollout {
        None => training.pick()?,
        Some(rollout) => sample(training, rollout)?,
    };
    let weights = micro_batches.iter().map(|micro| training.weigh(micro)).collect::<Result<Vec<_>, _>>()?;
    let totals = training.totals(&micro_batches, &weights);

    let mut loss = 0.0;
    let mut gradients = NamedGradients::default();
    for (micro, weights) in micro_batches.iter().zip(&weights) {
        let batch = training.batch(micro, weights, totals)?;
        let (value, tensor) = training.objective(micro, &batch)?;
        loss += value;
        gradients = gradients.plus(training.backward(&batch, tensor)?);
    }

    let outcome = Outcome { loss, grad_norm: gradients.norm(), learning_rate: training.rate.at(training.step) };
    training.check_finite(&micro_batches, &outcome)?;
    let gradients = gradients.clipped(outcome.grad_norm, training.plan.train.clip);
    training.descend(gradients, outcome.learning_rate);
    Ok(training.record(&micro_batches, &outcome))
}

/// What an online step trains on: completions of the policy with their advantages, sampled now or, if the recipe makes several updates, before.
fn sample(training: &mut Training<'_>, rollout: &RolloutPlan) -> Result<Vec<Arc<MicroBatch>>, RunError> {
    if let Some(micro_batches) = training.next_update() {
        return Ok(micro_batches);
    }
    let prompts = training.pick()?;
    let mut sampling = training.generate(rollout, &prompts)?;
    let rewards = training.reward(&mut sampling)?;
    let advantages = training.credit(&sampling, &rewards)?;
    training.hold(rollout, sampling, (&rewards, &advantages))
}

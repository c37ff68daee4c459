//! The training loop's parts: what a step picks, calls, computes and notes.

use std::mem;
use std::sync::Arc;

use tunesmith_core::error::CallError;
use tunesmith_core::plan::Plan;
use tunesmith_core::set::Stages;
use tunesmith_core::stage::{Objective, Stage};
use tunesmith_core::tensors::TensorId;
use tunesmith_core::trace::{RolloutRecord, StepRecord};

use super::{RunError, TrainingRows};
use crate::batch::{BatchLogprobs, PolicyPair, TensorBatch, Totals};
use crate::batching::{EncodedTarget, LengthRule, MicroBatch, Sampler};
use crate::extra::ExtraParameters;
use crate::objective::{BUILT_IN, Nll};
use crate::optimizer::{AdamW, NamedGradients, digest_of_trained};
use crate::rollout::{RolloutLine, Round};
use crate::schedule::LearningRate;
use crate::service::calls::Callee;
use crate::service::{Host, digests};
use crate::tensor_values;
use crate::tensors::{Budget, BurnTensors};

/// A run in its training phase.
pub(crate) struct Training<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) stages: &'a Stages,
    pub(crate) host: &'a Host,
    /// The training set.
    pub(crate) rows: TrainingRows,
    /// How long its rows may get.
    pub(crate) lengths: LengthRule,
    pub(crate) sampler: Sampler,
    pub(crate) models: PolicyPair,
    /// What the objective's plugin trains beside the policy.
    pub(crate) extra: ExtraParameters,
    pub(crate) optimizer: AdamW,
    pub(crate) rate: LearningRate,
    /// In online training: what was sampled last.
    pub(crate) round: Option<Round>,
    /// What the trace will say of rollouts that were just sampled.
    pub(crate) sampled: Option<RolloutRecord>,
    /// What `rollouts.jsonl` will say of them.
    pub(crate) lines: Vec<RolloutLine>,
    /// Steps done.
    pub(crate) step: u32,
    /// Steps in all.
    pub(crate) steps: u32,
}

/// What a step came to.
pub(crate) struct Outcome {
    pub(crate) loss: f32,
    pub(crate) grad_norm: f64,
    pub(crate) learning_rate: f64,
}

impl Training<'_> {
    /// The rows of the next step, in micro-batches.
    pub(crate) fn pick(&mut self) -> Result<Vec<Arc<MicroBatch>>, RunError> {
        let picked = self.sampler.next(self.plan.train.batch as usize);
        let mut draw = |number: &usize| self.rows.draw(*number, &self.host.encoder, self.lengths);
        let targets = picked.iter().map(&mut draw).collect::<Result<Vec<_>, _>>()?;
        let rows = |targets: &[EncodedTarget]| Arc::new(MicroBatch::new(targets));
        Ok(targets.chunks(self.plan.train.micro_batch.max(1) as usize).map(rows).collect())
    }

    /// One weight per token, flat: what the plugin says, or 1.0.
    pub(crate) fn weigh(&self, micro: &Arc<MicroBatch>) -> Result<Vec<f32>, CallError> {
        let Some(weigh) = &self.stages.weigh else { return Ok(vec![1.0; micro.tokens()]) };
        let logprobs =
            Arc::new(BatchLogprobs::new(self.models.clone(), Arc::clone(micro)).with_packing(self.plan.train.packing));
        let batch = Arc::new(micro.as_text(&self.host.encoder, logprobs, self.step));
        let callee = Callee {
            stage: Stage::Weigh,
            plugin: &weigh.name,
            input: digests::of_token_batch(&batch),
            services: self.host.services(&self.models),
        };
        self.host.caller.call(
            callee,
            |weights: &Vec<f32>| digests::of_floats(weights),
            |call| weigh.stage.weigh(batch, call),
        )
    }

    /// The sums over the whole step.
    pub(crate) fn totals(&self, micro_batches: &[Arc<MicroBatch>], weights: &[Vec<f32>]) -> Totals {
        let weight = |(micro, weights): (&Arc<MicroBatch>, &Vec<f32>)| -> f64 {
            let masks = micro.rows.iter().flat_map(|row| &row.mask);
            masks.zip(weights).filter(|(is_trained, _)| **is_trained).map(|(_, weight)| f64::from(*weight)).sum()
        };
        Totals {
            weight: micro_batches.iter().zip(weights).map(weight).sum(),
            rows: micro_batches.iter().map(|micro| micro.rows.len()).sum(),
            groups: micro_batches.iter().map(|micro| micro.groups()).sum(),
            micro_batches: micro_batches.len(),
            step: self.step,
        }
    }

    /// A micro-batch as tensors, in an engine of its own.
    pub(crate) fn batch(
        &self,
        micro: &Arc<MicroBatch>,
        weights: &[f32],
        totals: Totals,
    ) -> Result<Arc<TensorBatch>, RunError> {
        let engine = Arc::new(BurnTensors::new(&self.models.policy.device(), Budget::default()));
        let batch = TensorBatch::new(engine, self.models.clone(), Arc::clone(micro), weights, totals)?;
        let batch = batch.with_extra(self.extra.clone()).with_encoder(Arc::clone(&self.host.encoder));
        let temperature = self.plan.rollout.as_ref().map_or(1.0, |rollout| rollout.temperature);
        Ok(Arc::new(batch.with_packing(self.plan.train.packing).with_temperature(temperature)))
    }

    /// The loss of a micro-batch: its value, and where it is in the batch's engine.
    pub(crate) fn objective(&self, micro: &MicroBatch, batch: &Arc<TensorBatch>) -> Result<(f32, TensorId), CallError> {
        let (name, stage): (&str, &dyn Objective) = match &self.stages.objective {
            Some(objective) => (&objective.name, &*objective.stage),
            None => (BUILT_IN, &Nll),
        };
        let callee = Callee {
            stage: Stage::Objective,
            plugin: name,
            input: digests::of_batch(micro, batch.weights(), batch.totals()),
            services: self.host.services_in(&self.models, batch.engine()),
        };
        self.host.caller.call(
            callee,
            |(value, _)| digests::of_floats(&[*value]),
            |call| {
                let loss = stage.objective(Arc::clone(batch) as _, call)?;
                let value = batch.engine().scalar(loss).map_err(|error| broken(name, &error.to_string()))?;
                Ok((tensor_values(value).first().copied().unwrap_or(f32::NAN), loss))
            },
        )
    }

    /// The gradients of a micro-batch's loss.
    pub(crate) fn backward(&self, batch: &TensorBatch, loss: TensorId) -> Result<NamedGradients, CallError> {
        let name = self.stages.objective.as_ref().map_or(BUILT_IN, |objective| &objective.name);
        let independent = || broken(name, "the loss does not depend on the policy or on an extra parameter");
        let loss = batch.engine().scalar(loss).map_err(|error| broken(name, &error.to_string()))?;
        if !loss.is_tracked() {
            return Err(independent());
        }
        let gradients = NamedGradients::of_all(&self.models.policy, &self.extra, loss.backward());
        if gradients.is_empty() { Err(independent()) } else { Ok(gradients) }
    }

    /// That a step's numbers are numbers.
    pub(crate) fn check_finite(&self, micro_batches: &[Arc<MicroBatch>], outcome: &Outcome) -> Result<(), RunError> {
        let what = if !outcome.grad_norm.is_finite() {
            format!("the norm of the gradient is {}, with a loss of {}", outcome.grad_norm, outcome.loss)
        } else if !outcome.loss.is_finite() {
            format!("the loss is {}", outcome.loss)
        } else {
            return Ok(());
        };
        Err(RunError::NotFinite { step: self.step, rows: row_ids(micro_batches), what })
    }

    /// Updates the policy and the extra parameters.
    pub(crate) fn descend(&mut self, mut gradients: NamedGradients, learning_rate: f64) {
        let of_extra = gradients.split_off(self.extra.all().map(|(key, _)| key));
        // The only handle of the policy, so that it is changed where it lies.
        let policy = mem::replace(&mut self.models.policy, self.models.reference.clone());
        self.models.policy = self.optimizer.update(policy, gradients, learning_rate);
        let own = |peak| self.rate.with_peak(peak).at(self.step);
        self.optimizer.update_extra(&mut self.extra, of_extra, |peak| peak.map_or(learning_rate, own));
        self.step += 1;
    }

    /// The digest of all that is trained.
    pub(crate) fn digest(&self) -> String {
        self.extra.digest_with(digest_of_trained(&self.models.policy))
    }

    /// Notes the step that was just made.
    pub(crate) fn record(&mut self, micro_batches: &[Arc<MicroBatch>], outcome: &Outcome) -> StepRecord {
        let is_digested = self.step.is_multiple_of(self.plan.train.digest_every.max(1)) || self.step == self.steps;
        StepRecord {
            step: self.step - 1,
            rows: row_ids(micro_batches),
            loss: outcome.loss,
            loss_bits: format!("{:08x}", outcome.loss.to_bits()),
            grad_norm: outcome.grad_norm as f32,
            learning_rate: outcome.learning_rate,
            loss_tokens: micro_batches.iter().map(|micro| micro.loss_tokens() as u64).sum(),
            tokens: micro_batches.iter().map(|micro| micro.tokens() as u64).sum(),
            rollouts: self.sampled.take(),
            parameters: is_digested.then(|| self.digest()),
            calls: self.host.caller.take_records(),
        }
    }
}

/// The ids of the rows of a step, in their order; both rows of a preference have the same.
fn row_ids(micro_batches: &[Arc<MicroBatch>]) -> Vec<u64> {
    micro_batches.iter().flat_map(|micro| micro.rows.iter().map(|row| row.example.id)).collect()
}

fn broken(plugin: &str, what: &str) -> CallError {
    CallError::broken(plugin, Stage::Objective.name(), what)
}

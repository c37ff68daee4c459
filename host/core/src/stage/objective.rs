//! `objective`: what is minimised?

use std::sync::Arc;

use crate::call::Call;
use crate::error::{CallError, ServiceError};
use crate::tensors::{Kind, TensorId, Tensors};

/// Builds the loss of a micro-batch from tensor handles.
pub trait Objective: Send + Sync {
    /// Returns the loss: one finite float element that depends on the policy, in the engine of `batch`.
    ///
    /// # Errors
    ///
    /// Fails when the plugin declines or is broken.
    fn objective(&self, batch: Arc<dyn Batch>, call: &mut Call) -> Result<TensorId, CallError>;
}

/// A tensor that a micro-batch offers, as the WIT `batch` describes them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Port {
    /// Token ids, integers [B, T].
    Tokens,
    /// 1.0 for tokens that are trained on, [B, T].
    Mask,
    /// Token weights, [B, T].
    Weights,
    /// Advantages, [B, T]; online training only.
    Advantages,
    /// Log-probabilities under `policy`, `reference` or `old`, [B, T].
    TokenLogprobs(String),
    /// The group of each row, integers `[B]`.
    Groups,
    /// 1.0 for chosen rows, `[B]`; preference training only.
    Chosen,
    /// A numeric column, `[B]`.
    Numbers(String),
    /// An extra trainable parameter of the plugin.
    Parameter(String),
    /// The policy's last hidden states, [B, T, hidden].
    HiddenStates,
    /// Numbers per token that `credit` attached, or `value`, [B, T].
    TokenNumbers(String),
    /// 1.0 for rows that were given, not sampled, `[B]`.
    OffPolicy,
    /// The logarithm of the sum of squared probabilities, [B, T].
    TokenCollisions,
}

/// How candidates are drawn from the policy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draws {
    /// How many per place, at least 1.
    pub count: usize,
    /// Above 0.0 and finite.
    pub temperature: f32,
    /// Draws are a function of it.
    pub seed: u64,
}

/// A micro-batch as tensors.
pub trait Batch: Send + Sync {
    /// The engine in which the batch's tensors live.
    fn tensors(&self) -> Arc<dyn Tensors>;

    /// A fresh handle to a tensor of the batch; none if it is optional and not there.
    ///
    /// # Errors
    ///
    /// Fails when the run has no such tensor; the text says why.
    fn port(&self, port: &Port) -> Result<Option<TensorId>, ServiceError>;

    /// Log-probabilities as [`Port::TokenLogprobs`], of logits divided by this temperature, which is above 0.0.
    ///
    /// # Errors
    ///
    /// Fails when there is no such model.
    fn logprobs_at(&self, under: &str, temperature: f32) -> Result<TensorId, ServiceError>;

    /// The entropy of the policy's distribution for each token at this temperature, which is above 0.0: [B, T].
    ///
    /// # Errors
    ///
    /// Fails when the run cannot tell.
    fn entropies(&self, temperature: f32) -> Result<TensorId, ServiceError>;

    /// The id of each row's example.
    fn ids(&self) -> Vec<u64>;

    /// What each row is for, as the contract's `roles`.
    fn roles(&self) -> Vec<String>;

    /// The temperature at which rollouts were sampled; 1.0 outside online training.
    fn temperature(&self) -> f32;

    /// The number of token ids that the model knows.
    fn vocabulary(&self) -> usize;

    /// Draws tokens from the policy for every place that is trained on: integers [B, T, count], 0 elsewhere. As the WIT describes it.
    ///
    /// # Errors
    ///
    /// Fails when the run cannot sample inside an objective.
    fn samples(&self, draws: &Draws) -> Result<TensorId, ServiceError>;

    /// Log-probabilities of candidates, integers [B, T, K], under a model as [`Port::TokenLogprobs`] names it: [B, T, K], 0.0 where nothing is trained on.
    ///
    /// # Errors
    ///
    /// Fails when there is no such model, and when shape or ids do not fit.
    fn candidate_logprobs(&self, under: &str, candidates: TensorId) -> Result<TensorId, ServiceError>;

    /// The number of rows, B.
    fn rows(&self) -> usize;

    /// The sum of weights over every micro-batch of the step.
    fn total_weight(&self) -> f64;

    /// The number of rows over every micro-batch of the step.
    fn total_rows(&self) -> usize;

    /// The number of groups over every micro-batch of the step.
    fn total_groups(&self) -> usize;

    /// The number of micro-batches of the step.
    fn micro_batches(&self) -> usize;

    /// The optimiser step, from 0.
    fn step(&self) -> u32;
}

/// Checks the contract: the loss is one finite float element. Returns its value.
///
/// Whether it depends on the policy only shows in the backward pass, which the engine checks.
///
/// # Errors
///
/// Fails with [`CallError::Broken`] that names the shape or the value.
pub fn checked(plugin: &str, batch: &dyn Batch, loss: TensorId) -> Result<f32, CallError> {
    let broken = |what: String| CallError::broken(plugin, "objective", what);
    let tensors = batch.tensors();
    let shape = tensors.shape(loss).map_err(|error| broken(error.to_string()))?;
    if shape.iter().product::<usize>() != 1 {
        return Err(broken(format!("the loss has shape {shape:?}, not one element")));
    }
    if tensors.kind(loss).map_err(|error| broken(error.to_string()))? != Kind::Float {
        return Err(broken("the loss is an integer tensor".into()));
    }
    let values = tensors.read_floats(loss).map_err(|error| broken(error.to_string()))?;
    match values.as_slice() {
        [value] if value.is_finite() => Ok(*value),
        other => Err(broken(format!("the loss is {other:?}, not one finite number"))),
    }
}

//! Proximal policy optimisation: credit from a value head, and the clipped surrogate that trains policy and head together.

pub mod math;

use serde::Deserialize;
use tunesmith_sdk::{Advantages, Batch, Credit, Error, Objective, Plugin, Rollouts, Tensor, log};

/// The host's name for the head's weights and its estimates.
const VALUE: &str = "value";
/// The name of the head's bias.
const VALUE_BIAS: &str = "value-bias";
/// The name under which `credit` hands over what the head should have estimated.
const RETURNS: &str = "returns";
/// Logarithms of ratios are kept within this: beyond, the ratio is clipped anyway, and it must not overflow.
const FARTHEST: f32 = 20.0;

/// The settings, as `plugin.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    kl: f64,
    score_clip: f64,
    gamma: f64,
    lambda: f64,
    whiten: bool,
    epsilon: f32,
    value_epsilon: f32,
    value_coefficient: f32,
    value_trains_model: bool,
}

/// The plugin.
pub struct Ppo(Settings);

impl Plugin for Ppo {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        Ok(Self(settings))
    }
}

/// Tokens of one rollout in the flat lists, and what it scored, if it teaches anything.
struct Span {
    tokens: std::ops::Range<usize>,
    score: Option<f64>,
}

impl Credit for Ppo {
    fn credit(&self, rollouts: &Rollouts, rewards: &[Option<f32>]) -> Result<Advantages, Error> {
        let Settings { kl, score_clip, gamma, lambda, whiten, .. } = self.0;
        let values = widened(&rollouts.token_numbers(VALUE)?);
        let divergences = if kl == 0.0 { vec![0.0; values.len()] } else { divergences(rollouts)? };
        let spans = spans(rollouts, rewards);
        let (mut advantages, mut returns) = (vec![0.0; values.len()], values.clone());
        let mut taught = Vec::new();
        for Span { tokens, score } in &spans {
            let Some(score) = *score else { continue };
            let rewards = math::token_rewards(&divergences[tokens.clone()], score, (kl, score_clip));
            let credited = math::estimated(&rewards, &values[tokens.clone()], gamma, lambda);
            advantages[tokens.clone()].copy_from_slice(&credited.advantages);
            returns[tokens.clone()].copy_from_slice(&credited.returns);
            taught.extend(tokens.clone());
        }
        let of = |numbers: &[f64]| math::moments(&taught.iter().map(|&token| numbers[token]).collect::<Vec<_>>());
        if !taught.is_empty() {
            log::metric("value", of(&values).0);
            log::metric("return", of(&returns).0);
            log::metric("advantage-std", of(&advantages).1.sqrt());
            if kl != 0.0 {
                log::metric("kl", of(&divergences).0);
            }
        }
        if whiten {
            let moments = of(&advantages);
            for &token in &taught {
                advantages[token] = math::whitened(advantages[token], moments);
            }
        }
        rollouts.attach(RETURNS, &narrowed(&returns))?;
        Ok(Advantages::PerToken(narrowed(&advantages)))
    }
}

/// How much likelier each sampled token was than under the starting model, in nats.
fn divergences(rollouts: &Rollouts) -> Result<Vec<f64>, Error> {
    let (old, reference) = (rollouts.token_logprobs("old")?, rollouts.token_logprobs("reference")?);
    Ok(old.into_iter().zip(reference).map(|(old, reference)| f64::from(old) - f64::from(reference)).collect())
}

/// The tokens of each rollout. Those without a reward teach nothing, and neither do those that the policy did not sample.
fn spans(rollouts: &Rollouts, rewards: &[Option<f32>]) -> Vec<Span> {
    let mut start = 0;
    let given = rollouts.off_policy();
    let span = |(row, length): (usize, u32)| {
        let tokens = start..start + length as usize;
        start = tokens.end;
        Span { tokens, score: rewards[row].filter(|_| !given[row]).map(f64::from) }
    };
    rollouts.lengths().into_iter().enumerate().map(span).collect()
}

impl Objective for Ppo {
    fn objective(&self, batch: &Batch) -> Result<Tensor, Error> {
        let Settings { epsilon, value_epsilon, value_coefficient, .. } = self.0;
        let Some(advantages) = batch.advantages() else {
            return Err(Error::unsupported("there are no advantages; give the recipe `[[reward]]` and `[rollout]`"));
        };
        let missing =
            |error| Error::unsupported(format!("{error}; take `ppo` in `[credit]` too, with the same settings"));
        let returns = batch.token_numbers(RETURNS).map_err(missing)?;
        let weights = batch.weights();

        let now = batch.token_logprobs_at("policy", batch.temperature())?;
        let ratio = (now - batch.token_logprobs("old")?).clamp(-FARTHEST, FARTHEST).exp();
        let clipped = ratio.clamp(1.0 - epsilon, 1.0 + epsilon);
        let (plain, bounded) = (-(&advantages * &ratio), -(&advantages * &clipped));
        let policy = plain.maximum(&bounded);

        let (value, old) = (self.values(batch)?, batch.token_numbers(VALUE)?);
        let near = &old + (&value - &old).clamp(-value_epsilon, value_epsilon);
        let error = (&value - &returns).pow_scalar(2.0).maximum(&(near - returns).pow_scalar(2.0)) * 0.5;

        let total = batch.total_weight();
        let total = if total > 0.0 { total as f32 } else { 1.0 };
        let policy = (policy * &weights).sum() / total;
        let error = (error * &weights).sum() / total;
        Self::tell(&(bounded, plain, weights), &error);
        Ok(policy + error * value_coefficient)
    }
}

impl Ppo {
    /// What the head estimates before each token, [B, T]: the state at a token speaks of the next.
    fn values(&self, batch: &Batch) -> Result<Tensor, Error> {
        let hidden = batch.hidden_states()?;
        let hidden = if self.0.value_trains_model { hidden } else { hidden.detach() };
        let [rows, width, size] = hidden.shape()[..] else {
            return Err(Error::other(format!("hidden states of the shape {:?}", hidden.shape())));
        };
        let head = batch.parameter(VALUE)?.reshape(&[size, 1]);
        let after = hidden.matmul(&head).reshape(&[rows, width]) + batch.parameter(VALUE_BIAS)?;
        Ok(Tensor::concat(&[&Tensor::full(0.0, &[rows, 1]), &after.slice(1, 0, width - 1)], 1))
    }

    /// Notes the loss of the head and the share of the tokens whose ratio is clipped.
    fn tell((bounded, plain, weights): &(Tensor, Tensor, Tensor), error: &Tensor) {
        let trained = weights.greater_scalar(0.0);
        let count = trained.sum().item();
        if count > 0.0 {
            log::metric("value-loss", f64::from(error.detach().item()));
            log::metric("clipped-share", f64::from((bounded.greater(plain) * trained).sum().item() / count));
        }
    }
}

fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// As the contract has it: finite.
fn narrowed(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32).collect()
}

tunesmith_sdk::export!(Ppo: credit, objective);

#[cfg(test)]
mod tests;

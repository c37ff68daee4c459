//! REINFORCE leave-one-out: the other rollouts of a prompt are the baseline of each.

pub mod math;

use serde::Deserialize;
use tunesmith_sdk::{Advantages, Credit, Error, Plugin, Rollouts, log};

/// The settings, as `plugin.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    beta: f64,
    lowest: f64,
    highest: f64,
    normalise: bool,
    epsilon: f64,
}

/// The plugin.
pub struct Rloo(Settings);

impl Plugin for Rloo {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        if settings.highest < settings.lowest {
            return Err(Error::bad_settings(format!(
                "`highest` is {}, below `lowest`, {}",
                settings.highest, settings.lowest
            )));
        }
        Ok(Self(settings))
    }
}

impl Credit for Rloo {
    fn credit(&self, rollouts: &Rollouts, rewards: &[Option<f32>]) -> Result<Advantages, Error> {
        let Settings { beta, lowest, highest, normalise, epsilon } = self.0;
        let clipped = |reward: f32| f64::from(reward).clamp(lowest, highest);
        let mut rewards: Vec<Option<f64>> = rewards.iter().map(|reward| reward.map(clipped)).collect();
        if beta != 0.0 {
            let divergences = divergences(rollouts)?;
            for (reward, divergence) in rewards.iter_mut().zip(&divergences) {
                *reward = reward.map(|reward| reward - beta * divergence);
            }
            if !divergences.is_empty() {
                log::metric("kl", divergences.iter().sum::<f64>() / divergences.len() as f64);
            }
        }
        let advantages = math::leave_one_out(&rewards, &rollouts.groups());
        let advantages = if normalise { math::normalised(&advantages, epsilon) } else { advantages };
        Ok(Advantages::PerRollout(advantages.into_iter().map(narrowed).collect()))
    }
}

/// How far the policy is from the starting model, in nats, as one sample per rollout: the sum over its tokens.
fn divergences(rollouts: &Rollouts) -> Result<Vec<f64>, Error> {
    let (policy, reference) = (rollouts.token_logprobs("policy")?, rollouts.token_logprobs("reference")?);
    let lengths: Vec<usize> = rollouts.lengths().into_iter().map(|length| length as usize).collect();
    let pairs = policy.into_iter().zip(reference);
    let flat: Vec<f64> = pairs.map(|(policy, reference)| f64::from(policy) - f64::from(reference)).collect();
    Ok(math::sums(&flat, &lengths))
}

/// As the contract has it: finite, and 0.0 for a rollout without a reward, or without others.
fn narrowed(advantage: Option<f64>) -> f32 {
    advantage.unwrap_or(0.0).clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
}

tunesmith_sdk::export!(Rloo: credit);

#[cfg(test)]
mod tests;

//! Group advantages: how much better a rollout was rewarded than the others that answer its prompt.

pub mod math;

use serde::Deserialize;
use tunesmith_sdk::{Advantages, Credit, Error, Plugin, Rollouts, log};

use math::{Deviation, Scale};

/// The settings, as `plugin.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    scale: Scale,
    ddof: usize,
    epsilon: f64,
    aggregation: Aggregation,
}

/// How several rewards become one advantage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aggregation {
    /// Their sum is normalised.
    SumThenNormalise,
    /// Each is normalised within its groups; their sum is normalised over the batch.
    NormaliseThenSum,
}

/// The plugin.
pub struct GroupAdvantage(Settings);

impl Plugin for GroupAdvantage {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        Ok(Self(settings))
    }
}

impl Credit for GroupAdvantage {
    fn credit(&self, rollouts: &Rollouts, rewards: &[Option<f32>]) -> Result<Advantages, Error> {
        let Settings { scale, ddof, epsilon, aggregation } = self.0;
        let deviation = Deviation { ddof, epsilon };
        let groups = rollouts.groups();
        let rewards = widened(rewards);
        let advantages = match aggregation {
            Aggregation::SumThenNormalise => math::within_groups(&rewards, &groups, scale, deviation),
            Aggregation::NormaliseThenSum => {
                let normalised = |name: &String| -> Result<Vec<Option<f64>>, Error> {
                    let rewards = widened(&rollouts.rewards(name)?);
                    Ok(math::within_groups(&rewards, &groups, Scale::Group, deviation))
                };
                let columns = rollouts.reward_names().iter().map(normalised).collect::<Result<Vec<_>, _>>()?;
                let weights: Vec<f64> = rollouts.reward_weights().into_iter().map(f64::from).collect();
                math::over_batch(&math::weighted(&columns, &weights), deviation)
            }
        };
        tell(&rewards, &groups, deviation);
        Ok(Advantages::PerRollout(advantages.into_iter().map(narrowed).collect()))
    }
}

/// Notes how much the sums of the rewards differ: overall, and in how many of the groups with a reward not at all.
fn tell(rewards: &[Option<f64>], groups: &[u32], deviation: Deviation) {
    let given: Vec<Vec<f64>> = math::spans(groups).into_iter().map(|span| math::given(&rewards[span])).collect();
    let given: Vec<Vec<f64>> = given.into_iter().filter(|rewards| !rewards.is_empty()).collect();
    if !given.is_empty() {
        let constant = given.iter().filter(|rewards| math::is_constant(rewards)).count();
        log::metric("zero-spread-share", constant as f64 / given.len() as f64);
        log::metric("reward-std", deviation.of(&given.concat()));
    }
}

fn widened(rewards: &[Option<f32>]) -> Vec<Option<f64>> {
    rewards.iter().map(|reward| reward.map(f64::from)).collect()
}

/// As the contract has it: finite, and 0.0 for a rollout without a reward.
fn narrowed(advantage: Option<f64>) -> f32 {
    advantage.unwrap_or(0.0).clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
}

tunesmith_sdk::export!(GroupAdvantage: credit);

#[cfg(test)]
mod tests;

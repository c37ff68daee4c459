//! The built-in credit: rewards normalised within their groups.

use std::sync::Arc;

use tunesmith_core::call::Call;
use tunesmith_core::data::{Advantages, Rollouts};
use tunesmith_core::error::CallError;
use tunesmith_core::stage::{Credit, checked_credit};

use crate::objective::BUILT_IN;

/// Kept away from a division by 0.
const EPSILON: f64 = 1e-4;

/// `A = (r - mean) / (std + 1e-4)` over the rollouts of a group that have a reward, with the unbiased standard deviation; 0.0 for rollouts without
/// a reward. What the plugin `group-advantage` gives with its default settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct GroupNormalised;

impl Credit for GroupNormalised {
    fn credit(&self, rollouts: Arc<Rollouts>, rewards: &[Option<f32>], _: &mut Call) -> Result<Advantages, CallError> {
        let mut advantages = vec![0.0; rewards.len()];
        for members in groups(&rollouts) {
            let given: Vec<f64> = rewards[members.clone()].iter().flatten().map(|reward| f64::from(*reward)).collect();
            let count = given.len() as f64;
            let mean = given.iter().sum::<f64>() / count;
            let variance = given.iter().map(|reward| (reward - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
            for at in members {
                if let Some(reward) = rewards[at] {
                    advantages[at] = ((f64::from(reward) - mean) / (variance.sqrt() + EPSILON)) as f32;
                }
            }
        }
        checked_credit(BUILT_IN, &rollouts, Advantages::PerRollout(advantages))
    }
}

/// The rollouts of each group.
pub(super) fn groups(rollouts: &Rollouts) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut start = 0;
    rollouts.rollouts.chunk_by(|one, other| one.group == other.group).map(move |group| {
        let range = start..start + group.len();
        start = range.end;
        range
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::tests::rollouts;

    #[test]
    fn advantages_are_those_of_the_formula() {
        let rewards = [0.2, 0.5, 0.5, 0.8, 1.0, 1.0].map(Some);
        let rewards = [&rewards[..], &[None, Some(3.0)]].concat();
        let made =
            GroupNormalised.credit(Arc::new(rollouts(&[0, 0, 0, 0, 1, 1, 2, 2])), &rewards, &mut Call::new(0, 0));
        let Advantages::PerRollout(values) = made.expect("they are finite") else { panic!("one per rollout") };
        // The golden vector of the formula sheet for an unbiased deviation; a group without spread, and one with a single reward, give nothing.
        for (value, expected) in values.iter().zip([-1.2242, 0.0, 0.0, 1.2242, 0.0, 0.0, 0.0, 0.0]) {
            assert!((value - expected).abs() < 1e-4, "{values:?}");
        }
    }
}

//! What became of rollouts: numbers for the trace, and a line for each.

use std::collections::BTreeMap;

use serde::Serialize;
use tunesmith_core::data::Rollouts;

use super::credit::groups;

/// A line of `rollouts.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RolloutLine {
    step: u32,
    id: u64,
    group: u32,
    completion: String,
    tokens: usize,
    is_finished: bool,
    is_off_policy: bool,
    /// Each reward by itself; those that do not apply are left out.
    rewards: BTreeMap<String, f32>,
    /// Their sum; none where none applies.
    reward: Option<f32>,
    /// The mean over its tokens.
    advantage: f32,
}

/// One line per rollout.
pub(super) fn lines(rollouts: &Rollouts, rewards: &[Option<f32>], advantages: &[f32]) -> Vec<RolloutLine> {
    let mut rest = advantages;
    let line = |(at, rollout): (usize, &tunesmith_core::data::Rollout)| {
        let (own, others) = rest.split_at(rollout.tokens.len());
        rest = others;
        RolloutLine {
            step: rollouts.step,
            id: rollout.example.id,
            group: rollout.group,
            completion: rollout.completion.clone(),
            tokens: rollout.tokens.len(),
            is_finished: rollout.is_finished,
            is_off_policy: rollout.is_off_policy,
            rewards: rollouts.rewards.iter().filter_map(|it| Some((it.name.clone(), it.scores[at]?))).collect(),
            reward: rewards[at],
            advantage: own.iter().sum::<f32>() / own.len().max(1) as f32,
        }
    };
    rollouts.rollouts.iter().enumerate().map(line).collect()
}

/// `reward` and `reward-std` (over rollouts with a reward, those that were given left out), `reward/NAME` (each by itself, without its factor),
/// `unrewarded` (rollouts without any), `zero-spread` (groups in which no token has an advantage), `finished` (share) and `length` (mean tokens).
pub(super) fn numbers(rollouts: &Rollouts, rewards: &[Option<f32>], advantages: &[f32]) -> BTreeMap<String, f64> {
    let is_sampled: Vec<bool> = rollouts.rollouts.iter().map(|rollout| !rollout.is_off_policy).collect();
    let sampled = |scores: &[Option<f32>]| -> Vec<f64> {
        let own = scores.iter().zip(&is_sampled).filter(|(_, is_sampled)| **is_sampled);
        own.filter_map(|(score, _)| score.map(f64::from)).collect()
    };
    let mut numbers = BTreeMap::new();
    let given = sampled(rewards);
    if let Some(mean) = mean(&given) {
        let variance = given.iter().map(|reward| (reward - mean).powi(2)).sum::<f64>() / given.len() as f64;
        numbers.insert("reward".into(), mean);
        numbers.insert("reward-std".into(), variance.sqrt());
    }
    for reward in &rollouts.rewards {
        if let Some(mean) = mean(&sampled(&reward.scores)) {
            numbers.insert(format!("reward/{}", reward.name), mean);
        }
    }
    numbers.insert("unrewarded".into(), rewards.iter().filter(|reward| reward.is_none()).count() as f64);
    let ends: Vec<usize> = std::iter::once(0)
        .chain(rollouts.rollouts.iter().scan(0, |end, rollout| {
            *end += rollout.tokens.len();
            Some(*end)
        }))
        .collect();
    let has_no_spread = |members: &std::ops::Range<usize>| {
        advantages[ends[members.start]..ends[members.end]].iter().all(|advantage| *advantage == 0.0)
    };
    numbers.insert("zero-spread".into(), groups(rollouts).filter(has_no_spread).count() as f64);
    let own = || rollouts.rollouts.iter().filter(|rollout| !rollout.is_off_policy);
    let finished: Vec<f64> = own().map(|rollout| f64::from(u8::from(rollout.is_finished))).collect();
    let lengths: Vec<f64> = own().map(|rollout| rollout.tokens.len() as f64).collect();
    for (name, values) in [("finished", finished), ("length", lengths)] {
        numbers.extend(mean(&values).map(|mean| (name.to_owned(), mean)));
    }
    numbers
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

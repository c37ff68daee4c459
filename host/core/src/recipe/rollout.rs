//! `[rollout]` and `[[reward]]`: what is sampled in online training, and how it is rewarded.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `[rollout]`: how the policy answers prompts in online training.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rollout {
    /// Completions per prompt and step, references included. Default 8.
    pub group_size: Option<u32>,
    /// Above 0. Default 1.
    pub temperature: Option<f32>,
    /// Keeps the most likely tokens that together have this probability, 0 to 1. Default 1.
    pub top_p: Option<f32>,
    /// Keeps this many most likely tokens; 0 (default) keeps all.
    pub top_k: Option<u32>,
    /// The longest completion in tokens. Default: that of `[generate]`.
    pub max_tokens: Option<u32>,
    /// Texts that end a completion.
    #[serde(default)]
    pub stop: Vec<String>,
    /// Optimiser steps on each batch of rollouts. Default 1.
    pub updates: Option<u32>,
    /// Put the gold completion into each group, as a member that was not sampled. Default false.
    pub references: Option<bool>,
    /// What happens to completions that were cut at the length limit: `train` (default) or `mask`, which rewards them but trains on none of their
    /// tokens.
    pub unfinished: Option<Unfinished>,
}

/// What happens to completions that were cut at the length limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unfinished {
    /// They are trained on as all others.
    #[default]
    Train,
    /// None of their tokens is trained on.
    Mask,
}

/// `[[reward]]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Reward {
    /// A name from `[plugins]`.
    pub plugin: String,
    /// Settings, checked against the plugin's schema.
    #[serde(default)]
    pub settings: Map<String, Value>,
    /// The factor of this reward in the sum: a number, or `{ from = 1.0, to = 0.0, steps = 100 }`. Default 1.
    pub weight: Option<RewardWeight>,
}

/// `weight = 0.5` or `weight = { from = 1.0, to = 0.0, steps = 100 }`
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(untagged, expecting = "expected a number, or a table such as `{ from = 1.0, to = 0.0, steps = 100 }`")]
pub enum RewardWeight {
    /// The same in every step.
    Constant(f64),
    /// Changes with the steps.
    Ramp(Ramp),
}

/// A factor that changes along a straight line, and stays at its end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ramp {
    /// At step 0.
    pub from: f64,
    /// From step `steps` on.
    pub to: f64,
    /// How many steps the way takes, at least 1.
    pub steps: u32,
}

impl Ramp {
    /// The factor at an optimiser step, from 0.
    pub fn at(&self, step: u32) -> f64 {
        let way = f64::from(step.min(self.steps)) / f64::from(self.steps.max(1));
        self.from + (self.to - self.from) * way
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_is_a_straight_line_and_stays_at_its_end() {
        let ramp = Ramp { from: 1.0, to: 0.0, steps: 4 };
        let bits = |values: [f64; 4]| values.map(f64::to_bits);
        assert_eq!(bits([0, 1, 4, 9].map(|step| ramp.at(step))), bits([1.0, 0.75, 0.0, 0.0]));
    }
}

//! `[rollout]` with every choice made, and what online training needs beside it.

use serde::{Deserialize, Serialize};

use super::{Plan, fault};
use crate::recipe::{Recipe, RecipeError, Unfinished};
use crate::stage::Stage;

/// How the policy answers prompts in online training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RolloutPlan {
    /// Completions per prompt, references included.
    pub group_size: u32,
    /// Above 0.
    pub temperature: f32,
    /// Above 0 and at most 1; 1 keeps all.
    pub top_p: f32,
    /// 0 keeps all.
    pub top_k: u32,
    /// The longest completion in tokens.
    pub max_tokens: u32,
    /// Texts that end a completion.
    pub stop: Vec<String>,
    /// Optimiser steps on each batch of rollouts.
    pub updates: u32,
    /// Whether the gold completion is a member of each group.
    pub references: bool,
    /// What happens to completions that were cut.
    pub unfinished: Unfinished,
}

/// None without rewards: nothing is sampled.
pub(super) fn plan(recipe: &Recipe, max_tokens: u32) -> Option<RolloutPlan> {
    let rollout = recipe.rollout.clone().unwrap_or_default();
    (!recipe.reward.is_empty()).then(|| RolloutPlan {
        group_size: rollout.group_size.unwrap_or(8),
        temperature: rollout.temperature.unwrap_or(1.0),
        top_p: rollout.top_p.unwrap_or(1.0),
        top_k: rollout.top_k.unwrap_or(0),
        max_tokens: rollout.max_tokens.unwrap_or(max_tokens),
        stop: rollout.stop,
        updates: rollout.updates.unwrap_or(1),
        references: rollout.references.unwrap_or(false),
        unfinished: rollout.unfinished.unwrap_or_default(),
    })
}

/// That the tables of online training fit each other.
pub(super) fn check_tables(recipe: &Recipe, text: &str) -> Result<(), RecipeError> {
    let alone = [("rollout", recipe.rollout.is_some()), ("credit", recipe.credit.is_some())];
    if let Some((field, _)) = alone.into_iter().find(|(_, is_there)| recipe.reward.is_empty() && *is_there) {
        let hint = "add a `[[reward]]` with the plugin that scores rollouts, or remove the table".to_owned();
        return Err(fault(text, field, "is for online training, and the recipe has no reward", Some(hint)));
    }
    if !recipe.reward.is_empty() && recipe.objective.is_none() {
        let hint = "name an objective for advantages in `[objective]`, such as the plugin `grpo`".to_owned();
        let what = "online training needs an objective: the built-in one takes no advantages";
        return Err(fault(text, "reward", what, Some(hint)));
    }
    Ok(())
}

impl RolloutPlan {
    pub(super) fn check(&self, plan: &Plan, text: &str) -> Result<(), RecipeError> {
        let least = if self.references { 2 } else { 1 };
        let rules = [
            (least <= self.group_size, "rollout.group-size", "must be at least 1, and at least 2 with references"),
            (
                self.temperature.is_finite() && 0.0 < self.temperature,
                "rollout.temperature",
                "must be greater than 0: greedy completions of one prompt are all the same",
            ),
            (0.0 < self.top_p && self.top_p <= 1.0, "rollout.top-p", "must be greater than 0 and at most 1"),
            (1 <= self.max_tokens, "rollout.max-tokens", "must be at least 1"),
            (1 <= self.updates, "rollout.updates", "must be at least 1"),
            (self.stop.iter().all(|text| !text.is_empty()), "rollout.stop", "has an empty text"),
        ];
        if let Some((_, field, what)) = rules.into_iter().find(|(holds, _, _)| !holds) {
            return Err(fault(text, field, what, None));
        }
        for reward in plan.stages.iter().filter(|stage| stage.stage == Stage::Reward) {
            let ends = reward.ramp.map_or([reward.weight; 2], |ramp| [ramp.from, ramp.to]);
            let is_fine = ends.iter().all(|weight| weight.is_finite()) && reward.ramp.is_none_or(|it| it.steps >= 1);
            if !is_fine {
                let hint = "write a number, or `{ from = 1.0, to = 0.0, steps = 100 }`".to_owned();
                return Err(fault(text, "reward", "has a weight that is not finite, or of no steps", Some(hint)));
            }
        }
        Ok(())
    }
}

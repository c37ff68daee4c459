//! The settings, and the requests that are used where the recipe has none.

use serde::Deserialize;
use tunesmith_sdk::Error;

use crate::template::has;
use crate::tree::Bounds;

/// What a turn is graded in, in the order of the weights.
pub const ASPECTS: [&str; 4] = ["Empathy", "Information", "Humanlikeness", "Strategy"];

/// The settings, as `plugin.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "each is described in `plugin.toml`")]
pub struct Settings {
    pub strategies: Vec<String>,
    pub descriptions: Vec<String>,
    pub rater: String,
    pub supporter: String,
    pub user: String,
    pub judge: String,
    pub rate_prompt: String,
    pub speak_prompt: String,
    pub reply_prompt: String,
    pub judge_prompt: String,
    pub system: String,
    pub situation_column: String,
    pub end: String,
    pub prior_temperature: f64,
    pub exploration: f64,
    pub simulated_turns: usize,
    pub weights: [f64; 4],
    pub bias: f64,
    pub iterations: u32,
    pub most_iterations: u32,
    pub ends: usize,
    pub most_ends: usize,
    pub requests: u32,
    pub seeds: bool,
    pub seed_visits: u32,
    pub good: f64,
    pub good_visits: u32,
    pub bad: f64,
    pub export: Export,
    pub temperature: f32,
    pub retries: u32,
    pub retry_temperature: f32,
    pub max_tokens: u32,
    pub seed: u64,
    pub gold_column: String,
    /// The strategies with their descriptions, a line each.
    #[serde(skip)]
    pub list: String,
}

/// What becomes of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Export {
    /// Preferences between two turns.
    Pairs,
    /// Turns that are good or bad by themselves.
    Labels,
}

impl Settings {
    /// The settings, if they can work.
    ///
    /// # Errors
    ///
    /// Fails when a request lacks a place, names are no names, or a limit is below its lesser one.
    pub fn checked(mut self) -> Result<Self, Error> {
        let needed = [
            ("rate-prompt", &self.rate_prompt, &["history", "strategies"][..]),
            ("speak-prompt", &self.speak_prompt, &["history", "strategy"]),
            ("reply-prompt", &self.reply_prompt, &["history", "end"]),
            ("judge-prompt", &self.judge_prompt, &["history"]),
        ];
        for (name, template, places) in needed {
            if let Some(place) = places.iter().find(|place| !has(template, place)) {
                return Err(Error::bad_settings(format!("`{name}` has no place `{{{place}}}`")));
            }
        }
        if let Some(aspect) = ASPECTS.iter().find(|aspect| !self.judge_prompt.contains(**aspect)) {
            return Err(Error::bad_settings(format!("`judge-prompt` does not ask for `{aspect}`")));
        }
        let names = &self.strategies;
        let is_twice = |(at, name): (usize, &String)| names[..at].iter().any(|other| other.eq_ignore_ascii_case(name));
        if names.iter().enumerate().any(is_twice) {
            return Err(Error::bad_settings("two `strategies` have the same name"));
        }
        if let Some(name) = names.iter().find(|name| name.trim() != name.as_str() || name.contains(['(', ')'])) {
            return Err(Error::bad_settings(format!("the strategy `{name}` has blanks around it, or brackets")));
        }
        if !self.descriptions.is_empty() && self.descriptions.len() != names.len() {
            return Err(Error::bad_settings("`descriptions` must be one per strategy, or none"));
        }
        if self.most_iterations < self.iterations {
            return Err(Error::bad_settings("`most-iterations` is below `iterations`"));
        }
        if self.most_ends < self.ends {
            return Err(Error::bad_settings("`most-ends` is below `ends`"));
        }
        let line = |strategy: usize| match self.description(strategy) {
            "" => format!("- {}", self.strategies[strategy]),
            description => format!("- {}: {description}", self.strategies[strategy]),
        };
        self.list = (0..self.strategies.len()).map(line).collect::<Vec<_>>().join("\n");
        Ok(self)
    }

    /// What a strategy means; empty if that is not said.
    pub fn description(&self, strategy: usize) -> &str {
        self.descriptions.get(strategy).map_or("", String::as_str)
    }

    /// The mean reward and the visits of a real dialogue's turns: the best grades.
    pub fn real(&self) -> (f64, u32) {
        (4.0 * self.weights.iter().sum::<f64>() + self.bias, self.seed_visits)
    }

    /// What is good and what is bad enough to be told.
    pub fn bounds(&self) -> Bounds {
        Bounds { good: self.good, visits: self.good_visits, bad: self.bad }
    }
}

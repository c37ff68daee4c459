//! One call of a stage: what goes in beside its data, and what comes out beside its answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::Models;
use crate::stage::Judging;
use crate::store::Store;

/// What a stage may ask of the host during a call. Grants narrow this further, per plugin.
#[derive(Clone, Default)]
pub struct Services {
    /// The models of the run.
    pub models: Option<Arc<dyn Models>>,
    /// The recipe's judge.
    pub judging: Option<Arc<dyn Judging>>,
    /// Numbers by example.
    pub store: Option<Arc<Store>>,
}

/// One call of a stage.
pub struct Call {
    /// The seed of the run. Random numbers of a plugin follow from it, the plugin, the stage and `number`.
    pub seed: u64,
    /// How many calls of this stage came before in this run.
    pub number: u64,
    /// What the stage may ask of the host.
    pub services: Services,
    /// What the call cost and said. The stage fills it in.
    pub report: Report,
}

impl Call {
    /// A call without services.
    pub fn new(seed: u64, number: u64) -> Self {
        Self { seed, number, services: Services::default(), report: Report::default() }
    }

    /// A call with services.
    pub fn with(seed: u64, number: u64, services: Services) -> Self {
        Self { services, ..Self::new(seed, number) }
    }
}

/// What a call cost and said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Fuel that the plugin burned: a function of its bytes and its input. 0 for built-ins.
    pub fuel: u64,
    /// Wall time inside the plugin, host services included. Never part of a hash.
    #[serde(skip)]
    pub elapsed: Duration,
    /// Wall time that host services took during the call. Never part of a hash.
    #[serde(skip)]
    pub in_services: Duration,
    /// Lines that the plugin logged, escaped, capped.
    #[serde(skip)]
    pub lines: Vec<LogLine>,
    /// Lines, metrics and skips that were over a cap or not finite.
    pub suppressed: u64,
    /// Named numbers: their sum and their count.
    pub metrics: BTreeMap<String, (f64, u64)>,
    /// Why rows were skipped, and how many.
    pub skipped: BTreeMap<String, u64>,
    /// The digest of the state that the plugin keeps for its next call, if it keeps any.
    pub state: Option<String>,
    /// The digest of what the plugin wrote into its store during the call, if it wrote anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<String>,
}

impl Report {
    /// Notes a named number; NaN and infinities are counted as suppressed.
    pub fn metric(&mut self, name: &str, value: f64) {
        if value.is_finite() {
            let entry = self.metrics.entry(name.to_owned()).or_default();
            entry.0 += value;
            entry.1 += 1;
        } else {
            self.suppressed += 1;
        }
    }

    /// Notes that a row was left out.
    pub fn skip(&mut self, why: &str) {
        *self.skipped.entry(why.to_owned()).or_default() += 1;
    }

    /// Adds another call's report to this one: costs and counts are summed, lines appended.
    pub fn absorb(&mut self, other: Report) {
        self.fuel = self.fuel.saturating_add(other.fuel);
        self.elapsed += other.elapsed;
        self.in_services += other.in_services;
        self.lines.extend(other.lines);
        self.suppressed += other.suppressed;
        for (name, (sum, count)) in other.metrics {
            let entry = self.metrics.entry(name).or_default();
            entry.0 += sum;
            entry.1 += count;
        }
        for (why, count) in other.skipped {
            *self.skipped.entry(why).or_default() += count;
        }
        self.state = other.state.or(self.state.take());
        self.stored = other.stored.or(self.stored.take());
    }
}

/// A line that a plugin logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// `debug`, `info` or `warn`.
    pub level: Level,
    /// The text, without control characters.
    pub text: String,
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Only for the plugin's author.
    Debug,
    /// For everybody.
    Info,
    /// The user should act.
    Warn,
}

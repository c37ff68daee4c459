//! The ten stages: one trait each, with the check of its contract beside it.
//!
//! Every implementation, built-in or plugin, answers through the check of its stage exactly once; what passed is trusted afterwards.

mod answer;
mod credit;
mod curate;
mod edit;
mod judge;
mod measure;
mod objective;
mod retain;
mod reward;
mod weigh;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::answer::{Answer, checked as checked_answer};
pub use self::credit::{Credit, checked as checked_credit};
pub use self::curate::{Choice, Curate, Curated, checked as checked_curate};
pub use self::edit::{Edit, Parameters};
pub use self::judge::{Judge, Judging, checked as checked_judge};
pub use self::measure::{Measure, checked as checked_measure};
pub use self::objective::{Batch, Draws, Objective, Port, checked as checked_objective};
pub use self::retain::{CacheBlock, Retain, checked as checked_retain};
pub use self::reward::{Reward, checked as checked_reward};
pub use self::weigh::{Weigh, checked as checked_weigh};

/// A stage of fine-tuning, in the order of the data flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each variant is the stage of its name, documented at its trait")]
pub enum Stage {
    Curate,
    Judge,
    Reward,
    Credit,
    Weigh,
    Objective,
    Edit,
    Measure,
    Answer,
    Retain,
}

impl Stage {
    /// All stages, in the order of the data flow.
    pub const ALL: [Self; 10] = [
        Self::Curate,
        Self::Judge,
        Self::Reward,
        Self::Credit,
        Self::Weigh,
        Self::Objective,
        Self::Edit,
        Self::Measure,
        Self::Answer,
        Self::Retain,
    ];

    /// The one word for the stage: WIT interface, recipe key and trace field.
    pub fn name(self) -> &'static str {
        match self {
            Self::Curate => "curate",
            Self::Judge => "judge",
            Self::Reward => "reward",
            Self::Credit => "credit",
            Self::Weigh => "weigh",
            Self::Objective => "objective",
            Self::Edit => "edit",
            Self::Measure => "measure",
            Self::Answer => "answer",
            Self::Retain => "retain",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Stage {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|stage| stage.name() == word).ok_or_else(|| format!("unknown stage `{word}`"))
    }
}

/// Says that an answer has the wrong length, in the words that all stages use.
fn wrong_length(what: &str, got: usize, expected: usize, of: &str) -> String {
    format!("{got} {what} for {expected} {of}")
}

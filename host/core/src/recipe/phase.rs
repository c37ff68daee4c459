//! `[[phase]]`: a recipe that trains several times, each time from what came before.

use serde::{Deserialize, Serialize};

/// What a `[[phase]]` says beside the keys that it puts over the recipe's. Whoever opens the file makes one recipe of each phase.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Phase {
    /// Its name: lower-case letters, digits and hyphens. Its run folder has this name, within `output`.
    pub name: String,
    /// The phase whose trained model it starts from, or `start` for the recipe's model. Default: the phase before.
    pub from: Option<String>,
    /// What the reference is. Default `start`.
    pub reference: Option<PhaseReference>,
}

/// What the reference of a phase is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseReference {
    /// The recipe's model.
    #[default]
    Start,
    /// The policy as the phase begins.
    Policy,
}

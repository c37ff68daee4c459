//! Why a call did not give an answer, sorted by who has to act.

use std::error::Error;

/// Why a call into a plugin did not give an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The plugin ran and declined: bad settings, unsupported data. Fix the recipe.
    #[error("plugin `{plugin}` declined in stage `{stage}`: {reason}")]
    Refused {
        /// The plugin's name in the recipe.
        plugin: String,
        /// The stage that was called.
        stage: &'static str,
        /// What the plugin said, escaped for terminals.
        reason: String,
    },
    /// The plugin trapped, ran out of fuel, memory or time, or broke its contract. Fix the plugin.
    #[error("plugin `{plugin}` is broken: stage `{stage}` gave no usable answer")]
    Broken {
        /// The plugin's name in the recipe.
        plugin: String,
        /// The stage that was called.
        stage: &'static str,
        /// What went wrong.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The host could not do what the stage asked for: a model failed, a budget is spent. Nobody's plugin is at fault.
    #[error("the host failed while plugin `{plugin}` was in stage `{stage}`")]
    Host {
        /// The plugin's name in the recipe.
        plugin: String,
        /// The stage that was called.
        stage: &'static str,
        /// What went wrong.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl CallError {
    /// The plugin `plugin` broke the contract of `stage` in the way that `what` says.
    pub fn broken(plugin: &str, stage: &'static str, what: impl Into<String>) -> Self {
        Self::Broken { plugin: plugin.into(), stage, source: what.into().into() }
    }
}

/// Why a service of the host gave a plugin no answer. The plugin sees the text and may go on without.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// What was asked for does not exist here: an unknown model name, no reference, no such column.
    #[error("{0}")]
    Unsupported(String),
    /// The service failed.
    #[error("{0}")]
    Failed(String),
}

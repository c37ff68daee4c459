//! `credit`: how is reward spread over rollouts and tokens?

use std::sync::Arc;

use super::wrong_length;
use crate::call::Call;
use crate::data::{Advantages, Rollouts};
use crate::error::CallError;

/// Turns rewards into advantages.
pub trait Credit: Send + Sync {
    /// Returns advantages per rollout or per token. `rewards` has one entry per rollout, none where no reward applied.
    ///
    /// # Errors
    ///
    /// Fails when the plugin declines or is broken.
    fn credit(
        &self,
        rollouts: Arc<Rollouts>,
        rewards: &[Option<f32>],
        call: &mut Call,
    ) -> Result<Advantages, CallError>;
}

/// Checks the contract: the right number of advantages, all finite.
///
/// # Errors
///
/// Fails with [`CallError::Broken`] that says what is wrong.
pub fn checked(plugin: &str, rollouts: &Rollouts, advantages: Advantages) -> Result<Advantages, CallError> {
    let (values, expected, of) = match &advantages {
        Advantages::PerRollout(values) => (values, rollouts.rollouts.len(), "rollouts"),
        Advantages::PerToken(values) => (values, rollouts.tokens(), "sampled tokens"),
    };
    if values.len() != expected {
        return Err(CallError::broken(plugin, "credit", wrong_length("advantages", values.len(), expected, of)));
    }
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(CallError::broken(plugin, "credit", format!("advantage {index} is not finite")));
    }
    Ok(advantages)
}

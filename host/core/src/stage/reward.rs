//! `reward`: how good is this rollout?

use std::sync::Arc;

use super::wrong_length;
use crate::call::Call;
use crate::data::Rollouts;
use crate::error::CallError;

/// Scores rollouts.
pub trait Reward: Send + Sync {
    /// Returns one finite score per rollout, in order; higher is better; none where this reward does not apply.
    ///
    /// # Errors
    ///
    /// Fails when the plugin declines or is broken.
    fn reward(&self, rollouts: Arc<Rollouts>, call: &mut Call) -> Result<Vec<Option<f32>>, CallError>;

    /// Whether its calls have to come one after the other: it keeps something between them, or asks the host for what takes turns.
    fn is_sequential(&self) -> bool {
        false
    }
}

/// Checks the contract: one score per rollout, each finite or none.
///
/// # Errors
///
/// Fails with [`CallError::Broken`] that names the rollout.
pub fn checked(plugin: &str, rollouts: usize, scores: Vec<Option<f32>>) -> Result<Vec<Option<f32>>, CallError> {
    if scores.len() != rollouts {
        return Err(CallError::broken(plugin, "reward", wrong_length("scores", scores.len(), rollouts, "rollouts")));
    }
    if let Some(index) = scores.iter().position(|score| score.is_some_and(|score| !score.is_finite())) {
        return Err(CallError::broken(plugin, "reward", format!("the score of rollout {index} is not finite")));
    }
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nan_score_is_the_plugins_fault() {
        assert!(checked("p", 2, vec![Some(1.0), Some(f32::NAN)]).is_err());
        assert!(checked("p", 2, vec![Some(1.0)]).is_err());
        assert!(checked("p", 2, vec![Some(1.0), None]).is_ok());
    }
}

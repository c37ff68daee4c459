//! `weigh`: how much does each token count?

use std::sync::Arc;

use super::wrong_length;
use crate::call::Call;
use crate::data::TokenBatch;
use crate::error::CallError;

/// Weighs tokens.
pub trait Weigh: Send + Sync {
    /// Returns one finite weight, at least 0.0, per token of the batch, flat.
    ///
    /// # Errors
    ///
    /// Fails when the plugin declines or is broken.
    fn weigh(&self, batch: Arc<TokenBatch>, call: &mut Call) -> Result<Vec<f32>, CallError>;
}

/// Checks the contract: one weight per token, each finite and at least 0.0.
///
/// # Errors
///
/// Fails with [`CallError::Broken`] that names the token.
pub fn checked(plugin: &str, tokens: usize, weights: Vec<f32>) -> Result<Vec<f32>, CallError> {
    if weights.len() != tokens {
        return Err(CallError::broken(plugin, "weigh", wrong_length("weights", weights.len(), tokens, "tokens")));
    }
    if let Some(index) = weights.iter().position(|weight| !weight.is_finite() || *weight < 0.0) {
        let what = format!("the weight of token {index} is {}, not finite and at least 0.0", weights[index]);
        return Err(CallError::broken(plugin, "weigh", what));
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_or_missing_weight_is_the_plugins_fault() {
        assert!(checked("p", 2, vec![1.0, -0.5]).is_err());
        assert!(checked("p", 2, vec![1.0]).is_err());
        assert!(checked("p", 2, vec![1.0, f32::INFINITY]).is_err());
        assert!(checked("p", 2, vec![1.0, 0.0]).is_ok());
    }
}

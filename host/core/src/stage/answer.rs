//! `answer`: how does the model respond at test time?

use std::sync::Arc;

use super::wrong_length;
use crate::call::Call;
use crate::data::Examples;
use crate::error::CallError;

/// Answers prompts with the model's help: votes, aggregates, reranks.
pub trait Answer: Send + Sync {
    /// Returns one answer per row, in order.
    ///
    /// # Errors
    ///
    /// Fails when the plugin declines or is broken.
    fn answer(&self, examples: Arc<Examples>, call: &mut Call) -> Result<Vec<String>, CallError>;
}

/// Checks the contract: one answer per row.
///
/// # Errors
///
/// Fails with [`CallError::Broken`] that says the lengths.
pub fn checked(plugin: &str, rows: usize, answers: Vec<String>) -> Result<Vec<String>, CallError> {
    if answers.len() == rows {
        Ok(answers)
    } else {
        Err(CallError::broken(plugin, "answer", wrong_length("answers", answers.len(), rows, "rows")))
    }
}

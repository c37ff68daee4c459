//! `answer`: how does the model respond at test time?

use std::sync::Arc;

use super::wrong_length;
use crate::call::Call;
use crate::data::Examples;
use crate::error::CallError;

/// Bytes of the longest answer: a million tokens of text are less.
const MOST_BYTES: usize = 4 << 20;

/// Answers prompts with the model's help: votes, aggregates, reranks.
pub trait Answer: Send + Sync {
    /// Returns one answer per row, in order.
    ///
    /// The rows have no gold completion: there is none at test time.
    ///
    /// # Errors
    ///
    /// Fails when the plugin declines or is broken.
    fn answer(&self, examples: Arc<Examples>, call: &mut Call) -> Result<Vec<String>, CallError>;
}

/// Checks the contract: one answer per row, none of more than 4 MiB. An answer may be empty, as a model's may.
///
/// # Errors
///
/// Fails with [`CallError::Broken`] that says the lengths, or names the row.
pub fn checked(plugin: &str, rows: usize, answers: Vec<String>) -> Result<Vec<String>, CallError> {
    let broken = |what: String| CallError::broken(plugin, "answer", what);
    if answers.len() != rows {
        return Err(broken(wrong_length("answers", answers.len(), rows, "rows")));
    }
    match answers.iter().enumerate().find(|(_, answer)| MOST_BYTES < answer.len()) {
        Some((row, answer)) => {
            Err(broken(format!("the answer to row {row} has {} bytes, more than {MOST_BYTES}", answer.len())))
        }
        None => Ok(answers),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[track_caller]
    fn check(rows: usize, answers: Vec<String>, expected: &str) {
        let error = checked("p", rows, answers).expect_err("the contract is broken");
        let cause = error.source().map_or_else(String::new, ToString::to_string);
        assert!(cause.contains(expected), "`{cause}` does not say `{expected}`");
    }

    #[test]
    fn an_answer_too_few_or_too_many_is_the_plugins_fault() {
        check(2, vec!["a".into()], "1 answers for 2 rows");
        check(0, vec!["a".into()], "1 answers for 0 rows");
    }

    #[test]
    fn an_answer_that_is_too_long_is_the_plugins_fault() {
        check(2, vec![String::new(), "a".repeat(MOST_BYTES + 1)], "the answer to row 1 has 4194305 bytes");
    }

    #[test]
    fn an_answer_may_be_empty() {
        assert_eq!(checked("p", 1, vec![String::new()]).expect("fine"), [""]);
    }
}

//! `judge`: is this answer right?

use std::sync::Arc;

use super::wrong_length;
use crate::call::Call;
use crate::data::{Cases, Verdict};
use crate::error::{CallError, ServiceError};

/// Judges answers.
pub trait Judge: Send + Sync {
    /// Returns one verdict per case, in order.
    ///
    /// # Errors
    ///
    /// Fails when the plugin declines or is broken.
    fn judge(&self, cases: Arc<Cases>, call: &mut Call) -> Result<Vec<Verdict>, CallError>;

    /// Whether its calls have to come one after the other: it keeps something between them, or asks the host for what takes turns.
    fn is_sequential(&self) -> bool {
        false
    }
}

/// The recipe's judge as a service for other stages.
pub trait Judging: Send + Sync {
    /// Returns one verdict per case, in order.
    ///
    /// # Errors
    ///
    /// Fails when the judge declines or is broken.
    fn verdicts(&self, cases: Arc<Cases>) -> Result<Vec<Verdict>, ServiceError>;
}

/// Checks the contract: one verdict per case, `partly` in 0.0 to 1.0.
///
/// # Errors
///
/// Fails with [`CallError::Broken`] that names the case.
pub fn checked(plugin: &str, cases: &Cases, verdicts: Vec<Verdict>) -> Result<Vec<Verdict>, CallError> {
    if verdicts.len() != cases.cases.len() {
        let what = wrong_length("verdicts", verdicts.len(), cases.cases.len(), "cases");
        return Err(CallError::broken(plugin, "judge", what));
    }
    for (index, verdict) in verdicts.iter().enumerate() {
        if let Verdict::Partly(score) = verdict
            && !(0.0..=1.0).contains(score)
        {
            let what = format!("verdict {index} is partly right by {score}, outside 0.0 to 1.0");
            return Err(CallError::broken(plugin, "judge", what));
        }
    }
    Ok(verdicts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[track_caller]
    fn check(verdicts: Vec<Verdict>, expected: &str) {
        let example = Arc::new(crate::data::Example::default());
        let case = crate::data::Case { example, answer: "a".into(), rival: None };
        let error = checked("p", &Cases { cases: vec![case] }, verdicts).expect_err("the contract is broken");
        assert_eq!(error.source().map(ToString::to_string).unwrap_or_default(), expected);
    }

    #[test]
    fn a_missing_verdict_is_the_plugins_fault() {
        check(vec![], "0 verdicts for 1 cases");
    }

    #[test]
    fn a_nan_verdict_is_the_plugins_fault() {
        check(vec![Verdict::Partly(f32::NAN)], "verdict 0 is partly right by NaN, outside 0.0 to 1.0");
    }
}

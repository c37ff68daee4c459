//! `measure`: how good is the model?

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::call::Call;
use crate::data::Evaluation;
use crate::error::CallError;

/// Measures a model by its answers.
pub trait Measure: Send + Sync {
    /// Returns named, finite metrics.
    ///
    /// # Errors
    ///
    /// Fails when the plugin declines or is broken.
    fn measure(&self, evaluation: Arc<Evaluation>, call: &mut Call) -> Result<Vec<(String, f64)>, CallError>;
}

/// Checks the contract: names are unique and of lower-case letters, digits and hyphens; values are finite.
///
/// # Errors
///
/// Fails with [`CallError::Broken`] that names the metric.
pub fn checked(plugin: &str, metrics: Vec<(String, f64)>) -> Result<Vec<(String, f64)>, CallError> {
    let mut seen = BTreeSet::new();
    for (name, value) in &metrics {
        let is_word = !name.is_empty()
            && name.len() <= 64
            && name.chars().all(|character| matches!(character, 'a'..='z' | '0'..='9' | '-'));
        let fault = if !is_word {
            "is not of lower-case letters, digits and hyphens"
        } else if !value.is_finite() {
            "is not finite"
        } else if !seen.insert(name.as_str()) {
            "comes twice"
        } else {
            continue;
        };
        return Err(CallError::broken(plugin, "measure", format!("the metric `{}` {fault}", name.escape_debug())));
    }
    Ok(metrics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_has_a_plain_name_and_a_finite_value() {
        assert!(checked("p", vec![("accuracy".into(), 0.5)]).is_ok());
        assert!(checked("p", vec![("accuracy".into(), f64::NAN)]).is_err());
        assert!(checked("p", vec![("\u{1b}[31m".into(), 0.5)]).is_err());
        assert!(checked("p", vec![("a".into(), 0.5), ("a".into(), 0.5)]).is_err());
    }
}

//! The recipe's judge, for plugins of other stages. Needs the grant `judge`.

use crate::{Error, Examples, Rollouts, Verdict, host};

#[cfg(target_arch = "wasm32")]
use crate::bindings::imports::tunesmith::method::judging as service;
#[cfg(not(target_arch = "wasm32"))]
use crate::native::judging as service;

/// Judges one answer per entry of `rows`: answer `i` is an answer to row `rows[i]` of `examples`. The same row may come more than once.
///
/// # Errors
///
/// Fails when the judge declines or the grant is missing.
pub fn judge(examples: &Examples<'_>, rows: &[usize], answers: &[String]) -> Result<Vec<Verdict>, Error> {
    host::verdicts(service::judge(examples.0, &narrow(rows), answers))
}

/// Compares two answers per entry of `rows`. [`Verdict::Right`] means that the first is better.
///
/// # Errors
///
/// As [`judge`].
pub fn compare(
    examples: &Examples<'_>,
    rows: &[usize],
    first: &[String],
    second: &[String],
) -> Result<Vec<Verdict>, Error> {
    host::verdicts(service::compare(examples.0, &narrow(rows), first, second))
}

/// Judges every rollout. Returns one verdict per rollout, in order.
///
/// # Errors
///
/// As [`judge`].
pub fn judge_rollouts(rollouts: &Rollouts<'_>) -> Result<Vec<Verdict>, Error> {
    host::verdicts(service::judge_rollouts(rollouts.0))
}

fn narrow(rows: &[usize]) -> Vec<u32> {
    rows.iter().map(|&row| row as u32).collect()
}

//! `curate`: what do we train on?

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::data::Examples;
use crate::error::CallError;

/// Chooses and makes the training set.
pub trait Curate: Send + Sync {
    /// Decides about every row of `pool`. Called before training, once per chunk of the pool.
    ///
    /// # Errors
    ///
    /// Fails when the plugin declines, is broken, or a service it asked fails.
    fn curate(&self, pool: Arc<Examples>, call: &mut Call) -> Result<Curated, CallError>;
}

/// What a curating plugin said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Curated {
    /// The choices, in the order in which they were made.
    pub choices: Vec<Choice>,
    /// Named numbers about rows.
    pub notes: Vec<(usize, String, f64)>,
}

/// One choice. Rows are numbers into the pool of the call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each variant is the WIT method of its name, documented there")]
pub enum Choice {
    Keep { row: usize, provenance: String },
    Replace { row: usize, completion: String, provenance: String },
    Add { prompt: String, completion: String, provenance: String, like: Option<usize> },
    Prefer { row: usize, chosen: String, rejected: String, provenance: String },
    Drop { row: usize, why: String },
}

/// Checks the contract: rows exist and have one fate, completions are not empty, a kept row has a completion, notes are finite.
///
/// Rows that no choice mentions are dropped with the reason `not chosen`.
///
/// # Errors
///
/// Fails with [`CallError::Broken`] that names the row.
pub fn checked(plugin: &str, pool: &Examples, mut curated: Curated) -> Result<Curated, CallError> {
    let broken = |what: String| CallError::broken(plugin, "curate", what);
    let mut is_decided = vec![false; pool.rows.len()];
    for choice in &curated.choices {
        let (row, texts): (Option<usize>, &[&String]) = match choice {
            Choice::Keep { row, .. } => {
                if pool.rows.get(*row).is_some_and(|example| example.completion.is_none()) {
                    return Err(broken(format!("row {row} was kept but has no completion in the data")));
                }
                (Some(*row), &[])
            }
            Choice::Drop { row, .. } => (Some(*row), &[]),
            Choice::Replace { row, completion, .. } => (Some(*row), &[completion]),
            Choice::Add { like, prompt, completion, .. } => {
                if like.is_some_and(|row| pool.rows.len() <= row) {
                    return Err(broken(format!(
                        "a row was added like row {}, of {} rows",
                        like.unwrap_or(0),
                        pool.rows.len()
                    )));
                }
                (None, &[prompt, completion])
            }
            Choice::Prefer { row, chosen, rejected, .. } => (Some(*row), &[chosen, rejected]),
        };
        if texts.iter().any(|text| text.is_empty()) {
            return Err(broken(format!("an empty text in {choice:?}")));
        }
        let Some(row) = row else { continue };
        let rows = pool.rows.len();
        let is_decided = is_decided.get_mut(row).ok_or_else(|| broken(format!("row {row} of {rows} rows")))?;
        // Several preferences of one prompt are data; two fates of one row are a mistake.
        if *is_decided && !matches!(choice, Choice::Prefer { .. }) {
            return Err(broken(format!("row {row} was decided twice")));
        }
        *is_decided = true;
    }
    if let Some((row, name, _)) =
        curated.notes.iter().find(|(row, _, value)| pool.rows.len() <= *row || !value.is_finite())
    {
        return Err(broken(format!("the note `{name}` of row {row} is not finite, or there is no such row")));
    }
    for (row, _) in is_decided.iter().enumerate().filter(|(_, is_decided)| !**is_decided) {
        curated.choices.push(Choice::Drop { row, why: "not chosen".into() });
    }
    Ok(curated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Example;
    use crate::model::Message;

    fn pool(rows: usize) -> Examples {
        let row = |id| {
            Arc::new(Example {
                id,
                messages: vec![Message::user("q")],
                completion: (id != 1).then(|| "a".into()),
                ..Example::default()
            })
        };
        Examples { rows: (0..rows as u64).map(row).collect(), round: 0 }
    }

    #[track_caller]
    fn check(choices: Vec<Choice>, notes: Vec<(usize, String, f64)>, expected: &str) {
        let error = checked("p", &pool(3), Curated { choices, notes }).expect_err("the contract is broken");
        let cause = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
        assert!(cause.contains(expected), "`{cause}` does not say `{expected}`");
    }

    fn keep(row: usize) -> Choice {
        Choice::Keep { row, provenance: "gold".into() }
    }

    #[test]
    fn a_row_that_does_not_exist_is_the_plugins_fault() {
        check(vec![keep(3)], vec![], "row 3 of 3 rows");
    }

    #[test]
    fn two_fates_of_one_row_are_the_plugins_fault() {
        check(vec![keep(0), Choice::Drop { row: 0, why: "x".into() }], vec![], "row 0 was decided twice");
    }

    #[test]
    fn an_empty_completion_is_the_plugins_fault() {
        check(
            vec![Choice::Replace { row: 0, completion: String::new(), provenance: "self".into() }],
            vec![],
            "empty text",
        );
    }

    #[test]
    fn a_row_without_a_completion_cannot_be_kept() {
        check(vec![keep(1)], vec![], "row 1 was kept but has no completion");
    }

    #[test]
    fn a_note_that_is_not_finite_is_the_plugins_fault() {
        check(vec![], vec![(0, "score".into(), f64::NAN)], "`score` of row 0");
    }

    #[test]
    fn rows_that_are_not_mentioned_are_dropped() {
        let curated = checked("p", &pool(2), Curated { choices: vec![keep(0)], notes: vec![] }).expect("fine");
        assert_eq!(curated.choices[1], Choice::Drop { row: 1, why: "not chosen".into() });
    }
}

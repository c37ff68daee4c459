//! `curate`: what do we train on?

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::data::{Examples, Member};
use crate::error::CallError;
use crate::model::Message;

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
    Group { row: usize, members: Vec<Member>, provenance: String },
    AddGroup { messages: Vec<Message>, members: Vec<Member>, provenance: String, like: Option<usize> },
}

impl Choice {
    /// The row that it decides about, if it is about one.
    fn row(&self) -> Option<usize> {
        match self {
            Self::Keep { row, .. }
            | Self::Replace { row, .. }
            | Self::Prefer { row, .. }
            | Self::Drop { row, .. }
            | Self::Group { row, .. } => Some(*row),
            Self::Add { .. } | Self::AddGroup { .. } => None,
        }
    }

    /// Whether a row may have several of them: several preferences of one prompt are data.
    fn may_repeat(&self) -> bool {
        matches!(self, Self::Prefer { .. } | Self::Group { .. })
    }

    /// Why the choice cannot be made of a pool of so many rows.
    fn fault(&self, pool: &Examples) -> Option<String> {
        let rows = pool.rows.len();
        let like = match self {
            Self::Add { like, .. } | Self::AddGroup { like, .. } => *like,
            _ => None,
        };
        if let Some(row) = like.filter(|row| rows <= *row) {
            return Some(format!("a row was added like row {row}, of {rows} rows"));
        }
        let is_empty = match self {
            Self::Keep { .. } | Self::Drop { .. } => false,
            Self::Replace { completion, .. } => completion.is_empty(),
            Self::Add { prompt, completion, .. } => prompt.is_empty() || completion.is_empty(),
            Self::Prefer { chosen, rejected, .. } => chosen.is_empty() || rejected.is_empty(),
            Self::Group { members, .. } => members.iter().any(|member| member.completion.is_empty()),
            Self::AddGroup { members, messages, .. } => {
                messages.is_empty() || members.iter().any(|member| member.completion.is_empty())
            }
        };
        if is_empty {
            return Some(format!("an empty text in {self:?}"));
        }
        match self {
            Self::Keep { row, .. } if pool.rows.get(*row).is_some_and(|example| example.completion.is_none()) => {
                Some(format!("row {row} was kept but has no completion in the data"))
            }
            Self::Group { members, .. } | Self::AddGroup { members, .. } => fault_of_members(members),
            _ => None,
        }
    }
}

/// The most completions of one group.
const MOST_MEMBERS: usize = 256;

fn fault_of_members(members: &[Member]) -> Option<String> {
    let is_word =
        |role: &str| role.len() <= 32 && role.chars().all(|letter| matches!(letter, 'a'..='z' | '0'..='9' | '-'));
    if members.is_empty() || MOST_MEMBERS < members.len() {
        return Some(format!("a group of {} completions; there can be 1 to {MOST_MEMBERS}", members.len()));
    }
    let wrong = members.iter().find(|member| !is_word(&member.role))?;
    Some(format!("the role {:?} is not one word of lower-case letters, digits and hyphens", wrong.role))
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
        if let Some(fault) = choice.fault(pool) {
            return Err(broken(fault));
        }
        let Some(row) = choice.row() else { continue };
        let rows = pool.rows.len();
        let is_decided = is_decided.get_mut(row).ok_or_else(|| broken(format!("row {row} of {rows} rows")))?;
        if *is_decided && !choice.may_repeat() {
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
    fn a_group_is_of_completions_with_roles() {
        let group = |members: &[(&str, &str)]| {
            let member = |(role, completion): &(&str, &str)| Member::new(*role, *completion);
            Choice::Group { row: 0, members: members.iter().map(member).collect(), provenance: "self".into() }
        };
        check(vec![group(&[])], vec![], "a group of 0 completions");
        check(vec![group(&[("gold", "a"), ("negative", "")])], vec![], "empty text");
        check(vec![group(&[("Gold", "a")])], vec![], "the role \"Gold\"");
        check(vec![group(&[("gold", "a")]), keep(0)], vec![], "row 0 was decided twice");
        let twice = vec![group(&[("gold", "a"), ("negative", "b")]), group(&[("", "a")])];
        assert!(checked("p", &pool(1), Curated { choices: twice, notes: vec![] }).is_ok());
        let orphan = Choice::AddGroup {
            messages: vec![],
            members: vec![Member::new("", "a")],
            provenance: "x".into(),
            like: None,
        };
        check(vec![orphan], vec![], "empty text");
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

//! What a curating plugin said, and the check of its contract.

use std::cell::RefCell;

use tunesmith_sdk::native;

use crate::Row;

/// What a curating plugin said, rows in the order of the pool.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curated {
    /// The choices, in the order in which they were made; rows that no choice mentions come last, as [`Choice::Omit`].
    pub choices: Vec<Choice>,
    /// Named numbers about rows.
    pub notes: Vec<(usize, String, f64)>,
}

impl Curated {
    /// The rows that are trained on as they are.
    pub fn kept(&self) -> Vec<usize> {
        let kept = |choice: &Choice| if let Choice::Keep { row, .. } = choice { Some(*row) } else { None };
        self.choices.iter().filter_map(kept).collect()
    }

    /// The notes of this name: rows and numbers.
    pub fn noted(&self, name: &str) -> Vec<(usize, f64)> {
        self.notes.iter().filter(|(_, its, _)| its == name).map(|(row, _, value)| (*row, *value)).collect()
    }
}

/// One choice.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each variant is the method of `TrainingSet` of its name, documented there")]
pub enum Choice {
    Keep { row: usize, provenance: String },
    Replace { row: usize, completion: String, provenance: String },
    Add { prompt: String, completion: String, provenance: String, like: Option<usize> },
    Prefer { row: usize, chosen: String, rejected: String, provenance: String },
    Omit { row: usize, why: String },
    Group { row: usize, members: Vec<(String, String)>, provenance: String },
    AddGroup { conversation: String, members: Vec<(String, String)>, provenance: String, like: Option<usize> },
}

/// The training set under construction.
#[derive(Default)]
pub(crate) struct Draft(RefCell<Curated>);

impl Draft {
    /// What was said about these rows, checked as the real host does.
    ///
    /// # Panics
    ///
    /// Panics if the plugin breaks the contract of `curate`.
    pub(crate) fn finish(self, rows: &[Row]) -> Curated {
        let mut curated = self.0.into_inner();
        let mut is_decided = vec![false; rows.len()];
        for choice in &curated.choices {
            let (row, texts): (_, &[&String]) = match choice {
                Choice::Keep { row, .. } => {
                    assert!(
                        rows.get(*row).is_none_or(|row| row.completion.is_some()),
                        "row {row} was kept but has no completion in the data"
                    );
                    (Some(*row), &[])
                }
                Choice::Omit { row, .. } => (Some(*row), &[]),
                Choice::Replace { row, completion, .. } => (Some(*row), &[completion]),
                Choice::Add { like, prompt, completion, .. } => {
                    assert!(
                        like.is_none_or(|row| row < rows.len()),
                        "a row was added like one that does not exist: {choice:?}"
                    );
                    (None, &[prompt, completion])
                }
                Choice::Prefer { row, chosen, rejected, .. } => (Some(*row), &[chosen, rejected]),
                Choice::Group { row, members, .. } => {
                    expect_members(members);
                    (Some(*row), &[])
                }
                Choice::AddGroup { conversation, members, like, .. } => {
                    expect_members(members);
                    assert!(
                        like.is_none_or(|row| row < rows.len()),
                        "a row was added like one that does not exist: {choice:?}"
                    );
                    (None, &[conversation])
                }
            };
            assert!(texts.iter().all(|text| !text.is_empty()), "an empty text in {choice:?}");
            let Some(row) = row else { continue };
            assert!(row < rows.len(), "row {row} of {} rows", rows.len());
            let may_repeat = matches!(choice, Choice::Prefer { .. } | Choice::Group { .. });
            assert!(!is_decided[row] || may_repeat, "row {row} was decided twice");
            is_decided[row] = true;
        }
        for (row, name, value) in &curated.notes {
            assert!(
                *row < rows.len() && value.is_finite(),
                "the note `{name}` of row {row} is {value}, or there is no such row"
            );
        }
        let forgotten = is_decided.iter().enumerate().filter(|(_, is_decided)| !**is_decided);
        curated.choices.extend(forgotten.map(|(row, _)| Choice::Omit { row, why: "not chosen".into() }));
        curated
    }

    fn push(&self, choice: Choice) {
        self.0.borrow_mut().choices.push(choice);
    }
}

fn members(roles: &[String], completions: &[String]) -> Vec<(String, String)> {
    assert_eq!(roles.len(), completions.len(), "one role per completion");
    roles.iter().cloned().zip(completions.iter().cloned()).collect()
}

fn expect_members(members: &[(String, String)]) {
    assert!((1..=256).contains(&members.len()), "a group of {} completions", members.len());
    for (role, completion) in members {
        let is_word = role.len() <= 32 && role.chars().all(|letter| matches!(letter, 'a'..='z' | '0'..='9' | '-'));
        assert!(is_word, "the role {role:?} is not one word of lower-case letters, digits and hyphens");
        assert!(!completion.is_empty(), "an empty completion in the role {role:?}");
    }
}

impl native::TrainingSet for Draft {
    fn keep(&self, row: u32, provenance: &str) {
        self.push(Choice::Keep { row: row as usize, provenance: provenance.into() });
    }

    fn replace(&self, row: u32, completion: &str, provenance: &str) {
        self.push(Choice::Replace { row: row as usize, completion: completion.into(), provenance: provenance.into() });
    }

    fn add(&self, prompt: &str, completion: &str, provenance: &str, like: Option<u32>) {
        let like = like.map(|row| row as usize);
        self.push(Choice::Add {
            prompt: prompt.into(),
            completion: completion.into(),
            provenance: provenance.into(),
            like,
        });
    }

    fn prefer(&self, row: u32, chosen: &str, rejected: &str, provenance: &str) {
        let (chosen, rejected) = (chosen.into(), rejected.into());
        self.push(Choice::Prefer { row: row as usize, chosen, rejected, provenance: provenance.into() });
    }

    fn group(&self, row: u32, roles: &[String], completions: &[String], provenance: &str) {
        let members = members(roles, completions);
        self.push(Choice::Group { row: row as usize, members, provenance: provenance.into() });
    }

    fn add_group(
        &self,
        conversation: &str,
        roles: &[String],
        completions: &[String],
        provenance: &str,
        like: Option<u32>,
    ) {
        self.push(Choice::AddGroup {
            conversation: conversation.into(),
            members: members(roles, completions),
            provenance: provenance.into(),
            like: like.map(|row| row as usize),
        });
    }

    fn omit(&self, row: u32, why: &str) {
        self.push(Choice::Omit { row: row as usize, why: why.into() });
    }

    fn note(&self, row: u32, name: &str, value: f64) {
        self.0.borrow_mut().notes.push((row as usize, name.into(), value));
    }
}

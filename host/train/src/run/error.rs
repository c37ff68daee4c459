//! Why a run stopped, sorted by who has to act.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use tunesmith_core::error::CallError;

use crate::data::DataError;
use crate::error::ModelError;

/// Why a run did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A data file is wrong. Fix the data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A row cannot be used. Fix the data or the recipe.
    #[error("row {id} of `{set}`: {what}\nhint: {hint}")]
    Row {
        /// `train`, or the evaluation set's name.
        set: String,
        /// The row's number in the data, from 0.
        id: u64,
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// The recipe asks for something that does not go together. Fix the recipe.
    #[error("`{field}`: {what}\nhint: {hint}")]
    Recipe {
        /// The key with its tables.
        field: &'static str,
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// Nothing is left to train on. Fix the curating plugin's settings, or the data.
    #[error("the training set is empty: {} row(s) were dropped ({})\nhint: loosen the settings of `[curate]`, or look at the data", dropped.values().sum::<u64>(), reasons(dropped))]
    EmptyTrainingSet {
        /// How many rows were dropped, by reason.
        dropped: BTreeMap<String, u64>,
    },
    /// The model's folder is wrong, or the model was asked for something impossible.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A plugin failed. The error says who has to act.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The output folder is taken. Choose another.
    #[error("`{}` {what}\nhint: {hint}", path.display())]
    Output {
        /// The folder.
        path: PathBuf,
        /// What is there.
        what: String,
        /// What to do.
        hint: String,
    },
    /// A run that was stopped cannot go on. Mend what is named, or begin a new run.
    #[error("the run in `{}` cannot go on: {what}\nhint: {hint}", path.display())]
    Resume {
        /// The run folder, or the checkpoint.
        path: PathBuf,
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// A file of the run could not be written or read.
    #[error("cannot write `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The numbers of a step left the range of floats. The step was not made.
    #[error(
        "step {step}: {what} (rows {rows:?})\nhint: lower `train.learning-rate`, set `train.clip`, or look at these rows; the last checkpoint is whole"
    )]
    NotFinite {
        /// The step, from 0.
        step: u32,
        /// The ids of its rows.
        rows: Vec<u64>,
        /// Which number.
        what: String,
    },
}

impl RunError {
    /// Shorthand for [`RunError::Io`].
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// Reasons and how often each came, most frequent first.
fn reasons(dropped: &BTreeMap<String, u64>) -> String {
    let mut reasons: Vec<(&String, &u64)> = dropped.iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let texts: Vec<String> =
        reasons.into_iter().map(|(why, count)| format!("{}: {count}", why.escape_debug())).collect();
    if texts.is_empty() { "no reason was given".into() } else { texts.join(", ") }
}

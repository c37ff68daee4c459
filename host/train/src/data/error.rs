//! What can be wrong with a data file.

use std::io;
use std::path::PathBuf;

use super::Place;

/// Why data could not be read. Every text names the file; those about rows also the line or row, and where there is one the column.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file could not be opened or read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is not whole, or not of its format.
    #[error("`{}` {what}\nhint: {hint}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// A row is not what was expected.
    #[error("{place}{}: {what}\nhint: {hint}", .column.map_or(String::new(), |column| format!(":{column}")))]
    Invalid {
        /// Where it stands.
        place: Place,
        /// The byte of the line, from 1, where that is known.
        column: Option<usize>,
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// There is no row.
    #[error("`{}` has no rows\nhint: {}", path.display(),
        if *is_limited { "the limit is 0" } else { "a data file has one JSON object per line, or is Parquet" })]
    Empty {
        /// The file.
        path: PathBuf,
        /// Whether the limit is 0.
        is_limited: bool,
    },
    /// The files that are asked for are not there.
    #[error("`{}` {what}\nhint: {hint}", path.display())]
    Files {
        /// The path or pattern.
        path: PathBuf,
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// The file is not the one that was checked before.
    #[error("`{}` has changed since it was checked\nhint: leave data files alone while a run reads them, and run again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

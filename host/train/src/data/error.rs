//! What can be wrong with a data file.

use std::io;
use std::path::PathBuf;

/// Why data could not be read. Every text names the file; those about rows also the line and where there is one the column.
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
    /// A row is not what was expected.
    #[error("{}:{line}{}: {what}\nhint: {hint}", path.display(), .column.map_or(String::new(), |column| format!(":{column}")))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The byte of the line, from 1, where that is known.
        column: Option<usize>,
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// There is no row.
    #[error("`{}` has no rows\nhint: {}", path.display(),
        if *is_limited { "the limit is 0" } else { "a data file has one JSON object per line" })]
    Empty {
        /// The file.
        path: PathBuf,
        /// Whether the limit is 0.
        is_limited: bool,
    },
}

//! The trace of a run on disk: one line per event, chained by hash.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use tunesmith_core::trace::{Chain, Record, Times};

use crate::run::RunError;

/// An open `trace.jsonl`.
#[derive(Debug)]
pub struct TraceFile {
    path: PathBuf,
    file: File,
    chain: Chain,
}

impl TraceFile {
    /// Begins a trace. The file must not exist.
    ///
    /// # Errors
    ///
    /// Fails when there is such a file already, or it cannot be made.
    pub fn create(path: &Path) -> Result<Self, RunError> {
        let file = OpenOptions::new().append(true).create_new(true).open(path).map_err(RunError::io(path))?;
        Ok(Self { path: path.to_owned(), file, chain: Chain::default() })
    }

    /// Adds an event as one write, so that a crash leaves whole lines.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be written.
    pub fn add(&mut self, record: &Record, times: &Times) -> Result<(), RunError> {
        let mut line = self.chain.seal(record, times);
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(RunError::io(&self.path))
    }

    /// The hash of the last line.
    pub fn head(&self) -> &str {
        self.chain.head()
    }

    /// Waits until everything is on disk.
    ///
    /// # Errors
    ///
    /// Fails when the disk does.
    pub fn sync(&self) -> Result<(), RunError> {
        self.file.sync_all().map_err(RunError::io(&self.path))
    }
}

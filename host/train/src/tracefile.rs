//! The trace of a run on disk: one line per event, chained by hash. Whoever writes it holds its lock.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use tunesmith_core::trace::{Chain, Record, Times};

use crate::run::RunError;

/// An open `trace.jsonl`. No other process writes it, or anything else of its run, until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct TraceFile {
    path: PathBuf,
    file: File,
    chain: Chain,
    lines: usize,
}

impl TraceFile {
    /// Begins a trace. The file must not exist.
    ///
    /// # Errors
    ///
    /// Fails when there is such a file already, or it cannot be made.
    pub fn create(path: &Path) -> Result<Self, RunError> {
        let file = OpenOptions::new().append(true).create_new(true).open(path).map_err(RunError::io(path))?;
        lock(&file, path)?;
        Ok(Self { path: path.to_owned(), file, chain: Chain::default(), lines: 0 })
    }

    /// Opens a trace that is there, and reads it. Lines can be added after [`TraceFile::cut`].
    ///
    /// # Errors
    ///
    /// Fails when it cannot be read, or another process is writing it.
    pub fn open(path: &Path) -> Result<(Self, Vec<u8>), RunError> {
        let mut file = OpenOptions::new().read(true).append(true).open(path).map_err(RunError::io(path))?;
        lock(&file, path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(RunError::io(path))?;
        Ok((Self { path: path.to_owned(), file, chain: Chain::default(), lines: 0 }, bytes))
    }

    /// Cuts the file back to its first `lines` lines, which have `bytes` bytes; the last of them has this hash.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be changed.
    pub fn cut(&mut self, lines: usize, bytes: u64, head: Option<&str>) -> Result<(), RunError> {
        self.file.set_len(bytes).map_err(RunError::io(&self.path))?;
        self.chain = head.map_or_else(Chain::default, Chain::after);
        self.lines = lines;
        Ok(())
    }

    /// The folder with the file got another name.
    pub(crate) fn lies_at(&mut self, path: &Path) {
        path.clone_into(&mut self.path);
    }

    /// Adds an event as one write, so that a crash leaves whole lines.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be written.
    pub fn add(&mut self, record: &Record, times: &Times) -> Result<(), RunError> {
        let mut line = self.chain.seal(record, times);
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(RunError::io(&self.path))?;
        self.lines += 1;
        Ok(())
    }

    /// The hash of the last line.
    pub fn head(&self) -> &str {
        self.chain.head()
    }

    /// The number of lines.
    pub fn lines(&self) -> usize {
        self.lines
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

/// Fails if another process has the file locked. The system takes a lock away with the process that holds it, so none is ever left over.
fn lock(file: &File, path: &Path) -> Result<(), RunError> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(RunError::Output {
            path: path.parent().unwrap_or(path).to_owned(),
            what: "is in use: another process works on this run".into(),
            hint: "wait until that process ends, or stop it".into(),
        }),
        // Some file systems have no locks; there nobody can be told apart.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

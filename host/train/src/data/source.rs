//! One data file: its format, and its rows as columns.

use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value};
use tunesmith_core::digest;

use super::lines::JsonLines;
use super::parquet::ParquetRows;
use super::{DataError, Place};

/// The rows of a file with their places.
pub(super) type Columns<'a> = Box<dyn Iterator<Item = Result<Row, DataError>> + 'a>;

/// Where a row stands, and its columns.
pub(super) type Row = (Place, Map<String, Value>);

/// A file that was opened once; it is opened again for each pass.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    format: Format,
    stamp: Stamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    JsonLines,
    PackedLines,
    Parquet,
}

/// By which a changed file is found out.
#[derive(Debug, PartialEq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn new(metadata: &Metadata) -> Self {
        Self { bytes: metadata.len(), modified: metadata.modified().ok() }
    }
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let read = |source| DataError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(read)?;
        let metadata = file.metadata().map_err(read)?;
        if metadata.is_dir() {
            let hint = "name a file, or all files in it: `folder/*.jsonl`".into();
            return Err(DataError::Files { path: path.to_owned(), what: "is a folder".into(), hint });
        }
        let mut head = Vec::new();
        file.by_ref().take(4).read_to_end(&mut head).map_err(read)?;
        Ok(Self { path: path.to_owned(), format: format(path, &head)?, stamp: Stamp::new(&metadata) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the format.
    pub(super) fn format(&self) -> &'static str {
        match self.format {
            Format::JsonLines => "JSON lines",
            Format::PackedLines => "JSON lines, gzip",
            Format::Parquet => "Parquet",
        }
    }

    /// The digest of the whole file.
    pub(super) fn digest(&self) -> Result<String, DataError> {
        digest::of_reader(&mut self.file()?).map_err(|source| self.unreadable(source))
    }

    /// The rows from the first. Must not be read on after a fault.
    pub(super) fn rows(&self) -> Result<Columns<'_>, DataError> {
        let file = self.file()?;
        Ok(match self.format {
            Format::JsonLines => Box::new(JsonLines::new(&self.path, BufReader::new(file))),
            Format::PackedLines => {
                let unpacked = MultiGzDecoder::new(BufReader::new(file));
                Box::new(JsonLines::new(&self.path, BufReader::with_capacity(1 << 16, unpacked)))
            }
            Format::Parquet => Box::new(ParquetRows::open(&self.path, file)?),
        })
    }

    fn file(&self) -> Result<File, DataError> {
        let file = File::open(&self.path).map_err(|source| self.unreadable(source))?;
        let metadata = file.metadata().map_err(|source| self.unreadable(source))?;
        if Stamp::new(&metadata) == self.stamp { Ok(file) } else { Err(DataError::Changed { path: self.path.clone() }) }
    }

    fn unreadable(&self, source: io::Error) -> DataError {
        DataError::Read { path: self.path.clone(), source }
    }
}

/// What the file is, by its first bytes; its name must not say something else.
fn format(path: &Path, head: &[u8]) -> Result<Format, DataError> {
    let format = if head.starts_with(b"PAR1") {
        Format::Parquet
    } else if head.starts_with(&[0x1f, 0x8b]) {
        Format::PackedLines
    } else {
        Format::JsonLines
    };
    let damaged = |what: &str, hint: &str| {
        Err(DataError::Damaged { path: path.to_owned(), what: what.into(), hint: hint.into() })
    };
    let ends_with = |end: &str| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(end));
    match format {
        Format::Parquet => Ok(format),
        _ if ends_with("parquet") => damaged("is no Parquet file", "fetch it again, or give it the name of what it is"),
        Format::JsonLines if ends_with("gz") => {
            damaged("is not packed with gzip", "fetch it again, or take `.gz` from its name")
        }
        _ if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) => damaged(
            "is packed with zstd",
            "unpack it with `zstd -d`, pack it with `gzip`, or use Parquet, which packs by itself",
        ),
        _ => Ok(format),
    }
}

//! `curated.jsonl`: the training set on disk, so that it takes a place in a file per row and nothing more.
//!
//! Its lines are what is trained on, in order, then what is not. Lines with a target are the training set, whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tunesmith_core::data::{Example, Target, TrainingRow};

use crate::run::RunError;
use crate::service::digests::TrainingSetDigest;

/// A file in the making. It gets its name when it is whole.
#[derive(Debug)]
pub(crate) struct SetWriter {
    path: PathBuf,
    kept: BufWriter<File>,
    /// Lines of what is not trained on, which come last.
    dropped: BufWriter<File>,
    ends: Vec<u64>,
    digest: TrainingSetDigest,
}

impl SetWriter {
    pub(crate) fn create(path: &Path) -> Result<Self, RunError> {
        let create = |path: PathBuf| {
            File::options().read(true).write(true).create(true).truncate(true).open(&path).map_err(RunError::io(&path))
        };
        Ok(Self {
            path: path.to_owned(),
            kept: BufWriter::new(create(kept_path(path))?),
            dropped: BufWriter::new(create(dropped_path(path))?),
            ends: Vec::new(),
            digest: TrainingSetDigest::default(),
        })
    }

    /// How many rows are trained on.
    pub(crate) fn count(&self) -> usize {
        self.ends.len()
    }

    /// The digest of the rows so far.
    pub(crate) fn digest(&mut self) -> String {
        std::mem::take(&mut self.digest).finish()
    }

    /// Adds a row that is trained on.
    pub(crate) fn keep(&mut self, row: &TrainingRow) -> Result<(), RunError> {
        self.digest.add(row);
        let line = KeptLine {
            id: row.example.id,
            provenance: &row.provenance,
            notes: as_map(&row.notes),
            target: &row.target,
            example: &row.example,
        };
        let bytes = write_line(&mut self.kept, &line).map_err(RunError::io(&self.path))?;
        self.ends.push(self.ends.last().copied().unwrap_or(0) + bytes);
        Ok(())
    }

    /// Notes a row that is not trained on.
    pub(crate) fn drop_row(&mut self, id: u64, why: &str, notes: &[(String, f64)]) -> Result<(), RunError> {
        let line = DroppedLine { id, dropped: why, notes: as_map(notes) };
        write_line(&mut self.dropped, &line).map(|_| ()).map_err(RunError::io(&self.path))
    }

    /// Makes the file whole and gives its rows.
    pub(crate) fn finish(self) -> Result<SetRows, RunError> {
        let Self { path, kept, dropped, ends, .. } = self;
        let finish = || {
            let mut file = kept.into_inner().map_err(io::IntoInnerError::into_error)?;
            let mut rest = dropped.into_inner().map_err(io::IntoInnerError::into_error)?;
            rest.rewind()?;
            io::copy(&mut rest, &mut file)?;
            file.sync_all()?;
            fs::remove_file(dropped_path(&path))?;
            fs::rename(kept_path(&path), &path)?;
            Ok(file)
        };
        let file = finish().map_err(RunError::io(&path))?;
        Ok(SetRows { path: path.clone(), file, ends })
    }
}

fn kept_path(path: &Path) -> PathBuf {
    path.with_extension("partial")
}

fn dropped_path(path: &Path) -> PathBuf {
    path.with_extension("dropped.partial")
}

/// Writes a line; gives its bytes.
fn write_line(file: &mut impl Write, line: &impl Serialize) -> io::Result<u64> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    file.write_all(&text)?;
    Ok(text.len() as u64)
}

/// The rows of a training set, read when they are asked for.
#[derive(Debug)]
pub(crate) struct SetRows {
    path: PathBuf,
    file: File,
    /// Where each line ends.
    ends: Vec<u64>,
}

impl SetRows {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The row with this number, from 0, and the bytes of its line.
    pub(crate) fn row(&mut self, number: usize) -> Result<(TrainingRow, usize), RunError> {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        let mut text = vec![0; (self.ends[number] - start) as usize];
        let mut read = || -> io::Result<OwnLine> {
            self.file.seek(SeekFrom::Start(start))?;
            self.file.read_exact(&mut text)?;
            Ok(serde_json::from_slice(&text)?)
        };
        let OwnLine { provenance, notes, target, example } = read().map_err(RunError::io(&self.path))?;
        let notes = notes.into_iter().filter_map(|(name, value)| Some((name, value.as_f64()?))).collect();
        Ok((TrainingRow { example: Arc::new(example), target, provenance, notes }, text.len()))
    }
}

/// A line of what is trained on.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct KeptLine<'a> {
    id: u64,
    provenance: &'a str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    notes: Map<String, Value>,
    target: &'a Target,
    example: &'a Example,
}

/// The same, read back.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct OwnLine {
    provenance: String,
    #[serde(default)]
    notes: Map<String, Value>,
    target: Target,
    example: Example,
}

/// A line of what is not trained on.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct DroppedLine<'a> {
    id: u64,
    dropped: &'a str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    notes: Map<String, Value>,
}

fn as_map(notes: &[(String, f64)]) -> Map<String, Value> {
    notes.iter().map(|(name, value)| (name.clone(), Value::from(*value))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(id: u64, text: &str) -> TrainingRow {
        let columns =
            json!({"prompt": text, "share": 0.1, "big": u64::MAX, "nested": {"z": null, "a": [1.0e-300, -0.0]}});
        let example = Example { id, columns: columns.as_object().cloned().unwrap_or_default(), ..Example::default() };
        let notes = vec![("score".to_owned(), 0.1)];
        TrainingRow {
            example: Arc::new(example),
            target: Target::Completion(text.into()),
            provenance: "gold".into(),
            notes,
        }
    }

    #[test]
    fn rows_come_back_as_they_went_in_any_order() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("curated.jsonl");
        let mut writer = SetWriter::create(&path).expect("writable");
        let rows = [row(0, "a"), row(1, "line\nfeed é"), row(2, "")];
        writer.keep(&rows[0]).expect("writable");
        writer.drop_row(7, "too long", &[("tokens".into(), 9.0)]).expect("writable");
        rows[1..].iter().for_each(|row| writer.keep(row).expect("writable"));
        assert!(!path.exists(), "it appears whole");
        let mut set = writer.finish().expect("writable");
        for number in [2, 0, 1, 1] {
            assert_eq!(set.row(number).expect("it is there").0, rows[number]);
        }
        let text = fs::read_to_string(&path).expect("it is there");
        assert_eq!(text.lines().last(), Some(r#"{"id":7,"dropped":"too long","notes":{"tokens":9.0}}"#));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }
}

//! A tape: every question that was sent and its answer, one JSON line each. A run can be repeated from it without a server.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tunesmith_core::digest;
use tunesmith_core::recipe::TapeMode;

use super::questions::Question;

/// Why a tape cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TapeError {
    /// The file cannot be read or written.
    #[error("cannot use the tape `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A line is not what was written.
    #[error("line {line} of the tape `{}` is damaged\nhint: remove the line; its request will be sent again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// Another process writes on it.
    #[error("the tape `{}` is in use by another process\nhint: wait until that process ends, or give this run a tape of its own", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
}

impl TapeError {
    /// The error with its cause in one line.
    pub(super) fn told(&self) -> String {
        let text = self.to_string().replace("\nhint:", "; hint:");
        match self {
            Self::Io { source, .. } => format!("{text}: {source}"),
            _ => text,
        }
    }
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    /// The digest of what was asked.
    request: String,
    /// What was asked.
    asked: Value,
    /// The digest of the answer's text.
    digest: String,
    /// The answer as JSON.
    answer: String,
}

impl Line {
    fn is_whole(&self) -> bool {
        self.digest == digest::of(self.answer.as_bytes())
    }
}

/// The tape of one model. The file is made with its first line.
#[derive(Debug)]
pub(super) struct Tape {
    path: PathBuf,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    /// Where the line of each request begins, and how long it is.
    places: BTreeMap<String, (u64, u64)>,
    /// Where the next line goes: what is behind it is the beginning of a line that was never ended.
    end: u64,
    reader: Option<File>,
    writer: Option<File>,
}

impl Tape {
    /// Reads through a tape. One that is not there yet is empty, unless it is to be replayed.
    pub(super) fn open(path: &Path, mode: TapeMode) -> Result<Self, TapeError> {
        let io = |source| TapeError::Io { path: path.to_owned(), source };
        let mut kept = Kept { places: BTreeMap::new(), end: 0, reader: None, writer: None };
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && mode == TapeMode::Record => {}
            file => {
                let file = file.map_err(io)?;
                kept.read_through(&file, path)?;
                kept.reader = Some(file);
            }
        }
        Ok(Self { path: path.to_owned(), kept: Mutex::new(kept) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The answer to this question, if it was asked before.
    pub(super) fn find<T: DeserializeOwned>(&self, question: &Question) -> Result<Option<T>, TapeError> {
        self.lock().find(&question.hash()).map_err(|source| self.io(source))
    }

    /// Keeps an answer. If another thread was first with the same question, its answer is the one that counts.
    pub(super) fn keep<T: Serialize + DeserializeOwned>(
        &self,
        question: &Question,
        answer: &T,
    ) -> Result<T, TapeError> {
        let io = |source| self.io(source);
        let request = question.hash();
        let mut kept = self.lock();
        if let Some(known) = kept.find(&request).map_err(io)? {
            return Ok(known);
        }
        if kept.writer.is_none() {
            let writer = open_writer(&self.path).map_err(io)?;
            match writer.try_lock() {
                Err(TryLockError::WouldBlock) => return Err(TapeError::InUse { path: self.path.clone() }),
                // Some file systems have no locks; there nobody can be told apart.
                Ok(()) | Err(TryLockError::Error(_)) => {}
            }
            if writer.metadata().map_err(io)?.len() != kept.end {
                writer.set_len(kept.end).map_err(io)?;
            }
            kept.writer = Some(writer);
            kept.reader = Some(File::open(&self.path).map_err(io)?);
        }
        let answer = serde_json::to_string(answer).map_err(|error| io(error.into()))?;
        kept.write(&Line { digest: digest::of(answer.as_bytes()), asked: question.as_json(), answer, request })
            .map_err(io)
    }

    fn io(&self, source: io::Error) -> TapeError {
        TapeError::Io { path: self.path.clone(), source }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn read_through(&mut self, file: &File, path: &Path) -> Result<(), TapeError> {
        let mut reader = BufReader::new(file);
        let mut text = Vec::new();
        for number in 1.. {
            text.clear();
            let read = reader.read_until(b'\n', &mut text);
            let length = read.map_err(|source| TapeError::Io { path: path.to_owned(), source })? as u64;
            // A line without an end is one that a killed process was writing.
            if text.last() != Some(&b'\n') {
                break;
            }
            match serde_json::from_slice::<Line>(&text) {
                Ok(line) if line.is_whole() => self.places.entry(line.request).or_insert((self.end, length)),
                _ => return Err(TapeError::Damaged { path: path.to_owned(), line: number }),
            };
            self.end += length;
        }
        Ok(())
    }

    /// The answer to a request. Given as it is read back, so that a run gets the same with and without the server.
    fn find<T: DeserializeOwned>(&mut self, request: &str) -> io::Result<Option<T>> {
        let (Some(&(begin, length)), Some(file)) = (self.places.get(request), &mut self.reader) else {
            return Ok(None);
        };
        file.seek(SeekFrom::Start(begin))?;
        let mut text = Vec::new();
        file.take(length).read_to_end(&mut text)?;
        let line: Line = serde_json::from_slice(&text)?;
        Ok(Some(serde_json::from_str(&line.answer)?))
    }

    fn write<T: DeserializeOwned>(&mut self, line: &Line) -> io::Result<T> {
        let answer = serde_json::from_str(&line.answer)?;
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        if let Some(file) = &mut self.writer {
            file.write_all(&text)?;
        }
        self.places.insert(line.request.clone(), (self.end, text.len() as u64));
        self.end += text.len() as u64;
        Ok(answer)
    }
}

fn open_writer(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::server::questions::embeddings;

    fn question(text: &str) -> Question {
        embeddings("m", &[text.into()])
    }

    #[test]
    fn what_is_kept_is_found_again_and_the_first_answer_counts() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("tapes/a.jsonl");
        let tape = Tape::open(&path, TapeMode::Record).expect("it opens");
        assert!(!path.exists(), "nothing is written before there is an answer");
        assert_eq!(tape.find::<Vec<f32>>(&question("a")).expect("it reads"), None);
        let third = vec![1.0_f32 / 3.0];
        assert_eq!(tape.keep(&question("a"), &third).expect("it keeps"), third);
        assert_eq!(tape.keep(&question("a"), &vec![9.0_f32]).expect("it keeps"), third);
        assert_eq!(tape.keep(&question("b"), &vec![2.0_f32]).expect("it keeps"), [2.0]);
        let another = Tape::open(&path, TapeMode::Record).expect("it opens");
        let told = another.keep(&question("c"), &third).expect_err("it is in use").told();
        assert!(told.contains("in use by another process; hint:"), "{told}");
        drop((tape, another));
        for mode in [TapeMode::Record, TapeMode::Replay] {
            let again = Tape::open(&path, mode).expect("it opens");
            assert_eq!(again.find(&question("a")).expect("it reads"), Some(third.clone()));
            assert_eq!(again.find(&question("b")).expect("it reads"), Some(vec![2.0_f32]));
        }
        assert!(Tape::open(&folder.path().join("none"), TapeMode::Replay).is_err());
    }

    #[test]
    fn a_line_that_was_never_ended_goes_and_other_damage_is_told() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a.jsonl");
        let tape = Tape::open(&path, TapeMode::Record).expect("it opens");
        for text in ["a", "b"] {
            tape.keep(&question(text), &vec![1.0_f32]).expect("it keeps");
        }
        drop(tape);
        let whole = fs::read_to_string(&path).expect("it is there");
        fs::write(&path, format!("{whole}{}", &whole[..40])).expect("writable");
        let torn = Tape::open(&path, TapeMode::Record).expect("it opens");
        torn.keep(&question("c"), &vec![3.0_f32]).expect("it keeps");
        drop(torn);
        let again = Tape::open(&path, TapeMode::Replay).expect("it opens");
        assert_eq!(again.find(&question("c")).expect("it reads"), Some(vec![3.0_f32]));
        let (first, rest) = whole.split_once('\n').expect("two lines");
        fs::write(&path, format!("{first}\n{}", rest.replace("[1.0]", "[7.0]"))).expect("writable");
        let told = Tape::open(&path, TapeMode::Record).expect_err("a digest is wrong").to_string();
        assert!(told.starts_with("line 2 of the tape"), "{told}");
    }
}

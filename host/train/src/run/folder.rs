//! The run folder: made whole or not at all, then only added to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tunesmith_core::plan::Plan;

use super::RunError;
use crate::tracefile::TraceFile;

/// The folder of a run that is going on.
pub(crate) struct RunFolder {
    pub(crate) path: PathBuf,
    pub(crate) trace: TraceFile,
    metrics: Lines,
    samples: Lines,
}

/// Fails if `path` is anything but a place for a new run: nothing, or an empty folder.
pub(crate) fn refuse_taken(path: &Path) -> Result<(), RunError> {
    let taken =
        |what: &str, hint: &str| RunError::Output { path: path.to_owned(), what: what.into(), hint: hint.into() };
    match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(taken("is a file", "choose another `output`"))
        }
        Err(error) => Err(RunError::Io { path: path.to_owned(), source: error }),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) if path.join("plan.json").exists() => {
                Err(taken("already holds a run", "choose another `output`, or move the old run away"))
            }
            Some(_) => {
                Err(taken("is not empty", "choose another `output`; a run never writes into a folder with other files"))
            }
        },
    }
}

impl RunFolder {
    /// Makes the folder with its plan and an empty trace under another name beside it, and renames it: whoever sees it sees a run.
    pub(crate) fn create(plan: &Plan) -> Result<Self, RunError> {
        let path = &plan.output;
        refuse_taken(path)?;
        let name = path.file_name().ok_or_else(|| RunError::Output {
            path: path.clone(),
            what: "has no name".into(),
            hint: "choose another `output`".into(),
        })?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(parent).map_err(RunError::io(parent))?;
        let partial = parent.join(format!(".{}.partial-{}", name.to_string_lossy(), std::process::id()));
        fs::create_dir(&partial).map_err(RunError::io(&partial))?;
        let made = Self::fill(plan, &partial).and_then(|()| {
            // Renaming replaces an empty folder, and fails if another run was quicker.
            fs::rename(&partial, path).or_else(|_| {
                refuse_taken(path).and_then(|()| {
                    fs::remove_dir(path).and_then(|()| fs::rename(&partial, path)).map_err(RunError::io(path))
                })
            })
        });
        if made.is_err() {
            // What is there is ours alone; if it cannot be removed, the first error is the one to tell.
            let _ = fs::remove_dir_all(&partial);
        }
        made?;
        sync_folder(parent);
        Self::open(path)
    }

    fn fill(plan: &Plan, folder: &Path) -> Result<(), RunError> {
        write_json(&folder.join("plan.json"), plan)?;
        for name in ["metrics.jsonl", "samples.jsonl"] {
            let path = folder.join(name);
            File::create_new(&path).map_err(RunError::io(&path))?;
        }
        let path = folder.join("checkpoints");
        fs::create_dir(&path).map_err(RunError::io(&path))
    }

    fn open(path: &Path) -> Result<Self, RunError> {
        Ok(Self {
            path: path.to_owned(),
            trace: TraceFile::create(&path.join("trace.jsonl"))?,
            metrics: Lines::open(&path.join("metrics.jsonl"))?,
            samples: Lines::open(&path.join("samples.jsonl"))?,
        })
    }

    /// Adds a line to `metrics.jsonl`.
    pub(crate) fn metric(&mut self, line: &impl Serialize) -> Result<(), RunError> {
        self.metrics.add(line)
    }

    /// Adds lines to `samples.jsonl`.
    pub(crate) fn samples(&mut self, lines: &[impl Serialize]) -> Result<(), RunError> {
        lines.iter().try_for_each(|line| self.samples.add(line))
    }

    /// Waits until all lines are on disk.
    pub(crate) fn sync(&self) -> Result<(), RunError> {
        self.trace.sync()?;
        self.metrics.sync()?;
        self.samples.sync()
    }
}

/// A file of JSON lines that is added to.
struct Lines {
    path: PathBuf,
    file: File,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, RunError> {
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(RunError::io(path))?;
        Ok(Self { path: path.to_owned(), file })
    }

    fn add(&mut self, line: &impl Serialize) -> Result<(), RunError> {
        let mut text = json_line(line, &self.path)?;
        text.push('\n');
        self.file.write_all(text.as_bytes()).map_err(RunError::io(&self.path))
    }

    fn sync(&self) -> Result<(), RunError> {
        self.file.sync_all().map_err(RunError::io(&self.path))
    }
}

fn json_line(value: &impl Serialize, path: &Path) -> Result<String, RunError> {
    serde_json::to_string(value)
        .map_err(|error| RunError::Io { path: path.to_owned(), source: io::Error::other(error) })
}

/// Writes a whole JSON file: under another name first, so that nobody ever reads half of it.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), RunError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| RunError::Io { path: path.to_owned(), source: io::Error::other(error) })?;
    write_whole(path, format!("{text}\n").as_bytes())
}

/// Writes a whole file of JSON lines, as [`write_json`].
pub(crate) fn write_json_lines(path: &Path, lines: &[impl Serialize]) -> Result<(), RunError> {
    let mut text = String::new();
    for line in lines {
        text.push_str(&json_line(line, path)?);
        text.push('\n');
    }
    write_whole(path, text.as_bytes())
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    let partial = path.with_extension("partial");
    let write = || {
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().map_err(RunError::io(path))
}

/// Makes a folder appear whole: `fill` writes into another one, whose files are brought to disk before it gets its name.
pub(crate) fn folder_whole(path: &Path, fill: impl FnOnce(&Path) -> Result<(), RunError>) -> Result<(), RunError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = parent.join(format!(".{name}.partial"));
    // Left over from a run that was stopped while it wrote.
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(RunError::io(&partial))?;
    }
    fs::create_dir_all(&partial).map_err(RunError::io(&partial))?;
    fill(&partial)?;
    sync_files(&partial).map_err(RunError::io(&partial))?;
    fs::rename(&partial, path).map_err(RunError::io(path))?;
    sync_folder(parent);
    Ok(())
}

fn sync_files(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { sync_files(&path)? } else { File::open(&path)?.sync_all()? }
    }
    sync_folder(folder);
    Ok(())
}

/// Some systems cannot bring a folder to disk; its files are there all the same.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

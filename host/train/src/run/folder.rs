//! The run folder: made whole or not at all, then only added to, and cut back where a stopped run goes on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tunesmith_core::plan::Plan;

use super::RunError;
use super::disk::{json_line, sweep, sync_folder, write_json};
use crate::checkpoint;
use crate::service::Host;
use crate::tracefile::TraceFile;

/// The folder of a run that is going on.
pub(crate) struct RunFolder {
    pub(crate) path: PathBuf,
    pub(crate) trace: TraceFile,
    metrics: Lines,
    samples: Lines,
    /// Only in online training.
    rollouts: Option<Lines>,
    decisions: Lines,
}

/// How far a run has come in its files.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Place {
    /// Lines of the trace.
    pub(crate) lines: usize,
    /// The hash of the last of them.
    pub(crate) trace: String,
    /// Bytes of `metrics.jsonl`.
    pub(crate) metrics: u64,
    /// Bytes of `samples.jsonl`.
    pub(crate) samples: u64,
    /// Bytes of `rollouts.jsonl`.
    pub(crate) rollouts: u64,
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
            Some(_) if path.join("plan.json").exists() => Err(taken(
                "already holds a run",
                "choose another `output`, or go on with a run that was stopped by `--resume`",
            )),
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
        let (parent, prefix) = partial_names(path)?;
        fs::create_dir_all(&parent).map_err(RunError::io(&parent))?;
        clear_partials(path)?;
        let partial = parent.join(format!("{prefix}{}", std::process::id()));
        fs::create_dir(&partial).map_err(RunError::io(&partial))?;
        let made = Self::fill(plan, &partial).and_then(|trace| {
            // Renaming replaces an empty folder, and fails if another run was quicker.
            let renamed = fs::rename(&partial, path).or_else(|_| {
                refuse_taken(path).and_then(|()| {
                    fs::remove_dir(path).and_then(|()| fs::rename(&partial, path)).map_err(RunError::io(path))
                })
            });
            renamed.map(|()| trace)
        });
        if made.is_err() {
            // What is there is ours alone; if it cannot be removed, the first error is the one to tell.
            let _ = fs::remove_dir_all(&partial);
        }
        let trace = made?;
        sync_folder(&parent);
        Self::open(path, trace)
    }

    /// The trace comes first: its lock says that somebody is at work here.
    fn fill(plan: &Plan, folder: &Path) -> Result<TraceFile, RunError> {
        let trace = TraceFile::create(&folder.join("trace.jsonl"))?;
        write_json(&folder.join("plan.json"), plan)?;
        for name in ["checkpoints", "progress"] {
            let path = folder.join(name);
            fs::create_dir(&path).map_err(RunError::io(&path))?;
        }
        let rollouts = plan.rollout.is_some().then_some("rollouts.jsonl");
        for name in ["metrics.jsonl", "samples.jsonl", "progress/decisions.jsonl"].into_iter().chain(rollouts) {
            let path = folder.join(name);
            File::create_new(&path).map_err(RunError::io(&path))?;
        }
        Ok(trace)
    }

    /// Opens the folder of a run that was stopped, and gives the bytes of its trace. Nothing is changed.
    pub(crate) fn reopen(path: &Path) -> Result<(Self, Vec<u8>), RunError> {
        let (trace, bytes) = TraceFile::open(&path.join("trace.jsonl"))?;
        Ok((Self::open(path, trace)?, bytes))
    }

    fn open(path: &Path, mut trace: TraceFile) -> Result<Self, RunError> {
        trace.lies_at(&path.join("trace.jsonl"));
        let progress = path.join("progress");
        fs::create_dir_all(&progress).map_err(RunError::io(&progress))?;
        let rollouts = path.join("rollouts.jsonl");
        Ok(Self {
            rollouts: rollouts.exists().then(|| Lines::open(&rollouts)).transpose()?,
            path: path.to_owned(),
            trace,
            metrics: Lines::open(&path.join("metrics.jsonl"))?,
            samples: Lines::open(&path.join("samples.jsonl"))?,
            decisions: Lines::open(&progress.join("decisions.jsonl"))?,
        })
    }

    /// Cuts everything back to a place where the run was once, and throws half-written files away. `bytes` are those of the trace at that
    /// place, `decisions` those of `decisions.jsonl`. Gives the files in which lines are missing that were there at that place.
    pub(crate) fn cut(&mut self, place: &Place, bytes: u64, decisions: u64) -> Result<Vec<PathBuf>, RunError> {
        let head = (place.lines > 0).then_some(place.trace.as_str());
        self.trace.cut(place.lines, bytes, head)?;
        let mut short = Vec::new();
        let files =
            [(&mut self.metrics, place.metrics), (&mut self.samples, place.samples), (&mut self.decisions, decisions)];
        let rollouts = self.rollouts.as_mut().map(|rollouts| (rollouts, place.rollouts));
        for (lines, bytes) in files.into_iter().chain(rollouts) {
            if !lines.cut(bytes)? {
                short.push(lines.path.clone());
            }
        }
        for folder in [self.path.clone(), self.path.join("checkpoints"), self.path.join("progress")] {
            sweep(&folder)?;
        }
        self.sync()?;
        Ok(short)
    }

    /// How far the run has come.
    pub(crate) fn place(&self) -> Place {
        Place {
            lines: self.trace.lines(),
            trace: self.trace.head().to_owned(),
            metrics: self.metrics.bytes,
            samples: self.samples.bytes,
            rollouts: self.rollouts.as_ref().map_or(0, |rollouts| rollouts.bytes),
        }
    }

    /// Writes down that everything so far is done, before training: a run that is stopped goes on from here.
    pub(crate) fn progress(&self, plan: &Plan, host: &Host) -> Result<(), RunError> {
        self.sync()?;
        checkpoint::save_progress(&self.path, plan, self.place(), &host.caller.state())?;
        checkpoint::prune_progress(&self.path, self.trace.lines())
    }

    /// Adds a line to `progress/decisions.jsonl`, and waits until it is on disk: a line of the trace will speak of it.
    pub(crate) fn decision(&mut self, line: &impl Serialize) -> Result<(), RunError> {
        self.decisions.add(line)?;
        self.decisions.sync()
    }

    /// Adds a line to `metrics.jsonl`.
    pub(crate) fn metric(&mut self, line: &impl Serialize) -> Result<(), RunError> {
        self.metrics.add(line)
    }

    /// Adds lines to `samples.jsonl`.
    pub(crate) fn samples(&mut self, lines: &[impl Serialize]) -> Result<(), RunError> {
        lines.iter().try_for_each(|line| self.samples.add(line))
    }

    /// Adds lines to `rollouts.jsonl`.
    pub(crate) fn rollouts(&mut self, lines: &[impl Serialize]) -> Result<(), RunError> {
        self.rollouts.iter_mut().try_for_each(|file| lines.iter().try_for_each(|line| file.add(line)))
    }

    /// Waits until all lines are on disk.
    pub(crate) fn sync(&self) -> Result<(), RunError> {
        self.trace.sync()?;
        self.rollouts.iter().try_for_each(Lines::sync)?;
        self.metrics.sync()?;
        self.samples.sync()
    }
}

/// A file of JSON lines that is added to.
struct Lines {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, RunError> {
        let open = OpenOptions::new().append(true).create(true).open(path);
        let opened = open.and_then(|file| file.metadata().map(|metadata| (file, metadata.len())));
        let (file, bytes) = opened.map_err(RunError::io(path))?;
        Ok(Self { path: path.to_owned(), file, bytes })
    }

    /// Cuts the file back to its first `bytes` bytes, or to its whole lines if it has fewer; gives whether it had them all.
    fn cut(&mut self, bytes: u64) -> Result<bool, RunError> {
        let has_all = bytes <= self.bytes;
        let whole = if has_all {
            bytes
        } else {
            let text = fs::read(&self.path).map_err(RunError::io(&self.path))?;
            text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last as u64 + 1)
        };
        self.file.set_len(whole).map_err(RunError::io(&self.path))?;
        self.bytes = whole;
        Ok(has_all)
    }

    fn add(&mut self, line: &impl Serialize) -> Result<(), RunError> {
        let mut text = json_line(line, &self.path)?;
        text.push('\n');
        self.file.write_all(text.as_bytes()).map_err(RunError::io(&self.path))?;
        self.bytes += text.len() as u64;
        Ok(())
    }

    fn sync(&self) -> Result<(), RunError> {
        self.file.sync_all().map_err(RunError::io(&self.path))
    }
}

/// Where the folder of a run is made, and how its name starts there; the number of the process follows.
fn partial_names(path: &Path) -> Result<(PathBuf, String), RunError> {
    let name = path.file_name().ok_or_else(|| RunError::Output {
        path: path.to_owned(),
        what: "has no name".into(),
        hint: "choose another `output`".into(),
    })?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((parent.to_owned(), format!(".{}.partial-", name.to_string_lossy())))
}

/// Whether this run's folder was being made by a process that is no more.
pub(crate) fn has_partials(path: &Path) -> Result<bool, RunError> {
    let (parent, prefix) = partial_names(path)?;
    Ok(partials(&parent, &prefix).any(|partial| is_left_over(&partial)))
}

/// Removes folders of this run that were being made by processes that are no more.
fn clear_partials(path: &Path) -> Result<(), RunError> {
    let (parent, prefix) = partial_names(path)?;
    for partial in partials(&parent, &prefix).filter(|partial| is_left_over(partial)) {
        fs::remove_dir_all(&partial).map_err(RunError::io(&partial))?;
    }
    Ok(())
}

fn partials(parent: &Path, prefix: &str) -> impl Iterator<Item = PathBuf> {
    let is_ours = move |name: &str| {
        name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    entries.filter(move |entry| entry.file_name().to_str().is_some_and(is_ours)).map(|entry| entry.path())
}

/// Whether nobody is at work in a folder in the making: its trace is not locked, or it holds nothing yet.
fn is_left_over(partial: &Path) -> bool {
    match TraceFile::open(&partial.join("trace.jsonl")) {
        Ok(_) => true,
        Err(RunError::Output { .. }) => false,
        Err(_) => fs::read_dir(partial).is_ok_and(|mut entries| entries.next().is_none()),
    }
}

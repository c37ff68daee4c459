//! Going on with a run that was stopped: what of it can be used, and where it goes on.

use std::fs;
use std::path::{Path, PathBuf};

use tunesmith_core::plan::Plan;
use tunesmith_core::set::{Event, Observer};
use tunesmith_core::trace::{self, Line, Reading, Record};

use super::disk::write_json;
use super::folder::{self, Place, RunFolder};
use super::whole::start_record;
use super::{RunError, RunSummary};
use crate::checkpoint::{self, Progress};
use crate::curate::decisions::{self, Decision, Kept};
use crate::service::calls::CallState;
use crate::tracefile::TraceFile;

/// How a run stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// It came to its end.
    Finished(Box<RunSummary>),
    /// It was stopped, maybe before it wrote a line.
    Stopped,
}

/// What a run that goes on has behind it. Empty for one that begins.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// The lines of the trace.
    pub(crate) lines: Vec<Line>,
    /// What the curating plugin said, chunk by chunk.
    pub(crate) decisions: Vec<Decision>,
    /// What later calls depend on.
    pub(crate) calls: CallState,
    /// The digest of the training set, once it is recalled.
    pub(crate) training_set: Option<String>,
    /// The checkpoint with what was trained, if a step was.
    pub(crate) checkpoint: Option<PathBuf>,
}

/// Says how the run in `plan.output` stands, and checks that this plan is the one it was begun with. Nothing is changed.
///
/// # Errors
///
/// Fails when there is no run, another process works on it, its trace cannot be used, or the plan, the version or the device is another.
pub fn standing(plan: &Plan) -> Result<Standing, RunError> {
    let path = &plan.output;
    if !path.exists() && folder::has_partials(path)? {
        // It was stopped while its folder was being made.
        return Ok(Standing::Stopped);
    }
    if !path.join("trace.jsonl").is_file() {
        return Err(RunError::Output {
            path: path.clone(),
            what: "holds no run to go on with: it has no `trace.jsonl`".into(),
            hint: "leave `--resume` away to begin a run".into(),
        });
    }
    let (_lock, bytes) = TraceFile::open(&path.join("trace.jsonl"))?;
    let reading = trace::read(&bytes);
    expect_same(plan, &reading)?;
    Ok(finished(path, &reading).map_or(Standing::Stopped, |summary| Standing::Finished(Box::new(summary))))
}

/// Opens the folder of a stopped run, cut back to the newest place from which the run can go on.
pub(super) fn reopen(plan: &Plan, observer: &mut dyn Observer) -> Result<(RunFolder, Past), RunError> {
    let path = &plan.output;
    if !path.exists() {
        return Ok((RunFolder::create(plan)?, Past::default()));
    }
    let (mut folder, bytes) = RunFolder::reopen(path)?;
    let mut reading = trace::read(&bytes);
    expect_same(plan, &reading)?;
    if let Some(fault) = &reading.fault {
        let note = format!("`trace.jsonl`: {fault}; from there on it is made again");
        observer.event(Event::Note(&note));
    }
    let mut decided = decisions::read(&path.join("progress").join("decisions.jsonl"), &reading.lines);
    let found = newest(plan, &reading.lines, &decided, observer);
    reading.lines.truncate(found.place.lines);
    decided.truncate(chunks(&reading.lines));
    let end = reading.lines.last().map_or(0, |line| line.end as u64);
    for file in folder.cut(&found.place, end, decided.last().map_or(0, |(_, end)| *end))? {
        let note = format!("`{}` has lost lines; nothing depends on them", file.display());
        observer.event(Event::Note(&note));
    }
    write_json(&path.join("plan.json"), plan)?;
    let decisions = decided.into_iter().map(|(decision, _)| decision).collect();
    Ok((
        folder,
        Past { lines: reading.lines, decisions, calls: found.calls, training_set: None, checkpoint: found.checkpoint },
    ))
}

/// Where a run can go on.
#[derive(Default)]
struct Found {
    place: Place,
    calls: CallState,
    checkpoint: Option<PathBuf>,
}

/// The newest checkpoint that is whole and belongs to the trace, or else the beginning. Says what is used, and why newer ones are not.
fn newest(plan: &Plan, lines: &[Line], decided: &[Kept], observer: &mut dyn Observer) -> Found {
    let run = &plan.output;
    for path in checkpoint::shelf(run) {
        let name = path.strip_prefix(run).unwrap_or(&path).display().to_string();
        match usable(plan, &path, lines, decided) {
            Ok(found) => {
                let note = format!("goes on from `{name}`, after {} line(s) of the trace", found.place.lines);
                observer.event(Event::Note(&note));
                return found;
            }
            Err(what) => observer.event(Event::Note(&format!("`{name}` is not used: {what}"))),
        }
    }
    observer.event(Event::Note("there is no checkpoint to go on from: the run begins again"));
    let start = lines.first().map(|line| Place { lines: 1, trace: line.hash.clone(), ..Place::default() });
    Found { place: start.unwrap_or_default(), ..Found::default() }
}

/// Checks a checkpoint of either kind. Fails with what is wrong with it.
fn usable(plan: &Plan, path: &Path, lines: &[Line], decided: &[Kept]) -> Result<Found, String> {
    let (progress, calls) = checkpoint::verified(path)?;
    if progress.plan != plan.digest() {
        return Err("it is of another plan".into());
    }
    let Some(index) = lines.iter().position(|line| line.hash == progress.trace) else {
        return Err("it belongs to a line that the trace does not have".into());
    };
    let chunks = chunks(&lines[..=index]);
    if decided.len() < chunks {
        let line = decided.len() + 1;
        return Err(format!("`progress/decisions.jsonl` is damaged in line {line}, of {chunks} that it needs"));
    }
    let is_of_step = path.parent().is_some_and(|folder| folder.ends_with("checkpoints"));
    let Progress { trace, metrics, samples, rollouts, .. } = progress;
    Ok(Found {
        place: Place { lines: index + 1, trace, metrics, samples, rollouts },
        calls,
        checkpoint: is_of_step.then(|| path.to_owned()),
    })
}

/// How many chunks of the pool were curated.
fn chunks(lines: &[Line]) -> usize {
    lines.iter().filter(|line| matches!(line.record, Record::Curate { .. })).count()
}

/// Fails unless the trace began with this plan, by this version, on such a device.
fn expect_same(plan: &Plan, reading: &Reading) -> Result<(), RunError> {
    let refuse =
        |what: String, hint: &str| Err(RunError::Resume { path: plan.output.clone(), what, hint: hint.to_owned() });
    let Some(first) = reading.lines.first() else {
        return match &reading.fault {
            Some(fault) => refuse(format!("`trace.jsonl`: {fault}"), "put the file back as it was, or begin a new run"),
            // It was stopped before its first line was whole.
            None => Ok(()),
        };
    };
    let (Record::Start { plan: before, host, device }, Record::Start { plan: now, host: here, device: this }) =
        (&first.record, &start_record(plan))
    else {
        return refuse("`trace.jsonl` does not begin with a start".into(), "begin a new run in another `output`");
    };
    if before != now {
        let stored = fs::read(plan.output.join("plan.json")).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let differences = stored.map(|stored| plan.differences(&stored)).unwrap_or_default();
        let named = if differences.is_empty() { "the plan is another".to_owned() } else { differences.join("; ") };
        return refuse(
            format!("it was begun with something else: {named}"),
            "put back what the run was begun with, or begin a new run in another `output`",
        );
    }
    if host != here {
        let what = format!("it was begun by version {host} of this program, and this is version {here}");
        return refuse(what, "go on with that version, or begin a new run in another `output`");
    }
    if device != this {
        let what = format!("it was begun on `{device}`, and this is `{this}`: the numbers would not be the same");
        return refuse(what, "go on on such a device, or begin a new run in another `output`");
    }
    Ok(())
}

/// The summary of a run that came to its end.
fn finished(path: &Path, reading: &Reading) -> Option<RunSummary> {
    let last = reading.lines.last()?;
    let is_end = reading.fault.is_none() && matches!(last.record, Record::End { .. });
    let text = fs::read(path.join("summary.json")).ok().filter(|_| is_end)?;
    let mut summary: RunSummary =
        serde_json::from_slice(&text).ok().filter(|summary: &RunSummary| summary.trace == last.hash)?;
    // The folder may have been moved.
    path.clone_into(&mut summary.folder);
    if let Some(name) = summary.trained.file_name() {
        summary.trained = path.join(name);
    }
    Some(summary)
}

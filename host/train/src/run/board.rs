//! The run as `TensorBoard` shows it: one event in `tensorboard/` per step and measurement, the numbers being those of the trace.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use tunesmith_core::trace::{CallRecord, Line, Record, StepRecord, Times};

use super::RunError;
use super::whole::share;
use crate::tensorboard::{self, Clock};

/// `TensorBoard` reads every file with `tfevents` in its name.
const FILE: &str = "events.out.tfevents.0.tunesmith";

/// The event file of a run that is going on.
pub(crate) struct Board {
    path: PathBuf,
    file: File,
    clock: Clock,
}

impl Board {
    /// Opens the event file of a run whose trace has these lines. Events that the lines do not tell of are cut off, and events that are missing
    /// are made from the lines, with the time of now: no step stands in the file twice, and none is left out.
    pub(crate) fn open(run: &Path, lines: &[Line], clock: Clock) -> Result<Self, RunError> {
        let folder = run.join("tensorboard");
        fs::create_dir_all(&folder).map_err(RunError::io(&folder))?;
        let path = folder.join(FILE);
        let known = if path.exists() { fs::read(&path).map_err(RunError::io(&path))? } else { Vec::new() };
        let told: Vec<(u32, Vec<(String, f64)>)> =
            lines.iter().filter_map(|line| numbers(&line.record, &line.times)).collect();
        // The first event is the version; after it, each line that tells of numbers has made one.
        let mut ends = tensorboard::ends(&known);
        ends.truncate(1 + told.len());
        let open = OpenOptions::new().append(true).create(true).open(&path);
        let file = open.map_err(RunError::io(&path))?;
        file.set_len(ends.last().map_or(0, |end| *end as u64)).map_err(RunError::io(&path))?;
        let mut board = Self { path, file, clock };
        if ends.is_empty() {
            board.write(&tensorboard::version(clock.seconds()))?;
        }
        for (step, values) in told.iter().skip(ends.len().saturating_sub(1)) {
            board.write(&tensorboard::scalars(clock.seconds(), *step, values))?;
        }
        Ok(board)
    }

    /// Shows what was just added to the trace.
    pub(crate) fn show(&mut self, record: &Record, times: &Times) -> Result<(), RunError> {
        match numbers(record, times) {
            Some((step, values)) => self.write(&tensorboard::scalars(self.clock.seconds(), step, &values)),
            None => Ok(()),
        }
    }

    /// One write per event, so that a crash leaves whole ones.
    fn write(&mut self, record: &[u8]) -> Result<(), RunError> {
        self.file.write_all(record).map_err(RunError::io(&self.path))
    }
}

/// The numbers of an event of the trace, under `TensorBoard`'s names, and their step; none for events without any.
fn numbers(record: &Record, times: &Times) -> Option<(u32, Vec<(String, f64)>)> {
    match record {
        Record::Step(record) => Some((record.step, of_step(record, times))),
        Record::Measure { step, set, metrics, calls } => {
            let of_metric = |(name, value): (&String, &f64)| (format!("eval/{set}/{name}"), *value);
            Some((*step, metrics.iter().map(of_metric).chain(of_plugins(calls)).collect()))
        }
        _ => None,
    }
}

fn of_step(record: &StepRecord, times: &Times) -> Vec<(String, f64)> {
    let train = [
        ("loss", f64::from(record.loss)),
        ("gradient-norm", f64::from(record.grad_norm)),
        ("learning-rate", record.learning_rate),
        ("tokens-per-second", share(record.tokens as f64, times.total)),
    ];
    let train = train.into_iter().map(|(name, value)| (format!("train/{name}"), value));
    let sampled = record.rollouts.iter().flat_map(|rollouts| &rollouts.numbers);
    let sampled = sampled.map(|(name, value)| (format!("rollouts/{name}"), *value));
    train.chain(sampled).chain(of_plugins(&record.calls)).collect()
}

/// What plugins noted.
fn of_plugins(calls: &[CallRecord]) -> impl Iterator<Item = (String, f64)> {
    noted(calls).into_iter().map(|(name, value)| (format!("plugin/{name}"), value))
}

/// The means of the numbers that plugins noted in these calls, by `plugin/name`.
pub(super) fn noted(calls: &[CallRecord]) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, (f64, u64)> = BTreeMap::new();
    for call in calls {
        for (name, (sum, count)) in &call.report.metrics {
            let entry = sums.entry(format!("{}/{name}", call.plugin)).or_default();
            entry.0 += sum;
            entry.1 += count;
        }
    }
    sums.into_iter().map(|(name, (sum, count))| (name, sum / count.max(1) as f64)).collect()
}

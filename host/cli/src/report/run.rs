//! A run folder, as far as it can be read: a run that goes on, was stopped, or lost files still has a report.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tunesmith::trace::{self, Reading, Record};

use super::samples::Samples;
use crate::commands::BadInput;

/// What a run folder holds.
pub(crate) struct Run {
    /// The folder's name.
    pub(crate) name: String,
    /// The plan as JSON, whatever version wrote it; null if it cannot be read.
    pub(crate) plan: Value,
    /// The trace, as far as every hash holds.
    pub(crate) trace: Reading,
    pub(crate) curated: Curated,
    pub(crate) samples: Samples,
    /// What cannot be read, one text per file.
    pub(crate) faults: Vec<String>,
}

/// What `curated.jsonl` says of the training set.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Curated {
    /// Rows by provenance.
    pub(crate) provenance: BTreeMap<String, u64>,
    /// Rows dropped, by reason.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// The plugin's numbers about rows: those of rows that were kept, and of those that were dropped, by name.
    pub(crate) notes: BTreeMap<String, [Vec<f64>; 2]>,
}

impl Run {
    /// Reads a run folder.
    ///
    /// # Errors
    ///
    /// Fails when there is no run in it; what is damaged or missing of a run is told in [`Run::faults`].
    pub(crate) fn read(folder: &Path) -> Result<Self, BadInput> {
        let has = |name: &str| folder.join(name).is_file();
        if !has("plan.json") && !has("trace.jsonl") {
            let what = if folder.is_dir() { "holds no run: it has no `trace.jsonl`" } else { "is no folder" };
            let hint = "hint: give the `output` folder of `tunesmith train`";
            return Err(BadInput(format!("`{}` {what}\n{hint}", folder.display())));
        }
        let mut faults = Vec::new();
        let plan = fs::read(folder.join("plan.json")).map_err(|error| error.to_string());
        let plan = plan.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
        let plan = plan.unwrap_or_else(|error| {
            faults.push(format!("`plan.json` cannot be read: {error}"));
            Value::Null
        });
        let trace = fs::read(folder.join("trace.jsonl")).map(|bytes| trace::read(&bytes));
        let trace = trace.unwrap_or_else(|error| {
            faults.push(format!("`trace.jsonl` cannot be read: {error}; there are no curves and costs without it"));
            Reading::default()
        });
        if let Some(fault) = &trace.fault {
            faults.push(format!("`trace.jsonl` is damaged, and only what stands before can be shown: {fault}"));
        }
        let (mut curated, mut samples) = (Curated::default(), Samples::default());
        let is_curated = trace.lines.iter().any(|line| matches!(line.record, Record::TrainingSet { .. }));
        lines(folder, "curated.jsonl", is_curated, &mut faults, |line| curated.add(line));
        let is_measured = trace.lines.iter().any(|line| matches!(line.record, Record::Measure { .. }));
        lines(folder, "samples.jsonl", is_measured, &mut faults, |line| samples.add(line));
        let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let name = absolute.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned());
        Ok(Self { name, plan, trace, curated, samples, faults })
    }

    /// The numbers of rows of the training set: of `curated.jsonl`, or of the trace while that is not written yet.
    pub(crate) fn counts(&self) -> (BTreeMap<String, u64>, BTreeMap<String, u64>) {
        if !self.curated.provenance.is_empty() {
            return (self.curated.provenance.clone(), self.curated.dropped.clone());
        }
        let (mut kept, mut left_out) = (BTreeMap::new(), BTreeMap::new());
        for line in &self.trace.lines {
            if let Record::Curate { provenance, dropped, .. } = &line.record {
                add(&mut kept, provenance);
                add(&mut left_out, dropped);
            }
        }
        (kept, left_out)
    }
}

fn add(sums: &mut BTreeMap<String, u64>, counts: &BTreeMap<String, u64>) {
    for (name, count) in counts {
        let sum = sums.entry(name.clone()).or_default();
        *sum = sum.saturating_add(*count);
    }
}

/// A line of `curated.jsonl`, without its texts.
#[derive(Deserialize)]
struct CuratedLine {
    provenance: Option<String>,
    dropped: Option<String>,
    #[serde(default)]
    notes: Map<String, Value>,
}

impl Curated {
    fn add(&mut self, line: CuratedLine) {
        let is_dropped = usize::from(line.dropped.is_some());
        let counts = [(&mut self.provenance, line.provenance), (&mut self.dropped, line.dropped)];
        for (counts, name) in counts {
            if let Some(name) = name {
                *counts.entry(name).or_default() += 1;
            }
        }
        for (name, value) in line.notes {
            let notes = self.notes.entry(name).or_default();
            notes[is_dropped].extend(value.as_f64());
        }
    }
}

/// Reads a file of JSON lines. A last line without its line feed is being written and no fault; neither is a file that the run has not
/// begun (`is_expected`).
fn lines<T: DeserializeOwned>(
    folder: &Path,
    name: &str,
    is_expected: bool,
    faults: &mut Vec<String>,
    mut take: impl FnMut(T),
) {
    let file = match File::open(folder.join(name)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound && !is_expected => return,
        Err(error) => return faults.push(format!("`{name}` cannot be read: {error}")),
    };
    let (mut reader, mut bytes) = (BufReader::new(file), Vec::new());
    let mut damaged: Option<(usize, String)> = None;
    let mut left_out = 0;
    for number in 1.. {
        bytes.clear();
        match reader.read_until(b'\n', &mut bytes) {
            Ok(_) if !bytes.ends_with(b"\n") => break,
            Ok(_) => {}
            Err(error) => return faults.push(format!("`{name}` cannot be read beyond line {number}: {error}")),
        }
        match serde_json::from_slice(&bytes) {
            Ok(line) => take(line),
            Err(error) => {
                left_out += 1;
                damaged.get_or_insert((number, error.to_string()));
            }
        }
    }
    if let Some((number, error)) = damaged {
        faults.push(format!("`{name}`: {left_out} line(s) cannot be read and are left out; line {number}: {error}"));
    }
}

//! The trace: one JSON line per event of a run, each chained to the one before by hash.
//!
//! A line reads `{"hash":"..","previous":"..","time":{..},"record":{..}}`. The hash covers `previous` and the record's text, not the time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::call::Report;
use crate::digest;
use crate::stage::Stage;

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Record {
    /// The run began.
    Start {
        /// The digest of the plan.
        plan: String,
        /// The version of the host.
        host: String,
        /// The device class: results are bit-equal within one.
        device: String,
    },
    /// A chunk of the pool was curated.
    Curate {
        /// The ids of the rows.
        rows: Vec<u64>,
        /// Rows of the training set by provenance.
        provenance: BTreeMap<String, u64>,
        /// Rows dropped, by reason.
        dropped: BTreeMap<String, u64>,
        /// The calls that were made.
        calls: Vec<CallRecord>,
    },
    /// The training set is complete.
    TrainingSet {
        /// The number of rows.
        rows: u64,
        /// The digest of the rows.
        digest: String,
    },
    /// An optimiser step was made.
    Step(StepRecord),
    /// The model was measured.
    Measure {
        /// Steps done.
        step: u32,
        /// The evaluation set.
        set: String,
        /// The metrics.
        metrics: BTreeMap<String, f64>,
        /// The calls that were made.
        calls: Vec<CallRecord>,
    },
    /// The run is complete.
    End {
        /// Steps done.
        steps: u32,
        /// The digest of the trained parameters.
        parameters: String,
    },
}

/// One optimiser step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StepRecord {
    /// The step, from 0.
    pub step: u32,
    /// The ids of the rows.
    pub rows: Vec<u64>,
    /// The sum of the micro-batches' losses.
    pub loss: f32,
    /// The bits of the loss, in hexadecimal.
    pub loss_bits: String,
    /// The norm of the gradient before clipping.
    pub grad_norm: f32,
    /// The learning rate.
    pub learning_rate: f64,
    /// Tokens that were trained on.
    pub loss_tokens: u64,
    /// Tokens that went through the model.
    pub tokens: u64,
    /// What was sampled for the step, in online training; none for steps on the rollouts of an earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollouts: Option<RolloutRecord>,
    /// The digest of the trained parameters after the step, every so many steps.
    pub parameters: Option<String>,
    /// The calls that were made.
    pub calls: Vec<CallRecord>,
}

/// What was sampled for a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RolloutRecord {
    /// The digest of the rollouts with their rewards.
    pub digest: String,
    /// Means and counts, such as `reward`, `zero-spread` and `length`.
    pub numbers: BTreeMap<String, f64>,
}

/// One call of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CallRecord {
    /// The stage.
    pub stage: Stage,
    /// The plugin's name, or `built-in`.
    pub plugin: String,
    /// The digest of what went in.
    pub input: String,
    /// The digest of what came out.
    pub output: String,
    /// What it cost and said; without times.
    pub report: Report,
}

/// Wall times of one event, in seconds. Outside the hash.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Times {
    /// The whole event.
    pub total: f64,
    /// Inside plugins, host services not included, by stage.
    pub plugins: BTreeMap<Stage, f64>,
}

/// Chains lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    previous: String,
}

impl Default for Chain {
    fn default() -> Self {
        Self { previous: "0".repeat(64) }
    }
}

impl Chain {
    /// Goes on after a line with this hash.
    pub fn after(hash: impl Into<String>) -> Self {
        Self { previous: hash.into() }
    }

    /// The hash of the last line.
    pub fn head(&self) -> &str {
        &self.previous
    }

    /// The next line, without its line feed.
    pub fn seal(&mut self, record: &Record, times: &Times) -> String {
        let record = serde_json::to_string(record).expect("records have text keys");
        let times = serde_json::to_string(times).expect("times have text keys");
        let hash = digest::of_parts([self.previous.as_bytes(), record.as_bytes()]);
        let line = format!(r#"{{"hash":"{hash}","previous":"{}","time":{times},"record":{record}}}"#, self.previous);
        self.previous = hash;
        line
    }
}

/// Where a trace is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the trace: {what}")]
pub struct TraceError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// Checks every hash of a trace and returns its records.
///
/// # Errors
///
/// Fails at the first line that is no trace line, was changed, or does not follow from the one before.
pub fn verify(text: &str) -> Result<Vec<Record>, TraceError> {
    let mut chain = Chain::default();
    let read = |(index, line)| chain.read(index + 1, line).map(|envelope| envelope.record);
    text.lines().enumerate().map(read).collect()
}

/// A line of a trace that was read back.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The line's hash.
    pub hash: String,
    /// What happened.
    pub record: Record,
    /// How long it took.
    pub times: Times,
    /// Bytes of the file up to and with this line and its line feed.
    pub end: usize,
}

/// What can be read of a trace that may end anywhere, or be damaged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// The lines up to the first that is damaged.
    pub lines: Vec<Line>,
    /// What is wrong with the first damaged line. A last line without its line feed is no fault: the writer was stopped in it.
    pub fault: Option<TraceError>,
}

/// Reads the bytes of a trace as far as every hash holds.
pub fn read(bytes: &[u8]) -> Reading {
    let mut reading = Reading::default();
    let mut chain = Chain::default();
    let mut end = 0;
    for (index, piece) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let Some(line) = piece.strip_suffix(b"\n") else { break };
        end += piece.len();
        let text = std::str::from_utf8(line);
        let text = text.map_err(|error| TraceError { line: index + 1, what: error.to_string() });
        match text.and_then(|text| chain.read(index + 1, text)) {
            Ok(Envelope { hash, record, time, .. }) => reading.lines.push(Line { hash, record, times: time, end }),
            Err(fault) => {
                reading.fault = Some(fault);
                break;
            }
        }
    }
    reading
}

#[derive(Deserialize)]
struct Envelope {
    hash: String,
    previous: String,
    time: Times,
    record: Record,
}

impl Chain {
    /// Checks that a line, of this number from 1, is the next.
    fn read(&mut self, number: usize, line: &str) -> Result<Envelope, TraceError> {
        let fault = |what: String| TraceError { line: number, what };
        let envelope: Envelope = serde_json::from_str(line).map_err(|error| fault(error.to_string()))?;
        let record = line
            .split_once(r#","record":"#)
            .and_then(|(_, rest)| rest.strip_suffix('}'))
            .ok_or_else(|| fault("has no record at its end".into()))?;
        if envelope.previous != self.previous {
            return Err(fault("does not follow from the line before".into()));
        }
        if envelope.hash != digest::of_parts([self.previous.as_bytes(), record.as_bytes()]) {
            return Err(fault("was changed: its hash does not fit".into()));
        }
        self.previous.clone_from(&envelope.hash);
        Ok(envelope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> String {
        let mut chain = Chain::default();
        let start = Record::Start { plan: "p".into(), host: "h".into(), device: "d".into() };
        let end = Record::End { steps: 3, parameters: "x".into() };
        let times = Times { total: 0.5, plugins: [(Stage::Judge, 0.1)].into() };
        format!("{}\n{}\n", chain.seal(&start, &times), chain.seal(&end, &times))
    }

    #[test]
    fn a_trace_reads_back() {
        assert_eq!(verify(&lines()).expect("it is whole").len(), 2);
    }

    #[test]
    fn a_changed_record_is_found() {
        let error = verify(&lines().replace("\"steps\":3", "\"steps\":4")).expect_err("it was changed");
        assert_eq!(error.to_string(), "line 2 of the trace: was changed: its hash does not fit");
    }

    #[test]
    fn a_missing_line_is_found() {
        let lines = lines();
        let (_, rest) = lines.split_once('\n').expect("two lines");
        assert_eq!(verify(rest).expect_err("a line is missing").line, 1);
    }

    #[test]
    fn a_trace_that_ends_anywhere_reads_as_far_as_its_lines_are_whole() {
        let lines = lines();
        let first = lines.find('\n').expect("two lines") + 1;
        for end in 0..=lines.len() {
            let reading = read(&lines.as_bytes()[..end]);
            let whole = usize::from(first <= end) + usize::from(end == lines.len());
            assert_eq!((reading.lines.len(), reading.fault), (whole, None), "{end} bytes");
        }
        assert_eq!(read(lines.as_bytes()).lines[0].end, first);
    }

    #[test]
    fn a_damaged_trace_reads_up_to_the_fault() {
        let mut bytes = lines().into_bytes();
        let second = bytes.iter().position(|byte| *byte == b'\n').expect("two lines") + 1;
        bytes[second + 20] ^= 0x80;
        let reading = read(&bytes);
        assert_eq!((reading.lines.len(), reading.fault.map(|fault| fault.line)), (1, Some(2)));
    }

    #[test]
    fn times_are_outside_the_hash() {
        assert!(verify(&lines().replace("\"total\":0.5", "\"total\":9.5")).is_ok());
    }
}

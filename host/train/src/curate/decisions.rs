//! `progress/decisions.jsonl`: what the curating plugin said of each chunk. With it a stopped run goes on without asking again.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tunesmith_core::stage::{Curated, Stage};
use tunesmith_core::trace::{Line, Record};

use crate::service::digests;

/// A line: what was said of one chunk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Decision {
    /// The digest of the chunk.
    pub(crate) input: String,
    /// The digest of what was said.
    pub(crate) output: String,
    /// What was said.
    pub(crate) curated: Curated,
}

impl Decision {
    pub(crate) fn new(input: String, curated: Curated) -> Self {
        Self { input, output: digests::of_curated(&curated), curated }
    }
}

/// A decision that was read back, and the bytes of the file up to its end.
pub(crate) type Kept = (Decision, u64);

/// The decisions in the file that are those of the trace's chunks, up to the first that is missing or damaged.
pub(crate) fn read(path: &Path, trace: &[Line]) -> Vec<Kept> {
    let bytes = fs::read(path).unwrap_or_default();
    let mut end = 0;
    let mut kept = Vec::new();
    for (line, (input, output)) in bytes.split_inclusive(|byte| *byte == b'\n').zip(chunks(trace)) {
        end += line.len() as u64;
        let Ok(decision) = serde_json::from_slice::<Decision>(line) else { break };
        let is_of_trace = decision.input == input && decision.output == output;
        if !is_of_trace || digests::of_curated(&decision.curated) != output {
            break;
        }
        kept.push((decision, end));
    }
    kept
}

/// The digests of what went into and came out of the curating plugin, chunk by chunk.
fn chunks(trace: &[Line]) -> impl Iterator<Item = (&str, &str)> {
    trace.iter().filter_map(|line| match &line.record {
        Record::Curate { calls, .. } => {
            let call = calls.iter().find(|call| call.stage == Stage::Curate)?;
            Some((call.input.as_str(), call.output.as_str()))
        }
        _ => None,
    })
}

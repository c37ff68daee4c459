//! What a run came to: `summary.json`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tunesmith_core::stage::Stage;

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunSummary {
    /// The run folder.
    pub folder: PathBuf,
    /// The folder with what was trained: `adapter` or `model` in the run folder.
    pub trained: PathBuf,
    /// Optimiser steps done.
    pub steps: u32,
    /// Rows of the training set.
    pub rows: u64,
    /// Rows whose completion was cut.
    pub truncated: u64,
    /// The loss of the first step.
    pub loss_first: Option<f32>,
    /// The loss of the last step.
    pub loss_last: Option<f32>,
    /// Tokens that went through the model in training.
    pub tokens: u64,
    /// Tokens that were trained on.
    pub loss_tokens: u64,
    /// The whole run in seconds.
    pub seconds: f64,
    /// Curating, in seconds.
    pub curate_seconds: f64,
    /// The training steps, in seconds.
    pub train_seconds: f64,
    /// Training tokens per second of the steps.
    pub tokens_per_second: f64,
    /// Seconds inside plugins, host services not included, by stage.
    pub plugin_seconds: BTreeMap<Stage, f64>,
    /// The plugins' share of the whole run, 0.0 to 1.0.
    pub plugin_share: f64,
    /// The plugins' share of the training steps, 0.0 to 1.0.
    pub step_plugin_share: f64,
    /// Rows of the training set by provenance.
    pub provenance: BTreeMap<String, u64>,
    /// Rows dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// The metrics of each evaluation set.
    pub sets: Vec<SetSummary>,
    /// The digest of the trained parameters.
    pub parameters: String,
    /// The hash of the trace's last line.
    pub trace: String,
}

/// The metrics of an evaluation set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SetSummary {
    /// The set's name.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// Metrics before training.
    pub before: BTreeMap<String, f64>,
    /// Metrics after training; empty if nothing was trained.
    pub after: BTreeMap<String, f64>,
}

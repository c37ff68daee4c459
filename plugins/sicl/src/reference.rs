//! What numpy, scipy and scikit-learn compute: `tests/reference.json`, made by `tests/reference.py`.

use std::collections::BTreeMap;

use serde::Deserialize;

/// How far a value may be from the reference: both are sums of some forty float64 of size one in another order.
pub(crate) const TOLERANCE: f64 = 1e-12;

/// Forty rows of four variants over three classes.
#[derive(Debug, Deserialize)]
pub(crate) struct Reference {
    /// By row and variant, a score per class.
    pub(crate) scores: Vec<Vec<Vec<f64>>>,
    /// The right classes.
    pub(crate) golds: Vec<usize>,
    /// The scores' softmax.
    pub(crate) probabilities: Vec<Vec<Vec<f64>>>,
    /// By combination and row, a distribution.
    pub(crate) combined: BTreeMap<String, Vec<Vec<f64>>>,
    /// The first variant's scores after batch calibration.
    pub(crate) calibrated: Vec<Vec<f64>>,
    /// By combination and name, a metric.
    pub(crate) metrics: BTreeMap<String, BTreeMap<String, f64>>,
}

pub(crate) fn read() -> Reference {
    serde_json::from_str(include_str!("../tests/reference.json")).expect("the reference has these fields")
}

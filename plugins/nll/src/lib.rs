//! The negative log-likelihood with an explicit reduction.

use serde::Deserialize;
use tunesmith_sdk::{Batch, Error, Objective, Plugin, Tensor};

/// What the sum of weighted token losses is divided by. It changes results wherever lengths differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// By the sum of the weights of the whole optimiser step.
    TokenMean,
    /// Each row by the sum of its own weights, and then by the number of rows of the whole optimiser step.
    SequenceMean,
    /// By nothing.
    Sum,
}

/// The settings, as in `plugin.toml`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// What the sum of weighted token losses is divided by.
    pub reduction: Reduction,
}

/// The negative log-likelihood.
pub struct Nll {
    reduction: Reduction,
}

impl Plugin for Nll {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        Ok(Self { reduction: settings.reduction })
    }
}

impl Objective for Nll {
    fn objective(&self, batch: &Batch) -> Result<Tensor, Error> {
        let weights = batch.weights();
        let weighted = batch.token_logprobs("policy")? * &weights;
        Ok(match self.reduction {
            Reduction::TokenMean => weighted.sum() * inverse(batch.total_weight()),
            Reduction::SequenceMean => {
                let row_weights = weights.sum_dim(1);
                // A row without weight has a sum of 0.0, which any divisor leaves alone.
                let divisors = row_weights.masked_fill(&row_weights.equal_scalar(0.0), 1.0);
                (weighted.sum_dim(1) / divisors).sum() * inverse(batch.total_rows() as f64)
            }
            Reduction::Sum => -weighted.sum(),
        })
    }
}

/// `-1 / total`, rounded once; 0.0 for a step without weight, whose loss is 0.0.
fn inverse(total: f64) -> f32 {
    if total == 0.0 { 0.0 } else { (-1.0 / total) as f32 }
}

tunesmith_sdk::export!(Nll: objective);

//! Objectives beyond the negative log-likelihood: another non-increasing function of each token's probability is minimised.

pub mod math;

use serde::Deserialize;
use tunesmith_sdk::{Batch, Error, Objective, Plugin, Tensor, log};

use math::{Function, divisor};

/// The settings, as `plugin.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    function: String,
    alpha: f32,
    threshold: f32,
    reduction: Reduction,
    warn_below: f64,
}

/// What the sum over tokens is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// The kept tokens of the micro-batch, then the number of micro-batches: as in the paper's code.
    Paper,
    /// The total weight of all micro-batches, dropped tokens included.
    TokenMean,
}

/// The plugin.
pub struct BeyondNll {
    function: Function,
    reduction: Reduction,
    warn_below: f64,
}

impl Plugin for BeyondNll {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        let Settings { function, alpha, threshold, reduction, warn_below } = settings;
        let function = Function::new(&function, alpha, threshold).map_err(Error::bad_settings)?;
        Ok(Self { function, reduction, warn_below })
    }
}

impl Objective for BeyondNll {
    fn objective(&self, batch: &Batch) -> Result<Tensor, Error> {
        let logp = batch.token_logprobs("policy")?;
        let mask = batch.mask();
        let kept = self.function.keep(&logp.detach()).map(|keep| &mask * keep);
        let kept = kept.as_ref().unwrap_or(&mask);
        let total = (self.function.loss(&logp) * kept * batch.weights()).sum();
        // One read of three numbers, which also says how the model stands.
        let facts = Tensor::concat(
            &[&kept.sum().reshape(&[1]), &mask.sum().reshape(&[1]), &(logp.detach().exp() * &mask).sum().reshape(&[1])],
            0,
        );
        let [kept, trained, probability] = facts.read()[..] else {
            return Err(Error::other("three sums were not three numbers"));
        };
        self.report(f64::from(kept), f64::from(trained), f64::from(probability), batch.step());
        Ok(match self.reduction {
            Reduction::Paper => total / divisor(kept, batch.micro_batches()),
            Reduction::TokenMean => total / batch.total_weight().max(f64::MIN_POSITIVE) as f32,
        })
    }
}

impl BeyondNll {
    /// Metrics, and a warning where the gradient vanishes because the model is too weak.
    fn report(&self, kept: f64, trained: f64, probability: f64, step: u32) {
        if trained <= 0.0 {
            return;
        }
        let mean = probability / trained;
        log::metric("mean-p", mean);
        log::metric("kept-share", kept / trained);
        if step == 0 && mean < self.warn_below && self.function.vanishes_at_small_p() {
            log::warn(&format!(
                "the model's mean probability of the trained tokens is {mean:.4}: the gradient of this function vanishes there, and `nll` learns faster"
            ));
        }
    }
}

tunesmith_sdk::export!(BeyondNll: objective);

#[cfg(test)]
mod tests;

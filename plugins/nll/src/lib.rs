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

#[cfg(test)]
mod tests {
    use super::*;
    use tunesmith_sdk_test::{PretendHost, TokenRow, check_manifest};

    /// Two rows of 3 and 1 tokens: the means over tokens and over rows differ.
    fn rows() -> [TokenRow; 2] {
        [TokenRow::new(&[-1.0, -2.0, -3.0]), TokenRow::new(&[-4.0])]
    }

    #[track_caller]
    fn check(reduction: &str, rows: &[TokenRow], loss: f32) {
        let host = PretendHost::of("plugin.toml").setting("reduction", reduction);
        assert_eq!(host.objective::<Nll>(rows), Ok(loss));
    }

    #[test]
    fn the_manifest_says_what_the_code_does() {
        check_manifest::<Nll>("plugin.toml");
    }

    #[test]
    fn a_token_mean_divides_by_the_tokens() {
        check("token-mean", &rows(), 2.5);
    }

    #[test]
    fn a_sequence_mean_divides_by_the_length_and_then_by_the_rows() {
        check("sequence-mean", &rows(), 3.0);
    }

    #[test]
    fn a_sum_divides_by_nothing() {
        check("sum", &rows(), 10.0);
    }

    #[test]
    fn weights_count_in_the_sum_and_in_the_divisor() {
        let rows = [TokenRow::new(&[-1.0, -2.0]).weights(&[3.0, 1.0]), TokenRow::new(&[-4.0]).weights(&[0.0])];
        check("token-mean", &rows, 1.25);
        check("sequence-mean", &rows, 0.625);
        check("sum", &rows, 5.0);
    }

    #[test]
    fn tokens_that_are_not_trained_on_do_not_count() {
        check("token-mean", &[TokenRow::new(&[-1.0, -5.0]).mask(&[true, false])], 1.0);
    }

    #[test]
    fn the_gradient_by_each_log_probability_is_its_share() {
        let host = PretendHost::of("plugin.toml");
        assert_eq!(host.gradient::<Nll>(&rows()), Ok(vec![vec![0.0, -0.25, -0.25, -0.25], vec![0.0, -0.25]]));
    }

    #[test]
    fn a_step_without_weight_has_no_loss() {
        check("token-mean", &[TokenRow::new(&[-1.0]).weights(&[0.0])], 0.0);
    }

    #[test]
    fn an_unknown_reduction_is_a_bad_setting() {
        let host = PretendHost::of("plugin.toml").setting("reduction", "mean");
        assert!(matches!(host.objective::<Nll>(&rows()), Err(Error::BadSettings(text)) if text.contains("token-mean")));
    }
}

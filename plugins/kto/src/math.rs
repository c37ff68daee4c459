//! The formulas: what a labelled completion costs, one element per completion.

use serde::Deserialize;
use tunesmith_sdk::Tensor;

/// Which loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Against the policy's mean distance from the reference.
    Kto,
    /// Against the reference itself.
    ApoZeroUnpaired,
}

/// The mean distance of the policy from the reference, from the ratios of completions of other rows: never below 0.0.
pub fn distance(ratios: &[f32]) -> f32 {
    let sum: f64 = ratios.iter().map(|ratio| f64::from(*ratio)).sum();
    (sum / ratios.len().max(1) as f64).max(0.0) as f32
}

/// `1 - sigmoid(sign beta (ratio - distance))`: `signs` are 1.0 for good completions, -1.0 for bad ones.
pub fn costs(ratios: &Tensor, signs: &Tensor, distance: f32, beta: f32) -> Tensor {
    1.0 - ((ratios - distance) * signs * beta).sigmoid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_a_mean_that_is_never_negative() {
        assert!((distance(&[3.0, -1.0]) - 1.0).abs() < 1e-6);
        assert_eq!(distance(&[-3.0, 1.0]).to_bits(), 0.0_f32.to_bits());
        assert_eq!(distance(&[]).to_bits(), 0.0_f32.to_bits());
    }

    #[test]
    fn good_completions_cost_less_the_likelier_they_are_and_bad_ones_more() {
        let (ratios, signs) = (Tensor::from_floats(&[3.0, 3.0], &[2]), Tensor::from_floats(&[1.0, -1.0], &[2]));
        // sigmoid(0.5 (3 - 1)) = 0.731059.
        let found = costs(&ratios, &signs, 1.0, 0.5).read();
        assert!((found[0] - 0.268_941).abs() < 1e-5 && (found[1] - 0.731_059).abs() < 1e-5, "{found:?}");
    }
}

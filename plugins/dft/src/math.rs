//! The numbers of discriminative fine-tuning, in float64 and in the logarithm.

/// `log(exp(a) + exp(b))`, without overflow.
pub fn logaddexp(a: f64, b: f64) -> f64 {
    let (large, small) = if a < b { (b, a) } else { (a, b) };
    if large == f64::NEG_INFINITY { large } else { large + (small - large).exp().ln_1p() }
}

/// `log(mean(exp(values)))`; negative infinity of nothing.
pub fn logmeanexp(values: &[f64]) -> f64 {
    let sum = values.iter().fold(f64::NEG_INFINITY, |sum, value| logaddexp(sum, *value));
    sum - (values.len() as f64).ln()
}

/// The next `u` of a row: `log((1 - gamma) exp(u) + gamma mean(exp(d)))`.
pub fn moved(u: f64, gamma: f64, d: &[f64]) -> f64 {
    logaddexp((1.0 - gamma).ln() + u, gamma.ln() + logmeanexp(d))
}

/// How much each negative is pushed down: `exp(d - u)`, with the difference within `clamp`.
pub fn weights(d: &[f64], u: f64, clamp: f64) -> Vec<f64> {
    d.iter().map(|d| (d - u).clamp(-clamp, clamp).exp()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12 * (1.0 + expected.abs()), "{found}, not {expected}");
    }

    #[test]
    fn sums_in_the_logarithm_are_those_of_plain_numbers() {
        near(logaddexp(0.5_f64.ln(), 0.25_f64.ln()), 0.75_f64.ln());
        near(logmeanexp(&[2.0_f64.ln(), 4.0_f64.ln()]), 3.0_f64.ln());
        near(logaddexp(-2000.0, -2000.0), -2000.0 + 2.0_f64.ln());
        assert!(logaddexp(f64::NEG_INFINITY, f64::NEG_INFINITY) < f64::MIN, "nothing and nothing is nothing");
    }

    #[test]
    fn the_average_moves_by_its_share() {
        near(moved(0.0, 0.25, &[5.0_f64.ln()]), 2.0_f64.ln());
        near(moved(-9.0, 1.0, &[5.0_f64.ln()]), 5.0_f64.ln());
    }

    #[test]
    fn weights_are_one_on_average_where_nothing_is_kept() {
        let d = [-3.0, 1.0, 0.5];
        let weights = weights(&d, moved(0.0, 1.0, &d), 20.0);
        near(weights.iter().sum::<f64>() / 3.0, 1.0);
        near(super::weights(&[900.0], 0.0, 3.0)[0], 3.0_f64.exp());
    }
}

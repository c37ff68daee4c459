//! The losses of each sampled token. Tensors are [B, T], or [B, 1] where a whole row shares a number.

use tunesmith_sdk::Tensor;

/// Logarithms of ratios are kept at most this large, so that no product with them overflows. A ratio is long clipped there, or its loss is enormous.
const LARGEST: f32 = 20.0;
/// The same for the exponential of the divergence, and for the weight of a row. `exp` of both together is a float32.
const LARGEST_EXPONENT: f32 = 60.0;

/// The sum of each row where the mask is 1.0, [B, 1].
pub fn row_sums(values: &Tensor, mask: &Tensor) -> Tensor {
    (values * mask).sum_dim(1)
}

/// The mean of each row where the mask is 1.0, [B, 1]; 0.0 for rows without such a token.
pub fn row_means(values: &Tensor, mask: &Tensor) -> Tensor {
    row_sums(values, mask) / unless_zero(&mask.sum_dim(1))
}

/// The mean of all tokens where the mask is 1.0; 0.0 if there are none.
pub fn token_mean(values: &Tensor, mask: &Tensor) -> Tensor {
    (values * mask).sum() / unless_zero(&mask.sum())
}

/// The count, or the sum of weights, however small; 1.0 where it is 0.0.
fn unless_zero(count: &Tensor) -> Tensor {
    count + count.equal_scalar(0.0)
}

/// `min(values, limit)`.
fn at_most(values: &Tensor, limit: f32) -> Tensor {
    values.minimum(&Tensor::full(limit, &[1]))
}

/// `exp`, of a number that is kept within bounds.
pub fn ratio(log_ratio: &Tensor) -> Tensor {
    at_most(log_ratio, LARGEST).exp()
}

/// The estimate k3 of the divergence from the reference: `exp(d) - d - 1` with `d = log p_ref - log p`; never negative.
pub fn kl(logp: &Tensor, reference: &Tensor) -> Tensor {
    let d = at_most(&(reference - logp), LARGEST_EXPONENT);
    d.exp() - d - 1.0
}

/// Where ratios are clipped.
#[derive(Debug, Clone, Copy)]
pub struct Clip {
    /// The lowest ratio.
    pub low: f32,
    /// The highest ratio.
    pub high: f32,
    /// The highest ratio where the advantage is negative, if there is one.
    pub delta: Option<f32>,
}

/// `-min(r A, clip(r) A)`.
pub fn clipped(ratio: &Tensor, advantages: &Tensor, clip: Clip) -> Tensor {
    let bounded = ratio.clamp(clip.low, clip.high) * advantages;
    let open = match clip.delta {
        Some(delta) => at_most(ratio, delta) * advantages,
        None => ratio * advantages,
    };
    -open.minimum(&bounded)
}

/// 1.0 for ratios below the lowest of a negative advantage, and for ratios above the highest of a positive one.
pub fn clips(ratio: &Tensor, advantages: &Tensor, clip: Clip) -> (Tensor, Tensor) {
    let low = (-ratio).greater_scalar(-clip.low) * (-advantages).greater_scalar(0.0);
    let high = ratio.greater_scalar(clip.high) * advantages.greater_scalar(0.0);
    (low, high)
}

/// CISPO: `-min(r, high) A log p`, with no gradient through the ratio.
pub fn cispo(ratio: &Tensor, advantages: &Tensor, logp: &Tensor, high: f32) -> Tensor {
    -(at_most(ratio, high).detach() * advantages * logp)
}

/// SAPO: `-4 / t sigmoid(t (r - 1)) A`, with a temperature by the advantage's sign.
pub fn sapo(ratio: &Tensor, advantages: &Tensor, positive: f32, negative: f32) -> Tensor {
    let temperature = by_sign(&advantages.greater_scalar(0.0), positive, negative);
    -((&temperature * (ratio - 1.0)).sigmoid() * 4.0 / temperature * advantages)
}

/// The exponents of VESPO for one sign of the advantage.
#[derive(Debug, Clone, Copy)]
pub struct Gamma {
    /// The power of the row's ratio.
    pub k: f32,
    /// The rate at which large ratios fade.
    pub lambda: f32,
}

/// VESPO's weight of a row, `exp(lambda + k log w - lambda w)` with the row's ratio `w`, without gradient; [B, T], since the advantage picks the exponents.
pub fn gamma_weights(
    log_ratio: &Tensor,
    advantages: &Tensor,
    mask: &Tensor,
    positive: Gamma,
    negative: Gamma,
) -> Tensor {
    let log_w = row_sums(&log_ratio.detach().clamp(-20.0, 20.0), mask).clamp(1e-8_f32.ln(), 20.0);
    let is_positive = advantages.greater_equal_scalar(0.0);
    let k = by_sign(&is_positive, positive.k, negative.k);
    let lambda = by_sign(&is_positive, positive.lambda.max(1e-4), negative.lambda.max(1e-4));
    at_most(&(&lambda + k * &log_w - &lambda * log_w.exp()), LARGEST_EXPONENT).exp()
}

fn by_sign(is_positive: &Tensor, positive: f32, negative: f32) -> Tensor {
    is_positive * (positive - negative) + negative
}

/// 0.0 for negative advantages of rows whose policy left the one that sampled: a mean of `log p_old - log p` above the threshold; else 1.0.
pub fn near_enough(log_ratio: &Tensor, advantages: &Tensor, mask: &Tensor, threshold: f32) -> Tensor {
    let is_far = row_means(&-log_ratio.detach(), mask).greater_scalar(threshold);
    let is_negative = (-advantages).greater_scalar(0.0);
    1.0 - is_far * is_negative
}

/// A quantile of finite numbers, between two of them if need be, in float32 as torch has it; none of nothing.
pub fn quantile(values: &[f32], share: f32) -> Option<f32> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    let rank = share * sorted.len().checked_sub(1)? as f32;
    let (below, above) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
    let weight = rank - rank.floor();
    Some(if weight < 0.5 { below + weight * (above - below) } else { above - (above - below) * (1.0 - weight) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn near(found: &Tensor, expected: &[f32]) {
        let found = found.read();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5 * (1.0 + expected.abs()), "{found}, not {expected}");
        }
    }

    fn row(values: &[f32]) -> Tensor {
        Tensor::from_floats(values, &[1, values.len()])
    }

    #[test]
    fn the_divergence_is_k3() {
        let d = [0.5_f32, 0.0, -1.0];
        let expected = d.map(|d| d.exp() - d - 1.0);
        near(&kl(&row(&[-1.0; 3]), &row(&d.map(|d| d - 1.0))), &expected);
    }

    #[test]
    fn delta_bounds_what_is_not_clipped() {
        let clip = Clip { low: 0.8, high: 1.2, delta: Some(3.0) };
        near(&clipped(&row(&[5.0, 5.0, 0.5]), &row(&[-1.0, 1.0, -1.0]), clip), &[3.0, -1.2, 0.8]);
        near(&clipped(&row(&[5.0]), &row(&[-1.0]), Clip { delta: None, ..clip }), &[5.0]);
    }

    /// The gate is 2 / t where nothing changed.
    #[test]
    fn the_soft_gate_is_by_sign() {
        near(&sapo(&row(&[1.0, 1.0]), &row(&[3.0, -3.0]), 1.0, 2.0), &[-6.0, 3.0]);
    }

    /// `w = 2 * 1`, since the last token does not count: `exp(3 + 2 log 2 - 6)` and `exp(2 + 3 log 2 - 4)`.
    #[test]
    fn gamma_weights_are_of_the_rows_ratio() {
        let (log_ratio, mask) = (row(&[2.0_f32.ln(), 0.0, 9.0]), row(&[1.0, 1.0, 0.0]));
        let (positive, negative) = (Gamma { k: 2.0, lambda: 3.0 }, Gamma { k: 3.0, lambda: 2.0 });
        let found = gamma_weights(&log_ratio, &row(&[1.0, -1.0, 0.0]), &mask, positive, negative);
        near(&found, &[4.0 * (-3.0_f32).exp(), 8.0 * (-2.0_f32).exp(), 4.0 * (-3.0_f32).exp()]);
    }

    #[test]
    fn quantiles_lie_between_numbers() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!([0.0, 0.5, 0.75, 1.0].map(|share| quantile(&values, share)), [1.0, 2.5, 3.25, 4.0].map(Some));
        assert_eq!(quantile(&[], 0.5), None);
    }
}

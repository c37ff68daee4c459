//! The loss of a place: a one-step policy gradient over tokens that the policy draws itself.

use tunesmith_sdk::Tensor;

/// `-(1/K) sum_j R(a_j) log p(a_j)`, with reward 1 for draws that equal the label and `beta` for others.
///
/// `logp` are the log-probabilities of the draws, [B, T, K]; `is_label` is 1.0 for those that equal the label. Gives [B, T]. Rewards and draws carry no
/// gradient.
pub fn sampled(logp: &Tensor, is_label: &Tensor, beta: f32) -> Tensor {
    let rewards = is_label * (1.0 - beta) + beta;
    -(rewards * logp).mean_dim(2).reshape(&places(logp))
}

/// 1.0 where the label is among the draws, [B, T].
pub fn seen(is_label: &Tensor) -> Tensor {
    is_label.max_dim(2).reshape(&places(is_label))
}

/// The limit of [`sampled`] for infinitely many draws: `-(q(y) log p(y) + beta sum_{a != y} q(a) log p(a))` with `q = softmax(log p / temperature)`, which
/// carries no gradient.
///
/// `logp` are the log-probabilities of the whole vocabulary, [B, T, V]; `labels` are integers [B, T].
pub fn exact(logp: &Tensor, labels: &Tensor, temperature: f32, beta: f32) -> Tensor {
    let places = places(logp);
    // Dividing log-probabilities is dividing logits: they differ by a number that softmax does not see.
    let q = (logp.detach() / temperature).softmax(2);
    let index = labels.reshape(&[&places[..], &[1]].concat());
    let all = (&q * logp).sum_dim(2).reshape(&places);
    let label = (q.gather(2, &index) * logp.gather(2, &index)).reshape(&places);
    -(label * (1.0 - beta) + all * beta)
}

/// [B, T] of [B, T, ..].
fn places(tensor: &Tensor) -> Vec<usize> {
    tensor.shape()[..2].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's position: draws {label, label, a, b} of log-probabilities -0.7, -1.5 and -2.0.
    #[test]
    fn the_golden_vector_is_met() {
        let logp = Tensor::from_floats(&[-0.7, -0.7, -1.5, -2.0], &[1, 1, 4]);
        let is_label = Tensor::from_floats(&[1.0, 1.0, 0.0, 0.0], &[1, 1, 4]);
        assert!((sampled(&logp, &is_label, -0.1).item() - 0.2625).abs() < 1e-6);
        // Without a negative term: 2/4 of the negative log-likelihood.
        assert!((sampled(&logp, &is_label, 0.0).item() - 0.35).abs() < 1e-6);
    }

    #[test]
    fn a_place_is_seen_if_any_draw_is_the_label() {
        let is_label = Tensor::from_floats(&[0.0, 1.0, 0.0, 0.0], &[1, 2, 2]);
        assert_eq!(seen(&is_label).read(), [1.0, 0.0]);
    }

    /// By hand: q = (2/3, 1/6, 1/6) at temperature 1.
    #[test]
    fn the_limit_is_the_formula() {
        let p = [2.0_f32 / 3.0, 1.0 / 6.0, 1.0 / 6.0];
        let logp = Tensor::from_floats(&p.map(f32::ln), &[1, 1, 3]);
        let labels = Tensor::from_ints(&[0], &[1, 1]);
        let expected = |beta: f32| -(p[0] * p[0].ln() + beta * 2.0 * p[1] * p[1].ln());
        for beta in [0.0, -0.1, 0.5] {
            let found = exact(&logp, &labels, 1.0, beta).item();
            assert!((found - expected(beta)).abs() < 1e-6, "{beta}: {found}");
        }
    }

    #[test]
    fn a_higher_temperature_flattens_the_draws() {
        // At temperature 2 the square roots of (16, 1, 1)/18 count: (4, 1, 1)/6.
        let logp = Tensor::from_floats(&[16.0_f32 / 18.0, 1.0 / 18.0, 1.0 / 18.0].map(f32::ln), &[1, 1, 3]);
        let found = exact(&logp, &Tensor::from_ints(&[1], &[1, 1]), 2.0, 0.0).item();
        assert!((found - 18.0_f32.ln() / 6.0).abs() < 1e-6, "{found}");
    }
}

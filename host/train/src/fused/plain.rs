//! The fused operations as ordinary tensor operations: what they mean, for devices without a fused form.

use burn::tensor::activation::{gelu_approximate, silu, softmax};
use burn::tensor::{Int, Tensor, TensorData};

use super::AdamStep;

/// Hidden states whose logits are formed at once.
const ROWS: usize = 256;

/// Elements that one thread reduces.
const LINE: usize = 256;

/// Added to a score that does not count: its exponential is exactly 0, and no row becomes NaN.
const UNSEEN: f32 = -1e30;

/// As [`super::adamw`].
pub fn adamw([value, mean, square]: [Tensor<1>; 3], gradient: Tensor<1>, step: &AdamStep) -> [Tensor<1>; 3] {
    let mean = mean.mul_scalar(step.betas[0]) + gradient.clone().mul_scalar(step.rests[0]);
    let square = square.mul_scalar(step.betas[1]) + gradient.square().mul_scalar(step.rests[1]);
    let root = square.clone().sqrt().mul_scalar(step.root).add_scalar(step.epsilon);
    let change = (mean.clone() / root).mul_scalar(step.rate);
    [value.mul_scalar(step.keep) - change, mean, square]
}

/// As [`super::token_logprobs`]. The graph keeps the logits of the whole vocabulary and their exponentials.
pub fn token_logprobs(hidden: &Tensor<2>, weight: Tensor<2>, targets: &[u32], cap: Option<f64>) -> Tensor<1> {
    candidate_logprobs(hidden, weight, targets, cap).reshape([targets.len()])
}

/// As [`super::candidate_logprobs`]. The graph keeps the logits of the whole vocabulary and their exponentials.
pub fn candidate_logprobs(hidden: &Tensor<2>, weight: Tensor<2>, candidates: &[u32], cap: Option<f64>) -> Tensor<2> {
    let device = hidden.device().without_autodiff();
    let columns = weight.transpose();
    let each = candidates.len() / hidden.dims()[0];
    let parts = candidates.chunks(ROWS * each).enumerate().map(|(part, candidates)| {
        let rows = candidates.len() / each;
        let logits = limited(hidden.clone().narrow(0, part * ROWS, rows).matmul(columns.clone()), cap);
        let ids: Vec<i32> = candidates.iter().map(|&id| id as i32).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [rows, each]), &device);
        let largest = reduced(logits.clone().detach(), |parts| parts.max_dim(2));
        let shifted = logits - largest;
        let logsumexp = reduced(shifted.clone().exp(), |parts| parts.sum_dim(2)).log();
        shifted.gather(1, ids) - logsumexp
    });
    Tensor::cat(parts.collect(), 0)
}

/// Logits within the model's limit.
fn limited(logits: Tensor<2>, cap: Option<f64>) -> Tensor<2> {
    match cap {
        Some(cap) => logits.div_scalar(cap).tanh().mul_scalar(cap),
        None => logits,
    }
}

/// A sum or an extremum over the second dimension, in two stages: `[rows, columns]` to `[rows, 1]`.
///
/// `reduce` takes the last of three dimensions. On a card burn gives each result one thread, and a row of a vocabulary is too long for one.
fn reduced(x: Tensor<2>, reduce: impl Fn(Tensor<3>) -> Tensor<3>) -> Tensor<2> {
    let [rows, columns] = x.dims();
    let (lines, rest) = (columns / LINE, columns % LINE);
    let mut parts = Vec::new();
    if lines != 0 {
        let whole = if rest == 0 { x.clone() } else { x.clone().narrow(1, 0, lines * LINE) };
        parts.push(reduce(whole.reshape([rows, lines, LINE])).reshape([rows, lines]));
    }
    if rest != 0 {
        parts.push(x.narrow(1, lines * LINE, rest));
    }
    let parts = Tensor::cat(parts, 1);
    let left = parts.dims()[1];
    reduce(parts.reshape([rows, 1, left])).reshape([rows, 1])
}

/// As [`super::rms_norm`].
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, epsilon: f64) -> Tensor<D> {
    let mean_square = x.clone().square().mean_dim(D - 1);
    x / mean_square.add_scalar(epsilon).sqrt() * weight.unsqueeze()
}

/// As [`super::rope`].
pub fn rope(x: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    let half = x.dims()[3] / 2;
    let first = x.clone().narrow(3, 0, half);
    let second = x.narrow(3, half, half);
    let turned = [first.clone() * cos.clone() - second.clone() * sin.clone(), second * cos + first * sin];
    Tensor::cat(turned.into(), 3)
}

/// As [`super::silu_mul`].
pub fn silu_mul<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    silu(gate) * up
}

/// As [`super::gelu_mul`].
pub fn gelu_mul<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    gelu_approximate(gate) * up
}

/// As [`super::causal_softmax`].
pub fn causal_softmax(scores: Tensor<4>, first_keys: &[u32], offset: usize) -> Tensor<4> {
    let bias = causal_bias(&scores, first_keys, offset);
    softmax(scores + bias, 3)
}

/// What [`causal_softmax`] adds to scores of this shape: `[rows, 1, queries, keys]`, 0 where a query sees a key.
///
/// As long as `rows * queries * keys` numbers, and made on the host: callers with many layers make it once.
pub fn causal_bias(scores: &Tensor<4>, first_keys: &[u32], offset: usize) -> Tensor<4> {
    let [rows, _, queries, keys] = scores.dims();
    let mut bias = vec![UNSEEN; rows * queries * keys];
    for (index, row) in bias.chunks_mut(keys).enumerate() {
        row[first_keys[index] as usize..=offset + index % queries].fill(0.0);
    }
    let device = scores.device().without_autodiff();
    Tensor::from_data(TensorData::new(bias, [rows, 1, queries, keys]), (&device, scores.dtype()))
}

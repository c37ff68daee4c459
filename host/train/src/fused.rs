//! The operations that dominate a training step, each as one step of the graph with its own backward pass.
//!
//! On the CPU device (flex) in float32 they run as fused loops; anywhere else each falls back to plain tensor operations of the same
//! meaning, in [`plain`]. Results agree to float32 rounding. All sums have a fixed order: the number of threads does not change a bit.
//!
//! Each function takes tensors with or without autodiff; gradients flow to every float argument that says so.

mod adamw;
mod attention;
mod flex;
mod gate;
pub(crate) mod lanes;
mod logprobs;
mod norm;
pub mod plain;
mod rotary;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use burn::tensor::Tensor;
use burn_flex::Flex;

/// The numbers of one step of `AdamW`, rounded once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// How much of the running means of the gradient and of its square stays.
    pub betas: [f32; 2],
    /// How much of the new gradient and of its square is added.
    pub rests: [f32; 2],
    /// Multiplies the root of the square, for its bias.
    pub root: f32,
    /// Is added to it.
    pub epsilon: f32,
    /// Multiplies the change: the learning rate, and the bias of the mean.
    pub rate: f32,
    /// How much of the parameter stays: 1 without weight decay.
    pub keep: f32,
}

/// One step of `AdamW` (Loshchilov and Hutter 2019, arXiv 1711.05101) for a parameter, flat, with its gradient and the running means of the
/// gradient and of its square: gives parameter, mean and square after it. No graph is kept, and both forms give the same bits.
pub fn adamw([value, mean, square]: [Tensor<1>; 3], gradient: Tensor<1>, step: &AdamStep) -> [Tensor<1>; 3] {
    let found = [&value, &mean, &square, &gradient].map(flex::constant);
    let [Some(own_value), Some(own_mean), Some(own_square), Some(own_gradient)] = found else {
        return plain::adamw([value, mean, square], gradient, step);
    };
    // Nobody else may hold the memory, or it is copied before it is changed.
    drop((value, mean, square, gradient));
    adamw::adamw([own_value, own_mean, own_square], own_gradient, step).map(Tensor::from_primitive::<Flex>)
}

/// Whether operations on this tensor run fused: it is one of the CPU device in float32.
pub(crate) fn is_fused<const D: usize>(tensor: &Tensor<D>) -> bool {
    flex::operand(tensor).is_some()
}

/// Log-probability of one target for each hidden state: `log p[n] = z[n, targets[n]] - log sum_v exp(z[n, v])` with `z = hidden weight^T`,
/// or `cap * tanh(z / cap)` of it if there is a cap.
///
/// `hidden` is `[n, width]`, `weight` `[vocabulary, width]` (a transposed view will do); gives `[n]`. Gradients flow to both.
/// The logits exist only in parts. Up to 256 MB of them are kept for the backward pass; where there are more, it computes all again, so that
/// memory is `O(n)` and not `O(n * vocabulary)`.
///
/// # Panics
///
/// When there are not `n` targets or one is outside the vocabulary.
pub fn token_logprobs(hidden: Tensor<2>, weight: Tensor<2>, targets: &[u32], cap: Option<f64>) -> Tensor<1> {
    let ([rows, _], [vocabulary, _]) = (hidden.dims(), weight.dims());
    assert_eq!(rows, targets.len(), "one target for each hidden state");
    assert!(targets.iter().all(|&target| (target as usize) < vocabulary), "targets are in the vocabulary");
    if rows == 0 {
        return Tensor::zeros([0], &hidden.device());
    }
    match (flex::operand(&hidden), flex::operand(&weight)) {
        (Some(states), Some(weight)) => {
            drop(hidden);
            logprobs::target_logprobs([states, weight], (targets, 1), cap.map(|cap| cap as f32))
        }
        _ => plain::token_logprobs(&hidden, weight, targets, cap),
    }
}

/// As [`token_logprobs`], for several candidates each: `candidates` has those of the first hidden state, then those of the second, and so on;
/// gives `[n, candidates of each]`. A candidate may come more than once.
///
/// # Panics
///
/// When `candidates` is no multiple of the number of hidden states, or one is outside the vocabulary.
pub fn candidate_logprobs(hidden: Tensor<2>, weight: Tensor<2>, candidates: &[u32], cap: Option<f64>) -> Tensor<2> {
    let ([rows, _], [vocabulary, _]) = (hidden.dims(), weight.dims());
    let each = candidates.len().checked_div(rows).unwrap_or(0);
    assert_eq!(rows * each, candidates.len(), "as many candidates for each hidden state");
    assert!(candidates.iter().all(|&id| (id as usize) < vocabulary), "candidates are in the vocabulary");
    if candidates.is_empty() {
        return Tensor::zeros([rows, each], &hidden.device());
    }
    match (flex::operand(&hidden), flex::operand(&weight)) {
        (Some(states), Some(weight)) => {
            drop(hidden);
            let cap = cap.map(|cap| cap as f32);
            logprobs::target_logprobs([states, weight], (candidates, each), cap).reshape([rows, each])
        }
        _ => plain::candidate_logprobs(&hidden, weight, candidates, cap),
    }
}

/// `x / sqrt(mean(x^2) + epsilon) * weight` over the last dimension (Zhang and Sennrich 2019, arXiv 1910.07467).
///
/// `weight` is as long as the last dimension of `x`. Gradients flow to both.
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, epsilon: f64) -> Tensor<D> {
    match (flex::operand(&x), flex::operand(&weight)) {
        (Some(x), Some(weight)) => norm::rms_norm(x, weight, epsilon as f32),
        _ => plain::rms_norm(x, weight, epsilon),
    }
}

/// Turns each pair `(x[i], x[i + d/2])` of `[rows, columns, heads, d]` by the angle of its position (Su et al. 2021, arXiv 2104.09864).
///
/// `cos` and `sin` are `[rows or 1, columns, 1, d/2]` and constants. Gradients flow to `x`.
pub fn rope(x: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    match (flex::operand(&x), flex::constant(&cos), flex::constant(&sin)) {
        (Some(operand), Some(cos), Some(sin)) => {
            // Nobody else may hold the memory, or it is copied before it is changed.
            drop(x);
            rotary::rope(operand, cos, sin)
        }
        _ => plain::rope(x, cos, sin),
    }
}

/// `gelu(gate) * up` with the approximation of `gelu` by a hyperbolic tangent (Hendrycks and Gimpel 2016, arXiv 1606.08415). Gradients
/// flow to both.
pub fn gelu_mul<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    match (flex::operand(&gate), flex::operand(&up)) {
        (Some(gate), Some(up)) => gate::gated(gate::Curve::GeluTanh, gate, up),
        _ => plain::gelu_mul(gate, up),
    }
}

/// `gate * sigmoid(gate) * up`, the gate of Shazeer 2020 (arXiv 2002.05202). Gradients flow to both.
pub fn silu_mul<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    match (flex::operand(&gate), flex::operand(&up)) {
        (Some(gate), Some(up)) => gate::gated(gate::Curve::Silu, gate, up),
        _ => plain::silu_mul(gate, up),
    }
}

/// The softmax of attention scores `[rows, heads, queries, keys]` over the keys that each query sees; 0 elsewhere.
///
/// Query `q` of row `r` sees the keys `first_keys[r * queries + q] ..= offset + q`, at least one. Gradients flow to `scores`.
///
/// # Panics
///
/// When there are not `rows * queries` first keys, or a query sees no key or keys that do not exist.
pub fn causal_softmax(scores: Tensor<4>, first_keys: &Arc<[u32]>, offset: usize) -> Tensor<4> {
    let [rows, _, queries, keys] = scores.dims();
    assert_eq!(first_keys.len(), rows * queries, "a first key for each query");
    let sees =
        |(index, &first): (usize, &u32)| first as usize <= offset + index % queries && offset + index % queries < keys;
    assert!(first_keys.iter().enumerate().all(sees), "each query sees keys that exist");
    match flex::operand(&scores) {
        Some(operand) => {
            // As in `rope`.
            drop(scores);
            attention::causal_softmax(operand, first_keys, offset)
        }
        None => plain::causal_softmax(scores, first_keys, offset),
    }
}

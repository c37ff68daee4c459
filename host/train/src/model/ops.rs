//! The few tensor formulas that dominate a decoder's time, each in one place.

use burn::tensor::activation::{silu, softmax};
use burn::tensor::{Device, Tensor, TensorData};

use crate::model::rope::Rope;

/// Added to the score of a key that a query may not see: `exp` of it is exactly 0, and no row becomes NaN.
const UNSEEN: f32 = -1e30;

/// Which keys each query sees: those from its own first key up to its own column.
pub(crate) struct Span {
    /// Rows of the batch.
    pub(crate) rows: usize,
    /// Columns of queries.
    pub(crate) queries: usize,
    /// Columns of keys before the first query.
    pub(crate) offset: usize,
    /// First visible column of each query, row by row.
    pub(crate) first_keys: Vec<u32>,
    bias: Tensor<4>,
}

impl Span {
    pub(crate) fn new(first_keys: Vec<u32>, rows: usize, offset: usize, device: &Device) -> Self {
        let queries = first_keys.len() / rows.max(1);
        let keys = offset + queries;
        let mut bias = vec![UNSEEN; first_keys.len() * keys];
        for (index, row) in bias.chunks_mut(keys).enumerate() {
            row[first_keys[index] as usize..=offset + index % queries].fill(0.0);
        }
        let bias = Tensor::from_data(TensorData::new(bias, [rows, 1, queries, keys]), device);
        Self { rows, queries, offset, first_keys, bias }
    }
}

/// `x / sqrt(mean(x^2) + epsilon) * weight`.
pub(crate) fn rms_norm(x: Tensor<3>, weight: Tensor<1>, epsilon: f64) -> Tensor<3> {
    let mean_square = x.clone().square().mean_dim(2);
    x / mean_square.add_scalar(epsilon).sqrt() * weight.unsqueeze()
}

/// Turns each pair `(x[i], x[i + d/2])` of `[rows, columns, heads, d]` by its position's angle.
pub(crate) fn rotate(x: Tensor<4>, rope: &Rope) -> Tensor<4> {
    let half = x.dims()[3] / 2;
    let first = x.clone().narrow(3, 0, half);
    let second = x.narrow(3, half, half);
    let turned = [
        first.clone() * rope.cos.clone() - second.clone() * rope.sin.clone(),
        second * rope.cos.clone() + first * rope.sin.clone(),
    ];
    Tensor::cat(turned.into(), 3)
}

/// `silu(gate) * up`.
pub(crate) fn silu_gate(gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    silu(gate) * up
}

/// Attention of `q` `[rows, queries, heads, d]` over `k` and `v` `[rows, keys, kv_heads, d]`: `[rows, queries, heads, d]`.
pub(crate) fn attend(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, span: &Span) -> Tensor<4> {
    attend_with_map(q, k, v, span).0
}

/// As [`attend`], and the weights `[rows, heads, queries, keys]`.
pub(crate) fn attend_with_map(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, span: &Span) -> (Tensor<4>, Tensor<4>) {
    let [rows, queries, heads, width] = q.dims();
    let [_, keys, kv_heads, _] = k.dims();
    let group = heads / kv_heads;
    // The query heads of one group follow each other, so a group is one taller matrix and keys need no repetition.
    let q = q.swap_dims(1, 2).reshape([rows, kv_heads, group * queries, width]);
    let k = k.permute([0, 2, 3, 1]);
    let v = v.swap_dims(1, 2);
    let scores = q.mul_scalar((width as f64).powf(-0.5)).matmul(k).reshape([rows, heads, queries, keys]);
    let map = softmax(scores + span.bias.clone(), 3);
    let mixed = map.clone().reshape([rows, kv_heads, group * queries, keys]).matmul(v);
    (mixed.reshape([rows, heads, queries, width]).swap_dims(1, 2), map)
}

//! How queries mix values: batched for training and scoring, row by row for generation.

use std::sync::{Arc, OnceLock};

use burn::tensor::activation::softmax;
use burn::tensor::{DType, Tensor};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use crate::fused;
use crate::fused::lanes::{dot, exp_negative, largest, sum_of};
use crate::model::decoder::soft_capped;

/// Which keys each query sees: those from its own first key up to its own column.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    /// Columns of keys before the first query.
    pub(crate) offset: usize,
    /// First visible column of each query, row by row.
    first_keys: Arc<[u32]>,
    /// Number of columns that a query sees at most, its own included.
    window: Option<usize>,
    /// First column of the last query's sequence, by row.
    starts: Vec<usize>,
    /// For devices without a fused softmax: made by the first layer, used by all.
    bias: OnceLock<Tensor<4>>,
}

impl Span {
    /// `first_keys` is the first column of each query's sequence, row by row; a window moves it to the right.
    pub(crate) fn new(first_keys: &[u32], rows: usize, offset: usize, window: Option<usize>) -> Self {
        let queries = first_keys.len() / rows.max(1);
        let earliest = |query: usize| window.map_or(0, |window| (offset + query + 1).saturating_sub(window) as u32);
        let seen = |(index, first): (usize, &u32)| (*first).max(earliest(index % queries));
        let last = first_keys.chunks(queries.max(1)).filter_map(<[u32]>::last);
        Self {
            offset,
            first_keys: first_keys.iter().enumerate().map(seen).collect(),
            window,
            starts: last.map(|first| *first as usize).collect(),
            bias: OnceLock::new(),
        }
    }

    /// The softmax of scores `[rows, heads, queries, keys]` over what each query sees.
    fn softmax(&self, scores: Tensor<4>) -> Tensor<4> {
        if fused::is_fused(&scores) {
            return fused::causal_softmax(scores, &self.first_keys, self.offset);
        }
        let bias = self.bias.get_or_init(|| fused::plain::causal_bias(&scores, &self.first_keys, self.offset));
        softmax(scores + bias.clone(), 3)
    }
}

/// What becomes of the product of a query and a key before the softmax.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Score {
    /// It is divided by the square root of this,
    pub(crate) divisor: f64,
    /// and then limited by this.
    pub(crate) cap: Option<f64>,
}

/// Attention of `q` `[rows, queries, heads, d]` over `k` and `v` `[rows, keys, kv_heads, d]`: the mixed values
/// `[rows, queries, heads, d]` and the weights `[rows, heads, queries, keys]`. Gradients flow.
pub(crate) fn attend(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, span: &Span, score: Score) -> (Tensor<4>, Tensor<4>) {
    let [rows, queries, heads, width] = q.dims();
    let [_, keys, kv_heads, _] = k.dims();
    let group = heads / kv_heads;
    // The query heads of one group follow each other, so a group is one taller matrix and keys need no repetition.
    let q = q.swap_dims(1, 2).reshape([rows, kv_heads, group * queries, width]);
    let k = k.permute([0, 2, 3, 1]);
    let v = v.swap_dims(1, 2);
    let scores = q.mul_scalar(score.divisor.powf(-0.5)).matmul(k).reshape([rows, heads, queries, keys]);
    let scores = match score.cap {
        Some(cap) => soft_capped(scores, cap),
        None => scores,
    };
    let map = span.softmax(scores);
    let mixed = map.clone().reshape([rows, kv_heads, group * queries, keys]).matmul(v);
    (mixed.reshape([rows, heads, queries, width]).swap_dims(1, 2), map)
}

/// The mixed values of [`attend`], without gradients; on the CPU a row's bits do not depend on the other rows.
///
/// Matrix products choose their order of additions by their sizes, so one product over all rows, padding included, would let the
/// neighbours change the last bits.
pub(crate) fn attend_by_row(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, span: &Span, score: Score) -> Tensor<4> {
    let queries = q.dims()[1];
    let primitive = |tensor: &Tensor<4>| {
        let primitive = tensor.clone().try_into_primitive::<Flex>().ok();
        primitive.filter(|_| tensor.dtype() == DType::F32)
    };
    let primitives = primitive(&q).zip(primitive(&k)).zip(primitive(&v)).map(|((q, k), v)| [q, k, v]);
    // Elsewhere many small products cost more than they are worth: order and bits are the device's anyway.
    let (Some(on_cpu), false) = (primitives, 1 < queries && 0 < span.offset) else {
        return attend(q, k, v, span, score).0;
    };
    if 1 < queries {
        return attend_whole_rows([&q, &k, &v], span, score);
    }
    Tensor::from_primitive::<Flex>(attend_newest(on_cpu, span, score))
}

/// Rows that begin with padding and then hold one sequence each, all columns at once.
fn attend_whole_rows([q, k, v]: [&Tensor<4>; 3], span: &Span, score: Score) -> Tensor<4> {
    let [rows, columns, heads, width] = q.dims();
    let mut mixed = Tensor::zeros([rows, columns, heads, width], &q.device());
    for (row, start) in span.starts.iter().enumerate() {
        let (start, len) = (*start, columns - start);
        let own = |tensor: &Tensor<4>| tensor.clone().narrow(0, row, 1).narrow(1, start, len);
        let alone = Span::new(&vec![0; len], 1, 0, span.window);
        let (values, _) = attend(own(q), own(k), own(v), &alone, score);
        mixed = mixed.slice_assign([row..row + 1, start..columns, 0..heads, 0..width], values);
    }
    mixed
}

/// A `[rows, columns, heads, width]` tensor whose innermost dimension is dense.
struct Columns<'a> {
    values: &'a [f32],
    start: usize,
    strides: [usize; 3],
    width: usize,
}

impl<'a> Columns<'a> {
    fn new(tensor: &'a FlexTensor) -> Self {
        let layout = tensor.layout();
        let stride = |dimension: usize| layout.strides()[dimension].unsigned_abs();
        Self {
            values: tensor.storage(),
            start: layout.start_offset(),
            strides: [stride(0), stride(1), stride(2)],
            width: layout.shape()[3],
        }
    }

    fn at(&self, row: usize, column: usize, head: usize) -> &'a [f32] {
        let start = self.start + row * self.strides[0] + column * self.strides[1] + head * self.strides[2];
        &self.values[start..start + self.width]
    }
}

/// One query per row, the newest column.
fn attend_newest([q, k, v]: [FlexTensor; 3], span: &Span, score: Score) -> FlexTensor {
    let dense = |tensor: FlexTensor| match tensor.layout().strides().last() {
        Some(1) => tensor,
        _ => tensor.to_contiguous(),
    };
    let (q, k, v) = (q.to_contiguous(), dense(k), dense(v));
    let shape = q.layout().shape().clone();
    let (heads, width, kv_heads) = (shape[2], shape[3], k.layout().shape()[2]);
    let group = heads / kv_heads * width;
    let scale = (score.divisor as f32).sqrt().recip();
    let mut mixed = FlexTensor::zeros(shape, burn::tensor::DType::F32);
    let (keys, values) = (Columns::new(&k), Columns::new(&v));
    let queries: &[f32] = q.storage();
    let out: &mut [f32] = mixed.storage_mut();
    out.par_chunks_mut(group).zip(queries.par_chunks(group)).enumerate().for_each(|(index, (out, queries))| {
        let (row, head) = (index / kv_heads, index % kv_heads);
        let seen = span.first_keys[row] as usize..span.offset + 1;
        let mut weights = vec![0.0; seen.len()];
        for (query, out) in queries.chunks(width).zip(out.chunks_mut(width)) {
            for (weight, column) in weights.iter_mut().zip(seen.clone()) {
                *weight = dot(query, keys.at(row, column, head)) * scale;
            }
            if let Some(cap) = score.cap.map(|cap| cap as f32) {
                for weight in &mut weights {
                    *weight = cap * (*weight / cap).tanh();
                }
            }
            let most = largest(&weights);
            for weight in &mut weights {
                *weight = exp_negative(*weight - most);
            }
            let factor = 1.0 / sum_of(&weights, |weight| weight);
            for (weight, column) in weights.iter().zip(seen.clone()) {
                let weight = weight * factor;
                out.iter_mut().zip(values.at(row, column, head)).for_each(|(out, value)| *out += weight * value);
            }
        }
    });
    mixed
}

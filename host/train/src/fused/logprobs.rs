//! Log-probabilities of targets over a large vocabulary, a part of the vocabulary at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::backend::TensorMetadata;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{Slice, Tensor};
use burn_flex::{Flex, FlexTensor};

use super::flex::{self, Operand, dense, elements};
use super::lanes::{self, exp_negative};

/// Tokens of the vocabulary whose logits exist at once. It is fixed, so that a row's result does not depend on how many others there are.
const PART: usize = 4096;

/// Rows whose logits exist at once: with [`PART`], 8 MB.
const ROWS: usize = 512;

/// Logits that are kept for the backward pass, 256 MB of them; where there are more, all are computed again there.
const KEPT: usize = 64 << 20;

#[derive(Debug)]
struct TokenLogprobs;

#[derive(Debug, Clone)]
struct State {
    hidden: FlexTensor,
    weight: FlexTensor,
    /// `per_row` targets of the first row, then those of the second, and so on.
    targets: Arc<[u32]>,
    per_row: usize,
    /// Logits are limited to `cap * tanh(logit / cap)`.
    cap: Option<f32>,
    /// The logarithm of the sum of exponentials of each row.
    logsumexp: Vec<f32>,
    /// Limited logits by part and block, as [`add_part`] goes through them; empty if there are too many, or nobody will ask.
    kept: BTreeMap<(usize, usize), FlexTensor>,
}

/// `per_row` log-probabilities for each row of `hidden`, flat.
pub(super) fn target_logprobs(
    [hidden, weight]: [Operand; 2],
    (targets, per_row): (&[u32], usize),
    cap: Option<f32>,
) -> Tensor<1> {
    let keeps = hidden.is_autodiff() || weight.is_autodiff();
    flex::apply(TokenLogprobs, [hidden, weight], |[hidden, weight]| {
        let (hidden, targets) = (dense(hidden), targets.into());
        let keeps = keeps && hidden.shape()[0] * weight.shape()[0] <= KEPT;
        let mut state = State { hidden, weight, targets, per_row, cap, logsumexp: Vec::new(), kept: BTreeMap::new() };
        let logprobs = forward(&mut state, keeps);
        (flex::tensor(logprobs, &[state.targets.len()]), state)
    })
}

/// A row's running softmax over the parts seen so far.
#[derive(Clone, Copy)]
struct Running {
    largest: f32,
    /// The sum of `exp(logit - largest)`.
    sum: f32,
}

fn forward(state: &mut State, keeps: bool) -> Vec<f32> {
    let mut kept = BTreeMap::new();
    let per_row = state.per_row;
    let mut rows = vec![Running { largest: f32::NEG_INFINITY, sum: 0.0 }; state.targets.len() / per_row];
    let mut logprobs = vec![f32::NAN; state.targets.len()];
    for (block, (rows, chosen)) in rows.chunks_mut(ROWS).zip(logprobs.chunks_mut(ROWS * per_row)).enumerate() {
        let (hidden, targets) = state.block(block);
        for start in state.parts() {
            let mut logits = Flex::float_matmul(hidden.clone(), Flex::float_transpose(state.part(start)));
            let width = logits.shape()[1];
            // Two numbers per row and those of its targets ride along with its logits.
            let each = 2 + per_row;
            let mut found = vec![0.0; rows.len() * each];
            let cap = state.cap;
            lanes::each_row_pair((logits.storage_mut(), width), (&mut found[..], each), |row, logits, found| {
                limit(logits, cap);
                let largest = lanes::largest(logits);
                found[0] = largest;
                found[1] = lanes::sum_of(logits, |logit| exp_negative(logit - largest));
                for (found, &target) in found[2..].iter_mut().zip(&targets[row * per_row..]) {
                    *found = logits.get((target as usize).wrapping_sub(start)).copied().unwrap_or(f32::NAN);
                }
            });
            for (row, found) in rows.iter_mut().zip(found.chunks(each)) {
                let top = row.largest.max(found[0]);
                row.sum = row.sum * exp_negative(row.largest - top) + found[1] * exp_negative(found[0] - top);
                row.largest = top;
            }
            let found = found.chunks(each).flat_map(|found| &found[2..]);
            for ((chosen, &found), &id) in chosen.iter_mut().zip(found).zip(targets) {
                if (start..start + width).contains(&(id as usize)) {
                    *chosen = found;
                }
            }
            if keeps {
                kept.insert((start, block), logits);
            }
        }
    }
    state.kept = kept;
    state.logsumexp = rows.iter().map(|row| row.largest + row.sum.ln()).collect();
    for (logprobs, logsumexp) in logprobs.chunks_mut(per_row).zip(&state.logsumexp) {
        for logprob in logprobs {
            *logprob -= logsumexp;
        }
    }
    logprobs
}

impl State {
    /// The limited logits of a block of rows in a part of the vocabulary.
    fn logits(&self, hidden: &FlexTensor, part: &FlexTensor) -> FlexTensor {
        let mut logits = Flex::float_matmul(hidden.clone(), Flex::float_transpose(part.clone()));
        let width = logits.shape()[1];
        lanes::each_row(logits.storage_mut(), width, |_, logits| limit(logits, self.cap));
        logits
    }

    /// Where each part of the vocabulary starts.
    fn parts(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.weight.shape()[0]).step_by(PART)
    }

    /// The weight of the part that starts at `start`: `[part, width]`.
    fn part(&self, start: usize) -> FlexTensor {
        rows_of(&self.weight, start, PART)
    }

    /// The hidden states of a block of rows, `[rows, width]`, and their targets.
    fn block(&self, block: usize) -> (FlexTensor, &[u32]) {
        let start = block * ROWS;
        let end = ((start + ROWS) * self.per_row).min(self.targets.len());
        (rows_of(&self.hidden, start, ROWS), &self.targets[start * self.per_row..end])
    }
}

/// At most `count` rows of a matrix, from `start` on.
fn rows_of(matrix: &FlexTensor, start: usize, count: usize) -> FlexTensor {
    let end = (start + count).min(matrix.shape()[0]);
    Flex::float_slice(matrix.clone(), &[Slice::new(start as isize, Some(end as isize), 1), Slice::full()])
}

/// The gradients that are wanted, row by row.
struct Sums {
    hidden: Option<Vec<f32>>,
    weight: Option<Vec<f32>>,
}

impl Backward<Flex, 2> for TokenLogprobs {
    type State = State;

    fn backward(self, ops: Ops<State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = dense(grads.consume::<Flex>(&ops.node));
        let (mut state, [hidden, weight]) = (ops.state, ops.parents);
        let zeros = |tensor: &FlexTensor| vec![0.0; tensor.shape().num_elements()];
        let mut sums = Sums {
            hidden: hidden.as_ref().map(|_| zeros(&state.hidden)),
            weight: weight.as_ref().map(|_| zeros(&state.weight)),
        };
        for start in state.parts() {
            for block in 0..state.logsumexp.len().div_ceil(ROWS) {
                add_part(&mut state, (start, block), elements(&grad), &mut sums);
            }
        }
        for (node, sums, shape) in
            [(hidden, sums.hidden, state.hidden.shape()), (weight, sums.weight, state.weight.shape())]
        {
            if let (Some(node), Some(sums)) = (node, sums) {
                grads.register::<Flex>(node.id, flex::tensor(sums, &shape));
            }
        }
    }
}

/// Adds what one part of the vocabulary and one block of rows give.
///
/// With `d[n, v] = sum_k grad[n, k] * ((1 if v is target k of n, else 0) - softmax(z[n])[v])`: `d weight` for the hidden states and
/// `d^T hidden` for the weight.
fn add_part(state: &mut State, (start, block): (usize, usize), grad: &[f32], sums: &mut Sums) {
    let (hidden, part) = (state.block(block).0, state.part(start));
    let width = hidden.shape()[1];
    let logits = state.kept.remove(&(start, block)).unwrap_or_else(|| state.logits(&hidden, &part));
    let slope = slope(state, (start, block), logits, grad);
    if let Some(sums) = &mut sums.weight {
        let more = Flex::float_matmul(Flex::float_transpose(slope.clone()), hidden);
        add(&mut sums[start * width..], elements(&more));
    }
    if let Some(sums) = &mut sums.hidden {
        add(&mut sums[block * ROWS * width..], elements(&Flex::float_matmul(slope, part)));
    }
}

/// Limits logits.
fn limit(logits: &mut [f32], cap: Option<f32>) {
    if let Some(cap) = cap {
        for logit in logits.iter_mut() {
            *logit = cap * (*logit / cap).tanh();
        }
    }
}

/// Turns limited logits into the gradient of the loss in what they were before.
///
/// With `c = cap * tanh(z / cap)`, `dc / dz = 1 - (c / cap)^2`.
fn slope(state: &State, (start, block): (usize, usize), mut logits: FlexTensor, grad: &[f32]) -> FlexTensor {
    let (width, per_row) = (logits.shape()[1], state.per_row);
    lanes::each_row(logits.storage_mut(), width, |row, logits| {
        let row = block * ROWS + row;
        let (grad, logsumexp) = (&grad[row * per_row..(row + 1) * per_row], state.logsumexp[row]);
        let places = state.targets[row * per_row..].iter().map(|&target| (target as usize).wrapping_sub(start));
        let steepness = |limited: f32| state.cap.map_or(1.0, |cap| 1.0 - (limited / cap).powi(2));
        let extra: Vec<(usize, f32)> =
            places.zip(grad).filter_map(|(place, grad)| Some((place, grad * steepness(*logits.get(place)?)))).collect();
        let total: f32 = grad.iter().sum();
        for logit in &mut *logits {
            // Rounding may put a logit a little above the sum.
            *logit = -total * exp_negative((*logit - logsumexp).min(0.0)) * steepness(*logit);
        }
        for (place, extra) in extra {
            logits[place] += extra;
        }
    });
    logits
}

fn add(sums: &mut [f32], more: &[f32]) {
    for (sum, &more) in sums.iter_mut().zip(more) {
        *sum += more;
    }
}

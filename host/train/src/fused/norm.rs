//! Root mean square normalisation.

use burn::backend::TensorMetadata;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::tensor::Tensor;
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::flex::{self, Operand, dense, elements};
use super::lanes;

/// Rows whose contributions to the weight's gradient are summed in one task; the sums of tasks are added in order.
const ROWS: usize = 64;

#[derive(Debug)]
struct RmsNorm;

#[derive(Debug, Clone)]
struct State {
    x: FlexTensor,
    weight: FlexTensor,
    /// `1 / sqrt(mean(x^2) + epsilon)` of each row.
    inverse: Vec<f32>,
}

pub(super) fn rms_norm<const D: usize>(x: Operand, weight: Operand, epsilon: f32) -> Tensor<D> {
    flex::apply(RmsNorm, [x, weight], |[x, weight]| {
        let (x, weight) = (dense(x), dense(weight));
        let shape = x.shape();
        let factors = elements(&weight);
        let width = factors.len();
        let input = elements(&x);
        let mut out = vec![0.0; input.len()];
        let mut inverse = vec![0.0; input.len() / width];
        lanes::each_row_pair((&mut out, width), (&mut inverse, 1), |row, out, inverse| {
            let x = &input[row * width..][..width];
            let mean = lanes::dot(x, x) / width as f32;
            inverse[0] = 1.0 / (mean + epsilon).sqrt();
            for ((out, &x), &factor) in out.iter_mut().zip(x).zip(factors) {
                *out = x * inverse[0] * factor;
            }
        });
        (flex::tensor(out, &shape), State { x, weight, inverse })
    })
}

impl Backward<Flex, 2> for RmsNorm {
    type State = State;

    fn backward(self, ops: Ops<State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = dense(grads.consume::<Flex>(&ops.node));
        let [x, weight] = ops.parents;
        if let Some(weight) = weight {
            grads.register::<Flex>(weight.id, weight_gradient(&ops.state, elements(&grad)));
        }
        if let Some(x) = x {
            grads.register::<Flex>(x.id, input_gradient(&ops.state, grad));
        }
    }
}

/// With `n = x * inverse` and `g = grad * weight`: `inverse * (g - n * mean(g * n))`.
fn input_gradient(state: &State, mut grad: FlexTensor) -> FlexTensor {
    let (input, factors) = (elements(&state.x), elements(&state.weight));
    let width = factors.len();
    lanes::each_row(grad.storage_mut(), width, |row, grad| {
        let x = &input[row * width..][..width];
        let inverse = state.inverse[row];
        for (grad, &factor) in grad.iter_mut().zip(factors) {
            *grad *= factor;
        }
        let mean = lanes::dot(grad, x) * inverse / width as f32;
        for (grad, &x) in grad.iter_mut().zip(x) {
            *grad = inverse * (*grad - x * inverse * mean);
        }
    });
    grad
}

/// The sum over rows of `grad * x * inverse`.
fn weight_gradient(state: &State, grad: &[f32]) -> FlexTensor {
    let width = elements(&state.weight).len();
    let partial: Vec<Vec<f32>> = grad
        .par_chunks(ROWS * width)
        .zip(elements(&state.x).par_chunks(ROWS * width))
        .zip(state.inverse.par_chunks(ROWS))
        .map(|((grad, x), inverse)| {
            let mut sums = vec![0.0; width];
            for ((grad, x), &inverse) in grad.chunks(width).zip(x.chunks(width)).zip(inverse) {
                for ((sum, &grad), &x) in sums.iter_mut().zip(grad).zip(x) {
                    *sum += grad * x * inverse;
                }
            }
            sums
        })
        .collect();
    let mut total = vec![0.0; width];
    for sums in partial {
        for (total, sum) in total.iter_mut().zip(sums) {
            *total += sum;
        }
    }
    flex::tensor(total, &[width])
}

//! Rotary position embedding, in place where the argument's memory is free.

use burn::backend::TensorMetadata;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::tensor::Tensor;
use burn_flex::{Flex, FlexTensor};

use super::flex::{self, Operand, dense, elements};
use super::lanes;

#[derive(Debug)]
struct Rope;

#[derive(Debug, Clone)]
struct State {
    cos: FlexTensor,
    sin: FlexTensor,
}

pub(super) fn rope(x: Operand, cos: FlexTensor, sin: FlexTensor) -> Tensor<4> {
    let state = State { cos: dense(cos), sin: dense(sin) };
    flex::apply(Rope, [x], |[x]| (turned(dense(x), &state, 1.0), state))
}

impl Backward<Flex, 1> for Rope {
    type State = State;

    fn backward(self, ops: Ops<State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node);
        let [x] = ops.parents;
        if let Some(x) = x {
            // The gradient of a rotation is the rotation back.
            grads.register::<Flex>(x.id, turned(dense(grad), &ops.state, -1.0));
        }
    }
}

/// Turns by the angles, or back with `direction` -1.
fn turned(mut x: FlexTensor, state: &State, direction: f32) -> FlexTensor {
    let shape = x.shape();
    let (heads, width) = (shape[2], shape[3]);
    let half = width / 2;
    let (cos, sin) = (elements(&state.cos), elements(&state.sin));
    // One line holds all heads of one position.
    lanes::each_row(x.storage_mut(), heads * width, |position, line| {
        // Rows that are all alike share their angles.
        let start = position * half % cos.len();
        let (cos, sin) = (&cos[start..][..half], &sin[start..][..half]);
        for head in line.chunks_mut(width) {
            let (first, second) = head.split_at_mut(half);
            for (((first, second), &cos), &sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                let (x, y, sin) = (*first, *second, direction * sin);
                *first = x * cos - y * sin;
                *second = y * cos + x * sin;
            }
        }
    });
    x
}

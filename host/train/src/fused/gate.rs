//! The gate of the feed-forward block.

use burn::backend::TensorMetadata;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::tensor::Tensor;
use burn_flex::{Flex, FlexTensor};

use super::flex::{self, Operand, dense, elements};
use super::lanes::{self, sigmoid};

/// Elements that are one line of work.
const LINE: usize = 4096;

#[derive(Debug)]
struct SiluMul;

pub(super) fn silu_mul<const D: usize>(gate: Operand, up: Operand) -> Tensor<D> {
    flex::apply(SiluMul, [gate, up], |[gate, up]| {
        let (gate, up) = (dense(gate), dense(up));
        let (gates, ups) = (elements(&gate), elements(&up));
        let mut out = vec![0.0; gates.len()];
        lanes::each_row(&mut out, LINE, |line, out| {
            let (gates, ups) = (&gates[line * LINE..][..out.len()], &ups[line * LINE..][..out.len()]);
            for ((out, &gate), &up) in out.iter_mut().zip(gates).zip(ups) {
                *out = gate * sigmoid(gate) * up;
            }
        });
        (flex::tensor(out, &gate.shape()), (gate, up))
    })
}

impl Backward<Flex, 2> for SiluMul {
    type State = (FlexTensor, FlexTensor);

    /// With `s = sigmoid(gate)`: `d gate = grad * up * s * (1 + gate * (1 - s))` and `d up = grad * gate * s`.
    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let mut grad = dense(grads.consume::<Flex>(&ops.node));
        let shape = grad.shape();
        let (gates, ups) = (elements(&ops.state.0), elements(&ops.state.1));
        let mut up_grad = vec![0.0; gates.len()];
        lanes::each_row_pair((grad.storage_mut(), LINE), (&mut up_grad, LINE), |line, grad, up_grad| {
            let (gates, ups) = (&gates[line * LINE..][..grad.len()], &ups[line * LINE..][..grad.len()]);
            for (((grad, up_grad), &gate), &up) in grad.iter_mut().zip(up_grad).zip(gates).zip(ups) {
                let s = sigmoid(gate);
                *up_grad = *grad * gate * s;
                *grad *= up * s * (1.0 + gate * (1.0 - s));
            }
        });
        let [gate, up] = ops.parents;
        if let Some(gate) = gate {
            grads.register::<Flex>(gate.id, grad);
        }
        if let Some(up) = up {
            grads.register::<Flex>(up.id, flex::tensor(up_grad, &shape));
        }
    }
}

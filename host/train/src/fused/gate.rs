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

/// What the gate is put through.
#[derive(Clone, Copy, Debug)]
pub(super) enum Curve {
    /// `x * sigmoid(x)`.
    Silu,
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`.
    GeluTanh,
}

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

/// `tanh` of the inner polynomial of `GeluTanh`.
fn inner(x: f32) -> f32 {
    (SQRT_2_OVER_PI * x * (1.0 + CUBIC * x * x)).tanh()
}

#[derive(Debug)]
struct Gated;

#[derive(Debug, Clone)]
struct State {
    curve: Curve,
    gate: FlexTensor,
    up: FlexTensor,
}

pub(super) fn gated<const D: usize>(curve: Curve, gate: Operand, up: Operand) -> Tensor<D> {
    flex::apply(Gated, [gate, up], |[gate, up]| {
        let (gate, up) = (dense(gate), dense(up));
        let state = State { curve, gate, up };
        let out = match curve {
            Curve::Silu => products(&state, |gate, up| gate * sigmoid(gate) * up),
            Curve::GeluTanh => products(&state, |gate, up| 0.5 * gate * (1.0 + inner(gate)) * up),
        };
        (flex::tensor(out, &state.gate.shape()), state)
    })
}

/// `f(gate, up)`, element by element.
fn products(state: &State, f: impl Fn(f32, f32) -> f32 + Send + Sync) -> Vec<f32> {
    let (gates, ups) = (elements(&state.gate), elements(&state.up));
    let mut out = vec![0.0; gates.len()];
    lanes::each_row(&mut out, LINE, |line, out| {
        let (gates, ups) = (&gates[line * LINE..][..out.len()], &ups[line * LINE..][..out.len()]);
        for ((out, &gate), &up) in out.iter_mut().zip(gates).zip(ups) {
            *out = f(gate, up);
        }
    });
    out
}

/// Puts what `f(grad, gate, up)` gives for the gate in place of `grad`; gives what it gives for `up`.
fn slopes(state: &State, grad: &mut FlexTensor, f: impl Fn(f32, f32, f32) -> (f32, f32) + Send + Sync) -> Vec<f32> {
    let (gates, ups) = (elements(&state.gate), elements(&state.up));
    let mut up_grad = vec![0.0; gates.len()];
    lanes::each_row_pair((grad.storage_mut(), LINE), (&mut up_grad, LINE), |line, grad, up_grad| {
        let (gates, ups) = (&gates[line * LINE..][..grad.len()], &ups[line * LINE..][..grad.len()]);
        for (((grad, up_grad), &gate), &up) in grad.iter_mut().zip(up_grad).zip(gates).zip(ups) {
            (*grad, *up_grad) = f(*grad, gate, up);
        }
    });
    up_grad
}

impl Backward<Flex, 2> for Gated {
    type State = State;

    /// `Silu`, with `s = sigmoid(gate)`: `d gate = grad * up * s * (1 + gate * (1 - s))` and `d up = grad * gate * s`.
    ///
    /// `GeluTanh`, with `t = tanh(u(gate))`: `d gate = grad * up / 2 * (1 + t + gate * (1 - t^2) * u'(gate))` and
    /// `d up = grad * gate / 2 * (1 + t)`.
    fn backward(self, ops: Ops<State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let mut grad = dense(grads.consume::<Flex>(&ops.node));
        let shape = grad.shape();
        let up_grad = match ops.state.curve {
            Curve::Silu => slopes(&ops.state, &mut grad, |grad, gate, up| {
                let s = sigmoid(gate);
                (grad * (up * s * (1.0 + gate * (1.0 - s))), grad * gate * s)
            }),
            Curve::GeluTanh => slopes(&ops.state, &mut grad, |grad, gate, up| {
                let t = inner(gate);
                let steepness = SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * gate * gate);
                (grad * up * 0.5 * (1.0 + t + gate * (1.0 - t * t) * steepness), grad * 0.5 * gate * (1.0 + t))
            }),
        };
        let [gate, up] = ops.parents;
        if let Some(gate) = gate {
            grads.register::<Flex>(gate.id, grad);
        }
        if let Some(up) = up {
            grads.register::<Flex>(up.id, flex::tensor(up_grad, &shape));
        }
    }
}

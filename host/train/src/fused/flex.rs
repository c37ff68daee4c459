//! What all fused operations share: reaching burn's CPU tensors, and registering a backward step.
//!
//! burn's custom operations are generic over its backend trait; here it is always the CPU device in float32.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::ops::{Backward, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, Tensor, TensorData};
use burn_flex::{Flex, FlexTensor};

/// burn's name for it is private.
type Tracked = FloatTensor<Autodiff<Flex>>;

/// A float32 tensor of the CPU device, ready to be an argument of a fused operation.
pub(super) struct Operand {
    pub(super) tensor: Tracked,
    /// Whether the result belongs to the autodiff device.
    is_autodiff: bool,
}

impl Operand {
    /// Whether a graph may lead through it.
    pub(super) fn is_autodiff(&self) -> bool {
        self.is_autodiff
    }
}

/// The tensor as an operand, if it is one of the CPU device in float32.
pub(super) fn operand<const D: usize>(tensor: &Tensor<D>) -> Option<Operand> {
    if tensor.dtype() != DType::F32 {
        return None;
    }
    if let Ok(tracked) = tensor.clone().try_into_primitive::<Autodiff<Flex>>() {
        return Some(Operand { tensor: tracked, is_autodiff: true });
    }
    let plain = tensor.clone().try_into_primitive::<Flex>().ok()?;
    Some(Operand { tensor: Tracked::new(plain), is_autodiff: false })
}

/// The elements of the tensor without its graph, if it is one of the CPU device in float32.
pub(super) fn constant<const D: usize>(tensor: &Tensor<D>) -> Option<FlexTensor> {
    operand(tensor).map(|operand| operand.tensor.into_primitive())
}

/// Does an operation: `forward` gives its result and what the backward pass needs.
pub(super) fn apply<O, const N: usize, const D: usize>(
    operation: O,
    operands: [Operand; N],
    forward: impl FnOnce([FlexTensor; N]) -> (FlexTensor, O::State),
) -> Tensor<D>
where
    O: Backward<Flex, N>,
{
    let is_autodiff = operands.iter().any(|operand| operand.is_autodiff);
    let nodes = operands.each_ref().map(|operand| operand.tensor.node());
    // Handles are moved and not copied, so that a result may reuse the memory of an argument that nobody else holds.
    let (result, state) = forward(operands.map(|operand| operand.tensor.into_primitive()));
    if !is_autodiff {
        return Tensor::from_primitive::<Flex>(result);
    }
    Tensor::from_primitive::<Autodiff<Flex>>(
        match operation.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish(state, result),
            OpsKind::UnTracked(step) => step.finish(result),
        },
    )
}

/// The tensor with its elements in row-major order and nothing else in its buffer.
pub(super) fn dense(tensor: FlexTensor) -> FlexTensor {
    let dense = tensor.to_contiguous();
    drop(tensor);
    dense
}

/// The elements of a [`dense`] tensor.
pub(super) fn elements(tensor: &FlexTensor) -> &[f32] {
    tensor.storage()
}

/// A tensor of these elements.
pub(super) fn tensor(elements: Vec<f32>, shape: &[usize]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(elements, shape.to_vec()))
}

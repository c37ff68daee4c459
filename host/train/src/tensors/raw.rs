//! burn's operations by kind, for what floats and integers share. Arguments are checked by the callers.

use burn::backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn::backend::{
    AutodiffBackend, Dispatch, DispatchAutodiffContext, DispatchTensor, ExecutionError, TensorMetadata, read_sync,
};
use burn::tensor::{Slice, TensorData};
use tunesmith_core::tensors::Kind;

use super::value::Place;

pub(super) fn reshape(kind: Kind, tensor: DispatchTensor, shape: &[usize]) -> DispatchTensor {
    if *tensor.shape() == *shape {
        return tensor;
    }
    match kind {
        Kind::Float => Dispatch::float_reshape(tensor, shape.to_vec().into()),
        Kind::Int => Dispatch::int_reshape(tensor, shape.to_vec().into()),
    }
}

pub(super) fn permute(kind: Kind, tensor: DispatchTensor, dims: &[usize]) -> DispatchTensor {
    match kind {
        Kind::Float => Dispatch::float_permute(tensor, dims),
        Kind::Int => Dispatch::int_permute(tensor, dims),
    }
}

pub(super) fn slice(kind: Kind, tensor: DispatchTensor, slices: &[Slice]) -> DispatchTensor {
    match kind {
        Kind::Float => Dispatch::float_slice(tensor, slices),
        Kind::Int => Dispatch::int_slice(tensor, slices),
    }
}

/// The tensor under `shape`, of which its own shape is a broadcast.
pub(super) fn expand(kind: Kind, tensor: DispatchTensor, shape: &[usize]) -> DispatchTensor {
    let tensor = at_rank(kind, tensor, shape.len());
    if *tensor.shape() == *shape {
        return tensor;
    }
    match kind {
        Kind::Float => Dispatch::float_expand(tensor, shape.to_vec().into()),
        Kind::Int => Dispatch::int_expand(tensor, shape.to_vec().into()),
    }
}

/// The tensor with leading dimensions of size 1 up to a rank of at least 1.
pub(super) fn at_rank(kind: Kind, tensor: DispatchTensor, rank: usize) -> DispatchTensor {
    let shape = tensor.shape();
    if rank <= shape.len() {
        return tensor;
    }
    let mut wide = vec![1; rank - shape.len()];
    wide.extend(shape.iter());
    reshape(kind, tensor, &wide)
}

pub(super) fn concat(kind: Kind, tensors: Vec<DispatchTensor>, dim: usize) -> DispatchTensor {
    match kind {
        Kind::Float => Dispatch::float_cat(tensors, dim),
        Kind::Int => Dispatch::int_cat(tensors, dim),
    }
}

pub(super) fn gather(kind: Kind, tensor: DispatchTensor, dim: usize, index: DispatchTensor) -> DispatchTensor {
    match kind {
        Kind::Float => Dispatch::float_gather(dim, tensor, index),
        Kind::Int => Dispatch::int_gather(dim, tensor, index),
    }
}

pub(super) fn select(kind: Kind, tensor: DispatchTensor, dim: usize, index: DispatchTensor) -> DispatchTensor {
    match kind {
        Kind::Float => Dispatch::float_select(tensor, dim, index),
        Kind::Int => Dispatch::int_select(tensor, dim, index),
    }
}

/// `yes` where `mask` is true, `no` elsewhere. All of one shape.
pub(super) fn choose(kind: Kind, mask: DispatchTensor, yes: DispatchTensor, no: DispatchTensor) -> DispatchTensor {
    match kind {
        Kind::Float => Dispatch::float_mask_where(no, mask, yes),
        Kind::Int => Dispatch::int_mask_where(no, mask, yes),
    }
}

/// True where the element is not zero; NaN is not.
pub(super) fn not_zero(kind: Kind, tensor: DispatchTensor, place: &Place) -> DispatchTensor {
    match kind {
        Kind::Float => Dispatch::float_not_equal_elem(constant(tensor), 0.0_f32.into(), place.bools),
        Kind::Int => Dispatch::int_not_equal_elem(tensor, 0_i32.into(), place.bools),
    }
}

/// 1.0 for true, 0.0 for false.
pub(super) fn as_floats(mask: DispatchTensor) -> DispatchTensor {
    Dispatch::bool_into_float(mask, burn::tensor::FloatDType::F32)
}

/// The float tensor without its graph.
pub(super) fn constant(tensor: DispatchTensor) -> DispatchTensor {
    if tensor.autodiff == DispatchAutodiffContext::Disabled { tensor } else { Dispatch::inner(tensor) }
}

/// The elements of a float tensor, or why the device did not give them.
pub(super) fn read_floats(tensor: DispatchTensor) -> Result<Vec<f32>, String> {
    elements(read_sync(Dispatch::float_into_data(constant(tensor))))
}

/// The elements of an integer tensor, or why the device did not give them.
pub(super) fn read_ints(tensor: DispatchTensor) -> Result<Vec<i32>, String> {
    elements(read_sync(Dispatch::int_into_data(tensor)))
}

fn elements<E: burn::tensor::Element>(data: Result<TensorData, ExecutionError>) -> Result<Vec<E>, String> {
    let data = data.map_err(|error| format!("the device failed: {error}"))?;
    data.try_into_vec_as::<E>().map_err(|error| format!("the device gave other elements: {error:?}"))
}

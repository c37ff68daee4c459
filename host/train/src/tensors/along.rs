//! Reductions and running operations: over everything, or along one dimension.

use burn::backend::ops::{ActivationOps, BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn::backend::{Dispatch, DispatchTensor, TensorMetadata};
use burn::tensor::{IntDType, Tensor};
use tunesmith_core::tensors::{Along, Kind, TensorError};

use super::value::{Place, Step, Value, within, zeros};
use super::{check, raw};
use crate::total::in_lines;

pub(super) fn along_name(op: Along) -> &'static str {
    match op {
        Along::Sum => "sum-dim",
        Along::Mean => "mean-dim",
        Along::Max => "max-dim",
        Along::Min => "min-dim",
        Along::Argmax => "argmax",
        Along::Cumsum => "cumsum",
        Along::Softmax => "softmax",
        Along::LogSoftmax => "log-softmax",
        Along::Logsumexp => "logsumexp",
    }
}

pub(super) fn sum(input: &Value) -> Step {
    let (kind, tensor) = (input.kind, input.tensor.clone());
    Step::new(Vec::new(), kind, move |place| match tensor {
        Some(tensor) => total(kind, tensor, place),
        None => zeros(place, kind, &[]),
    })
}

pub(super) fn mean(op: &'static str, input: &Value) -> Result<Step, TensorError> {
    check::floats(op, input)?;
    let count = check::elements(op, &input.shape)?;
    let tensor = input.tensor.clone();
    Ok(Step::new(Vec::new(), Kind::Float, move |place| match tensor {
        Some(tensor) => Dispatch::float_div_scalar(total(Kind::Float, tensor, place), (count as f64).into()),
        None => place.full(f32::NAN, &[]),
    }))
}

fn total(kind: Kind, tensor: DispatchTensor, place: &Place) -> DispatchTensor {
    let sum = match kind {
        Kind::Float if place.is_cpu() => Dispatch::float_sum(tensor),
        Kind::Float => {
            let count = tensor.shape().num_elements();
            in_lines(Tensor::from_dispatch(raw::reshape(kind, tensor, &[count]))).into_dispatch()
        }
        Kind::Int => Dispatch::int_sum(tensor),
    };
    raw::reshape(kind, sum, &[1])
}

pub(super) fn along(name: &'static str, op: Along, input: &Value, dim: usize) -> Result<Step, TensorError> {
    check::dim(name, &input.shape, dim)?;
    if matches!(op, Along::Mean | Along::Softmax | Along::LogSoftmax | Along::Logsumexp) {
        check::floats(name, input)?;
    }
    let mut reduced = input.shape.clone();
    reduced[dim] = 1;
    match op {
        Along::Sum | Along::Mean | Along::Logsumexp => Ok(reduction(op, input, dim, reduced)),
        Along::Max | Along::Min | Along::Argmax => {
            check::full_dim(name, &input.shape, dim)?;
            Ok(extremum(op, input, dim, reduced))
        }
        Along::Cumsum | Along::Softmax | Along::LogSoftmax => Ok(running(op, input, dim)),
    }
}

fn reduction(op: Along, input: &Value, dim: usize, shape: Vec<usize>) -> Step {
    let (kind, tensor) = (input.kind, input.tensor.clone());
    let (count, filler) = (input.shape[dim], shape.clone());
    Step::new(shape, kind, move |place| match (tensor, op, kind) {
        (None, Along::Mean, _) => place.full(f32::NAN, &filler),
        (None, Along::Logsumexp, _) => place.full(f32::NEG_INFINITY, &filler),
        (None, _, _) => zeros(place, kind, &filler),
        (Some(tensor), Along::Mean, _) => {
            Dispatch::float_div_scalar(Dispatch::float_sum_dim(tensor, dim), (count as f64).into())
        }
        (Some(tensor), Along::Logsumexp, _) => logsumexp(tensor, dim, place),
        (Some(tensor), _, Kind::Float) => Dispatch::float_sum_dim(tensor, dim),
        (Some(tensor), _, Kind::Int) => Dispatch::int_sum_dim(tensor, dim),
    })
}

/// `m + log(sum(exp(x - m)))`, where `m` is the largest element, or 0 where that is not finite.
fn logsumexp(tensor: DispatchTensor, dim: usize, place: &Place) -> DispatchTensor {
    let largest = Dispatch::float_max_dim(raw::constant(tensor.clone()), dim);
    let endless = Dispatch::bool_or(
        Dispatch::float_is_inf(largest.clone(), place.bools),
        Dispatch::float_is_nan(largest.clone(), place.bools),
    );
    let largest = Dispatch::float_mask_fill(largest, endless, 0.0_f32.into());
    let wide = raw::expand(Kind::Float, largest.clone(), &tensor.shape());
    let sum = Dispatch::float_sum_dim(Dispatch::float_exp(Dispatch::float_sub(tensor, wide)), dim);
    Dispatch::float_add(Dispatch::float_log(sum), largest)
}

fn extremum(op: Along, input: &Value, dim: usize, shape: Vec<usize>) -> Step {
    let kind = input.kind;
    let last = i32::try_from(input.shape[dim] - 1).unwrap_or(i32::MAX);
    let out = if op == Along::Argmax { Kind::Int } else { kind };
    let bounds = if op == Along::Argmax { within(0, last) } else { input.bounds_of_part() };
    let step = Step::on(input, shape, out, move |place, tensor| {
        let index = match op {
            Along::Min => first_largest(kind, order_reversed(kind, tensor.clone()), dim, place),
            _ => first_largest(kind, tensor.clone(), dim, place),
        };
        if op == Along::Argmax { index } else { raw::gather(kind, tensor, dim, index) }
    });
    step.bounded(bounds)
}

/// Turns the smallest into the largest. For integers by `-1 - x`, which cannot overflow.
fn order_reversed(kind: Kind, tensor: DispatchTensor) -> DispatchTensor {
    match kind {
        Kind::Float => Dispatch::float_neg(raw::constant(tensor)),
        Kind::Int => Dispatch::int_add_scalar(Dispatch::int_mul_scalar(tensor, (-1_i32).into()), (-1_i32).into()),
    }
}

/// The first index at which the largest element stands, on any device: backends do not agree on ties, so it is taken from a comparison. NaN counts as infinity.
fn first_largest(kind: Kind, tensor: DispatchTensor, dim: usize, place: &Place) -> DispatchTensor {
    let shape = tensor.shape();
    let size = shape[dim];
    let hit = match kind {
        Kind::Float => {
            let tensor = raw::constant(tensor);
            let nan = Dispatch::float_is_nan(tensor.clone(), place.bools);
            let tensor = Dispatch::float_mask_fill(tensor, nan, f32::INFINITY.into());
            let largest = Dispatch::float_max_dim(tensor.clone(), dim);
            Dispatch::float_equal(tensor, raw::expand(kind, largest, &shape), place.bools)
        }
        Kind::Int => {
            let largest = Dispatch::int_max_dim(tensor.clone(), dim);
            Dispatch::int_equal(tensor, raw::expand(kind, largest, &shape), place.bools)
        }
    };
    let mut line = vec![1; shape.len()];
    line[dim] = size;
    let positions = Dispatch::int_arange(0..size as i64, &place.device, IntDType::I32);
    let positions = raw::expand(Kind::Int, raw::reshape(Kind::Int, positions, &line), &shape);
    let beyond =
        Dispatch::int_full(shape, i32::try_from(size).unwrap_or(i32::MAX).into(), &place.device, IntDType::I32);
    Dispatch::int_min_dim(Dispatch::int_mask_where(beyond, hit, positions), dim)
}

fn running(op: Along, input: &Value, dim: usize) -> Step {
    let kind = input.kind;
    Step::on(input, input.shape.clone(), kind, move |_, tensor| match (op, kind) {
        (Along::Softmax, _) => Dispatch::softmax(tensor, dim),
        (Along::LogSoftmax, _) => Dispatch::log_softmax(tensor, dim),
        (_, Kind::Float) => Dispatch::float_cumsum(tensor, dim),
        // Over 64 bits, so that the sum wraps and never overflows.
        (_, Kind::Int) => {
            Dispatch::int_cast(Dispatch::int_cumsum(Dispatch::int_cast(tensor, IntDType::I64), dim), IntDType::I32)
        }
    })
}

//! The same elements in another form: kind, shape, order, part, repetition, joined.

use std::ops::Range;

use burn::backend::Dispatch;
use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn::tensor::{FloatDType, IntDType, Slice};
use tunesmith_core::tensors::{Kind, TensorError};

use super::check::{self, misuse};
use super::value::{Step, Value, on_device, within};
use super::{Bounds, raw};

pub(super) fn to_float(input: &Value) -> Step {
    let kind = input.kind;
    Step::on(input, input.shape.clone(), Kind::Float, move |_, tensor| match kind {
        Kind::Float => tensor,
        Kind::Int => Dispatch::int_into_float(tensor, FloatDType::F32),
    })
}

pub(super) fn to_int(input: &Value) -> Step {
    let kind = input.kind;
    let step = Step::on(input, input.shape.clone(), Kind::Int, move |_, tensor| match kind {
        Kind::Float => Dispatch::float_into_int(raw::constant(tensor), IntDType::I32),
        Kind::Int => tensor,
    });
    step.bounded(input.bounds.clone())
}

pub(super) fn detach(input: &Value) -> Step {
    let kind = input.kind;
    let step = Step::on(input, input.shape.clone(), kind, move |_, tensor| match kind {
        Kind::Float => raw::constant(tensor),
        Kind::Int => tensor,
    });
    step.bounded(input.bounds.clone())
}

pub(super) fn reshape(op: &'static str, input: &Value, shape: &[usize]) -> Result<Step, TensorError> {
    // The input's own size was checked when it was made.
    let given = input.shape.iter().product::<usize>();
    if check::elements(op, shape)? != given {
        return Err(misuse(op, format!("shape {:?} has {given} elements, shape {shape:?} has not", input.shape)));
    }
    let (kind, target) = (input.kind, on_device(shape));
    let step = Step::on(input, shape.to_vec(), kind, move |_, tensor| raw::reshape(kind, tensor, &target));
    Ok(step.bounded(input.bounds.clone()))
}

pub(super) fn permute(op: &'static str, input: &Value, dims: &[usize]) -> Result<Step, TensorError> {
    let rank = input.shape.len();
    let mut sorted = dims.to_vec();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..rank) {
        return Err(misuse(op, format!("{dims:?} is not an order of the dimensions of shape {:?}", input.shape)));
    }
    let shape = dims.iter().map(|&dim| input.shape[dim]).collect();
    let (kind, dims) = (input.kind, dims.to_vec());
    let step = Step::on(
        input,
        shape,
        kind,
        move |_, tensor| if dims.is_empty() { tensor } else { raw::permute(kind, tensor, &dims) },
    );
    Ok(step.bounded(input.bounds.clone()))
}

pub(super) fn slice(op: &'static str, input: &Value, dim: usize, range: Range<usize>) -> Result<Step, TensorError> {
    check::dim(op, &input.shape, dim)?;
    let size = input.shape[dim];
    if range.end < range.start || size < range.end {
        return Err(misuse(
            op,
            format!("{} to {} is no part of dimension {dim} of shape {:?}", range.start, range.end, input.shape),
        ));
    }
    let mut shape = input.shape.clone();
    shape[dim] = range.len();
    let mut slices = vec![Slice::full(); shape.len()];
    // Sizes are below 2^31, so that they fit.
    slices[dim] = Slice::new(range.start as isize, Some(range.end as isize), 1);
    let kind = input.kind;
    let whole = range.len() == size;
    let step =
        Step::on(input, shape, kind, move |_, tensor| if whole { tensor } else { raw::slice(kind, tensor, &slices) });
    Ok(step.bounded(input.bounds_of_part()))
}

pub(super) fn expand(op: &'static str, input: &Value, shape: &[usize]) -> Result<Step, TensorError> {
    check::elements(op, shape)?;
    let fits = input.shape.len() <= shape.len()
        && input.shape.iter().rev().zip(shape.iter().rev()).all(|(&from, &to)| from == to || from == 1);
    if !fits {
        return Err(misuse(op, format!("shape {:?} does not expand to {shape:?}", input.shape)));
    }
    let (kind, target) = (input.kind, on_device(shape));
    let step = Step::on(input, shape.to_vec(), kind, move |_, tensor| raw::expand(kind, tensor, &target));
    Ok(step.bounded(input.bounds.clone()))
}

pub(super) fn concat(op: &'static str, parts: &[Value], dim: usize) -> Result<Step, TensorError> {
    let Some(first) = parts.first() else {
        return Err(misuse(op, "no tensors to join".to_owned()));
    };
    check::dim(op, &first.shape, dim)?;
    let mut shape = first.shape.clone();
    shape[dim] = 0;
    for part in parts {
        check::one_kind(op, first, part)?;
        let fits =
            part.shape.len() == shape.len() && (0..shape.len()).all(|at| at == dim || part.shape[at] == shape[at]);
        if !fits {
            return Err(misuse(
                op,
                format!("shapes {:?} and {:?} do not join along dimension {dim}", first.shape, part.shape),
            ));
        }
        // Sizes are below 2^31 each, and a list is shorter than memory.
        shape[dim] = shape[dim].saturating_add(part.shape[dim]);
    }
    let kind = first.kind;
    let tensors: Vec<_> = parts.iter().filter_map(|part| part.tensor.clone()).collect();
    Ok(Step::new(shape, kind, move |_| raw::concat(kind, tensors, dim)).bounded(bounds_of_all(parts)))
}

/// Bounds that hold for all parts, if known for all.
fn bounds_of_all(parts: &[Value]) -> Bounds {
    let mut all = (i32::MAX, i32::MIN);
    for part in parts.iter().filter(|part| part.tensor.is_some()) {
        let Some(&(low, high)) = part.bounds.get() else { return Bounds::default() };
        all = (all.0.min(low), all.1.max(high));
    }
    within(all.0, all.1)
}

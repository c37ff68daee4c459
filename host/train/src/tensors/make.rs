//! Tensors from nothing: from numbers, of one value, of a range.

use burn::backend::Dispatch;
use burn::backend::ops::IntTensorOps;
use burn::tensor::IntDType;
use tunesmith_core::tensors::{Kind, TensorError};

use super::check::{self, misuse};
use super::value::{Step, within};

pub(super) fn from_floats(op: &'static str, values: &[f32], shape: &[usize]) -> Result<Step, TensorError> {
    check::count(op, values.len(), shape)?;
    let (values, on_device) = (values.to_vec(), shape.to_vec());
    Ok(Step::new(shape.to_vec(), Kind::Float, move |place| place.floats(values, &on_device)))
}

pub(super) fn from_ints(op: &'static str, values: &[i32], shape: &[usize]) -> Result<Step, TensorError> {
    check::count(op, values.len(), shape)?;
    let low = values.iter().copied().min().unwrap_or(0);
    let high = values.iter().copied().max().unwrap_or(0);
    let (values, on_device) = (values.to_vec(), shape.to_vec());
    Ok(Step::new(shape.to_vec(), Kind::Int, move |place| place.ints(values, &on_device)).bounded(within(low, high)))
}

pub(super) fn full(op: &'static str, value: f32, shape: &[usize]) -> Result<Step, TensorError> {
    check::elements(op, shape)?;
    let on_device = shape.to_vec();
    Ok(Step::new(shape.to_vec(), Kind::Float, move |place| place.full(value, &on_device)))
}

pub(super) fn arange(op: &'static str, start: i32, end: i32) -> Result<Step, TensorError> {
    let len = i64::from(end) - i64::from(start);
    let len = usize::try_from(len).map_err(|_| misuse(op, format!("the end {end} is before the start {start}")))?;
    let range = i64::from(start)..i64::from(end);
    let step = Step::new(vec![len], Kind::Int, move |place| Dispatch::int_arange(range, &place.device, IntDType::I32));
    Ok(step.bounded(within(start, end.saturating_sub(1).max(start))))
}

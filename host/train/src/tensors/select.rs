//! Elements by index and by condition. Indices are checked before the device sees them.

use burn::backend::Dispatch;
use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use tunesmith_core::tensors::{Kind, TensorError};

use super::check::{self, misuse};
use super::raw;
use super::value::{Step, Value, on_device, zeros};

pub(super) fn gather(op: &'static str, input: &Value, dim: usize, index: &Value) -> Result<Step, TensorError> {
    check::dim(op, &input.shape, dim)?;
    let fits = input.shape.len() == index.shape.len()
        && (0..input.shape.len()).all(|at| at == dim || input.shape[at] == index.shape[at]);
    if !fits {
        return Err(misuse(
            op,
            format!("an index of shape {:?} does not fit shape {:?} along dimension {dim}", index.shape, input.shape),
        ));
    }
    index.indexes(op, input.shape[dim])?;
    let (kind, shape, filler) = (input.kind, index.shape.clone(), index.shape.clone());
    let tensors = input.tensor.clone().zip(index.tensor.clone());
    let step = Step::new(shape, kind, move |place| match tensors {
        Some((tensor, index)) => raw::gather(kind, tensor, dim, index),
        None => zeros(place, kind, &filler),
    });
    Ok(step.bounded(input.bounds_of_part()))
}

pub(super) fn index_select(op: &'static str, input: &Value, dim: usize, index: &Value) -> Result<Step, TensorError> {
    check::dim(op, &input.shape, dim)?;
    if index.shape.len() != 1 {
        return Err(misuse(op, format!("the index has shape {:?} and not rank 1", index.shape)));
    }
    index.indexes(op, input.shape[dim])?;
    let mut shape = input.shape.clone();
    shape[dim] = index.shape[0];
    let (kind, filler) = (input.kind, shape.clone());
    let tensors = input.tensor.clone().zip(index.tensor.clone());
    let step = Step::new(shape, kind, move |place| match tensors {
        Some((tensor, index)) => raw::select(kind, tensor, dim, index),
        None => zeros(place, kind, &filler),
    });
    Ok(step.bounded(input.bounds_of_part()))
}

pub(super) fn choose(
    op: &'static str,
    input: &Value,
    condition: &Value,
    otherwise: &Value,
) -> Result<Step, TensorError> {
    check::one_kind(op, input, otherwise)?;
    let shape = check::broadcast(op, &[&input.shape, &condition.shape, &otherwise.shape])?;
    let (kind, mask_kind, wide) = (input.kind, condition.kind, on_device(&shape));
    let tensors = (input.tensor.clone(), condition.tensor.clone(), otherwise.tensor.clone());
    Ok(Step::new(shape, kind, move |place| match tensors {
        (Some(input), Some(condition), Some(otherwise)) => {
            let mask = raw::not_zero(mask_kind, raw::expand(mask_kind, condition, &wide), place);
            raw::choose(kind, mask, raw::expand(kind, input, &wide), raw::expand(kind, otherwise, &wide))
        }
        _ => zeros(place, kind, &wide),
    }))
}

pub(super) fn masked_fill(op: &'static str, input: &Value, mask: &Value, value: f32) -> Result<Step, TensorError> {
    let shape = check::broadcast(op, &[&input.shape, &mask.shape])?;
    let whole = if input.kind == Kind::Int { check::whole(op, value)? } else { 0 };
    let (kind, mask_kind, wide) = (input.kind, mask.kind, on_device(&shape));
    let tensors = input.tensor.clone().zip(mask.tensor.clone());
    Ok(Step::new(shape, kind, move |place| {
        let Some((input, mask)) = tensors else { return zeros(place, kind, &wide) };
        let mask = raw::not_zero(mask_kind, raw::expand(mask_kind, mask, &wide), place);
        let input = raw::expand(kind, input, &wide);
        match kind {
            Kind::Float => Dispatch::float_mask_fill(input, mask, value.into()),
            Kind::Int => Dispatch::int_mask_fill(input, mask, whole.into()),
        }
    }))
}

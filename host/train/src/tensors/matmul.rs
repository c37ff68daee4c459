//! The matrix product.

use burn::backend::Dispatch;
use burn::backend::ops::FloatTensorOps;
use tunesmith_core::tensors::{Kind, TensorError};

use super::check::{self, misuse};
use super::raw;
use super::value::{Step, Value};

pub(super) fn matmul(op: &'static str, left: &Value, right: &Value) -> Result<Step, TensorError> {
    check::floats(op, left)?;
    check::floats(op, right)?;
    let refused = || misuse(op, format!("shapes {:?} and {:?} do not multiply", left.shape, right.shape));
    let ([left_batch @ .., rows, inner], [right_batch @ .., other, columns]) = (&*left.shape, &*right.shape) else {
        return Err(refused());
    };
    if inner != other {
        return Err(refused());
    }
    let batch = check::broadcast(op, &[left_batch, right_batch]).map_err(|_| refused())?;
    let shape = [&*batch, &[*rows, *columns]].concat();
    let (left_wide, right_wide) = ([&*batch, &[*rows, *inner]].concat(), [&*batch, &[*inner, *columns]].concat());
    check::elements(op, &left_wide)?;
    check::elements(op, &right_wide)?;
    let tensors = left.tensor.clone().zip(right.tensor.clone());
    let filler = shape.clone();
    Ok(Step::new(shape, Kind::Float, move |place| match tensors {
        Some((left, right)) => Dispatch::float_matmul(
            raw::expand(Kind::Float, left, &left_wide),
            raw::expand(Kind::Float, right, &right_wide),
        ),
        None => place.full(0.0, &filler),
    }))
}

//! The shape rules of the WIT, each with the error that names the operation and the shapes.

use tunesmith_core::tensors::{Kind, TensorError};

use super::value::Value;

/// The largest rank of a tensor.
pub(super) const MAX_RANK: usize = 5;

/// Elements that one tensor may have: indices into it fit in 32-bit integers.
const MAX_ELEMENTS: usize = i32::MAX as usize;

/// The plugin's bug, in words.
pub(super) fn misuse(op: &'static str, what: String) -> TensorError {
    TensorError::Misuse { op, what }
}

/// The number of elements of a shape that a plugin wants.
pub(super) fn elements(op: &'static str, shape: &[usize]) -> Result<usize, TensorError> {
    if MAX_RANK < shape.len() {
        return Err(misuse(op, format!("rank {} of shape {shape:?} is more than {MAX_RANK}", shape.len())));
    }
    // Zeros must not hide sizes that overflow in some other order of multiplication.
    let product = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size.max(1)));
    match product {
        Some(product) if product <= MAX_ELEMENTS => Ok(if shape.contains(&0) { 0 } else { product }),
        _ => Err(misuse(op, format!("shape {shape:?} has more than {MAX_ELEMENTS} elements"))),
    }
}

/// The bytes that a tensor of this shape takes.
pub(super) fn bytes(op: &'static str, shape: &[usize]) -> Result<u64, TensorError> {
    Ok(elements(op, shape)? as u64 * 4)
}

/// That as many elements are given as the shape wants.
pub(super) fn count(op: &'static str, given: usize, shape: &[usize]) -> Result<(), TensorError> {
    if elements(op, shape)? == given {
        return Ok(());
    }
    Err(misuse(op, format!("{given} elements do not fill shape {shape:?}")))
}

/// That a dimension exists.
pub(super) fn dim(op: &'static str, shape: &[usize], dim: usize) -> Result<(), TensorError> {
    if dim < shape.len() {
        return Ok(());
    }
    Err(misuse(op, format!("dimension {dim} of shape {shape:?} does not exist")))
}

/// That a dimension exists and has something to choose from.
pub(super) fn full_dim(op: &'static str, shape: &[usize], at: usize) -> Result<(), TensorError> {
    dim(op, shape, at)?;
    if shape[at] == 0 {
        return Err(misuse(op, format!("dimension {at} of shape {shape:?} is empty")));
    }
    Ok(())
}

/// The shape of which all these shapes are broadcasts, as in numpy.
pub(super) fn broadcast(op: &'static str, shapes: &[&[usize]]) -> Result<Vec<usize>, TensorError> {
    let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
    let mut out = vec![1; rank];
    for shape in shapes {
        for (wide, &size) in out[rank - shape.len()..].iter_mut().zip(*shape) {
            if *wide == 1 {
                *wide = size;
            } else if size != 1 && size != *wide {
                return Err(misuse(op, format!("shapes do not broadcast: {}", listed(shapes))));
            }
        }
    }
    elements(op, &out)?;
    Ok(out)
}

/// That two tensors are of one kind.
pub(super) fn one_kind(op: &'static str, left: &Value, right: &Value) -> Result<(), TensorError> {
    if left.kind == right.kind {
        return Ok(());
    }
    let what = format!(
        "{} of shape {:?} with {} of shape {:?}; hint: `to-float`",
        word(left.kind),
        left.shape,
        word(right.kind),
        right.shape
    );
    Err(misuse(op, what))
}

/// That a tensor holds floats.
pub(super) fn floats(op: &'static str, value: &Value) -> Result<(), TensorError> {
    if value.kind == Kind::Float {
        return Ok(());
    }
    Err(misuse(op, format!("floats are wanted, not integers of shape {:?}; hint: `to-float`", value.shape)))
}

/// That a tensor holds integers.
pub(super) fn ints(op: &'static str, value: &Value) -> Result<(), TensorError> {
    if value.kind == Kind::Int {
        return Ok(());
    }
    Err(misuse(op, format!("integers are wanted, not floats of shape {:?}; hint: `to-int`", value.shape)))
}

/// A number that is to meet integers, as an integer.
pub(super) fn whole(op: &'static str, number: f32) -> Result<i32, TensorError> {
    let wide = f64::from(number);
    if wide.fract() == 0.0 && f64::from(i32::MIN) <= wide && wide <= f64::from(i32::MAX) {
        return Ok(wide as i32);
    }
    Err(misuse(op, format!("{number} is not a 32-bit integer, but the tensor holds integers; hint: `to-float`")))
}

/// The kind, as the WIT calls it.
pub(super) fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Float => "float",
        Kind::Int => "int",
    }
}

fn listed(shapes: &[&[usize]]) -> String {
    shapes.iter().map(|shape| format!("{shape:?}")).collect::<Vec<_>>().join(", ")
}

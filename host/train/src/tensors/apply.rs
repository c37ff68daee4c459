//! Which function checks and does which operation. A table; one arm, one operation.

use tunesmith_core::tensors::{Op, TensorError, TensorId};

use super::value::{Step, Value};
use super::{along, elementwise, make, matmul, select, view};

/// Looks up a handle.
pub(super) trait Lookup: Fn(TensorId) -> Result<Value, TensorError> {}
impl<F: Fn(TensorId) -> Result<Value, TensorError>> Lookup for F {}

/// The name of an operation, as the WIT calls it, and what it will do. Nothing is computed yet.
pub(super) fn plan(op: &Op, get: impl Lookup) -> Result<(&'static str, Step), TensorError> {
    let name = name(op);
    let step = match op {
        Op::FromFloats { values, shape } => make::from_floats(name, values, shape),
        Op::FromInts { values, shape } => make::from_ints(name, values, shape),
        Op::Full { value, shape } => make::full(name, *value, shape),
        Op::Arange { start, end } => make::arange(name, *start, *end),
        Op::Concat { parts, dim } => {
            let parts = parts.iter().map(|&id| get(id)).collect::<Result<Vec<_>, _>>()?;
            view::concat(name, &parts, *dim)
        }
        Op::ToFloat(id) => Ok(view::to_float(&get(*id)?)),
        Op::ToInt(id) => Ok(view::to_int(&get(*id)?)),
        Op::Detach(id) => Ok(view::detach(&get(*id)?)),
        Op::Reshape(id, shape) => view::reshape(name, &get(*id)?, shape),
        Op::Permute(id, dims) => view::permute(name, &get(*id)?, dims),
        Op::Slice { input, dim, start, end } => view::slice(name, &get(*input)?, *dim, *start..*end),
        Op::Expand(id, shape) => view::expand(name, &get(*id)?, shape),
        Op::Gather { input, dim, index } => select::gather(name, &get(*input)?, *dim, &get(*index)?),
        Op::IndexSelect { input, dim, index } => select::index_select(name, &get(*input)?, *dim, &get(*index)?),
        Op::Choose { input, condition, otherwise } => {
            select::choose(name, &get(*input)?, &get(*condition)?, &get(*otherwise)?)
        }
        Op::MaskedFill { input, mask, value } => select::masked_fill(name, &get(*input)?, &get(*mask)?, *value),
        Op::Binary(op, left, right) => elementwise::binary(name, *op, &get(*left)?, &get(*right)?),
        Op::Scalar(op, id, number) => elementwise::scalar(name, *op, &get(*id)?, *number),
        Op::Unary(op, id) => elementwise::unary(name, *op, &get(*id)?),
        Op::Clamp { input, low, high } => elementwise::clamp(name, &get(*input)?, *low, *high),
        Op::Sum(id) => Ok(along::sum(&get(*id)?)),
        Op::Mean(id) => along::mean(name, &get(*id)?),
        Op::Along(op, id, dim) => along::along(name, *op, &get(*id)?, *dim),
        Op::Matmul(left, right) => matmul::matmul(name, &get(*left)?, &get(*right)?),
        _ => return Err(super::misuse("tensors", format!("this engine does not know the operation: {op:?}"))),
    }?;
    // Every result obeys the limits on rank and size, whatever the operation.
    super::check::elements(name, &step.shape)?;
    Ok((name, step))
}

fn name(op: &Op) -> &'static str {
    match op {
        Op::FromFloats { .. } => "from-floats",
        Op::FromInts { .. } => "from-ints",
        Op::Full { .. } => "full",
        Op::Arange { .. } => "arange",
        Op::Concat { .. } => "concat",
        Op::ToFloat(_) => "to-float",
        Op::ToInt(_) => "to-int",
        Op::Detach(_) => "detach",
        Op::Reshape(..) => "reshape",
        Op::Permute(..) => "permute",
        Op::Slice { .. } => "slice",
        Op::Expand(..) => "expand",
        Op::Gather { .. } => "gather",
        Op::IndexSelect { .. } => "index-select",
        Op::Choose { .. } => "choose",
        Op::MaskedFill { .. } => "masked-fill",
        Op::Binary(op, ..) => elementwise::binary_name(*op),
        Op::Scalar(op, ..) => elementwise::scalar_name(*op),
        Op::Unary(op, _) => elementwise::unary_name(*op),
        Op::Clamp { .. } => "clamp",
        Op::Sum(_) => "sum",
        Op::Mean(_) => "mean",
        Op::Along(op, ..) => along::along_name(*op),
        Op::Matmul(..) => "matmul",
        _ => "tensors",
    }
}

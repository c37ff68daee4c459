//! How large the result of a tensor operation would be, before an engine allocates it.
//!
//! This is no shape check: engines do that. Where shapes do not fit the estimate may be anything, since nothing will be made.

use tunesmith_core::tensors::{Op, TensorError, TensorId, Tensors};

/// Bytes of a tensor of this shape, at four bytes per element.
pub(crate) fn bytes(shape: &[usize]) -> u64 {
    shape.iter().fold(4, |bytes, &size| bytes.saturating_mul(size as u64))
}

/// Bytes of the operation's result, at least. Only operations that can make much out of little are looked at closely.
pub(crate) fn of(engine: &dyn Tensors, op: &Op) -> Result<u64, TensorError> {
    let of = |id: &TensorId| engine.shape(*id).map(|shape| bytes(&shape));
    Ok(match op {
        Op::Full { shape, .. } | Op::Reshape(_, shape) | Op::Expand(_, shape) => bytes(shape),
        Op::FromFloats { values, .. } => bytes(&[values.len()]),
        Op::FromInts { values, .. } => bytes(&[values.len()]),
        Op::Arange { start, end } => bytes(&[(i64::from(*end) - i64::from(*start)).max(0) as usize]),
        Op::Concat { parts, .. } => {
            let mut sum = 0_u64;
            for part in parts {
                sum = sum.saturating_add(of(part)?);
            }
            sum
        }
        Op::Binary(_, left, right) => bytes(&broadcast(&engine.shape(*left)?, &engine.shape(*right)?)),
        Op::Choose { input, condition, otherwise } => {
            let both = broadcast(&engine.shape(*input)?, &engine.shape(*otherwise)?);
            bytes(&broadcast(&both, &engine.shape(*condition)?))
        }
        Op::MaskedFill { input, mask, .. } => bytes(&broadcast(&engine.shape(*input)?, &engine.shape(*mask)?)),
        Op::Gather { index, .. } => of(index)?,
        Op::IndexSelect { input, dim, index } => {
            let mut shape = engine.shape(*input)?;
            let chosen = engine.shape(*index)?.iter().product();
            if let Some(size) = shape.get_mut(*dim) {
                *size = chosen;
            }
            bytes(&shape)
        }
        Op::Matmul(left, right) => product(&engine.shape(*left)?, &engine.shape(*right)?),
        // The rest gives at most as much as it takes, and that is counted when it is made.
        _ => 0,
    })
}

/// The shape of two broadcast shapes, if they fit.
fn broadcast(left: &[usize], right: &[usize]) -> Vec<usize> {
    let rank = left.len().max(right.len());
    let size = |shape: &[usize], dim: usize| (dim + shape.len()).checked_sub(rank).map_or(1, |at| shape[at]);
    (0..rank)
        .map(|dim| match (size(left, dim), size(right, dim)) {
            (1, other) | (other, 1) => other,
            (one, other) => one.min(other),
        })
        .collect()
}

fn product(left: &[usize], right: &[usize]) -> u64 {
    let (Some((&rows, left)), Some((&columns, right))) =
        (left.split_last().and_then(|(_, rest)| rest.split_last()), right.split_last())
    else {
        return 0;
    };
    let batch = broadcast(left, &right[..right.len().saturating_sub(1)]);
    bytes(&batch).saturating_mul(rows as u64).saturating_mul(columns as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasts_follow_numpy() {
        assert_eq!(broadcast(&[3, 1], &[4]), [3, 4]);
        assert_eq!(broadcast(&[], &[2, 2]), [2, 2]);
        assert_eq!(broadcast(&[0], &[1]), [0]);
    }

    #[test]
    fn a_matrix_product_is_rows_by_columns() {
        assert_eq!(product(&[5, 2, 3], &[3, 7]), 5 * 2 * 7 * 4);
        assert_eq!(product(&[3], &[3, 7]), 0);
    }

    #[test]
    fn sizes_never_overflow() {
        assert_eq!(bytes(&[usize::MAX, 2]), u64::MAX);
    }
}

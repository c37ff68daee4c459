//! The tensor operations, one after the other, as the contract describes them.

#![allow(clippy::float_cmp, reason = "comparisons are exact, as the contract says")]

use std::sync::Arc;

use tunesmith_core::tensors::{Along, Binary, Op, PairOp, Scalar, TensorError, TensorId, Unary};

use crate::plain::{Elements, Tensor};

type Get<'a> = &'a dyn Fn(TensorId) -> Result<Arc<Tensor>, TensorError>;
type Made = Result<Tensor, TensorError>;

/// Does one operation.
#[expect(clippy::too_many_lines, reason = "one arm per operation")]
pub(crate) fn apply(op: &Op, get: Get<'_>) -> Made {
    match op {
        Op::FromFloats { values, shape } => whole("from-floats", shape, Elements::Floats(values.clone()), values.len()),
        Op::FromInts { values, shape } => whole("from-ints", shape, Elements::Ints(values.clone()), values.len()),
        Op::Full { value, shape } => Ok(floats(shape.clone(), vec![*value; shape.iter().product()])),
        Op::Arange { start, end } => {
            let values: Vec<i32> = (*start..*end).collect();
            Ok(Tensor { shape: vec![values.len()], elements: Elements::Ints(values) })
        }
        Op::Concat { parts, dim } => concat(parts, *dim, get),
        Op::ToFloat(id) => Ok(get(*id)?.as_ref().clone()).map(|tensor| floats(tensor.shape.clone(), tensor.floats())),
        Op::ToInt(id) => {
            let tensor = get(*id)?;
            let values = tensor.floats().into_iter().map(|value| value as i32).collect();
            Ok(Tensor { shape: tensor.shape.clone(), elements: Elements::Ints(values) })
        }
        Op::Detach(id) => Ok(get(*id)?.as_ref().clone()),
        Op::Reshape(id, shape) => {
            let tensor = get(*id)?;
            whole("reshape", shape, tensor.elements.clone(), tensor.len())
        }
        Op::Permute(id, dims) => permute(&*get(*id)?, dims),
        Op::Slice { input, dim, start, end } => slice(&*get(*input)?, *dim, *start, *end),
        Op::Expand(id, shape) => {
            let tensor = get(*id)?;
            let wide = broadcast("expand", &tensor.shape, shape)?;
            expect("expand", wide == *shape, || format!("{:?} to {shape:?}", tensor.shape))?;
            Ok(spread(&tensor, &wide))
        }
        Op::Gather { input, dim, index } => gather(&*get(*input)?, *dim, &*get(*index)?),
        Op::IndexSelect { input, dim, index } => index_select(&*get(*input)?, *dim, &*get(*index)?),
        Op::Choose { input, condition, otherwise } => {
            let (input, condition, otherwise) = (get(*input)?, get(*condition)?, get(*otherwise)?);
            let shape = broadcast("choose", &broadcast("choose", &input.shape, &otherwise.shape)?, &condition.shape)?;
            let of = |tensor: &Tensor| spread(tensor, &shape).floats();
            let chosen = of(&condition).into_iter().zip(of(&input)).zip(of(&otherwise));
            Ok(floats(shape.clone(), chosen.map(|((is, yes), no)| if is == 0.0 { no } else { yes }).collect()))
        }
        Op::MaskedFill { input, mask, value } => {
            let fill = |input: f32, mask: f32| if mask == 0.0 { input } else { *value };
            zip("masked-fill", &*get(*input)?, &*get(*mask)?, fill)
        }
        Op::Binary(operation, left, right) => binary(*operation, &*get(*left)?, &*get(*right)?),
        Op::Scalar(operation, id, number) => {
            let number = *number;
            Ok(map(&*get(*id)?, |value| match operation {
                Scalar::Add => value + number,
                Scalar::Mul => value * number,
                Scalar::Pow => value.powf(number),
                Scalar::Equal => truth(value == number),
                Scalar::Greater => truth(value > number),
                Scalar::GreaterEqual => truth(value >= number),
            }))
        }
        Op::Unary(operation, id) => Ok(map(&*get(*id)?, unary(*operation))),
        Op::Clamp { input, low, high } => Ok(map(&*get(*input)?, |value| value.max(*low).min(*high))),
        Op::Sum(id) => Ok(floats(vec![], vec![get(*id)?.floats().iter().sum()])),
        Op::Mean(id) => {
            let tensor = get(*id)?;
            Ok(floats(vec![], vec![tensor.floats().iter().sum::<f32>() / tensor.len() as f32]))
        }
        Op::Along(operation, id, dim) => along(*operation, &*get(*id)?, *dim),
        Op::Matmul(left, right) => matmul(&*get(*left)?, &*get(*right)?),
        other => Err(TensorError::Misuse { op: "unknown", what: format!("{other:?}") }),
    }
}

/// Does one operation that gives values and indices.
pub(crate) fn apply_pair(op: &PairOp, get: Get<'_>) -> Result<(Tensor, Tensor), TensorError> {
    let (input, dim, count, descending, name) = match op {
        PairOp::TopK { input, dim, count } => (get(*input)?, *dim, Some(*count), true, "topk"),
        PairOp::Sort { input, dim, descending } => (get(*input)?, *dim, None, *descending, "sort"),
    };
    let lanes = Lanes::of(name, &input.shape, dim)?;
    let count = count.unwrap_or(lanes.size);
    expect(name, count <= lanes.size, || format!("{count} of {:?} along {dim}", input.shape))?;
    let mut shape = input.shape.clone();
    shape[dim] = count;
    let source = input.floats();
    let mut values = vec![0.0; shape.iter().product()];
    let mut indices = vec![0; values.len()];
    let out = Lanes { size: count, ..lanes };
    for lane in 0..lanes.count() {
        let mut order: Vec<usize> = (0..lanes.size).collect();
        let value = |index: usize| source[lanes.at(lane, index)];
        order.sort_by(|&a, &b| if descending { value(b).total_cmp(&value(a)) } else { value(a).total_cmp(&value(b)) });
        for (place, &index) in order.iter().take(count).enumerate() {
            values[out.at(lane, place)] = value(index);
            indices[out.at(lane, place)] = index as i32;
        }
    }
    Ok((floats(shape.clone(), values), Tensor { shape, elements: Elements::Ints(indices) }))
}

fn expect(op: &'static str, is_fine: bool, what: impl FnOnce() -> String) -> Result<(), TensorError> {
    if is_fine { Ok(()) } else { Err(TensorError::Misuse { op, what: what() }) }
}

fn floats(shape: Vec<usize>, values: Vec<f32>) -> Tensor {
    Tensor { shape, elements: Elements::Floats(values) }
}

fn truth(is_true: bool) -> f32 {
    f32::from(u8::from(is_true))
}

fn whole(op: &'static str, shape: &[usize], elements: Elements, len: usize) -> Made {
    let wanted = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    expect(op, wanted == Some(len) && shape.len() <= 5, || format!("{len} elements as {shape:?}"))?;
    Ok(Tensor { shape: shape.into(), elements })
}

fn map(tensor: &Tensor, change: impl FnMut(f32) -> f32) -> Tensor {
    floats(tensor.shape.clone(), tensor.floats().into_iter().map(change).collect())
}

fn unary(operation: Unary) -> fn(f32) -> f32 {
    match operation {
        Unary::Neg => |value| -value,
        Unary::Abs => f32::abs,
        Unary::Exp => f32::exp,
        Unary::Log => f32::ln,
        Unary::Sqrt => f32::sqrt,
        Unary::Tanh => f32::tanh,
        Unary::Sigmoid => |value| 1.0 / (1.0 + (-value).exp()),
        Unary::Softplus => |value| value.max(0.0) + (-value.abs()).exp().ln_1p(),
        Unary::Relu => |value| value.max(0.0),
    }
}

fn binary(operation: Binary, left: &Tensor, right: &Tensor) -> Made {
    let (name, run): (_, fn(f32, f32) -> f32) = match operation {
        Binary::Add => ("add", |a, b| a + b),
        Binary::Sub => ("sub", |a, b| a - b),
        Binary::Mul => ("mul", |a, b| a * b),
        Binary::Div => ("div", |a, b| a / b),
        Binary::Maximum => ("maximum", f32::max),
        Binary::Minimum => ("minimum", f32::min),
        Binary::Equal => ("equal", |a, b| truth(a == b)),
        Binary::Greater => ("greater", |a, b| truth(a > b)),
        Binary::GreaterEqual => ("greater-equal", |a, b| truth(a >= b)),
    };
    zip(name, left, right, run)
}

fn zip(op: &'static str, left: &Tensor, right: &Tensor, run: impl Fn(f32, f32) -> f32) -> Made {
    let shape = broadcast(op, &left.shape, &right.shape)?;
    let pairs = spread(left, &shape).floats().into_iter().zip(spread(right, &shape).floats());
    Ok(floats(shape.clone(), pairs.map(|(a, b)| run(a, b)).collect()))
}

fn broadcast(op: &'static str, left: &[usize], right: &[usize]) -> Result<Vec<usize>, TensorError> {
    let rank = left.len().max(right.len());
    let size = |shape: &[usize], dim: usize| (dim + shape.len()).checked_sub(rank).map_or(1, |at| shape[at]);
    (0..rank)
        .map(|dim| match (size(left, dim), size(right, dim)) {
            (1, other) | (other, 1) => Ok(other),
            (one, other) if one == other => Ok(one),
            _ => Err(TensorError::Misuse { op, what: format!("shapes {left:?} and {right:?} do not broadcast") }),
        })
        .collect()
}

/// The tensor repeated along dimensions of size 1 until it has `shape`.
fn spread(tensor: &Tensor, shape: &[usize]) -> Tensor {
    let source = tensor.floats();
    let skipped = shape.len() - tensor.shape.len();
    let total: usize = shape.iter().product();
    let values = (0..total).map(|flat| {
        let mut rest = flat;
        let mut at = 0;
        let mut stride = 1;
        for dim in (0..shape.len()).rev() {
            let index = rest % shape[dim];
            rest /= shape[dim];
            if let Some(size) = dim.checked_sub(skipped).map(|dim| tensor.shape[dim]) {
                at += if size == 1 { 0 } else { index * stride };
                stride *= size;
            }
        }
        source[at]
    });
    floats(shape.into(), values.collect())
}

/// The lanes of a tensor along one dimension.
#[derive(Clone, Copy)]
struct Lanes {
    outer: usize,
    size: usize,
    inner: usize,
}

impl Lanes {
    fn of(op: &'static str, shape: &[usize], dim: usize) -> Result<Self, TensorError> {
        expect(op, dim < shape.len(), || format!("dimension {dim} of shape {shape:?}"))?;
        let (outer, inner) = (shape[..dim].iter().product(), shape[dim + 1..].iter().product());
        Ok(Self { outer, size: shape[dim], inner })
    }

    fn count(self) -> usize {
        self.outer * self.inner
    }

    fn at(self, lane: usize, index: usize) -> usize {
        let (outer, inner) = (lane / self.inner.max(1), lane % self.inner.max(1));
        (outer * self.size + index) * self.inner + inner
    }
}

fn along(operation: Along, tensor: &Tensor, dim: usize) -> Made {
    let lanes = Lanes::of("along", &tensor.shape, dim)?;
    let source = tensor.floats();
    let lane = |lane: usize| -> Vec<f32> { (0..lanes.size).map(|index| source[lanes.at(lane, index)]).collect() };
    let keeps = matches!(operation, Along::Cumsum | Along::Softmax | Along::LogSoftmax);
    let mut shape = tensor.shape.clone();
    if !keeps {
        shape[dim] = 1;
    }
    let out = Lanes { size: shape[dim], ..lanes };
    let mut values = vec![0.0; shape.iter().product()];
    for number in 0..lanes.count() {
        let input = lane(number);
        let highest = input.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f32 = input.iter().map(|value| (value - highest).exp()).sum();
        let result: Vec<f32> = match operation {
            Along::Sum => vec![input.iter().sum()],
            Along::Mean => vec![input.iter().sum::<f32>() / lanes.size as f32],
            Along::Max => vec![highest],
            Along::Min => vec![input.iter().copied().fold(f32::INFINITY, f32::min)],
            Along::Argmax => vec![input.iter().position(|&value| value == highest).unwrap_or(0) as f32],
            Along::Cumsum => input
                .iter()
                .scan(0.0, |sum, value| {
                    *sum += value;
                    Some(*sum)
                })
                .collect(),
            Along::Softmax => input.iter().map(|value| (value - highest).exp() / total).collect(),
            Along::LogSoftmax => input.iter().map(|value| value - highest - total.ln()).collect(),
            Along::Logsumexp => vec![highest + total.ln()],
        };
        for (index, value) in result.into_iter().enumerate() {
            values[out.at(number, index)] = value;
        }
    }
    if operation == Along::Argmax {
        let values = values.into_iter().map(|value| value as i32).collect();
        return Ok(Tensor { shape, elements: Elements::Ints(values) });
    }
    Ok(floats(shape, values))
}

fn index(op: &'static str, index: &Tensor, size: usize) -> Result<Vec<usize>, TensorError> {
    let Elements::Ints(values) = &index.elements else {
        return Err(TensorError::Misuse { op, what: "the index holds floats".into() });
    };
    let checked = |&value: &i32| {
        usize::try_from(value)
            .ok()
            .filter(|&value| value < size)
            .ok_or_else(|| TensorError::Misuse { op, what: format!("index {value} of {size}") })
    };
    values.iter().map(checked).collect()
}

fn gather(tensor: &Tensor, dim: usize, by: &Tensor) -> Made {
    let lanes = Lanes::of("gather", &tensor.shape, dim)?;
    let is_fit = by.shape.len() == tensor.shape.len()
        && (0..by.shape.len()).all(|other| other == dim || by.shape[other] == tensor.shape[other]);
    expect("gather", is_fit, || format!("shape {:?} by index {:?} along {dim}", tensor.shape, by.shape))?;
    let indices = index("gather", by, lanes.size)?;
    let (source, out) = (tensor.floats(), Lanes { size: by.shape[dim], ..lanes });
    let mut values = vec![0.0; by.len()];
    for lane in 0..lanes.count() {
        for place in 0..out.size {
            values[out.at(lane, place)] = source[lanes.at(lane, indices[out.at(lane, place)])];
        }
    }
    Ok(floats(by.shape.clone(), values))
}

fn index_select(tensor: &Tensor, dim: usize, by: &Tensor) -> Made {
    let lanes = Lanes::of("index-select", &tensor.shape, dim)?;
    let indices = index("index-select", by, lanes.size)?;
    Ok(select(tensor, dim, lanes, &indices))
}

fn slice(tensor: &Tensor, dim: usize, start: usize, end: usize) -> Made {
    let lanes = Lanes::of("slice", &tensor.shape, dim)?;
    expect("slice", start <= end && end <= lanes.size, || format!("{start}..{end} of {:?} along {dim}", tensor.shape))?;
    Ok(select(tensor, dim, lanes, &(start..end).collect::<Vec<_>>()))
}

fn select(tensor: &Tensor, dim: usize, lanes: Lanes, indices: &[usize]) -> Tensor {
    let mut shape = tensor.shape.clone();
    shape[dim] = indices.len();
    let (source, out) = (tensor.floats(), Lanes { size: indices.len(), ..lanes });
    let mut values = vec![0.0; shape.iter().product()];
    for lane in 0..lanes.count() {
        for (place, &index) in indices.iter().enumerate() {
            values[out.at(lane, place)] = source[lanes.at(lane, index)];
        }
    }
    floats(shape, values)
}

fn permute(tensor: &Tensor, dims: &[usize]) -> Made {
    let mut sorted = dims.to_vec();
    sorted.sort_unstable();
    let is_permutation = sorted.iter().copied().eq(0..tensor.shape.len());
    expect("permute", is_permutation, || format!("{:?} by {dims:?}", tensor.shape))?;
    let shape: Vec<usize> = dims.iter().map(|&dim| tensor.shape[dim]).collect();
    let stride = |dim: usize| tensor.shape[dim + 1..].iter().product::<usize>();
    let source = tensor.floats();
    let values = (0..tensor.len()).map(|flat| {
        let mut rest = flat;
        let mut at = 0;
        for (place, &dim) in dims.iter().enumerate().rev() {
            at += rest % shape[place] * stride(dim);
            rest /= shape[place];
        }
        source[at]
    });
    Ok(floats(shape.clone(), values.collect()))
}

fn concat(parts: &[TensorId], dim: usize, get: Get<'_>) -> Made {
    let parts = parts.iter().map(|&part| get(part)).collect::<Result<Vec<_>, _>>()?;
    let Some(first) = parts.first() else {
        return Err(TensorError::Misuse { op: "concat", what: "no parts".into() });
    };
    let lanes = Lanes::of("concat", &first.shape, dim)?;
    let mut shape = first.shape.clone();
    shape[dim] = 0;
    for part in &parts {
        let is_fit = part.shape.len() == first.shape.len()
            && (0..part.shape.len()).all(|other| other == dim || part.shape[other] == first.shape[other]);
        expect("concat", is_fit, || format!("{:?} and {:?} along {dim}", first.shape, part.shape))?;
        shape[dim] += part.shape[dim];
    }
    let out = Lanes { size: shape[dim], ..lanes };
    let mut values = vec![0.0; shape.iter().product()];
    let mut done = 0;
    for part in &parts {
        let (source, lanes) = (part.floats(), Lanes { size: part.shape[dim], ..lanes });
        for lane in 0..lanes.count() {
            for index in 0..lanes.size {
                values[out.at(lane, done + index)] = source[lanes.at(lane, index)];
            }
        }
        done += lanes.size;
    }
    Ok(floats(shape, values))
}

fn matmul(left: &Tensor, right: &Tensor) -> Made {
    let what = || format!("shapes {:?} and {:?}", left.shape, right.shape);
    let (l, r) = (&left.shape, &right.shape);
    expect("matmul", 2 <= l.len() && 2 <= r.len() && l[l.len() - 1] == r[r.len() - 2], what)?;
    let (rows, inner, columns) = (l[l.len() - 2], l[l.len() - 1], r[r.len() - 1]);
    let mut shape = broadcast("matmul", &l[..l.len() - 2], &r[..r.len() - 2])?;
    let batches: usize = shape.iter().product();
    let wide = |tensor: &Tensor, last: [usize; 2]| spread(tensor, &[shape.as_slice(), &last].concat()).floats();
    let (a, b) = (wide(left, [rows, inner]), wide(right, [inner, columns]));
    let mut values = Vec::with_capacity(batches * rows * columns);
    for batch in 0..batches {
        for row in 0..rows {
            for column in 0..columns {
                let term = |k: usize| a[(batch * rows + row) * inner + k] * b[(batch * inner + k) * columns + column];
                values.push((0..inner).map(term).sum());
            }
        }
    }
    shape.extend([rows, columns]);
    Ok(floats(shape, values))
}

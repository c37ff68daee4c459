//! Sorting. The order is found on the host, so that it is the same on every device; the values are then gathered, with gradients.

use tunesmith_core::tensors::{Kind, PairOp, TensorError};

use super::apply::Lookup;
use super::check::{self, misuse};
use super::raw;
use super::value::{Place, Step, Value, within};

/// A checked operation that gives values and indices, both of one shape.
pub(super) struct PairStep {
    pub(super) shape: Vec<usize>,
    name: &'static str,
    input: Value,
    dim: usize,
    descending: bool,
}

/// The name of an operation and what it will do. Nothing is computed yet.
pub(super) fn plan(op: &PairOp, get: impl Lookup) -> Result<(&'static str, PairStep), TensorError> {
    let (name, input, dim, descending, count) = match *op {
        PairOp::TopK { input, dim, count } => ("topk", get(input)?, dim, true, Some(count)),
        PairOp::Sort { input, dim, descending } => ("sort", get(input)?, dim, descending, None),
    };
    check::dim(name, &input.shape, dim)?;
    let mut shape = input.shape.clone();
    if let Some(count) = count {
        if shape[dim] < count {
            return Err(misuse(name, format!("dimension {dim} of shape {:?} has no {count} elements", input.shape)));
        }
        shape[dim] = count;
    }
    Ok((name, PairStep { shape, name, input, dim, descending }))
}

impl PairStep {
    /// The values and their indices.
    pub(super) fn run(self, place: &Place) -> Result<(Value, Value), TensorError> {
        let Self { shape, name, input, dim, descending } = self;
        let kind = input.kind;
        let index_bounds = within(0, i32::try_from(input.shape[dim]).unwrap_or(i32::MAX).saturating_sub(1).max(0));
        let tensor = input.tensor.clone().filter(|_| !shape.contains(&0));
        let Some(tensor) = tensor else {
            let values = Value { shape: shape.clone(), kind, tensor: None, bounds: input.bounds_of_part() };
            return Ok((values, Value { shape, kind: Kind::Int, tensor: None, bounds: index_bounds }));
        };
        let keys = match kind {
            Kind::Float => input.floats(name)?.into_iter().map(float_key).collect::<Vec<_>>(),
            Kind::Int => input.ints(name)?.into_iter().map(int_key).collect(),
        };
        let index = place.ints(ordered(&keys, &input.shape, dim, shape[dim], descending), &shape);
        let values = Step::new(shape.clone(), kind, {
            let index = index.clone();
            move |_| raw::gather(kind, tensor, dim, index)
        });
        let values = values.bounded(input.bounds_of_part()).run(place);
        Ok((values, Value { shape, kind: Kind::Int, tensor: Some(index), bounds: index_bounds }))
    }
}

/// The indices along `dim` of the first `count` elements in order, in row-major order. Equals keep their order.
fn ordered(keys: &[u32], shape: &[usize], dim: usize, count: usize, descending: bool) -> Vec<i32> {
    let size = shape[dim];
    let inner: usize = shape[dim + 1..].iter().product();
    let outer: usize = shape[..dim].iter().product();
    let mut out = vec![0; outer * count * inner];
    let mut lane = Vec::with_capacity(size);
    for block in 0..outer {
        for offset in 0..inner {
            lane.clear();
            lane.extend((0..size).map(|at| {
                let key = keys[(block * size + at) * inner + offset];
                // The position makes every entry unlike the others, so that the order is stable.
                (if descending { !key } else { key }, at as i32)
            }));
            if 0 < count && count < size {
                lane.select_nth_unstable(count - 1);
            }
            lane[..count].sort_unstable();
            for (at, &(_, index)) in lane[..count].iter().enumerate() {
                out[(block * count + at) * inner + offset] = index;
            }
        }
    }
    out
}

/// Orders floats as integers: NaN is the largest, and both zeros are equal.
fn float_key(number: f32) -> u32 {
    if number.is_nan() {
        return u32::MAX;
    }
    // Adding 0.0 turns -0.0 into 0.0.
    let bits = (number + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

fn int_key(number: i32) -> u32 {
    (number as u32) ^ (1 << 31)
}

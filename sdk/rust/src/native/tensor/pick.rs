//! Operations whose elements are elements of their input, in another order or shape.

use super::elementwise::sources;
use super::{Kind, Tensor, wide};

impl Tensor {
    /// The tensor of `shape` whose elements are those at these positions.
    pub(super) fn pick(&self, op: &str, shape: Vec<usize>, positions: &[usize]) -> Self {
        let values = positions.iter().map(|&position| self.values[position]).collect();
        let tangents =
            self.tangents.as_ref().map(|tangents| positions.iter().map(|&position| tangents[position]).collect());
        Self::make(op, self.kind, shape, values, tangents)
    }

    /// How many elements one step along `dim` skips.
    pub(super) fn step(&self, dim: usize) -> usize {
        self.shape[dim + 1..].iter().product()
    }

    pub(crate) fn reshape(&self, shape: &[u32]) -> Self {
        let shape = wide(shape);
        let (from, count) = (&self.shape, self.values.len());
        assert_eq!(count, shape.iter().product::<usize>(), "tensors.reshape: shape {from:?} to {shape:?}");
        self.pick("reshape", shape, &(0..count).collect::<Vec<_>>())
    }

    pub(crate) fn permute(&self, dims: &[u32]) -> Self {
        let dims = wide(dims);
        let mut sorted = dims.clone();
        sorted.sort_unstable();
        let rank = self.shape.len();
        assert_eq!(
            sorted,
            (0..rank).collect::<Vec<_>>(),
            "tensors.permute: dimensions {dims:?} of shape {:?}",
            self.shape
        );
        let shape: Vec<usize> = dims.iter().map(|&dim| self.shape[dim]).collect();
        let steps: Vec<usize> = dims.iter().map(|&dim| self.step(dim)).collect();
        let position = |mut element: usize| {
            let mut position = 0;
            for (&size, &step) in shape.iter().zip(&steps).rev() {
                position += element % size * step;
                element /= size;
            }
            position
        };
        let positions: Vec<usize> = (0..self.values.len()).map(position).collect();
        self.pick("permute", shape, &positions)
    }

    pub(crate) fn slice(&self, dim: u32, start: u32, end: u32) -> Self {
        let at = self.dim("slice", dim);
        let size = self.shape[at];
        assert!(
            start <= end && end as usize <= size,
            "tensors.slice: {start} to {end} of dimension {dim} of shape {:?}",
            self.shape
        );
        self.along("slice", at, &(start as usize..end as usize).collect::<Vec<_>>())
    }

    pub(crate) fn index_select(&self, dim: u32, index: &Self) -> Self {
        let at = self.dim("index-select", dim);
        assert_eq!(index.shape.len(), 1, "tensors.index-select: an index of shape {:?}, not of rank 1", index.shape);
        self.along("index-select", at, &index.positions("index-select", self.shape[at]))
    }

    /// The entries at these places along `dim`.
    fn along(&self, op: &str, dim: usize, places: &[usize]) -> Self {
        let (step, size) = (self.step(dim), self.shape[dim]);
        let outer: usize = self.shape[..dim].iter().product();
        let mut positions = Vec::with_capacity(outer * places.len() * step);
        for block in 0..outer {
            for place in places {
                positions.extend((0..step).map(|inner| (block * size + place) * step + inner));
            }
        }
        let mut shape = self.shape.clone();
        shape[dim] = places.len();
        self.pick(op, shape, &positions)
    }

    /// The elements of an index, each below `size`.
    fn positions(&self, op: &str, size: usize) -> Vec<usize> {
        assert_eq!(self.kind, Kind::Int, "tensors.{op}: a float index");
        let place = |&value: &f64| {
            assert!(value >= 0.0 && (value as usize) < size, "tensors.{op}: index {value} of {size} entries");
            value as usize
        };
        self.values.iter().map(place).collect()
    }

    pub(crate) fn expand(&self, shape: &[u32]) -> Self {
        let shape = wide(shape);
        let from = &self.shape;
        let repeats = |(one, other): (&usize, &usize)| *one == 1 || one == other;
        let fits = from.len() <= shape.len() && from.iter().rev().zip(shape.iter().rev()).all(repeats);
        assert!(fits, "tensors.expand: shape {from:?} to {shape:?}");
        self.pick("expand", shape.clone(), &sources(from, &shape))
    }

    pub(crate) fn gather(&self, dim: u32, index: &Self) -> Self {
        let at = self.dim("gather", dim);
        let mut expected = index.shape.clone();
        if let Some(size) = expected.get_mut(at) {
            *size = self.shape[at];
        }
        assert_eq!(
            expected, self.shape,
            "tensors.gather: shape {:?} with an index of shape {:?} along {dim}",
            self.shape, index.shape
        );
        let (step, size, count) = (self.step(at), self.shape[at], index.shape[at]);
        let places = index.positions("gather", size);
        let position = |(element, place): (usize, usize)| {
            let (outer, inner) = (element / (count * step), element % step);
            (outer * size + place) * step + inner
        };
        let positions: Vec<usize> = places.into_iter().enumerate().map(position).collect();
        self.pick("gather", index.shape.clone(), &positions)
    }

    pub(crate) fn concat(parts: &[&Self], dim: u32) -> Self {
        let first = parts.first().expect("tensors.concat: no tensor");
        let at = first.dim("concat", dim);
        let mut shape = first.shape.clone();
        shape[at] = 0;
        for part in parts {
            let mut others = part.shape.clone();
            assert_eq!(part.kind, first.kind, "tensors.concat: float and integer tensors; use to-float first");
            assert_eq!(others.len(), shape.len(), "tensors.concat: shapes {:?} and {:?}", first.shape, part.shape);
            shape[at] += std::mem::replace(&mut others[at], shape[at]);
            assert!(
                others.iter().zip(&shape).enumerate().all(|(dim, (one, other))| dim == at || one == other),
                "tensors.concat: shapes {:?} and {:?} along {dim}",
                first.shape,
                part.shape
            );
        }
        let outer: usize = shape[..at].iter().product();
        let rows = |element: &dyn Fn(&Self, usize) -> f64| -> Vec<f64> {
            let blocks = (0..outer).flat_map(|block| parts.iter().map(move |part| (block, part)));
            let elements = blocks.flat_map(|(block, part)| {
                let length = part.shape[at] * part.step(at);
                (block * length..(block + 1) * length).map(move |position| element(part, position))
            });
            elements.collect()
        };
        let has_tangents = parts.iter().any(|part| part.tangents.is_some());
        let values = rows(&|part, position| part.values[position]);
        Self::make("concat", first.kind, shape.clone(), values, has_tangents.then(|| rows(&Self::tangent)))
    }
}

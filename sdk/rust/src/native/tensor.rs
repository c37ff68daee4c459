//! A small tensor engine for tests: forward values, and derivatives along one direction.
//!
//! Elements are kept as float64 and rounded to float32 after each float operation. A tensor may carry a tangent per element: its derivative
//! along a direction that the test chose. Every operation moves tangents forward, so that a test learns the exact gradient of a loss, `detach`
//! included, by running it once per input element.

mod elementwise;
mod lanes;
mod matmul;
mod pick;

use std::rc::Rc;

/// What a tensor's elements are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Floating point.
    Float,
    /// Signed integers: token ids, indices.
    Int,
}

/// A tensor of the pretend host. Cloning shares the elements.
#[derive(Debug, Clone)]
pub struct Tensor {
    kind: Kind,
    shape: Vec<usize>,
    values: Rc<[f64]>,
    tangents: Option<Rc<[f64]>>,
}

/// Widens the sizes of the contract.
fn wide(sizes: &[u32]) -> Vec<usize> {
    sizes.iter().map(|&size| size as usize).collect()
}

impl Tensor {
    /// Makes a tensor, rounding floats to float32. `op` is named if the result has too many dimensions.
    fn make(op: &str, kind: Kind, shape: Vec<usize>, mut values: Vec<f64>, tangents: Option<Vec<f64>>) -> Self {
        assert!(shape.len() <= 5, "tensors.{op}: shape {shape:?} has more than 5 dimensions");
        debug_assert_eq!(values.len(), shape.iter().product::<usize>());
        if kind == Kind::Float {
            for value in &mut values {
                *value = f64::from(*value as f32);
            }
        }
        let tangents = tangents.filter(|_| kind == Kind::Float).map(Rc::from);
        Self { kind, shape, values: values.into(), tangents }
    }

    fn from_elements(op: &str, kind: Kind, values: Vec<f64>, shape: &[u32]) -> Self {
        let shape = wide(shape);
        let count = values.len();
        assert_eq!(count, shape.iter().product::<usize>(), "tensors.{op}: {count} elements for shape {shape:?}");
        Self::make(op, kind, shape, values, None)
    }

    /// A float tensor of this shape.
    ///
    /// # Panics
    ///
    /// Panics if the numbers of elements differ.
    pub fn from_floats(values: &[f32], shape: &[u32]) -> Self {
        Self::from_elements("from-floats", Kind::Float, values.iter().map(|&value| value.into()).collect(), shape)
    }

    /// An integer tensor of this shape.
    ///
    /// # Panics
    ///
    /// As [`Tensor::from_floats`].
    pub fn from_ints(values: &[i32], shape: &[u32]) -> Self {
        Self::from_elements("from-ints", Kind::Int, values.iter().map(|&value| value.into()).collect(), shape)
    }

    pub(crate) fn full(value: f32, shape: &[u32]) -> Self {
        let shape = wide(shape);
        let count = shape.iter().product();
        Self::make("full", Kind::Float, shape, vec![value.into(); count], None)
    }

    pub(crate) fn arange(start: i32, end: i32) -> Self {
        let values: Vec<f64> = (start..end).map(f64::from).collect();
        Self::make("arange", Kind::Int, vec![values.len()], values, None)
    }

    /// This float tensor with one tangent per element.
    ///
    /// # Panics
    ///
    /// Panics if the numbers of elements differ.
    #[must_use]
    pub fn with_tangents(mut self, tangents: Vec<f64>) -> Self {
        assert_eq!(tangents.len(), self.values.len(), "one tangent per element");
        self.tangents = Some(tangents.into());
        self
    }

    /// The tangents; none if nothing that this tensor was computed from has any.
    pub fn tangents(&self) -> Option<&[f64]> {
        self.tangents.as_deref()
    }

    /// The size of each dimension.
    pub fn shape(&self) -> Vec<u32> {
        self.shape.iter().map(|&size| size as u32).collect()
    }

    /// What the elements are.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The elements in row-major order, as floats.
    pub fn read(&self) -> Vec<f32> {
        self.values.iter().map(|&value| value as f32).collect()
    }

    /// The elements of an integer tensor in row-major order.
    ///
    /// # Panics
    ///
    /// Panics for a float tensor.
    pub fn read_ints(&self) -> Vec<i32> {
        assert_eq!(self.kind, Kind::Int, "tensors.read-ints: a float tensor");
        self.values.iter().map(|&value| value as i32).collect()
    }

    pub(crate) fn to_float(&self) -> Self {
        let tangents = self.tangents.as_deref().map(<[f64]>::to_vec);
        Self::make("to-float", Kind::Float, self.shape.clone(), self.values.to_vec(), tangents)
    }

    pub(crate) fn to_int(&self) -> Self {
        // As Rust's `as`: towards zero, saturating, NaN is 0.
        let values = self.values.iter().map(|&value| f64::from(value as i32)).collect();
        Self::make("to-int", Kind::Int, self.shape.clone(), values, None)
    }

    pub(crate) fn detach(&self) -> Self {
        Self { tangents: None, ..self.clone() }
    }

    fn dim(&self, op: &str, dim: u32) -> usize {
        let rank = self.shape.len();
        assert!((dim as usize) < rank, "tensors.{op}: dimension {dim} of shape {:?}", self.shape);
        dim as usize
    }

    fn expect_float(&self, op: &str) {
        assert_eq!(
            self.kind,
            Kind::Float,
            "tensors.{op}: an integer tensor of shape {:?}; use to-float first",
            self.shape
        );
    }
}

#[cfg(test)]
mod tests;

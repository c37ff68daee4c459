//! A tensor behind a handle, and an operation that is checked but not yet done.

use std::fmt;
use std::sync::{Arc, OnceLock};

use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn::backend::{Dispatch, DispatchDevice, DispatchTensor, TensorMetadata};
use burn::tensor::{BoolDType, DType, Device, FloatDType, IntDType, TensorData};
use tunesmith_core::tensors::{Kind, TensorError};

use super::check::{self, misuse};
use super::raw;

/// Where tensors are made.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The device, without autodiff: what a plugin makes is a constant.
    pub(super) device: DispatchDevice,
    /// How the device stores truth values.
    pub(super) bools: BoolDType,
}

impl Place {
    pub(super) fn new(device: &Device) -> Self {
        let bools = device.settings().bool_dtype;
        let plain = if device.is_autodiff() { device.clone().without_autodiff() } else { device.clone() };
        Self { device: plain.as_dispatch().clone(), bools }
    }

    pub(super) fn is_cpu(&self) -> bool {
        matches!(self.device, DispatchDevice::Flex(_))
    }

    pub(super) fn floats(&self, values: Vec<f32>, shape: &[usize]) -> DispatchTensor {
        Dispatch::float_from_data(TensorData::new(values, on_device(shape)), &self.device)
    }

    pub(super) fn ints(&self, values: Vec<i32>, shape: &[usize]) -> DispatchTensor {
        Dispatch::int_from_data(TensorData::new(values, on_device(shape)), &self.device)
    }

    pub(super) fn full(&self, value: f32, shape: &[usize]) -> DispatchTensor {
        Dispatch::float_full(on_device(shape).into(), value.into(), &self.device, FloatDType::F32)
    }

    pub(super) fn full_ints(&self, value: i32, shape: &[usize]) -> DispatchTensor {
        Dispatch::int_full(on_device(shape).into(), value.into(), &self.device, IntDType::I32)
    }

    /// Only for the host's own reading; plugins' tensors without elements have no device tensor.
    pub(super) fn empty_floats(&self, shape: &[usize]) -> DispatchTensor {
        Dispatch::float_empty(on_device(shape).into(), &self.device, FloatDType::F32)
    }

    /// As [`Place::empty_floats`].
    pub(super) fn empty_ints(&self, shape: &[usize]) -> DispatchTensor {
        Dispatch::int_empty(on_device(shape).into(), &self.device, IntDType::I32)
    }
}

/// A shape as burn wants it: rank 0 is one dimension of size 1.
pub(super) fn on_device(shape: &[usize]) -> Vec<usize> {
    if shape.is_empty() { vec![1] } else { shape.to_vec() }
}

/// The smallest and the largest element of an integer tensor, or numbers beyond them, once known.
pub(super) type Bounds = Arc<OnceLock<(i32, i32)>>;

/// Bounds that are known.
pub(super) fn within(low: i32, high: i32) -> Bounds {
    let bounds = Bounds::default();
    bounds.get_or_init(|| (low, high));
    bounds
}

/// A tensor behind a handle.
#[derive(Clone)]
pub(super) struct Value {
    /// The shape that plugins see.
    pub(super) shape: Vec<usize>,
    pub(super) kind: Kind,
    /// float32 or int32 of shape [`on_device`], or nothing if there are no elements.
    pub(super) tensor: Option<DispatchTensor>,
    /// For integers.
    pub(super) bounds: Bounds,
}

impl Value {
    pub(super) fn from_float(shape: Vec<usize>, tensor: DispatchTensor) -> Self {
        let tensor = if tensor.dtype() == DType::F32 { tensor } else { Dispatch::float_cast(tensor, FloatDType::F32) };
        Self::new(shape, Kind::Float, tensor)
    }

    pub(super) fn from_int(shape: Vec<usize>, tensor: DispatchTensor) -> Self {
        let tensor = if tensor.dtype() == DType::I32 { tensor } else { Dispatch::int_cast(tensor, IntDType::I32) };
        Self::new(shape, Kind::Int, tensor)
    }

    fn new(shape: Vec<usize>, kind: Kind, tensor: DispatchTensor) -> Self {
        let tensor = (!shape.contains(&0)).then_some(tensor);
        Self { shape, kind, tensor, bounds: Bounds::default() }
    }

    /// The elements of a float tensor in row-major order.
    pub(super) fn floats(&self, op: &'static str) -> Result<Vec<f32>, TensorError> {
        let Some(tensor) = self.tensor.clone() else { return Ok(Vec::new()) };
        raw::read_floats(tensor).map_err(|what| misuse(op, what))
    }

    /// The elements of an integer tensor in row-major order.
    pub(super) fn ints(&self, op: &'static str) -> Result<Vec<i32>, TensorError> {
        let Some(tensor) = self.tensor.clone() else { return Ok(Vec::new()) };
        raw::read_ints(tensor).map_err(|what| misuse(op, what))
    }

    /// That all elements of this integer tensor are indices below `size`. Reads the elements only if known bounds do not say so already.
    pub(super) fn indexes(&self, op: &'static str, size: usize) -> Result<(), TensorError> {
        check::ints(op, self)?;
        let fits = |&(low, high): &(i32, i32)| 0 <= low && (high as usize) < size;
        if self.tensor.is_none() || self.bounds.get().is_some_and(fits) {
            return Ok(());
        }
        let elements = self.ints(op)?;
        let low = elements.iter().copied().min().unwrap_or(0);
        let high = elements.iter().copied().max().unwrap_or(0);
        self.bounds.get_or_init(|| (low, high));
        if fits(&(low, high)) {
            return Ok(());
        }
        Err(misuse(op, format!("indices from {low} to {high} do not fit a dimension of size {size}")))
    }

    /// Bounds for a tensor made of some of these elements.
    pub(super) fn bounds_of_part(&self) -> Bounds {
        self.bounds.get().map_or_else(Bounds::default, |&(low, high)| within(low, high))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {:?}", check::word(self.kind), self.shape)
    }
}

/// What a step does on the device, once there is room for its result.
type Run = Box<dyn FnOnce(&Place) -> DispatchTensor + Send>;

/// An operation whose arguments are checked and whose result is known in shape.
pub(super) struct Step {
    pub(super) shape: Vec<usize>,
    kind: Kind,
    bounds: Bounds,
    run: Run,
}

impl Step {
    /// `run` is called only if the result has elements, and gives a tensor of shape [`on_device`].
    pub(super) fn new(
        shape: Vec<usize>,
        kind: Kind,
        run: impl FnOnce(&Place) -> DispatchTensor + Send + 'static,
    ) -> Self {
        Self { shape, kind, bounds: Bounds::default(), run: Box::new(run) }
    }

    /// A step on one tensor, called only if that tensor has elements. Only for results without elements where the input has none.
    pub(super) fn on(
        value: &Value,
        shape: Vec<usize>,
        kind: Kind,
        run: impl FnOnce(&Place, DispatchTensor) -> DispatchTensor + Send + 'static,
    ) -> Self {
        let tensor = value.tensor.clone();
        let filler = shape.clone();
        Self::new(shape, kind, move |place| match tensor {
            Some(tensor) => run(place, tensor),
            None => zeros(place, kind, &filler),
        })
    }

    /// Bounds of the integers that the step gives.
    pub(super) fn bounded(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    pub(super) fn run(self, place: &Place) -> Value {
        let tensor = (!self.shape.contains(&0)).then(|| (self.run)(place));
        Value { shape: self.shape, kind: self.kind, tensor, bounds: self.bounds }
    }
}

/// Zeros of either kind.
pub(super) fn zeros(place: &Place, kind: Kind, shape: &[usize]) -> DispatchTensor {
    match kind {
        Kind::Float => place.full(0.0, shape),
        Kind::Int => place.full_ints(0, shape),
    }
}

//! The tensor engine of plugins on burn: every operation of the WIT `tensors` interface, checked before burn sees it.
//!
//! Rules that the WIT leaves open, decided here once:
//! * Tensors are float32 and int32. The host's tensors of another precision are converted when they are inserted; gradients flow back through the conversion.
//! * Binary operations want two tensors of one kind (hint: `to-float`). Only `neg`, `abs`, `relu`, `clamp`, sums, extrema and comparisons take integers; integers wrap on overflow.
//! * `maximum` and `minimum` give each of two equals half of the gradient, as `PyTorch` does. `max-dim` and `min-dim` give it to the first of equals.
//! * NaN counts as the largest number when sorting, and as infinity in `argmax`, `max-dim` and `min-dim`. Sorting is stable.
//! * Indices are always checked against the dimension before the device sees them. Each integer tensor remembers bounds of its elements, so that it is read at most once.
//! * A tensor without elements never reaches the device; the sum of nothing is 0, its mean NaN, its `logsumexp` minus infinity, and it has no largest element.

mod along;
mod apply;
mod arena;
mod check;
mod elementwise;
mod make;
mod matmul;
mod order;
mod raw;
mod select;
#[cfg(test)]
mod tests;
mod value;
mod view;

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::backend::Dispatch;
use burn::tensor::{Device, Int, Tensor};
use tunesmith_core::tensors::{Kind, Op, PairOp, TensorError, TensorId, Tensors};

use arena::Arena;
pub use arena::{Budget, Usage};
use check::misuse;
use value::{Bounds, Place, Value};

/// A [`Tensors`] engine on one burn device.
///
/// One lock guards the table of handles; the operations themselves run outside it. The budget of a call is checked before the device is asked for anything.
#[derive(Debug)]
pub struct BurnTensors {
    place: Place,
    arena: Mutex<Arena>,
}

impl BurnTensors {
    /// An empty engine on `device`, whose calls may use `budget`.
    ///
    /// Tensors that plugins create are constants on `device` without autodiff; they mix freely with the host's tensors of that device, tracked or not.
    pub fn new(device: &Device, budget: Budget) -> Self {
        Self { place: Place::new(device), arena: Mutex::new(Arena::new(budget)) }
    }

    /// Begins another call: the counts of operations and bytes read start again at 0, under a new budget. Live handles and their bytes stay.
    pub fn start_call(&self, budget: Budget) {
        self.arena().start_call(budget);
    }

    /// What is live now, and what the present call has used.
    pub fn usage(&self) -> Usage {
        self.arena().usage()
    }

    /// How many handles are live.
    pub fn live(&self) -> u64 {
        self.usage().live_handles
    }

    /// Hands a float tensor of the host to plugins, as rank `D`. It must be on the engine's device. Not charged to the budget of bytes.
    pub fn insert_float<const D: usize>(&self, tensor: Tensor<D>) -> TensorId {
        let shape = tensor.dims().to_vec();
        self.arena().insert_from_host(Value::from_float(shape, tensor.into_dispatch()))
    }

    /// Hands a flat float tensor of the host to plugins, under a shape of as many elements and any rank up to 5. Not charged to the budget of bytes.
    ///
    /// # Errors
    ///
    /// Fails when the shape has another number of elements.
    pub fn insert_flat(&self, tensor: Tensor<1>, shape: &[usize]) -> Result<TensorId, TensorError> {
        let [count] = tensor.dims();
        check::count("tensor of the host", count, shape)?;
        let tensor = raw::reshape(Kind::Float, tensor.into_dispatch(), &value::on_device(shape));
        Ok(self.arena().insert_from_host(Value::from_float(shape.to_vec(), tensor)))
    }

    /// Hands a number of the host to plugins, as rank 0. `tensor` has one element.
    ///
    /// # Errors
    ///
    /// Fails when `tensor` has not exactly one element.
    pub fn insert_scalar<const D: usize>(&self, tensor: Tensor<D>) -> Result<TensorId, TensorError> {
        let shape = tensor.dims();
        if shape.iter().product::<usize>() != 1 {
            return Err(misuse("insert-scalar", format!("one element was expected, the shape is {shape:?}")));
        }
        let value = Value::from_float(Vec::new(), tensor.reshape([1]).into_dispatch());
        Ok(self.arena().insert_from_host(value))
    }

    /// Hands an integer tensor of the host to plugins, as rank `D`. Elements must fit in 32 bits. Not charged to the budget of bytes.
    pub fn insert_int<const D: usize>(&self, tensor: Tensor<D, Int>) -> TensorId {
        let shape = tensor.dims().to_vec();
        self.arena().insert_from_host(Value::from_int(shape, tensor.into_dispatch()))
    }

    /// The float tensor behind a handle, with its graph. The handle stays.
    ///
    /// # Errors
    ///
    /// Fails for an unknown handle, for integers and for another rank than `D`.
    pub fn float<const D: usize>(&self, id: TensorId) -> Result<Tensor<D>, TensorError> {
        let value = self.typed::<D>(id, Kind::Float)?;
        Ok(match value.tensor {
            Some(tensor) => Tensor::from_dispatch(tensor),
            None => Tensor::from_dispatch(self.place.empty_floats(&value.shape)),
        })
    }

    /// The integer tensor behind a handle. The handle stays.
    ///
    /// # Errors
    ///
    /// Fails for an unknown handle, for floats and for another rank than `D`.
    pub fn int<const D: usize>(&self, id: TensorId) -> Result<Tensor<D, Int>, TensorError> {
        let value = self.typed::<D>(id, Kind::Int)?;
        Ok(match value.tensor {
            Some(tensor) => Tensor::from_dispatch(tensor),
            None => Tensor::from_dispatch(self.place.empty_ints(&value.shape)),
        })
    }

    /// The one float behind a handle, such as a loss, with its graph: rank 0, or any rank with one element. Shape `[1]`. The handle stays.
    ///
    /// # Errors
    ///
    /// Fails for an unknown handle, for integers and for another number of elements than 1.
    pub fn scalar(&self, id: TensorId) -> Result<Tensor<1>, TensorError> {
        let value = self.value(id)?;
        match value.tensor {
            Some(tensor) if value.kind == Kind::Float && value.shape.iter().all(|&size| size == 1) => {
                Ok(Tensor::from_dispatch(raw::reshape(Kind::Float, tensor, &[1])))
            }
            _ => Err(misuse(
                "scalar",
                format!("one float was expected, not {:?} of shape {:?}", value.kind, value.shape),
            )),
        }
    }

    /// Whether gradients would flow from this tensor to something that the host trains.
    ///
    /// # Errors
    ///
    /// Fails for an unknown handle.
    pub fn is_tracked(&self, id: TensorId) -> Result<bool, TensorError> {
        Ok(self.value(id)?.is_tracked())
    }

    fn typed<const D: usize>(&self, id: TensorId, kind: Kind) -> Result<Value, TensorError> {
        let value = self.value(id)?;
        if value.kind != kind || value.shape.len() != D {
            let what = format!("{kind:?} of rank {D} was expected, not {:?} of shape {:?}", value.kind, value.shape);
            return Err(misuse("tensor of the host", what));
        }
        Ok(value)
    }

    fn value(&self, id: TensorId) -> Result<Value, TensorError> {
        self.arena().get(id)
    }

    /// The table. A panic elsewhere leaves it consistent, since no operation runs under the lock.
    fn arena(&self) -> MutexGuard<'_, Arena> {
        self.arena.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tensors for BurnTensors {
    fn apply(&self, op: &Op) -> Result<TensorId, TensorError> {
        self.arena().count_operation()?;
        let (name, step) = apply::plan(op, |id| self.value(id))?;
        let held = self.arena().reserve(&[&step.shape], name)?;
        let value = step.run(&self.place);
        Ok(self.arena().fill(held, [value])[0])
    }

    fn apply_pair(&self, op: &PairOp) -> Result<(TensorId, TensorId), TensorError> {
        self.arena().count_operation()?;
        let (name, step) = order::plan(op, |id| self.value(id))?;
        let held = self.arena().reserve(&[&step.shape, &step.shape], name)?;
        let (values, indices) = step.run(&self.place)?;
        let [values, indices] = self.arena().fill(held, [values, indices]);
        Ok((values, indices))
    }

    fn shape(&self, id: TensorId) -> Result<Vec<usize>, TensorError> {
        Ok(self.value(id)?.shape)
    }

    fn kind(&self, id: TensorId) -> Result<Kind, TensorError> {
        Ok(self.value(id)?.kind)
    }

    fn read_floats(&self, id: TensorId) -> Result<Vec<f32>, TensorError> {
        let value = self.arena().count_read(id)?;
        match value.kind {
            Kind::Float => value.floats("read"),
            Kind::Int => Ok(value.ints("read")?.into_iter().map(|int| int as f32).collect()),
        }
    }

    fn read_ints(&self, id: TensorId) -> Result<Vec<i32>, TensorError> {
        let value = self.value(id)?;
        if value.kind == Kind::Float {
            return Err(misuse(
                "read-ints",
                format!("a float tensor of shape {:?} has no integers; hint: `to-int`", value.shape),
            ));
        }
        self.arena().count_read(id)?.ints("read-ints")
    }

    fn share(&self, id: TensorId) -> Result<TensorId, TensorError> {
        self.arena().share(id)
    }

    fn release(&self, id: TensorId) {
        // The tensor itself is dropped after the lock is free: dropping may free device memory.
        let released = self.arena().release(id);
        drop(released);
    }
}

impl Value {
    /// Whether the tensor hangs on an autodiff graph.
    fn is_tracked(&self) -> bool {
        self.kind == Kind::Float && self.tensor.as_ref().is_some_and(Dispatch::is_tracked)
    }
}

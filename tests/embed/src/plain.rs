//! A tensor engine over vectors: row-major, no device, no gradients.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tunesmith_core::tensors::{Kind, Op, PairOp, TensorError, TensorId, Tensors};

use crate::ops;

/// Elements of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Elements {
    Floats(Vec<f32>),
    Ints(Vec<i32>),
}

/// A tensor: its shape and its elements in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) elements: Elements,
}

/// The engine. Handles are numbers; elements are shared.
#[derive(Default)]
pub struct Plain {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next: u64,
    live: BTreeMap<u64, Arc<Tensor>>,
}

impl Plain {
    /// A float tensor.
    pub fn floats(&self, values: &[f32], shape: &[usize]) -> TensorId {
        self.put(Tensor { shape: shape.into(), elements: Elements::Floats(values.into()) })
    }

    /// An integer tensor.
    pub fn ints(&self, values: &[i32], shape: &[usize]) -> TensorId {
        self.put(Tensor { shape: shape.into(), elements: Elements::Ints(values.into()) })
    }

    /// How many handles are alive.
    pub fn live(&self) -> usize {
        self.lock().live.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, tensor: Tensor) -> TensorId {
        self.put_shared(Arc::new(tensor))
    }

    fn put_shared(&self, tensor: Arc<Tensor>) -> TensorId {
        let mut table = self.lock();
        table.next += 1;
        let id = table.next;
        table.live.insert(id, tensor);
        TensorId(id)
    }

    fn get(&self, id: TensorId) -> Result<Arc<Tensor>, TensorError> {
        self.lock().live.get(&id.0).cloned().ok_or(TensorError::Unknown(id))
    }
}

impl Tensors for Plain {
    fn apply(&self, op: &Op) -> Result<TensorId, TensorError> {
        ops::apply(op, &|id| self.get(id)).map(|tensor| self.put(tensor))
    }

    fn apply_pair(&self, op: &PairOp) -> Result<(TensorId, TensorId), TensorError> {
        let (values, indices) = ops::apply_pair(op, &|id| self.get(id))?;
        Ok((self.put(values), self.put(indices)))
    }

    fn shape(&self, id: TensorId) -> Result<Vec<usize>, TensorError> {
        Ok(self.get(id)?.shape.clone())
    }

    fn kind(&self, id: TensorId) -> Result<Kind, TensorError> {
        Ok(match self.get(id)?.elements {
            Elements::Floats(_) => Kind::Float,
            Elements::Ints(_) => Kind::Int,
        })
    }

    fn read_floats(&self, id: TensorId) -> Result<Vec<f32>, TensorError> {
        Ok(self.get(id)?.floats())
    }

    fn read_ints(&self, id: TensorId) -> Result<Vec<i32>, TensorError> {
        match &self.get(id)?.elements {
            Elements::Ints(values) => Ok(values.clone()),
            Elements::Floats(_) => Err(TensorError::Misuse { op: "read-ints", what: "the tensor holds floats".into() }),
        }
    }

    fn share(&self, id: TensorId) -> Result<TensorId, TensorError> {
        let tensor = self.get(id)?;
        Ok(self.put_shared(tensor))
    }

    fn release(&self, id: TensorId) {
        self.lock().live.remove(&id.0);
    }
}

impl Tensor {
    pub(crate) fn floats(&self) -> Vec<f32> {
        match &self.elements {
            Elements::Floats(values) => values.clone(),
            Elements::Ints(values) => values.iter().map(|&value| value as f32).collect(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

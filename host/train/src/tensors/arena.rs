//! The table of handles and the budget of a call.

use std::collections::HashMap;
use std::sync::Arc;

use tunesmith_core::tensors::{TensorError, TensorId};

use super::check;
use super::value::Value;

/// What one call may use. Each limit is inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Handles that may be live at once, the host's included.
    pub live_handles: u64,
    /// Operations, reads and shares not counted.
    pub operations: u64,
    /// Bytes of the results of operations: of all that are live, and of all that carry gradients, since the graph keeps those until the backward pass.
    /// An operation may need a small multiple of its result for a moment.
    pub device_bytes: u64,
    /// Bytes that may be read back, 4 for each element.
    pub bytes_read: u64,
}

impl Default for Budget {
    /// Enough for any ordinary objective: 4096 handles, 100 000 operations, 8 GiB on the device, 64 MiB read.
    fn default() -> Self {
        Self { live_handles: 4096, operations: 100_000, device_bytes: 8 << 30, bytes_read: 64 << 20 }
    }
}

/// What is in use. See [`Budget`] for what is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Handles live now.
    pub live_handles: u64,
    /// Operations of this call.
    pub operations: u64,
    /// Bytes of results held now.
    pub device_bytes: u64,
    /// Bytes read back in this call.
    pub bytes_read: u64,
}

/// Live handles by id. Ids only grow, so none is used twice.
#[derive(Debug)]
pub(super) struct Arena {
    next: u64,
    live: HashMap<u64, Entry>,
    budget: Budget,
    usage: Usage,
}

#[derive(Debug, Clone)]
struct Entry {
    value: Value,
    /// The bytes charged for the tensor; all handles to one tensor share the charge, and the last one gives it back.
    charge: Arc<u64>,
}

/// Room in the budget for the results of one operation, one charge for each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reserved<const N: usize>([u64; N]);

impl Arena {
    pub(super) fn new(budget: Budget) -> Self {
        Self { next: 0, live: HashMap::new(), budget, usage: Usage::default() }
    }

    pub(super) fn start_call(&mut self, budget: Budget) {
        self.budget = budget;
        self.usage.operations = 0;
        self.usage.bytes_read = 0;
    }

    pub(super) fn usage(&self) -> Usage {
        Usage { live_handles: self.live.len() as u64, ..self.usage }
    }

    pub(super) fn get(&self, id: TensorId) -> Result<Value, TensorError> {
        self.live.get(&id.0).map(|entry| entry.value.clone()).ok_or(TensorError::Unknown(id))
    }

    pub(super) fn count_operation(&mut self) -> Result<(), TensorError> {
        self.usage.operations = spend("operations", self.usage.operations, 1, self.budget.operations)?;
        Ok(())
    }

    /// The tensor of `id`, once the bytes of all its elements are charged to the budget of reads.
    pub(super) fn count_read(&mut self, id: TensorId) -> Result<Value, TensorError> {
        let value = self.get(id)?;
        let bytes = check::bytes("read", &value.shape)?;
        self.usage.bytes_read = spend("bytes read", self.usage.bytes_read, bytes, self.budget.bytes_read)?;
        Ok(value)
    }

    /// Takes room for the results of an operation, before the device is asked for it.
    pub(super) fn reserve<const N: usize>(
        &mut self,
        shapes: &[&[usize]; N],
        op: &'static str,
    ) -> Result<Reserved<N>, TensorError> {
        let mut charges = [0; N];
        let mut total: u64 = 0;
        for (charge, shape) in charges.iter_mut().zip(shapes) {
            *charge = check::bytes(op, shape)?;
            total = total.saturating_add(*charge);
        }
        self.room_for_handles(N as u64)?;
        self.usage.device_bytes = spend("device bytes", self.usage.device_bytes, total, self.budget.device_bytes)?;
        Ok(Reserved(charges))
    }

    /// Keeps the results of an operation.
    pub(super) fn fill<const N: usize>(&mut self, reserved: Reserved<N>, values: [Value; N]) -> [TensorId; N] {
        let mut charges = reserved.0.into_iter();
        values.map(|value| {
            let charge = charges.next().unwrap_or(0);
            self.insert(Entry { value, charge: Arc::new(charge) })
        })
    }

    pub(super) fn insert_from_host(&mut self, value: Value) -> TensorId {
        self.insert(Entry { value, charge: Arc::new(0) })
    }

    pub(super) fn share(&mut self, id: TensorId) -> Result<TensorId, TensorError> {
        let entry = self.live.get(&id.0).cloned().ok_or(TensorError::Unknown(id))?;
        self.room_for_handles(1)?;
        Ok(self.insert(entry))
    }

    /// Forgets a handle and gives back its charge, unless another handle or the graph keeps the tensor.
    pub(super) fn release(&mut self, id: TensorId) -> Option<Value> {
        let Entry { value, charge } = self.live.remove(&id.0)?;
        if let Some(charge) = Arc::into_inner(charge)
            && !value.is_tracked()
        {
            self.usage.device_bytes = self.usage.device_bytes.saturating_sub(charge);
        }
        Some(value)
    }

    fn insert(&mut self, entry: Entry) -> TensorId {
        let id = self.next;
        self.next += 1;
        self.live.insert(id, entry);
        TensorId(id)
    }

    fn room_for_handles(&self, more: u64) -> Result<(), TensorError> {
        spend("live handles", self.live.len() as u64, more, self.budget.live_handles).map(|_| ())
    }
}

/// `used` and `more` together, or the error that says that they exceed `limit`.
fn spend(what: &'static str, used: u64, more: u64, limit: u64) -> Result<u64, TensorError> {
    used.checked_add(more).filter(|&total| total <= limit).ok_or(TensorError::Budget { what, limit })
}

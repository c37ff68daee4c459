//! The tensors of one call: which handles the plugin has, and what they cost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tunesmith_core::tensors::{Op, PairOp, TensorError, TensorId, Tensors};
use wasmtime::component::{Resource, ResourceTable};

use super::call::{CallState, Clock, count};
use super::size;
use crate::limits::Limits;
use crate::wasm::fault::Cause;

/// A plugin's handle to a tensor. Dropping it releases the tensor.
#[allow(unreachable_pub, reason = "generated code re-exports this")]
pub struct Handle {
    engine: Arc<dyn Tensors>,
    id: TensorId,
    bytes: u64,
    is_released: bool,
}

impl Handle {
    pub(crate) fn id(&self) -> TensorId {
        self.id
    }

    /// Hands the tensor to the host, which releases it.
    pub(crate) fn into_id(mut self) -> TensorId {
        self.is_released = true;
        self.id
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.is_released {
            self.engine.release(self.id);
        }
    }
}

/// The engine of a call with the plugin's budgets.
pub(crate) struct Desk {
    pub(crate) engine: Arc<dyn Tensors>,
    limits: Limits,
    live: u64,
    live_bytes: u64,
    made_bytes: u64,
    ops: u64,
    read_bytes: u64,
}

impl Desk {
    pub(crate) fn new(engine: Arc<dyn Tensors>, limits: &Limits) -> Self {
        Self { engine, limits: limits.clone(), live: 0, live_bytes: 0, made_bytes: 0, ops: 0, read_bytes: 0 }
    }

    /// Takes over a tensor that the host made for the plugin.
    fn adopt(&mut self, id: TensorId) -> wasmtime::Result<Handle> {
        let mut handle = Handle { engine: self.engine.clone(), id, bytes: 0, is_released: false };
        let bytes = size::bytes(&self.engine.shape(id).map_err(tensor_fault)?);
        count(&mut self.live, 1, self.limits.tensor_handles as u64, "live tensor handles")?;
        count(&mut self.live_bytes, bytes, self.limits.tensor_bytes, "bytes of live tensors")?;
        count(&mut self.made_bytes, bytes, self.limits.tensor_bytes_made, "bytes of tensors made")?;
        handle.bytes = bytes;
        Ok(handle)
    }

    /// Forgets the cost of a handle that is about to go.
    fn forget(&mut self, handle: &Handle) {
        self.live = self.live.saturating_sub(1);
        self.live_bytes = self.live_bytes.saturating_sub(handle.bytes);
    }

    /// Counts an operation, and refuses it if its result would be over a budget: engines may allocate before they look.
    fn admit(&mut self, clock: &Clock, wanted: u64) -> wasmtime::Result<()> {
        count(&mut self.ops, 1, self.limits.tensor_ops, "tensor operations")?;
        if Duration::from_millis(self.limits.tensor_ms) < clock.in_tensors {
            return Err(Cause::spent("milliseconds in tensor operations", self.limits.tensor_ms).into());
        }
        count(&mut self.live_bytes.clone(), wanted, self.limits.tensor_bytes, "bytes of live tensors")?;
        count(&mut self.made_bytes.clone(), wanted, self.limits.tensor_bytes_made, "bytes of tensors made")
    }

    /// Counts bytes that are about to be read.
    fn read(&mut self, clock: &Clock, bytes: u64) -> wasmtime::Result<()> {
        self.admit(clock, 0)?;
        count(&mut self.read_bytes, bytes, self.limits.read_bytes, "bytes read")
    }
}

/// The report of a tensor operation that went wrong names the operation and the shapes.
pub(crate) fn tensor_fault(error: TensorError) -> wasmtime::Error {
    match error {
        TensorError::Budget { what, limit } => Cause::spent(what, limit).into(),
        error => Cause::Misuse(error.to_string()).into(),
    }
}

impl CallState {
    /// The id behind a handle.
    pub(crate) fn id(&self, handle: &Resource<Handle>) -> wasmtime::Result<TensorId> {
        Ok(self.table.get(handle)?.id)
    }

    /// Gives the plugin a handle to a tensor that the host made for it.
    pub(crate) fn hand_over(&mut self, id: TensorId) -> wasmtime::Result<Resource<Handle>> {
        let handle = self.desk()?.0.adopt(id)?;
        self.push(handle)
    }

    /// Keeps a tensor that the host made, as long as the plugin may still ask for it.
    pub(crate) fn keep(&mut self, id: TensorId) -> wasmtime::Result<Handle> {
        self.desk()?.0.adopt(id)
    }

    /// Another handle to a tensor that the host keeps.
    pub(crate) fn share(&mut self, id: TensorId) -> wasmtime::Result<Resource<Handle>> {
        let shared = self.desk()?.0.engine.share(id).map_err(tensor_fault)?;
        self.hand_over(shared)
    }

    /// Keeps a tensor that the plugin has a handle to, whether or not it drops that handle.
    pub(crate) fn keep_shared(&mut self, handle: &Resource<Handle>) -> wasmtime::Result<Handle> {
        let id = self.id(handle)?;
        let shared = self.desk()?.0.engine.share(id).map_err(tensor_fault)?;
        self.keep(shared)
    }

    /// Lets go of tensors that were kept.
    pub(crate) fn let_go(&mut self, kept: impl IntoIterator<Item = Handle>) -> wasmtime::Result<()> {
        let desk = self.desk()?.0;
        kept.into_iter().for_each(|handle| desk.forget(&handle));
        Ok(())
    }

    /// Takes a handle away from the plugin. The tensor lives as long as what is returned.
    pub(crate) fn take(&mut self, handle: Resource<Handle>) -> wasmtime::Result<Handle> {
        let handle = self.table.delete(handle)?;
        self.desk()?.0.forget(&handle);
        Ok(handle)
    }

    /// Does one operation.
    pub(crate) fn apply(&mut self, op: &Op) -> wasmtime::Result<Resource<Handle>> {
        let (desk, table, clock) = self.desk()?;
        let started = Instant::now();
        let wanted = size::of(desk.engine.as_ref(), op).map_err(tensor_fault)?;
        desk.admit(clock, wanted)?;
        let id = desk.engine.apply(op);
        clock.in_tensors += started.elapsed();
        let handle = desk.adopt(id.map_err(tensor_fault)?)?;
        push(table, handle, &desk.limits)
    }

    /// Does one operation that gives values and indices.
    pub(crate) fn apply_pair(&mut self, op: &PairOp) -> wasmtime::Result<(Resource<Handle>, Resource<Handle>)> {
        let (desk, table, clock) = self.desk()?;
        let started = Instant::now();
        let (PairOp::TopK { input, .. } | PairOp::Sort { input, .. }) = op;
        let wanted = size::bytes(&desk.engine.shape(*input).map_err(tensor_fault)?).saturating_mul(2);
        desk.admit(clock, wanted)?;
        let pair = desk.engine.apply_pair(op);
        clock.in_tensors += started.elapsed();
        let (values, indices) = pair.map_err(tensor_fault)?;
        // Both are adopted before either can fail, so that neither is left behind.
        let (values, indices) = (desk.adopt(values), desk.adopt(indices));
        Ok((push(table, values?, &desk.limits)?, push(table, indices?, &desk.limits)?))
    }

    /// Refuses a tensor of this size that the host is about to make for the plugin, if it would be over a budget.
    pub(crate) fn admit_bytes(&mut self, wanted: u64) -> wasmtime::Result<()> {
        let (desk, _, clock) = self.desk()?;
        desk.admit(clock, wanted)
    }

    /// As [`Self::admit_bytes`], for a tensor as large as another.
    pub(crate) fn admit_like(&mut self, id: TensorId) -> wasmtime::Result<()> {
        let (desk, _, clock) = self.desk()?;
        let wanted = size::bytes(&desk.engine.shape(id).map_err(tensor_fault)?);
        desk.admit(clock, wanted)
    }

    /// Asks the engine about a tensor.
    pub(crate) fn look<T>(
        &mut self,
        handle: &Resource<Handle>,
        ask: impl FnOnce(&dyn Tensors, TensorId) -> Result<T, TensorError>,
    ) -> wasmtime::Result<T> {
        let id = self.id(handle)?;
        let (desk, _, clock) = self.desk()?;
        desk.admit(clock, 0)?;
        ask(desk.engine.as_ref(), id).map_err(tensor_fault)
    }

    /// Reads a tensor's elements from the device.
    pub(crate) fn read_back<T>(
        &mut self,
        handle: &Resource<Handle>,
        ask: impl FnOnce(&dyn Tensors, TensorId) -> Result<T, TensorError>,
    ) -> wasmtime::Result<T> {
        let entry = self.table.get(handle)?;
        let (id, bytes) = (entry.id, entry.bytes);
        let (desk, _, clock) = self.desk()?;
        desk.read(clock, bytes)?;
        let started = Instant::now();
        let answer = ask(desk.engine.as_ref(), id);
        clock.in_tensors += started.elapsed();
        answer.map_err(tensor_fault)
    }
}

fn push(table: &mut ResourceTable, handle: Handle, limits: &Limits) -> wasmtime::Result<Resource<Handle>> {
    table.push(handle).map_err(|_| Cause::spent("live handles", limits.handles as u64).into())
}

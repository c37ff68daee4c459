//! The memory of one call: what instances, memories and tables may take.

use wasmtime::ResourceLimiter;

use crate::limits::Limits;
use crate::wasm::fault::Cause;

/// Counts a call's memory. Growing over a limit ends the call, so that the report can say why.
pub(crate) struct Memory {
    bytes: usize,
    limits: Limits,
}

impl Memory {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { bytes: 0, limits: limits.clone() }
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.bytes.saturating_add(desired.saturating_sub(current));
        let limit = self.limits.memory_bytes;
        if limit < wanted {
            return Err(Cause::Memory { wanted, limit }.into());
        }
        if maximum.is_some_and(|maximum| maximum < desired) {
            return Ok(false);
        }
        self.bytes = wanted;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let limit = self.limits.table_elements;
        if limit < desired {
            return Err(Cause::Table { wanted: desired, limit }.into());
        }
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn instances(&self) -> usize {
        self.limits.instances
    }

    fn tables(&self) -> usize {
        self.limits.tables
    }

    fn memories(&self) -> usize {
        self.limits.memories
    }
}

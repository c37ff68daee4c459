//! `retain` by a component.

use std::sync::Arc;

use tunesmith_core::call::Call;
use tunesmith_core::error::CallError;
use tunesmith_core::stage::{CacheBlock, Retain, Stage, checked_retain};
use tunesmith_core::tensors::TensorId;
use wasmtime::component::Resource;

use crate::wasm::v0_1::WasmPlugin;
use crate::wasm::v0_1::bindings::exports::tunesmith::method::retain as guest;
use crate::wasm::v0_1::bindings::tunesmith::method::types;
use crate::wasm::v0_1::desk::Handle;
use crate::wasm::v0_1::views;

struct Adapter {
    plugin: Arc<WasmPlugin>,
    indices: guest::GuestIndices,
}

pub(super) fn adapter(plugin: &Arc<WasmPlugin>) -> wasmtime::Result<Arc<dyn Retain>> {
    plugin.expect_function::<(Resource<views::CacheBlock>,), (Result<Resource<Handle>, types::Error>,)>(
        "retain", "retain",
    )?;
    Ok(Arc::new(Adapter { indices: guest::GuestIndices::new(&plugin.pre)?, plugin: plugin.clone() }))
}

impl Retain for Adapter {
    fn retain(&self, block: Arc<dyn CacheBlock>, call: &mut Call) -> Result<TensorId, CallError> {
        let scores = self.plugin.run(Stage::Retain, Some(block.tensors()), call, |store, instance| {
            let guest = self.indices.load(&mut *store, instance)?;
            let block = store.data_mut().push(views::CacheBlock(block.clone()))?;
            match guest.call_retain(&mut *store, block)? {
                Ok(scores) => Ok(Ok(store.data_mut().take(scores)?)),
                Err(error) => Ok(Err(error)),
            }
        })?;
        // Scores that break the contract are released with their handle.
        checked_retain(&self.plugin.identity.name, block.as_ref(), scores.id())?;
        Ok(scores.into_id())
    }
}

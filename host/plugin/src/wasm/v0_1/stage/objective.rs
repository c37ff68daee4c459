//! `objective` by a component.

use std::sync::Arc;

use tunesmith_core::call::Call;
use tunesmith_core::error::CallError;
use tunesmith_core::stage::{Batch, Objective, Stage, checked_objective};
use tunesmith_core::tensors::TensorId;
use wasmtime::component::Resource;

use crate::wasm::v0_1::WasmPlugin;
use crate::wasm::v0_1::bindings::exports::tunesmith::method::objective as guest;
use crate::wasm::v0_1::bindings::tunesmith::method::types;
use crate::wasm::v0_1::desk::Handle;
use crate::wasm::v0_1::views;

struct Adapter {
    plugin: Arc<WasmPlugin>,
    indices: guest::GuestIndices,
}

pub(super) fn adapter(plugin: &Arc<WasmPlugin>) -> wasmtime::Result<Arc<dyn Objective>> {
    plugin.expect_function::<(Resource<views::Batch>,), (Result<Resource<Handle>, types::Error>,)>(
        "objective",
        "objective",
    )?;
    Ok(Arc::new(Adapter { indices: guest::GuestIndices::new(&plugin.pre)?, plugin: plugin.clone() }))
}

impl Objective for Adapter {
    fn objective(&self, batch: Arc<dyn Batch>, call: &mut Call) -> Result<TensorId, CallError> {
        let loss = self.plugin.run(Stage::Objective, Some(batch.tensors()), call, |store, instance| {
            let guest = self.indices.load(&mut *store, instance)?;
            let batch = store.data_mut().push(views::Batch(batch.clone()))?;
            match guest.call_objective(&mut *store, batch)? {
                Ok(loss) => Ok(Ok(store.data_mut().take(loss)?)),
                Err(error) => Ok(Err(error)),
            }
        })?;
        // A loss that breaks the contract is released with its handle.
        checked_objective(&self.plugin.identity.name, batch.as_ref(), loss.id())?;
        Ok(loss.into_id())
    }
}

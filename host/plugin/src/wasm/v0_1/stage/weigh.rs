//! `weigh` by a component.

use std::sync::Arc;

use tunesmith_core::call::Call;
use tunesmith_core::data::TokenBatch;
use tunesmith_core::error::CallError;
use tunesmith_core::stage::{Stage, Weigh, checked_weigh};
use wasmtime::component::Resource;

use crate::wasm::v0_1::WasmPlugin;
use crate::wasm::v0_1::bindings::exports::tunesmith::method::weigh as guest;
use crate::wasm::v0_1::bindings::tunesmith::method::types;
use crate::wasm::v0_1::views;

struct Adapter {
    plugin: Arc<WasmPlugin>,
    indices: guest::GuestIndices,
}

pub(super) fn adapter(plugin: &Arc<WasmPlugin>) -> wasmtime::Result<Arc<dyn Weigh>> {
    plugin.expect_function::<(Resource<views::TokenBatch>,), (Result<Vec<f32>, types::Error>,)>("weigh", "weigh")?;
    Ok(Arc::new(Adapter { indices: guest::GuestIndices::new(&plugin.pre)?, plugin: plugin.clone() }))
}

impl Weigh for Adapter {
    fn weigh(&self, batch: Arc<TokenBatch>, call: &mut Call) -> Result<Vec<f32>, CallError> {
        let weights = self.plugin.run(Stage::Weigh, None, call, |store, instance| {
            let guest = self.indices.load(&mut *store, instance)?;
            let batch = store.data_mut().push(views::TokenBatch(batch.clone()))?;
            guest.call_weigh(store, batch)
        })?;
        checked_weigh(&self.plugin.identity.name, batch.tokens(), weights)
    }
}

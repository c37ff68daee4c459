//! `curate` by a component.

use std::sync::Arc;

use tunesmith_core::call::Call;
use tunesmith_core::data::Examples;
use tunesmith_core::error::CallError;
use tunesmith_core::stage::{Curate, Curated, Stage, checked_curate};
use wasmtime::component::Resource;

use crate::wasm::v0_1::WasmPlugin;
use crate::wasm::v0_1::bindings::exports::tunesmith::method::curate as guest;
use crate::wasm::v0_1::bindings::tunesmith::method::types;
use crate::wasm::v0_1::views;

struct Adapter {
    plugin: Arc<WasmPlugin>,
    indices: guest::GuestIndices,
}

pub(super) fn adapter(plugin: &Arc<WasmPlugin>) -> wasmtime::Result<Arc<dyn Curate>> {
    plugin.expect_function::<(Resource<views::Examples>, Resource<views::TrainingSet>), (Result<(), types::Error>,)>(
        "curate", "curate",
    )?;
    Ok(Arc::new(Adapter { indices: guest::GuestIndices::new(&plugin.pre)?, plugin: plugin.clone() }))
}

impl Curate for Adapter {
    fn curate(&self, pool: Arc<Examples>, call: &mut Call) -> Result<Curated, CallError> {
        let curated = self.plugin.run(Stage::Curate, None, call, |store, instance| {
            let guest = self.indices.load(&mut *store, instance)?;
            let state = store.data_mut();
            let set = state.push(views::TrainingSet { rows: pool.rows.len(), curated: Curated::default() })?;
            let chosen = Resource::new_borrow(set.rep());
            let pool = state.push(views::Examples(pool.clone()))?;
            if let Err(error) = guest.call_curate(&mut *store, pool, chosen)? {
                return Ok(Err(error));
            }
            Ok(Ok(store.data_mut().table.delete(set)?.curated))
        })?;
        checked_curate(&self.plugin.identity.name, &pool, curated)
    }
}

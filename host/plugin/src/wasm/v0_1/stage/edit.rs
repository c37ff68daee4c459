//! `edit` by a component.

use std::sync::Arc;

use tunesmith_core::call::Call;
use tunesmith_core::error::CallError;
use tunesmith_core::stage::{Edit, Parameters, Stage};
use wasmtime::component::Resource;

use crate::wasm::v0_1::WasmPlugin;
use crate::wasm::v0_1::bindings::exports::tunesmith::method::edit as guest;
use crate::wasm::v0_1::bindings::tunesmith::method::types;
use crate::wasm::v0_1::views;

struct Adapter {
    plugin: Arc<WasmPlugin>,
    indices: guest::GuestIndices,
}

pub(super) fn adapter(plugin: &Arc<WasmPlugin>) -> wasmtime::Result<Arc<dyn Edit>> {
    plugin.expect_function::<(Resource<views::ParameterSet>,), (Result<(), types::Error>,)>("edit", "edit")?;
    Ok(Arc::new(Adapter { indices: guest::GuestIndices::new(&plugin.pre)?, plugin: plugin.clone() }))
}

impl Edit for Adapter {
    fn edit(&self, parameters: Arc<dyn Parameters>, call: &mut Call) -> Result<(), CallError> {
        // What is edited is checked at each `set`, by the parameters themselves.
        self.plugin.run(Stage::Edit, Some(parameters.tensors()), call, |store, instance| {
            let guest = self.indices.load(&mut *store, instance)?;
            let parameters = store.data_mut().push(views::ParameterSet(parameters))?;
            guest.call_edit(store, parameters)
        })
    }
}

//! `measure` by a component.

use std::sync::Arc;

use tunesmith_core::call::Call;
use tunesmith_core::data::Evaluation;
use tunesmith_core::error::CallError;
use tunesmith_core::stage::{Measure, Stage, checked_measure};
use wasmtime::component::Resource;

use crate::wasm::v0_1::WasmPlugin;
use crate::wasm::v0_1::bindings::exports::tunesmith::method::measure as guest;
use crate::wasm::v0_1::bindings::tunesmith::method::types;
use crate::wasm::v0_1::views;

struct Adapter {
    plugin: Arc<WasmPlugin>,
    indices: guest::GuestIndices,
}

pub(super) fn adapter(plugin: &Arc<WasmPlugin>) -> wasmtime::Result<Arc<dyn Measure>> {
    plugin.expect_function::<(Resource<views::Evaluation>,), (Result<Vec<(String, f64)>, types::Error>,)>(
        "measure", "measure",
    )?;
    Ok(Arc::new(Adapter { indices: guest::GuestIndices::new(&plugin.pre)?, plugin: plugin.clone() }))
}

impl Measure for Adapter {
    fn measure(&self, evaluation: Arc<Evaluation>, call: &mut Call) -> Result<Vec<(String, f64)>, CallError> {
        let metrics = self.plugin.run(Stage::Measure, None, call, |store, instance| {
            let guest = self.indices.load(&mut *store, instance)?;
            let evaluation = store.data_mut().push(views::Evaluation(evaluation))?;
            guest.call_measure(store, evaluation)
        })?;
        checked_measure(&self.plugin.identity.name, metrics)
    }
}

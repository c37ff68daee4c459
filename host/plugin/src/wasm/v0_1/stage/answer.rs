//! `answer` by a component.

use std::sync::Arc;

use tunesmith_core::call::Call;
use tunesmith_core::data::Examples;
use tunesmith_core::error::CallError;
use tunesmith_core::stage::{Answer, Stage, checked_answer};
use wasmtime::component::Resource;

use crate::wasm::v0_1::WasmPlugin;
use crate::wasm::v0_1::bindings::exports::tunesmith::method::answer as guest;
use crate::wasm::v0_1::bindings::tunesmith::method::types;
use crate::wasm::v0_1::views;

struct Adapter {
    plugin: Arc<WasmPlugin>,
    indices: guest::GuestIndices,
}

pub(super) fn adapter(plugin: &Arc<WasmPlugin>) -> wasmtime::Result<Arc<dyn Answer>> {
    plugin.expect_function::<(Resource<views::Examples>,), (Result<Vec<String>, types::Error>,)>("answer", "answer")?;
    Ok(Arc::new(Adapter { indices: guest::GuestIndices::new(&plugin.pre)?, plugin: plugin.clone() }))
}

impl Answer for Adapter {
    fn answer(&self, examples: Arc<Examples>, call: &mut Call) -> Result<Vec<String>, CallError> {
        let rows = examples.rows.len();
        let answers = self.plugin.run(Stage::Answer, None, call, |store, instance| {
            let guest = self.indices.load(&mut *store, instance)?;
            let examples = store.data_mut().push(views::Examples(examples))?;
            guest.call_answer(store, examples)
        })?;
        checked_answer(&self.plugin.identity.name, rows, answers)
    }
}

//! `reward` by a component.

use std::sync::Arc;

use tunesmith_core::call::Call;
use tunesmith_core::data::Rollouts;
use tunesmith_core::error::CallError;
use tunesmith_core::stage::{Reward, Stage, checked_reward};
use wasmtime::component::Resource;

use crate::wasm::v0_1::WasmPlugin;
use crate::wasm::v0_1::bindings::exports::tunesmith::method::reward as guest;
use crate::wasm::v0_1::bindings::tunesmith::method::types;
use crate::wasm::v0_1::views;

struct Adapter {
    plugin: Arc<WasmPlugin>,
    indices: guest::GuestIndices,
}

pub(super) fn adapter(plugin: &Arc<WasmPlugin>) -> wasmtime::Result<Arc<dyn Reward>> {
    plugin.expect_function::<(Resource<views::Rollouts>,), (Result<Vec<Option<f32>>, types::Error>,)>(
        "reward", "reward",
    )?;
    Ok(Arc::new(Adapter { indices: guest::GuestIndices::new(&plugin.pre)?, plugin: plugin.clone() }))
}

impl Reward for Adapter {
    fn reward(&self, rollouts: Arc<Rollouts>, call: &mut Call) -> Result<Vec<Option<f32>>, CallError> {
        let scores = self.plugin.run(Stage::Reward, None, call, |store, instance| {
            let guest = self.indices.load(&mut *store, instance)?;
            let rollouts = store.data_mut().push(views::Rollouts(rollouts.clone()))?;
            guest.call_reward(store, rollouts)
        })?;
        checked_reward(&self.plugin.identity.name, rollouts.rollouts.len(), scores)
    }

    fn is_sequential(&self) -> bool {
        self.plugin.is_sequential()
    }
}

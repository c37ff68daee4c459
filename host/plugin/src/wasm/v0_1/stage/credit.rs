//! `credit` by a component.

use std::sync::Arc;

use tunesmith_core::call::Call;
use tunesmith_core::data::{Advantages, Rollouts};
use tunesmith_core::error::CallError;
use tunesmith_core::stage::{Credit, Stage, checked_credit};
use wasmtime::component::Resource;

use crate::wasm::v0_1::WasmPlugin;
use crate::wasm::v0_1::bindings::exports::tunesmith::method::credit as guest;
use crate::wasm::v0_1::bindings::tunesmith::method::types;
use crate::wasm::v0_1::views;

struct Adapter {
    plugin: Arc<WasmPlugin>,
    indices: guest::GuestIndices,
}

pub(super) fn adapter(plugin: &Arc<WasmPlugin>) -> wasmtime::Result<Arc<dyn Credit>> {
    plugin
        .expect_function::<(Resource<views::Rollouts>, Vec<Option<f32>>), (Result<guest::Advantages, types::Error>,)>(
            "credit", "credit",
        )?;
    Ok(Arc::new(Adapter { indices: guest::GuestIndices::new(&plugin.pre)?, plugin: plugin.clone() }))
}

impl Credit for Adapter {
    fn credit(
        &self,
        rollouts: Arc<Rollouts>,
        rewards: &[Option<f32>],
        call: &mut Call,
    ) -> Result<Advantages, CallError> {
        let advantages = self.plugin.run(Stage::Credit, None, call, |store, instance| {
            let guest = self.indices.load(&mut *store, instance)?;
            let rollouts = store.data_mut().push(views::Rollouts(rollouts.clone()))?;
            guest.call_credit(store, rollouts, rewards)
        })?;
        let advantages = match advantages {
            guest::Advantages::PerRollout(values) => Advantages::PerRollout(values),
            guest::Advantages::PerToken(values) => Advantages::PerToken(values),
        };
        checked_credit(&self.plugin.identity.name, &rollouts, advantages)
    }
}

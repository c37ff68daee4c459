//! `judge` by a component.

use std::sync::Arc;

use tunesmith_core::call::Call;
use tunesmith_core::data::{Cases, Verdict};
use tunesmith_core::error::CallError;
use tunesmith_core::stage::{Judge, Stage, checked_judge};
use wasmtime::component::Resource;

use crate::text;
use crate::wasm::v0_1::WasmPlugin;
use crate::wasm::v0_1::bindings::exports::tunesmith::method::judge as guest;
use crate::wasm::v0_1::bindings::tunesmith::method::answers;
use crate::wasm::v0_1::bindings::tunesmith::method::types;
use crate::wasm::v0_1::views;

struct Adapter {
    plugin: Arc<WasmPlugin>,
    indices: guest::GuestIndices,
}

pub(super) fn adapter(plugin: &Arc<WasmPlugin>) -> wasmtime::Result<Arc<dyn Judge>> {
    plugin.expect_function::<(Resource<views::Cases>,), (Result<Vec<answers::Verdict>, types::Error>,)>(
        "judge", "judge",
    )?;
    Ok(Arc::new(Adapter { indices: guest::GuestIndices::new(&plugin.pre)?, plugin: plugin.clone() }))
}

impl Judge for Adapter {
    fn judge(&self, cases: Arc<Cases>, call: &mut Call) -> Result<Vec<Verdict>, CallError> {
        let verdicts = self.plugin.run(Stage::Judge, None, call, |store, instance| {
            let guest = self.indices.load(&mut *store, instance)?;
            let cases = store.data_mut().push(views::Cases(cases.clone()))?;
            guest.call_judge(store, cases)
        })?;
        let verdicts = verdicts.into_iter().map(Into::into).collect();
        checked_judge(&self.plugin.identity.name, &cases, verdicts)
    }

    fn is_sequential(&self) -> bool {
        self.plugin.is_sequential()
    }
}

impl From<answers::Verdict> for Verdict {
    fn from(verdict: answers::Verdict) -> Self {
        match verdict {
            answers::Verdict::Right => Self::Right,
            answers::Verdict::Wrong => Self::Wrong,
            answers::Verdict::Partly(score) => Self::Partly(score),
            answers::Verdict::Undecided(why) => Self::Undecided(text::name(&why)),
        }
    }
}

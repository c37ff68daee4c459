//! Plugins of `tunesmith:method@0.1.x`: the bindings, what a call keeps, and one adapter per stage.
//!
//! No generated type leaves this folder.

mod bindings;
mod call;
mod desk;
mod host;
mod journal;
mod memory;
mod random;
mod size;
mod stage;
mod state;
mod views;

use std::sync::Arc;
use std::time::Duration;

use tunesmith_core::call::Call;
use tunesmith_core::digest;
use tunesmith_core::error::CallError;
use tunesmith_core::memory::Memory;
use tunesmith_core::stage::Stage;
use tunesmith_core::tensors::Tensors;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentNamedList, HasSelf, Instance, InstancePre, Lift, Linker, Lower};
use wasmtime::{Store, UpdateDeadline};

pub(crate) use self::call::CallState;
pub(crate) use self::stage::Adapters;

use self::bindings::exports::tunesmith::method::state as guest_state;
use self::bindings::tunesmith::method::types;
use self::state::Keeper;
use super::engine::{Engine, TICK};
use super::fault::{Cause, Fault};
use crate::grants::Grants;
use crate::limits::Limits;
use crate::outline::{Item, Outline};
use crate::text;

/// Bytes of the longest text with which a plugin declines.
const REASON_BYTES: usize = 2_000;

/// Everything that a plugin can import. What it was granted is checked before it is linked, and in each call.
pub(crate) fn imports(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<CallState>> {
    let mut linker = Linker::new(engine);
    let mut options = bindings::LinkOptions::default();
    options.edit(true).retain(true);
    bindings::Plugin::add_to_linker::<CallState, HasSelf<CallState>>(&mut linker, &options, |state| state)?;
    Ok(linker)
}

/// What a plugin is to its calls.
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) grants: Grants,
    /// The resolved settings, as one JSON object.
    pub(crate) settings: String,
    pub(crate) limits: Limits,
}

/// A loaded component. Each call gets a fresh instance of it.
pub(crate) struct WasmPlugin {
    pub(crate) identity: Arc<Identity>,
    engine: Engine,
    pre: InstancePre<CallState>,
    /// The names under which the contract's interfaces are exported: of 0.1.0, or a later 0.1.
    exports: Vec<String>,
    memory: Option<Remembering>,
}

/// What a plugin with memory has beside its stages.
struct Remembering {
    indices: guest_state::GuestIndices,
    keeper: Keeper,
}

impl WasmPlugin {
    /// Links a component that the loader has inspected. Nothing of it is executed.
    pub(crate) fn link(
        engine: &Engine,
        component: &Component,
        outline: &Outline,
        identity: Identity,
    ) -> wasmtime::Result<Self> {
        let pre = engine.imports().instantiate_pre(component)?;
        let mut plugin = Self {
            identity: Arc::new(identity),
            engine: engine.clone(),
            pre,
            exports: outline.exports.clone(),
            memory: None,
        };
        if outline.has_state() {
            plugin.expect_function::<(), (Vec<u8>,)>("state", "save")?;
            plugin.expect_function::<(Vec<u8>,), (Result<(), types::Error>,)>("state", "restore")?;
            let indices = guest_state::GuestIndices::new(&plugin.pre)?;
            plugin.memory = Some(Remembering { indices, keeper: Keeper::default() });
        }
        Ok(plugin)
    }

    /// Fails when an exported function does not have these parameters and results.
    fn expect_function<P, R>(&self, interface: &str, function: &str) -> wasmtime::Result<()>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let engine = self.engine.wasmtime();
        let is_wanted =
            |name: &&String| matches!(Item::of(name), Item::Contract { interface: found, .. } if found == interface);
        let types = self.pre.component().component_type();
        let instance = self.exports.iter().find(is_wanted).and_then(|name| types.get_export(engine, name));
        let missing = || wasmtime::format_err!("the export `{interface}` has no function `{function}`");
        let Some(ComponentItem::ComponentInstance(instance)) = instance.map(|item| item.ty) else {
            return Err(missing());
        };
        let function_type = instance.get_export(engine, function).map(|item| item.ty);
        let Some(ComponentItem::ComponentFunc(function_type)) = function_type else { return Err(missing()) };
        function_type
            .typecheck::<P, R>(&self.pre.instance_type())
            .map_err(|error| error.context(format!("the exported function `{interface}.{function}` has another type")))
    }

    /// Whether the plugin keeps anything between its calls.
    pub(crate) fn has_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// Whether calls take turns: the plugin keeps something between them, or may ask for models or judges, whose calls are numbered as they come.
    pub(crate) fn is_sequential(&self) -> bool {
        self.has_memory() || self.identity.grants.iter().next().is_some()
    }

    /// Runs one call on a fresh instance: restores the state, asks, saves the state, and reports in any case.
    fn run<A>(
        &self,
        stage: Stage,
        tensors: Option<Arc<dyn Tensors>>,
        call: &mut Call,
        ask: impl FnOnce(&mut Store<CallState>, &Instance) -> wasmtime::Result<Result<A, types::Error>>,
    ) -> Result<A, CallError> {
        let mut store = self.store(CallState::new(self.identity.clone(), stage, tensors, call));
        let answer = self.run_in(stage, &mut store, call, ask);
        let fuel = self.identity.limits.fuel.saturating_sub(store.get_fuel().unwrap_or(0));
        store.into_data().finish(fuel, &mut call.report);
        answer.map_err(|failure| self.tell(stage, failure, call))
    }

    fn run_in<A>(
        &self,
        stage: Stage,
        store: &mut Store<CallState>,
        call: &mut Call,
        ask: impl FnOnce(&mut Store<CallState>, &Instance) -> wasmtime::Result<Result<A, types::Error>>,
    ) -> Result<A, Failure> {
        let Some(memory) = &self.memory else {
            let instance = self.instantiate(store)?;
            return Ok(ask(store, &instance)??);
        };
        let patience = Duration::from_millis(self.identity.limits.deadline_ms);
        let mut held = memory.keeper.hold(patience).ok_or_else(|| Cause::Host(state::busy(stage)))?;
        let instance = self.instantiate(store)?;
        let guest = memory.indices.load(&mut *store, &instance)?;
        if let Some(blob) = held.blob() {
            guest.call_restore(&mut *store, &blob)??;
        }
        let answer = ask(store, &instance)??;
        let blob = guest.call_save(&mut *store)?;
        let limit = self.identity.limits.state_bytes;
        if limit < blob.len() {
            return Err(Cause::spent("bytes of state", limit as u64).into());
        }
        call.report.state = Some(digest::of(&blob));
        held.keep(blob);
        Ok(answer)
    }

    fn store(&self, state: CallState) -> Store<CallState> {
        let limits = self.identity.limits.clone();
        let mut store = Store::new(self.engine.wasmtime(), state);
        store.limiter(|state| &mut state.memory);
        // Without fuel nothing runs; an engine of ours always meters it.
        let _ = store.set_fuel(limits.fuel);
        store.set_hostcall_fuel(limits.hostcall_bytes);
        store.set_max_component_handles(limits.handles);
        let deadline = Duration::from_millis(limits.deadline_ms);
        store.set_epoch_deadline(ticks(deadline));
        store.epoch_deadline_callback(move |context| match deadline.checked_sub(context.data().clock.own()) {
            // Time in services is not the plugin's: the clock goes on for what it has left.
            Some(rest) if !rest.is_zero() => Ok(UpdateDeadline::Continue(ticks(rest))),
            _ => Err(Cause::Deadline(limits.deadline_ms).into()),
        });
        store
    }

    fn instantiate(&self, store: &mut Store<CallState>) -> Result<Instance, Failure> {
        self.pre.instantiate(store).map_err(|error| {
            if error.is::<wasmtime::PoolConcurrencyLimitError>() {
                return Cause::Host("all slots for plugin calls are taken\nhint: raise `slots` of the engine".into())
                    .into();
            }
            Failure::Trap(error)
        })
    }

    /// Sorts a failure by who has to act.
    fn tell(&self, stage: Stage, failure: Failure, call: &Call) -> CallError {
        let (plugin, stage) = (self.identity.name.clone(), stage.name());
        match failure {
            Failure::Declined(error) => CallError::Refused { plugin, stage, reason: reason(&error) },
            Failure::Trap(error) => {
                let mut fault = Fault::of(&error, self.identity.limits.fuel);
                fault.last_line = call.report.lines.last().map(|line| line.text.clone());
                match fault.cause {
                    Cause::Host(_) => CallError::Host { plugin, stage, source: Box::new(fault) },
                    _ => CallError::Broken { plugin, stage, source: Box::new(fault) },
                }
            }
        }
    }
}

impl Memory for WasmPlugin {
    fn save(&self) -> Option<Arc<Vec<u8>>> {
        self.memory.as_ref().and_then(|memory| memory.keeper.blob())
    }

    fn restore(&self, blob: Option<Vec<u8>>) {
        if let Some(memory) = &self.memory {
            memory.keeper.set(blob);
        }
    }
}

/// Why a call gave no answer.
enum Failure {
    /// The plugin said so.
    Declined(types::Error),
    /// The plugin trapped, or the host could not go on.
    Trap(wasmtime::Error),
}

impl From<types::Error> for Failure {
    fn from(error: types::Error) -> Self {
        Self::Declined(error)
    }
}

impl From<wasmtime::Error> for Failure {
    fn from(error: wasmtime::Error) -> Self {
        Self::Trap(error)
    }
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        Self::Trap(cause.into())
    }
}

fn reason(error: &types::Error) -> String {
    let (kind, what) = match error {
        types::Error::BadSettings(what) => ("bad settings: ", what),
        types::Error::Unsupported(what) => ("unsupported: ", what),
        types::Error::Other(what) => ("", what),
    };
    format!("{kind}{}", text::escape(what, REASON_BYTES))
}

/// Ticks of the clock that a time takes, and one more, so that a plugin never gets less than it was promised.
fn ticks(time: Duration) -> u64 {
    (time.as_millis() / TICK.as_millis()) as u64 + 1
}

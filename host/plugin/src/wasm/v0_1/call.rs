//! What one call keeps while it runs: the data of its store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tunesmith_core::call::{Call, Report, Services};
use tunesmith_core::digest;
use tunesmith_core::error::ServiceError;
use tunesmith_core::stage::Stage;
use tunesmith_core::tensors::Tensors;
use wasmtime::component::{Resource, ResourceTable};

use super::Identity;
use super::bindings::tunesmith::method::types;
use super::desk::Desk;
use super::journal::Journal;
use super::memory::Memory;
use super::random::Numbers;
use crate::grants::Grant;
use crate::wasm::fault::Cause;

/// The data of a call's store. Everything in it goes when the call ends.
pub(crate) struct CallState {
    pub(crate) identity: Arc<Identity>,
    pub(crate) stage: Stage,
    pub(crate) table: ResourceTable,
    pub(crate) memory: Memory,
    pub(crate) services: Services,
    /// The tensors of the call; none in stages that have no tensors.
    pub(crate) desk: Option<Desk>,
    pub(crate) journal: Journal,
    pub(crate) random: Numbers,
    pub(crate) clock: Clock,
    /// How often the plugin asked for samples: each time gets another stream of random numbers.
    pub(crate) samplings: u64,
    held_bytes: u64,
    sequences: u64,
    verdicts: u64,
    seeds: [u64; 2],
}

/// Where the wall time of a call went.
pub(crate) struct Clock {
    pub(crate) started: Instant,
    pub(crate) in_tensors: Duration,
    pub(crate) in_services: Duration,
}

impl Clock {
    /// Time that is neither in tensors nor in services: the plugin's own.
    pub(crate) fn own(&self) -> Duration {
        self.started.elapsed().saturating_sub(self.in_tensors).saturating_sub(self.in_services)
    }
}

impl CallState {
    pub(crate) fn new(identity: Arc<Identity>, stage: Stage, tensors: Option<Arc<dyn Tensors>>, call: &Call) -> Self {
        let limits = &identity.limits;
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        let random = Numbers::new(identity.seed(stage, call, "random"));
        Self {
            stage,
            table,
            memory: Memory::new(limits),
            services: call.services.clone(),
            desk: tensors.map(|engine| Desk::new(engine, limits)),
            journal: Journal::new(limits),
            random,
            clock: Clock { started: Instant::now(), in_tensors: Duration::ZERO, in_services: Duration::ZERO },
            samplings: 0,
            held_bytes: 0,
            sequences: 0,
            verdicts: 0,
            seeds: [call.seed, call.number],
            identity,
        }
    }

    /// The seed of this call's stream of that name.
    pub(crate) fn stream(&self, name: &str, number: u64) -> u64 {
        let [seed, call] = self.seeds;
        self.identity.stream(self.stage, seed, call, &format!("{name} {number}"))
    }

    /// Fails unless the plugin has this grant. The loader has refused the import already; this is the second lock on the door.
    pub(crate) fn expect(&self, grant: Grant) -> wasmtime::Result<()> {
        if self.identity.grants.has(grant) { Ok(()) } else { Err(Cause::Ungranted(grant).into()) }
    }

    /// Runs a service of the host, and keeps the time that it takes.
    pub(crate) fn serve<T>(&mut self, run: impl FnOnce() -> T) -> wasmtime::Result<T> {
        let limit = Duration::from_millis(self.identity.limits.service_ms);
        if limit < self.clock.in_services {
            return Err(Cause::spent("milliseconds in models and judges", self.identity.limits.service_ms).into());
        }
        let started = Instant::now();
        let answer = run();
        self.clock.in_services += started.elapsed();
        Ok(answer)
    }

    /// Counts bytes that the host keeps for the plugin until the call ends.
    pub(crate) fn hold(&mut self, bytes: usize) -> wasmtime::Result<()> {
        // Every item costs something, even an empty one.
        count(&mut self.held_bytes, bytes as u64 + 64, self.identity.limits.held_bytes, "bytes held by the host")
    }

    /// Counts sequences that a model is asked to work on.
    pub(crate) fn ask_sequences(&mut self, sequences: u64) -> wasmtime::Result<()> {
        count(&mut self.sequences, sequences, self.identity.limits.sequences, "sequences")
    }

    /// Counts answers that the judge is asked about.
    pub(crate) fn ask_verdicts(&mut self, verdicts: u64) -> wasmtime::Result<()> {
        count(&mut self.verdicts, verdicts, self.identity.limits.verdicts, "judged answers")
    }

    /// The tensors of the call.
    pub(crate) fn desk(&mut self) -> wasmtime::Result<(&mut Desk, &mut ResourceTable, &mut Clock)> {
        let Self { desk, table, clock, stage, .. } = self;
        let desk = desk.as_mut().ok_or_else(|| Cause::Misuse(format!("stage `{stage}` has no tensors")))?;
        Ok((desk, table, clock))
    }

    pub(crate) fn push<T: Send + 'static>(&mut self, entry: T) -> wasmtime::Result<Resource<T>> {
        let limit = self.identity.limits.handles as u64;
        self.table.push(entry).map_err(|_| Cause::spent("live handles", limit).into())
    }

    /// Ends the call: what it cost and said.
    pub(crate) fn finish(self, fuel: u64, report: &mut Report) {
        report.fuel = report.fuel.saturating_add(fuel);
        report.elapsed += self.clock.started.elapsed();
        report.in_services += self.clock.in_tensors + self.clock.in_services;
        self.journal.finish(report);
    }
}

/// Adds to a count, and fails when it is over its limit.
pub(crate) fn count(counter: &mut u64, more: u64, limit: u64, what: &'static str) -> wasmtime::Result<()> {
    *counter = counter.saturating_add(more);
    if limit < *counter { Err(Cause::spent(what, limit).into()) } else { Ok(()) }
}

/// What the plugin sees of a failed service.
pub(crate) fn refusal(error: &ServiceError) -> types::Error {
    match error {
        ServiceError::Unsupported(what) => types::Error::Unsupported(what.clone()),
        other => types::Error::Other(other.to_string()),
    }
}

/// The row, if there is one of this number.
pub(crate) fn row(row: u32, rows: usize) -> wasmtime::Result<usize> {
    let number = row as usize;
    if number < rows { Ok(number) } else { Err(Cause::Misuse(format!("row {row} of {rows} rows")).into()) }
}

impl Identity {
    /// The seed of a stream of random numbers: a function of the run's seed, the plugin, the stage, the call and the stream's name.
    pub(crate) fn stream(&self, stage: Stage, seed: u64, call: u64, name: &str) -> u64 {
        digest::seed_of([
            b"tunesmith plugin random".as_slice(),
            &seed.to_le_bytes(),
            self.name.as_bytes(),
            stage.name().as_bytes(),
            &call.to_le_bytes(),
            name.as_bytes(),
        ])
    }

    fn seed(&self, stage: Stage, call: &Call, name: &str) -> u64 {
        self.stream(stage, call.seed, call.number, name)
    }
}

//! Every call of a stage: numbered, timed, recorded; and what plugins keep from one to the next.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use tunesmith_core::call::{Call, LogLine, Report, Services};
use tunesmith_core::error::CallError;
use tunesmith_core::memory::Memory;
use tunesmith_core::set::Named;
use tunesmith_core::stage::Stage;
use tunesmith_core::store::Store;
use tunesmith_core::trace::CallRecord;

/// Makes calls and keeps their records until somebody takes them.
pub(crate) struct Caller {
    seed: u64,
    memories: Vec<Named<dyn Memory>>,
    store: Arc<Store>,
    log: Mutex<Log>,
}

/// The name of the store among the memories. No plugin has a name like this.
pub(crate) const STORE: &str = "/store";

/// What later calls depend on: with it a run goes on as if it had never stopped.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct CallState {
    /// How many calls each stage has had; their random numbers follow from it.
    pub(crate) numbers: BTreeMap<Stage, u64>,
    /// What each plugin keeps between its calls, by the name of the memory.
    pub(crate) memories: BTreeMap<String, Arc<Vec<u8>>>,
}

#[derive(Default)]
struct Log {
    numbers: BTreeMap<Stage, u64>,
    records: Vec<CallRecord>,
    seconds: BTreeMap<Stage, f64>,
    lines: Vec<(String, LogLine)>,
}

/// Who is called, and the digest of what goes in.
pub(crate) struct Callee<'a> {
    pub(crate) stage: Stage,
    pub(crate) plugin: &'a str,
    pub(crate) input: String,
    pub(crate) services: Services,
}

/// A call that is still to be made.
pub(crate) struct Planned<'a, T> {
    callee: Callee<'a>,
    output: Box<dyn FnOnce(&T) -> String + Send + 'a>,
    make: Box<Make<'a, T>>,
}

/// Makes a call.
type Make<'a, T> = dyn FnOnce(&mut Call) -> Result<T, CallError> + Send + 'a;

impl<'a, T> Planned<'a, T> {
    /// As the arguments of [`Caller::call`].
    pub(crate) fn new(
        callee: Callee<'a>,
        output: impl FnOnce(&T) -> String + Send + 'a,
        make: impl FnOnce(&mut Call) -> Result<T, CallError> + Send + 'a,
    ) -> Self {
        Self { callee, output: Box::new(output), make: Box::new(make) }
    }
}

/// A call that was made, and what is noted of it.
struct Made<'a, T> {
    stage: Stage,
    plugin: &'a str,
    digests: (String, Option<String>),
    report: Report,
    answer: Result<T, CallError>,
}

impl Caller {
    /// A caller that has made no call yet; plugins remember nothing.
    pub(crate) fn new(seed: u64, mut memories: Vec<Named<dyn Memory>>) -> Self {
        let store = Arc::new(Store::default());
        memories.push(Named::new(STORE, Arc::clone(&store) as _));
        let caller = Self { seed, memories, store, log: Mutex::default() };
        caller.restore(CallState::default());
        caller
    }

    /// Numbers by example.
    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// What later calls depend on. Not to be asked inside a call.
    pub(crate) fn state(&self) -> CallState {
        let kept = |memory: &Named<dyn Memory>| Some((memory.name.clone(), memory.stage.save()?));
        CallState { numbers: self.log().numbers.clone(), memories: self.memories.iter().filter_map(kept).collect() }
    }

    /// Goes on from what [`Caller::state`] gave.
    pub(crate) fn restore(&self, mut state: CallState) {
        for memory in &self.memories {
            memory.stage.restore(state.memories.remove(&memory.name).map(|blob| blob.to_vec()));
        }
        self.log().numbers = state.numbers;
    }

    /// Makes a call; `output` gives the digest of the answer.
    pub(crate) fn call<T>(
        &self,
        callee: Callee<'_>,
        output: impl FnOnce(&T) -> String,
        make: impl FnOnce(&mut Call) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let Callee { stage, plugin, input, services } = callee;
        let mut call = Call::with(self.seed, self.next_number(stage), services);
        let answer = make(&mut call);
        let output = answer.as_ref().ok().map(output);
        self.note(stage, plugin, (input, output), call.report);
        answer
    }

    /// Makes many calls on all cores: lanes side by side, the calls of a lane one after the other. Numbers, records and answers are in the order of
    /// the lanes, so that nothing depends on the number of cores.
    ///
    /// # Errors
    ///
    /// Fails with the first call that fails, in that order.
    pub(crate) fn call_all<'a, T: Send>(&self, lanes: Vec<Vec<Planned<'a, T>>>) -> Result<Vec<T>, CallError> {
        let numbered = |call: Planned<'a, T>| (self.next_number(call.callee.stage), call);
        let lanes: Vec<Vec<_>> = lanes.into_iter().map(|lane| lane.into_iter().map(numbered).collect()).collect();
        let run = |lane: Vec<(u64, Planned<'a, T>)>| -> Vec<Made<'a, T>> {
            lane.into_iter().map(|(number, call)| self.make(number, call)).collect()
        };
        let made: Vec<Vec<_>> = lanes.into_par_iter().map(run).collect();
        let mut answers = Vec::new();
        let mut failed = None;
        for Made { stage, plugin, digests, report, answer } in made.into_iter().flatten() {
            self.note(stage, plugin, digests, report);
            match answer {
                Ok(answer) => answers.push(answer),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(answers), Err)
    }

    fn make<'a, T>(&self, number: u64, Planned { callee, output, make }: Planned<'a, T>) -> Made<'a, T> {
        let Callee { stage, plugin, input, services } = callee;
        let mut call = Call::with(self.seed, number, services);
        let answer = make(&mut call);
        let output = answer.as_ref().ok().map(output);
        Made { stage, plugin, digests: (input, output), report: call.report, answer }
    }

    fn next_number(&self, stage: Stage) -> u64 {
        let mut log = self.log();
        let number = log.numbers.entry(stage).or_default();
        *number += 1;
        *number - 1
    }

    /// Lines and times are kept of failed calls too; a record is only made of an answer.
    fn note(&self, stage: Stage, plugin: &str, (input, output): (String, Option<String>), mut report: Report) {
        let mut log = self.log();
        let own = report.elapsed.saturating_sub(report.in_services);
        // Built-ins take no time inside plugins.
        if !own.is_zero() {
            *log.seconds.entry(stage).or_default() += own.as_secs_f64();
        }
        log.lines.extend(mem::take(&mut report.lines).into_iter().map(|line| (plugin.to_owned(), line)));
        if let Some(output) = output {
            log.records.push(CallRecord { stage, plugin: plugin.to_owned(), input, output, report });
        }
    }

    /// The records since the last time, in the order in which the calls ended.
    pub(crate) fn take_records(&self) -> Vec<CallRecord> {
        mem::take(&mut self.log().records)
    }

    /// Seconds inside plugins since the last time, by stage; host services not included.
    pub(crate) fn take_seconds(&self) -> BTreeMap<Stage, f64> {
        mem::take(&mut self.log().seconds)
    }

    /// Lines that plugins logged since the last time, with the plugin's name.
    pub(crate) fn take_lines(&self) -> Vec<(String, LogLine)> {
        mem::take(&mut self.log().lines)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

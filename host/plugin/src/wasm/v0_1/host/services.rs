//! `types`, `settings`, `random`, `log` and `judging`.

use std::sync::Arc;

use tunesmith_core::call::Level;
use tunesmith_core::data::{self, Case};
use tunesmith_core::error::ServiceError;
use tunesmith_core::store::Store;
use wasmtime::component::Resource;

use crate::grants::Grant;
use crate::text;
use crate::wasm::fault::Cause;
use crate::wasm::v0_1::bindings::tunesmith::method::{answers, judging, log, random, settings, store, types};
use crate::wasm::v0_1::call::{CallState, refusal, row};
use crate::wasm::v0_1::views::{Examples, Rollouts};

/// Random numbers in one go.
const MAX_NUMBERS: u32 = 1 << 20;

impl types::Host for CallState {}

impl settings::Host for CallState {
    fn json(&mut self) -> wasmtime::Result<String> {
        Ok(self.identity.settings.clone())
    }
}

impl random::Host for CallState {
    fn integers(&mut self, count: u32) -> wasmtime::Result<Vec<u64>> {
        expect_few(count)?;
        Ok((0..count).map(|_| self.random.integer()).collect())
    }

    fn uniforms(&mut self, count: u32) -> wasmtime::Result<Vec<f32>> {
        expect_few(count)?;
        Ok((0..count).map(|_| self.random.uniform()).collect())
    }
}

fn expect_few(count: u32) -> wasmtime::Result<()> {
    let is_few = count <= MAX_NUMBERS;
    if is_few {
        Ok(())
    } else {
        Err(Cause::Misuse(format!("{count} random numbers in one go, over {MAX_NUMBERS}")).into())
    }
}

impl log::Host for CallState {
    fn write(&mut self, level: log::Level, text: String) -> wasmtime::Result<()> {
        let level = match level {
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
        };
        self.journal.line(level, &text);
        Ok(())
    }

    fn metric(&mut self, name: String, value: f64) -> wasmtime::Result<()> {
        self.journal.metric(&name, value);
        Ok(())
    }

    fn skip(&mut self, _row: u32, why: String) -> wasmtime::Result<()> {
        self.journal.skip(&why);
        Ok(())
    }
}

impl store::Host for CallState {
    fn read(&mut self, name: String, ids: Vec<u64>) -> wasmtime::Result<Vec<Option<f64>>> {
        let store = self.numbers()?;
        Ok(store.read(&self.identity.name, &name, &ids))
    }

    fn write(&mut self, name: String, ids: Vec<u64>, values: Vec<f64>) -> wasmtime::Result<()> {
        let store = self.numbers()?;
        if ids.len() != values.len() || values.iter().any(|value| !value.is_finite()) {
            let what = format!("store: {} numbers for {} examples, or one is not finite", values.len(), ids.len());
            return Err(Cause::Misuse(what).into());
        }
        self.hold(name.len())?;
        let name = text::name(&name);
        store.write(&self.identity.name, &name, &ids, &values);
        let limit = self.identity.limits.stored_numbers;
        if limit < store.count(&self.identity.name) {
            return Err(Cause::spent("numbers in the store", limit as u64).into());
        }
        self.journal.stored(&name, &ids, &values);
        Ok(())
    }
}

impl judging::Host for CallState {
    fn judge_rollouts(
        &mut self,
        rollouts: Resource<Rollouts>,
    ) -> wasmtime::Result<Result<Vec<answers::Verdict>, types::Error>> {
        self.expect(Grant::Judge)?;
        let rollouts = self.table.get(&rollouts)?.0.clone();
        self.ask_verdicts(rollouts.rollouts.len() as u64)?;
        let case = |rollout: &data::Rollout| Case {
            example: Arc::clone(&rollout.example),
            answer: rollout.completion.clone(),
            rival: None,
        };
        self.ask_about(rollouts.rollouts.iter().map(case).collect())
    }

    fn judge(
        &mut self,
        examples: Resource<Examples>,
        rows: Vec<u32>,
        answers: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<answers::Verdict>, types::Error>> {
        let rivals = vec![None; answers.len()];
        self.ask_judge(&examples, &rows, answers, rivals)
    }

    fn compare(
        &mut self,
        examples: Resource<Examples>,
        rows: Vec<u32>,
        first: Vec<String>,
        second: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<answers::Verdict>, types::Error>> {
        let rivals = second.into_iter().map(Some).collect();
        self.ask_judge(&examples, &rows, first, rivals)
    }
}

impl CallState {
    /// The judge is another component, or a built-in: never the instance that asks, which the component model would refuse to enter.
    fn ask_judge(
        &mut self,
        examples: &Resource<Examples>,
        rows: &[u32],
        answers: Vec<String>,
        rivals: Vec<Option<String>>,
    ) -> wasmtime::Result<Result<Vec<answers::Verdict>, types::Error>> {
        self.expect(Grant::Judge)?;
        if rows.len() != answers.len() || rows.len() != rivals.len() {
            let what = format!("judging: {} rows, {} answers, {} rivals", rows.len(), answers.len(), rivals.len());
            return Err(Cause::Misuse(what).into());
        }
        self.ask_verdicts(rows.len() as u64)?;
        let pool = self.table.get(examples)?.0.clone();
        let mut cases = Vec::with_capacity(rows.len());
        for ((&number, answer), rival) in rows.iter().zip(answers).zip(rivals) {
            let example = pool.rows[row(number, pool.rows.len())?].clone();
            cases.push(Case { example, answer, rival });
        }
        self.ask_about(cases)
    }

    fn numbers(&self) -> wasmtime::Result<Arc<Store>> {
        let missing = || Cause::Host("this call has no store".into());
        Ok(self.services.store.clone().ok_or_else(missing)?)
    }

    fn ask_about(&mut self, cases: Vec<Case>) -> wasmtime::Result<Result<Vec<answers::Verdict>, types::Error>> {
        let Some(judge) = self.services.judging.clone() else {
            return Ok(Err(refusal(&ServiceError::Unsupported("the recipe names no judge".into()))));
        };
        let verdicts = self.serve(|| judge.verdicts(Arc::new(data::Cases { cases })))?;
        Ok(match verdicts {
            Ok(verdicts) => Ok(verdicts.into_iter().map(Into::into).collect()),
            Err(error) => Err(refusal(&error)),
        })
    }
}

impl From<data::Verdict> for answers::Verdict {
    fn from(verdict: data::Verdict) -> Self {
        match verdict {
            data::Verdict::Right => Self::Right,
            data::Verdict::Wrong => Self::Wrong,
            data::Verdict::Partly(score) => Self::Partly(score),
            data::Verdict::Undecided(why) => Self::Undecided(why),
        }
    }
}

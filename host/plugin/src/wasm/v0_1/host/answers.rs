//! `answers`: cases, rollouts and evaluations, read-only.

use tunesmith_core::error::ServiceError;
use tunesmith_core::stage::Stage;
use wasmtime::component::Resource;

use crate::text;
use crate::wasm::fault::Cause;
use crate::wasm::v0_1::bindings::tunesmith::method::{answers, types};
use crate::wasm::v0_1::call::{CallState, refusal};
use crate::wasm::v0_1::views::{Cases, Evaluation, Rollouts};

impl answers::Host for CallState {}

impl answers::HostCases for CallState {
    fn len(&mut self, cases: Resource<Cases>) -> wasmtime::Result<u32> {
        Ok(self.table.get(&cases)?.0.cases.len() as u32)
    }

    fn prompts(&mut self, cases: Resource<Cases>) -> wasmtime::Result<Vec<String>> {
        Ok(self.table.get(&cases)?.table().prompts())
    }

    fn answers(&mut self, cases: Resource<Cases>) -> wasmtime::Result<Vec<String>> {
        Ok(self.table.get(&cases)?.0.cases.iter().map(|case| case.answer.clone()).collect())
    }

    fn references(&mut self, cases: Resource<Cases>) -> wasmtime::Result<Vec<Option<String>>> {
        Ok(self.table.get(&cases)?.table().completions())
    }

    fn rivals(&mut self, cases: Resource<Cases>) -> wasmtime::Result<Vec<Option<String>>> {
        Ok(self.table.get(&cases)?.0.cases.iter().map(|case| case.rival.clone()).collect())
    }

    fn columns(&mut self, cases: Resource<Cases>) -> wasmtime::Result<Vec<String>> {
        Ok(self.table.get(&cases)?.table().columns())
    }

    fn column(&mut self, cases: Resource<Cases>, name: String) -> wasmtime::Result<Vec<Option<String>>> {
        Ok(self.table.get(&cases)?.table().column(&name))
    }

    fn drop(&mut self, cases: Resource<Cases>) -> wasmtime::Result<()> {
        self.table.delete(cases)?;
        Ok(())
    }
}

impl answers::HostRollouts for CallState {
    fn len(&mut self, rollouts: Resource<Rollouts>) -> wasmtime::Result<u32> {
        Ok(self.table.get(&rollouts)?.0.rollouts.len() as u32)
    }

    fn ids(&mut self, rollouts: Resource<Rollouts>) -> wasmtime::Result<Vec<u64>> {
        Ok(self.table.get(&rollouts)?.table().ids())
    }

    fn groups(&mut self, rollouts: Resource<Rollouts>) -> wasmtime::Result<Vec<u32>> {
        Ok(self.table.get(&rollouts)?.0.rollouts.iter().map(|rollout| rollout.group).collect())
    }

    fn prompts(&mut self, rollouts: Resource<Rollouts>) -> wasmtime::Result<Vec<String>> {
        Ok(self.table.get(&rollouts)?.table().prompts())
    }

    fn messages(&mut self, rollouts: Resource<Rollouts>) -> wasmtime::Result<Vec<String>> {
        self.table.get(&rollouts)?.table().messages()
    }

    fn off_policy(&mut self, rollouts: Resource<Rollouts>) -> wasmtime::Result<Vec<bool>> {
        Ok(self.table.get(&rollouts)?.0.rollouts.iter().map(|rollout| rollout.is_off_policy).collect())
    }

    fn reward_names(&mut self, rollouts: Resource<Rollouts>) -> wasmtime::Result<Vec<String>> {
        Ok(self.table.get(&rollouts)?.0.rewards.iter().map(|reward| reward.name.clone()).collect())
    }

    fn reward_weights(&mut self, rollouts: Resource<Rollouts>) -> wasmtime::Result<Vec<f32>> {
        Ok(self.table.get(&rollouts)?.0.rewards.iter().map(|reward| reward.weight).collect())
    }

    fn rewards(
        &mut self,
        rollouts: Resource<Rollouts>,
        name: String,
    ) -> wasmtime::Result<Result<Vec<Option<f32>>, types::Error>> {
        let rewards = &self.table.get(&rollouts)?.0.rewards;
        let found = rewards.iter().find(|reward| reward.name == name);
        Ok(found.map(|reward| reward.scores.clone()).ok_or_else(|| {
            let known: Vec<&str> = rewards.iter().map(|reward| reward.name.as_str()).collect();
            let what = format!("there is no reward `{}` here; there are {known:?}", name.escape_debug());
            refusal(&ServiceError::Unsupported(what))
        }))
    }

    fn attach(
        &mut self,
        rollouts: Resource<Rollouts>,
        name: String,
        values: Vec<f32>,
    ) -> wasmtime::Result<Result<(), types::Error>> {
        if self.stage != Stage::Credit {
            let what = format!("numbers are attached in `credit`, not in `{}`", self.stage);
            return Ok(Err(refusal(&ServiceError::Unsupported(what))));
        }
        self.hold(name.len() + 4 * values.len())?;
        let rollouts = &self.table.get(&rollouts)?.0;
        let tokens = rollouts.tokens();
        if values.len() != tokens || values.iter().any(|value| !value.is_finite()) {
            let what = format!("attach: {} numbers for {tokens} sampled tokens, or one is not finite", values.len());
            return Err(Cause::Misuse(what).into());
        }
        rollouts.attached.put(&text::name(&name), values);
        Ok(Ok(()))
    }

    fn completions(&mut self, rollouts: Resource<Rollouts>) -> wasmtime::Result<Vec<String>> {
        Ok(self.table.get(&rollouts)?.0.rollouts.iter().map(|rollout| rollout.completion.clone()).collect())
    }

    fn finished(&mut self, rollouts: Resource<Rollouts>) -> wasmtime::Result<Vec<bool>> {
        Ok(self.table.get(&rollouts)?.0.rollouts.iter().map(|rollout| rollout.is_finished).collect())
    }

    fn lengths(&mut self, rollouts: Resource<Rollouts>) -> wasmtime::Result<Vec<u32>> {
        Ok(self.table.get(&rollouts)?.0.rollouts.iter().map(|rollout| rollout.tokens.len() as u32).collect())
    }

    fn references(&mut self, rollouts: Resource<Rollouts>) -> wasmtime::Result<Vec<Option<String>>> {
        Ok(self.table.get(&rollouts)?.table().completions())
    }

    fn columns(&mut self, rollouts: Resource<Rollouts>) -> wasmtime::Result<Vec<String>> {
        Ok(self.table.get(&rollouts)?.table().columns())
    }

    fn column(&mut self, rollouts: Resource<Rollouts>, name: String) -> wasmtime::Result<Vec<Option<String>>> {
        Ok(self.table.get(&rollouts)?.table().column(&name))
    }

    fn token_logprobs(
        &mut self,
        rollouts: Resource<Rollouts>,
        under: String,
    ) -> wasmtime::Result<Result<Vec<f32>, types::Error>> {
        let logprobs = self.table.get(&rollouts)?.0.logprobs.clone();
        Ok(self.serve(|| logprobs.token_logprobs(&under))?.map_err(|error| refusal(&error)))
    }

    fn token_numbers(
        &mut self,
        rollouts: Resource<Rollouts>,
        name: String,
    ) -> wasmtime::Result<Result<Vec<f32>, types::Error>> {
        let logprobs = self.table.get(&rollouts)?.0.logprobs.clone();
        Ok(self.serve(|| logprobs.token_numbers(&name))?.map_err(|error| refusal(&error)))
    }

    fn step(&mut self, rollouts: Resource<Rollouts>) -> wasmtime::Result<u32> {
        Ok(self.table.get(&rollouts)?.0.step)
    }

    fn drop(&mut self, rollouts: Resource<Rollouts>) -> wasmtime::Result<()> {
        self.table.delete(rollouts)?;
        Ok(())
    }
}

impl answers::HostEvaluation for CallState {
    fn name(&mut self, evaluation: Resource<Evaluation>) -> wasmtime::Result<String> {
        Ok(self.table.get(&evaluation)?.0.name.clone())
    }

    fn len(&mut self, evaluation: Resource<Evaluation>) -> wasmtime::Result<u32> {
        Ok(self.table.get(&evaluation)?.0.rows.len() as u32)
    }

    fn prompts(&mut self, evaluation: Resource<Evaluation>) -> wasmtime::Result<Vec<String>> {
        Ok(self.table.get(&evaluation)?.table().prompts())
    }

    fn answers(&mut self, evaluation: Resource<Evaluation>) -> wasmtime::Result<Vec<String>> {
        Ok(self.table.get(&evaluation)?.0.rows.iter().map(|row| row.answer.clone()).collect())
    }

    fn finished(&mut self, evaluation: Resource<Evaluation>) -> wasmtime::Result<Vec<bool>> {
        Ok(self.table.get(&evaluation)?.0.rows.iter().map(|row| row.is_finished).collect())
    }

    fn references(&mut self, evaluation: Resource<Evaluation>) -> wasmtime::Result<Vec<Option<String>>> {
        Ok(self.table.get(&evaluation)?.table().completions())
    }

    fn columns(&mut self, evaluation: Resource<Evaluation>) -> wasmtime::Result<Vec<String>> {
        Ok(self.table.get(&evaluation)?.table().columns())
    }

    fn column(&mut self, evaluation: Resource<Evaluation>, name: String) -> wasmtime::Result<Vec<Option<String>>> {
        Ok(self.table.get(&evaluation)?.table().column(&name))
    }

    fn statistic(&mut self, evaluation: Resource<Evaluation>, name: String) -> wasmtime::Result<Option<Vec<f64>>> {
        let statistics = &self.table.get(&evaluation)?.0.statistics;
        Ok(statistics.iter().find(|(known, _)| *known == name).map(|(_, numbers)| numbers.clone()))
    }

    fn drop(&mut self, evaluation: Resource<Evaluation>) -> wasmtime::Result<()> {
        self.table.delete(evaluation)?;
        Ok(())
    }
}

//! The recipe's judge as a service for other stages.

use std::sync::Arc;

use tunesmith_core::call::Services;
use tunesmith_core::data::{Case, Cases, Verdict};
use tunesmith_core::error::ServiceError;
use tunesmith_core::model::Models;
use tunesmith_core::set::Named;
use tunesmith_core::stage::{Judge, Judging, Stage};

use super::calls::{Callee, Caller, Planned};
use super::{digests, with_causes};

/// Answers that one call of the judge gets; several calls run on all cores.
const CASES_OF_A_CALL: usize = 256;

/// Calls the judge. The judge itself may ask models, but no judge.
pub(super) struct JudgeService {
    pub(super) judge: Named<dyn Judge>,
    pub(super) caller: Arc<Caller>,
    pub(super) models: Arc<dyn Models>,
}

impl Judging for JudgeService {
    fn verdicts(&self, cases: Arc<Cases>) -> Result<Vec<Verdict>, ServiceError> {
        let judge = &self.judge.stage;
        let part = |cases: &[Case]| {
            let cases = Arc::new(Cases { cases: cases.to_vec() });
            let callee = Callee {
                stage: Stage::Judge,
                plugin: &self.judge.name,
                input: digests::of_cases(&cases),
                services: Services {
                    models: Some(Arc::clone(&self.models)),
                    judging: None,
                    store: Some(Arc::clone(self.caller.store())),
                },
            };
            Planned::new(
                callee,
                |verdicts: &Vec<Verdict>| digests::of_verdicts(verdicts),
                move |call| judge.judge(cases, call),
            )
        };
        let calls = cases.cases.chunks(CASES_OF_A_CALL).map(part);
        let lanes = if judge.is_sequential() { vec![calls.collect()] } else { calls.map(|call| vec![call]).collect() };
        let verdicts = self.caller.call_all(lanes).map_err(|error| ServiceError::Failed(with_causes(&error)))?;
        Ok(verdicts.concat())
    }
}

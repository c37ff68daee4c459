//! The recipe's judge as a service for other stages.

use std::sync::Arc;

use tunesmith_core::call::Services;
use tunesmith_core::data::{Cases, Verdict};
use tunesmith_core::error::ServiceError;
use tunesmith_core::model::Models;
use tunesmith_core::set::Named;
use tunesmith_core::stage::{Judge, Judging, Stage};

use super::calls::{Callee, Caller};
use super::{digests, with_causes};

/// Calls the judge. The judge itself may ask models, but no judge.
pub(super) struct JudgeService {
    pub(super) judge: Named<dyn Judge>,
    pub(super) caller: Arc<Caller>,
    pub(super) models: Arc<dyn Models>,
}

impl Judging for JudgeService {
    fn verdicts(&self, cases: Arc<Cases>) -> Result<Vec<Verdict>, ServiceError> {
        let callee = Callee {
            stage: Stage::Judge,
            plugin: &self.judge.name,
            input: digests::of_cases(&cases),
            services: Services { models: Some(Arc::clone(&self.models)), judging: None },
        };
        let judge = &self.judge.stage;
        self.caller
            .call(callee, |verdicts: &Vec<Verdict>| digests::of_verdicts(verdicts), |call| judge.judge(cases, call))
            .map_err(|error| ServiceError::Failed(with_causes(&error)))
    }
}

//! How likely the better and the worse completion of each preference are, under the policy and under its reference.

use tunesmith_core::data::{CHOSEN, REJECTED};

use super::{Evaluator, sum};
use crate::batch::PolicyPair;
use crate::data::target;
use crate::model::logprobs::Pair;
use crate::run::{EvalSet, RunError};

impl Evaluator<'_> {
    /// `chosen-logprob` and `rejected-logprob` (sums over the completion's tokens under the policy), `chosen-tokens`, `rejected-tokens`,
    /// `base-chosen-logprob` and `base-rejected-logprob` (under the reference); nothing unless every row is a preference.
    pub(super) fn preferences(
        &self,
        set: &EvalSet,
        models: &PolicyPair,
        is_trained: bool,
    ) -> Result<Vec<(String, Vec<f64>)>, RunError> {
        let mut pairs: [Vec<Pair>; 2] = [Vec::new(), Vec::new()];
        for example in &set.examples {
            let members = target(&self.plan.data, example).map_or(Vec::new(), |target| target.members());
            let [chosen, rejected] = members.as_slice() else { return Ok(Vec::new()) };
            if (chosen.role.as_str(), rejected.role.as_str()) != (CHOSEN, REJECTED) {
                return Ok(Vec::new());
            }
            for (pairs, member) in pairs.iter_mut().zip([chosen, rejected]) {
                pairs.push(self.host.encoder.pair(&example.conversation(), &member.completion)?);
            }
        }
        let mut statistics = Vec::new();
        for (pairs, role) in pairs.into_iter().zip([CHOSEN, REJECTED]) {
            let pairs = Self::readable(pairs, models);
            let scores = models.policy.score(&pairs, self.batch())?;
            let sums: Vec<f64> = scores.iter().map(|score| sum(score)).collect();
            let base = if is_trained {
                models.reference.score(&pairs, self.batch())?.iter().map(|score| sum(score)).collect()
            } else {
                sums.clone()
            };
            statistics.push((format!("{role}-logprob"), sums));
            statistics.push((format!("{role}-tokens"), scores.iter().map(|score| score.len() as f64).collect()));
            statistics.push((format!("base-{role}-logprob"), base));
        }
        Ok(statistics)
    }
}

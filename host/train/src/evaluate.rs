//! How good is the model? Answers to each evaluation set, numbers on them, and the metrics that stages make of those.

mod answers;
mod divergence;
mod preferences;
mod statistics;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tunesmith_core::call::Services;
use tunesmith_core::data::{Answered, Evaluation};
use tunesmith_core::error::CallError;
use tunesmith_core::plan::Plan;
use tunesmith_core::set::{Observer, Stages};
use tunesmith_core::stage::{Measure, Stage};

use crate::batch::PolicyPair;
use crate::generate::{Finish, Generation};
use crate::model::logprobs::Pair;
use crate::objective::BUILT_IN;
use crate::run::{EvalSet, RunError};
use crate::service::calls::Callee;
use crate::service::{Host, digests};
use burn::module::Module;

pub use statistics::Statistics;

/// Measures a model on evaluation sets.
pub(crate) struct Evaluator<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) host: &'a Host,
    pub(crate) stages: &'a Stages,
    /// Whether the divergence from the reference is measured.
    pub(crate) with_kl: bool,
}

/// What a measurement gave.
pub(crate) struct Measured {
    /// The built-in's metrics and the plugin's; of one name, the plugin's.
    pub(crate) metrics: BTreeMap<String, f64>,
    /// One line per row.
    pub(crate) samples: Vec<Sample>,
}

/// A line of `samples.jsonl`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Sample {
    /// Steps done.
    pub(crate) step: u32,
    set: String,
    id: u64,
    prompt: String,
    reference: Option<String>,
    answer: String,
    is_finished: bool,
    statistics: BTreeMap<String, f64>,
}

impl Evaluator<'_> {
    /// Answers the set, computes the statistics and calls the measuring stages. `is_trained` says whether policy and reference may differ.
    pub(crate) fn measure(
        &self,
        set: &EvalSet,
        models: &PolicyPair,
        is_trained: bool,
        work: &str,
        observer: &mut dyn Observer,
    ) -> Result<Measured, RunError> {
        let models = PolicyPair { policy: models.policy.valid(), reference: models.reference.clone() };
        let evaluation = Arc::new(self.evaluation(set, &models, is_trained, work, observer)?);
        let mut metrics: BTreeMap<String, f64> =
            self.call(BUILT_IN, &Statistics, &evaluation, Services::default())?.into_iter().collect();
        if let Some(measure) = &self.stages.measure {
            let services = self.host.services(&models);
            metrics.extend(self.call(&measure.name, &*measure.stage, &evaluation, services)?);
        }
        Ok(Measured { metrics, samples: samples(&evaluation) })
    }

    fn call(
        &self,
        plugin: &str,
        measure: &dyn Measure,
        evaluation: &Arc<Evaluation>,
        services: Services,
    ) -> Result<Vec<(String, f64)>, CallError> {
        let callee = Callee { stage: Stage::Measure, plugin, input: digests::of_evaluation(evaluation), services };
        let evaluation = Arc::clone(evaluation);
        self.host.caller.call(
            callee,
            |it: &Vec<(String, f64)>| digests::of_metrics(it),
            |call| measure.measure(evaluation, call),
        )
    }

    fn evaluation(
        &self,
        set: &EvalSet,
        models: &PolicyPair,
        is_trained: bool,
        work: &str,
        observer: &mut dyn Observer,
    ) -> Result<Evaluation, RunError> {
        let prompts = set.examples.iter().map(|example| self.host.encoder.prompt(&example.conversation()));
        let prompts = prompts.collect::<Result<Vec<_>, _>>()?;
        let answers = self.answers(set, &prompts, models, work, observer)?;
        let mut statistics = vec![
            ("answer-logprob".to_owned(), answers.iter().map(|answer| sum(&answer.logprobs)).collect()),
            ("answer-tokens".to_owned(), answers.iter().map(|answer| answer.ids.len() as f64).collect()),
        ];
        statistics.extend(self.references(set, models)?);
        statistics.extend(self.preferences(set, models, is_trained)?);
        if self.with_kl {
            statistics.push(("kl".to_owned(), self.divergences(&prompts, &answers, models, is_trained)?));
        }
        let rows = set.examples.iter().zip(answers).map(|(example, answer)| Answered {
            example: Arc::clone(example),
            answer: answer.text,
            is_finished: answer.finish != Finish::Length,
        });
        Ok(Evaluation { name: set.name.clone(), rows: rows.collect(), statistics })
    }

    /// How likely the gold completions are; nothing if no row has one. Rows without one count 0 tokens.
    fn references(&self, set: &EvalSet, models: &PolicyPair) -> Result<Vec<(String, Vec<f64>)>, RunError> {
        if set.examples.iter().all(|example| example.completion.is_none()) {
            return Ok(Vec::new());
        }
        let pair = |example: &Arc<tunesmith_core::data::Example>| {
            let prompt = example.conversation();
            match &example.completion {
                Some(completion) => self.host.encoder.answer(example, completion),
                None => Ok(Pair { prompt: self.host.encoder.prompt(&prompt)?, completion: Vec::new() }),
            }
        };
        let pairs = set.examples.iter().map(pair).collect::<Result<Vec<_>, _>>()?;
        let scores = models.policy.score(&Self::readable(pairs, models), self.batch())?;
        Ok(vec![
            ("reference-logprob".into(), scores.iter().map(|score| sum(score)).collect()),
            ("reference-tokens".into(), scores.iter().map(|score| score.len() as f64).collect()),
        ])
    }

    /// The mean divergence over each answer's tokens.
    fn divergences(
        &self,
        prompts: &[Vec<u32>],
        answers: &[Generation],
        models: &PolicyPair,
        is_trained: bool,
    ) -> Result<Vec<f64>, RunError> {
        if !is_trained {
            return Ok(vec![0.0; answers.len()]);
        }
        let pairs: Vec<Pair> = prompts
            .iter()
            .zip(answers)
            .map(|(prompt, answer)| Pair { prompt: prompt.clone(), completion: answer.ids.clone() })
            .collect();
        Ok(divergence::means(models, &pairs, self.batch())?)
    }

    /// A completion that is longer than the model can read counts as far as it can.
    fn readable(mut pairs: Vec<Pair>, models: &PolicyPair) -> Vec<Pair> {
        let positions = models.policy.config().max_positions;
        for pair in &mut pairs {
            pair.completion.truncate(positions.saturating_sub(pair.prompt.len()));
        }
        pairs
    }

    /// Sequences that run together.
    fn batch(&self) -> usize {
        self.host.plan.batch.max(1) as usize
    }
}

fn samples(evaluation: &Evaluation) -> Vec<Sample> {
    let sample = |(index, row): (usize, &Answered)| Sample {
        step: 0,
        set: evaluation.name.clone(),
        id: row.example.id,
        prompt: row.example.prompt().to_owned(),
        reference: row.example.completion.clone(),
        answer: row.answer.clone(),
        is_finished: row.is_finished,
        statistics: evaluation.statistics.iter().map(|(name, values)| (name.clone(), values[index])).collect(),
    };
    evaluation.rows.iter().enumerate().map(sample).collect()
}

fn sum(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value)).sum()
}

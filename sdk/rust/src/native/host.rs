//! The resources of the contract as traits, and the services as one trait that a test installs for the length of a call.
#![expect(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::len_without_is_empty,
    reason = "each method of a resource is the WIT method of its name, documented at the wrapper"
)]

use std::cell::RefCell;
use std::rc::Rc;

use super::model::LanguageModel;
use super::tensor::Tensor;
use crate::{Error, Verdict};

/// Stands behind [`Examples`](crate::Examples).
pub trait Examples {
    fn len(&self) -> u32;
    fn ids(&self) -> Vec<u64>;
    fn prompts(&self) -> Vec<String>;
    fn completions(&self) -> Vec<Option<String>>;
    fn messages(&self) -> Vec<String>;
    fn columns(&self) -> Vec<String>;
    fn column(&self, name: &str) -> Vec<Option<String>>;
    fn round(&self) -> u32;
}

/// Stands behind [`TrainingSet`](crate::TrainingSet).
pub trait TrainingSet {
    fn keep(&self, row: u32, provenance: &str);
    fn replace(&self, row: u32, completion: &str, provenance: &str);
    fn add(&self, prompt: &str, completion: &str, provenance: &str, like: Option<u32>);
    fn prefer(&self, row: u32, chosen: &str, rejected: &str, provenance: &str);
    fn group(&self, row: u32, roles: &[String], completions: &[String], provenance: &str);
    fn add_group(
        &self,
        conversation: &str,
        roles: &[String],
        completions: &[String],
        provenance: &str,
        like: Option<u32>,
    );
    fn omit(&self, row: u32, why: &str);
    fn note(&self, row: u32, name: &str, value: f64);
}

/// Stands behind [`Cases`](crate::Cases).
pub trait Cases {
    fn len(&self) -> u32;
    fn prompts(&self) -> Vec<String>;
    fn answers(&self) -> Vec<String>;
    fn references(&self) -> Vec<Option<String>>;
    fn rivals(&self) -> Vec<Option<String>>;
    fn columns(&self) -> Vec<String>;
    fn column(&self, name: &str) -> Vec<Option<String>>;
}

/// Stands behind [`Rollouts`](crate::Rollouts).
pub trait Rollouts {
    fn len(&self) -> u32;
    fn ids(&self) -> Vec<u64>;
    fn groups(&self) -> Vec<u32>;
    fn prompts(&self) -> Vec<String>;
    fn messages(&self) -> Vec<String>;
    fn off_policy(&self) -> Vec<bool>;
    fn reward_names(&self) -> Vec<String>;
    fn reward_weights(&self) -> Vec<f32>;
    fn rewards(&self, name: &str) -> Result<Vec<Option<f32>>, Error>;
    fn attach(&self, name: &str, values: &[f32]) -> Result<(), Error>;
    fn completions(&self) -> Vec<String>;
    fn finished(&self) -> Vec<bool>;
    fn lengths(&self) -> Vec<u32>;
    fn references(&self) -> Vec<Option<String>>;
    fn columns(&self) -> Vec<String>;
    fn column(&self, name: &str) -> Vec<Option<String>>;
    fn token_logprobs(&self, under: &str) -> Result<Vec<f32>, Error>;
    fn token_numbers(&self, name: &str) -> Result<Vec<f32>, Error>;
    fn step(&self) -> u32;
}

/// Stands behind [`Evaluation`](crate::Evaluation).
pub trait Evaluation {
    fn name(&self) -> String;
    fn len(&self) -> u32;
    fn prompts(&self) -> Vec<String>;
    fn answers(&self) -> Vec<String>;
    fn finished(&self) -> Vec<bool>;
    fn references(&self) -> Vec<Option<String>>;
    fn columns(&self) -> Vec<String>;
    fn column(&self, name: &str) -> Vec<Option<String>>;
    fn statistic(&self, name: &str) -> Option<Vec<f64>>;
}

/// Stands behind [`TokenBatch`](crate::TokenBatch).
pub trait TokenBatch {
    fn len(&self) -> u32;
    fn ids(&self) -> Vec<u64>;
    fn roles(&self) -> Vec<String>;
    fn offsets(&self) -> Vec<u32>;
    fn tokens(&self) -> Vec<u32>;
    fn mask(&self) -> Vec<bool>;
    fn texts(&self) -> Vec<String>;
    fn messages(&self) -> Vec<String>;
    fn row_texts(&self) -> Result<Vec<String>, Error>;
    fn completion_starts(&self) -> Result<Vec<u32>, Error>;
    fn starts(&self) -> Result<Vec<u32>, Error>;
    fn ends(&self) -> Result<Vec<u32>, Error>;
    fn token_logprobs(&self, under: &str) -> Result<Vec<f32>, Error>;
    fn columns(&self) -> Vec<String>;
    fn column(&self, name: &str) -> Vec<Option<String>>;
    fn step(&self) -> u32;
}

/// Stands behind [`Batch`](crate::Batch).
pub trait Batch {
    fn rows(&self) -> u32;
    fn tokens(&self) -> Tensor;
    fn mask(&self) -> Tensor;
    fn weights(&self) -> Tensor;
    fn advantages(&self) -> Option<Tensor>;
    fn token_logprobs(&self, under: &str) -> Result<Tensor, Error>;
    fn token_logprobs_at(&self, under: &str, temperature: f32) -> Result<Tensor, Error>;
    fn token_entropies(&self, temperature: f32) -> Result<Tensor, Error>;
    fn token_collisions(&self) -> Result<Tensor, Error>;
    fn token_numbers(&self, name: &str) -> Result<Tensor, Error>;
    fn hidden_states(&self) -> Result<Tensor, Error>;
    fn ids(&self) -> Vec<u64>;
    fn roles(&self) -> Vec<String>;
    fn off_policy(&self) -> Tensor;
    fn temperature(&self) -> f32;
    fn vocabulary(&self) -> u32;
    fn samples(&self, count: u32, temperature: f32) -> Result<Tensor, Error>;
    fn candidate_logprobs(&self, under: &str, candidates: &Tensor) -> Result<Tensor, Error>;
    fn groups(&self) -> Tensor;
    fn chosen(&self) -> Option<Tensor>;
    fn numbers(&self, column: &str) -> Result<Tensor, Error>;
    fn parameter(&self, name: &str) -> Result<Tensor, Error>;
    fn total_weight(&self) -> f64;
    fn total_rows(&self) -> u32;
    fn total_groups(&self) -> u32;
    fn micro_batches(&self) -> u32;
    fn step(&self) -> u32;
}

/// Stands behind [`ParameterSet`](crate::ParameterSet).
pub trait ParameterSet {
    fn names(&self) -> Vec<String>;
    fn get(&self, name: &str) -> Result<Tensor, Error>;
    fn get_from(&self, snapshot: &str, name: &str) -> Result<Tensor, Error>;
    fn set(&self, name: &str, value: &Tensor) -> Result<(), Error>;
    fn step(&self) -> u32;
}

/// Stands behind [`CacheBlock`](crate::CacheBlock).
pub trait CacheBlock {
    fn layer(&self) -> u32;
    fn keys(&self) -> Tensor;
    fn values(&self) -> Tensor;
    fn budget(&self) -> u32;
}

/// The services of the host.
pub trait Host {
    /// Numbers uniform over all 64-bit values.
    fn integers(&self, count: u32) -> Vec<u64>;

    /// Numbers uniform in 0.0 (included) to 1.0 (excluded).
    fn uniforms(&self, count: u32) -> Vec<f32>;

    /// Takes a log line.
    fn write(&self, level: log::Level, text: &str);

    /// Takes a named number.
    fn metric(&self, name: &str, value: f64);

    /// Takes a skipped row.
    fn skip(&self, row: u32, why: &str);

    /// Opens a model.
    ///
    /// # Errors
    ///
    /// Fails when there is none of this name.
    fn open(&self, name: &str) -> Result<Rc<dyn LanguageModel>, Error>;

    /// Judges answers; with `rivals`, compares each with its rival.
    ///
    /// # Errors
    ///
    /// Fails when there is no judge.
    fn judge(
        &self,
        examples: &dyn Examples,
        rows: &[u32],
        answers: &[String],
        rivals: Option<&[String]>,
    ) -> Result<Vec<Verdict>, Error>;

    /// Judges every rollout.
    ///
    /// # Errors
    ///
    /// Fails when there is no judge.
    fn judge_rollouts(&self, rollouts: &dyn Rollouts) -> Result<Vec<Verdict>, Error>;

    /// The kept number of each example.
    fn read(&self, name: &str, ids: &[u64]) -> Vec<Option<f64>>;

    /// Keeps a number per example.
    fn keep(&self, name: &str, ids: &[u64], values: &[f64]);
}

thread_local! {
    static HOST: RefCell<Option<Rc<dyn Host>>> = const { RefCell::new(None) };
}

/// Runs `call` with this host behind all services, on this thread.
pub fn with_host<T>(host: Rc<dyn Host>, call: impl FnOnce() -> T) -> T {
    /// Puts the former host back, also when `call` panics.
    struct Former(Option<Rc<dyn Host>>);
    impl Drop for Former {
        fn drop(&mut self) {
            HOST.set(self.0.take());
        }
    }
    let _former = Former(HOST.replace(Some(host)));
    call()
}

/// The installed host.
///
/// # Panics
///
/// Panics if there is none: the test calls the plugin without `tunesmith-sdk-test`.
pub(super) fn host() -> Rc<dyn Host> {
    let host = HOST.with_borrow(Clone::clone);
    host.expect("a service was called outside a pretend host: call the plugin through `tunesmith-sdk-test`")
}

/// Random numbers of the installed host.
pub(crate) mod random {
    /// As the contract.
    pub(crate) fn integers(count: u32) -> Vec<u64> {
        super::host().integers(count)
    }

    /// As the contract.
    pub(crate) fn uniforms(count: u32) -> Vec<f32> {
        super::host().uniforms(count)
    }
}

/// The log of the installed host; without a host, lines go nowhere, so that functions that log can be tested alone.
pub mod log {
    use super::HOST;

    /// How much a line matters.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Level {
        /// Only for the plugin's author.
        Debug,
        /// For everybody.
        Info,
        /// Something that the user should act on.
        Warn,
    }

    pub(crate) fn write(level: Level, text: &str) {
        HOST.with_borrow(|host| host.as_ref().inspect(|host| host.write(level, text)).is_some());
    }

    pub(crate) fn metric(name: &str, value: f64) {
        HOST.with_borrow(|host| host.as_ref().inspect(|host| host.metric(name, value)).is_some());
    }

    pub(crate) fn skip(row: u32, why: &str) {
        HOST.with_borrow(|host| host.as_ref().inspect(|host| host.skip(row, why)).is_some());
    }
}

/// The store of the installed host.
pub(crate) mod store {
    /// As the contract.
    pub(crate) fn read(name: &str, ids: &[u64]) -> Vec<Option<f64>> {
        super::host().read(name, ids)
    }

    /// As the contract.
    pub(crate) fn write(name: &str, ids: &[u64], values: &[f64]) {
        super::host().keep(name, ids, values);
    }
}

/// The judge of the installed host.
pub(crate) mod judging {
    use super::{Examples, Rollouts};
    use crate::{Error, Verdict};

    /// As the contract.
    pub(crate) fn judge(examples: &dyn Examples, rows: &[u32], answers: &[String]) -> Result<Vec<Verdict>, Error> {
        super::host().judge(examples, rows, answers, None)
    }

    /// As the contract.
    pub(crate) fn compare(
        examples: &dyn Examples,
        rows: &[u32],
        first: &[String],
        second: &[String],
    ) -> Result<Vec<Verdict>, Error> {
        super::host().judge(examples, rows, first, Some(second))
    }

    /// As the contract.
    pub(crate) fn judge_rollouts(rollouts: &dyn Rollouts) -> Result<Vec<Verdict>, Error> {
        super::host().judge_rollouts(rollouts)
    }
}

//! What the wrappers stand on: the bindings inside a component, [`native`](crate::native) elsewhere. Both have the same methods.

use std::ops::Range;

#[cfg(target_arch = "wasm32")]
pub(crate) use self::component::*;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use self::pretend::*;

/// The bindings, and their types turned into ours.
#[cfg(target_arch = "wasm32")]
mod component {
    use crate::bindings::imports::tunesmith::method;
    use crate::{Error, Verdict};

    pub(crate) use method::answers::{Cases, Evaluation, Rollouts};
    pub(crate) use method::batches::{Batch, TokenBatch};
    pub(crate) use method::cache::CacheBlock;
    pub(crate) use method::data::{Examples, TrainingSet};
    pub(crate) use method::parameters::ParameterSet;
    pub(crate) use method::tensors::Tensor;

    pub(crate) fn result<T>(answer: Result<T, method::types::Error>) -> Result<T, Error> {
        answer.map_err(|error| match error {
            method::types::Error::BadSettings(text) => Error::BadSettings(text),
            method::types::Error::Unsupported(text) => Error::Unsupported(text),
            method::types::Error::Other(text) => Error::Other(text),
        })
    }

    pub(crate) fn verdicts(
        answer: Result<Vec<method::answers::Verdict>, method::types::Error>,
    ) -> Result<Vec<Verdict>, Error> {
        let verdict = |verdict| match verdict {
            method::answers::Verdict::Right => Verdict::Right,
            method::answers::Verdict::Wrong => Verdict::Wrong,
            method::answers::Verdict::Partly(score) => Verdict::Partly(score),
            method::answers::Verdict::Undecided(why) => Verdict::Undecided(why),
        };
        Ok(result(answer)?.into_iter().map(verdict).collect())
    }
}

/// One range per pair of a start and an end.
pub(crate) fn ranges(starts: &[u32], ends: &[u32]) -> Vec<Range<usize>> {
    starts.iter().zip(ends).map(|(&start, &end)| start as usize..end as usize).collect()
}

/// The pretend host's types, which need no turning.
#[cfg(not(target_arch = "wasm32"))]
mod pretend {
    use crate::{Error, Verdict, native};

    pub(crate) type Cases = dyn native::Cases;
    pub(crate) type Evaluation = dyn native::Evaluation;
    pub(crate) type Rollouts = dyn native::Rollouts;
    pub(crate) type Batch = dyn native::Batch;
    pub(crate) type TokenBatch = dyn native::TokenBatch;
    pub(crate) type CacheBlock = dyn native::CacheBlock;
    pub(crate) type Examples = dyn native::Examples;
    pub(crate) type TrainingSet = dyn native::TrainingSet;
    pub(crate) type ParameterSet = dyn native::ParameterSet;
    pub(crate) use crate::native::Tensor;

    pub(crate) fn result<T>(answer: Result<T, Error>) -> Result<T, Error> {
        answer
    }

    pub(crate) fn verdicts(answer: Result<Vec<Verdict>, Error>) -> Result<Vec<Verdict>, Error> {
        answer
    }
}

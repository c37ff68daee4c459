//! A pretend host: what the wrappers stand on outside WebAssembly, so that plugins can be tested as ordinary Rust.
//!
//! The traits mirror the resources of `wit/` method by method; `tunesmith-sdk-test` implements them over plain data.
//! Plugin authors need only that crate. Tensors are computed right here, see [`Tensor`].

mod host;
pub mod model;
mod tensor;

/// The bound types of the model interface, under the names of the bindings.
pub(crate) mod service {
    pub(crate) use super::model::{
        ForwardPass, ForwardRequest, Generations, OpenModel as LanguageModel, Prompts, Sampling, Scores,
    };
}

pub use self::host::log;
pub use self::host::{
    Batch, CacheBlock, Cases, Evaluation, Examples, Host, ParameterSet, Rollouts, TokenBatch, TrainingSet, with_host,
};
pub(crate) use self::host::{judging, random, store};
pub use self::tensor::{Kind, Tensor};

/// Where texts that follow each other start and end, in characters.
pub fn spans_of(pieces: &[String]) -> Vec<(u32, u32)> {
    let next = |end: &mut u32, piece: &String| {
        let start = *end;
        *end += piece.chars().count() as u32;
        Some((start, *end))
    };
    pieces.iter().scan(0, next).collect()
}

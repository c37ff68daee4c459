//! Write Tunesmith method plugins in Rust.
//!
//! A plugin is a struct with its settings. It implements one trait per stage that it takes part in, and one macro makes it a component:
//!
//! ```
//! use tunesmith_sdk::{Cases, Error, Judge, Plugin, Verdict};
//!
//! struct Exact;
//!
//! impl Plugin for Exact {
//!     type Settings = tunesmith_sdk::NoSettings;
//!
//!     fn new(_: Self::Settings) -> Result<Self, Error> {
//!         Ok(Self)
//!     }
//! }
//!
//! impl Judge for Exact {
//!     fn judge(&self, cases: &Cases) -> Result<Vec<Verdict>, Error> {
//!         let pairs = cases.answers().into_iter().zip(cases.references());
//!         Ok(pairs.map(|(answer, gold)| Verdict::from(gold == Some(answer))).collect())
//!     }
//! }
//!
//! tunesmith_sdk::export!(Exact: judge);
//! # fn main() {}
//! ```
//!
//! | what | where |
//! |---|---|
//! | the stages | [`Curate`], [`Judge`], [`Reward`], [`Credit`], [`Weigh`], [`Objective`], [`Edit`], [`Measure`], [`Answer`], [`Retain`], and [`Remember`] for memory between calls |
//! | what a stage is given | [`Examples`] and [`TrainingSet`], [`Cases`], [`Rollouts`], [`Evaluation`], [`TokenBatch`], [`Batch`], [`ParameterSet`], [`CacheBlock`] |
//! | arithmetic on the host's tensors | [`Tensor`] |
//! | what the host does for a plugin | [`Model`] and [`judging`] by grant of the recipe; [`random`], [`log`] and [`store`] always |
//!
//! Inside a component the types stand on the bindings of `wit/`. On any other target they stand on [`native`], a pretend host,
//! so that `cargo test` runs a plugin in milliseconds; the crate `tunesmith-sdk-test` makes such hosts.
//!
//! This crate knows nothing of the host's code: both sides share `wit/` and nothing else.

mod answers;
mod batch;
mod cache;
mod data;
mod error;
mod export;
mod host;
pub mod judging;
pub mod log;
mod model;
mod parameters;
mod plugin;
pub mod random;
mod stage;
pub mod store;
mod tensor;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;
#[cfg(not(target_arch = "wasm32"))]
pub mod native;

pub use self::answers::{Advantages, Cases, Evaluation, Rollouts, Verdict};
pub use self::batch::{Batch, TokenBatch};
pub use self::cache::CacheBlock;
pub use self::data::{Examples, TrainingSet};
pub use self::error::Error;
#[doc(hidden)]
pub use self::export::{Component, Slot};
pub use self::model::{ForwardPass, ForwardRequest, Generations, Model, Prompts, Sampling, Scores};
pub use self::parameters::ParameterSet;
pub use self::plugin::{Exports, NoSettings, Plugin};
pub use self::stage::{Answer, Credit, Curate, Edit, Judge, Measure, Objective, Remember, Retain, Reward, Weigh};
pub use self::tensor::{Kind, Tensor};

/// The README's program compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

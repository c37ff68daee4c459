//! Fine-tuning methods for language models as sandboxed WebAssembly components.
//!
//! Five nouns, in the order in which they meet:
//!
//! * a **recipe** is a TOML file that a person writes: model, data, plugins, and which plugin takes which stage;
//! * a **plugin** is a WebAssembly component that takes one or more stages: what do we train on, is this answer right, what is minimised.
//!   It can use nothing but what its stage hands it and what the recipe grants it;
//! * a [`Session`] is a recipe that was checked down to the last file. Opening one writes nothing and runs nothing;
//! * its [`Plan`] is the recipe with every choice made: what runs, and what the run folder records;
//! * a [`Summary`] is what [`Session::run`] did: metrics before and after, where the training rows came from, what the plugins cost.
//!
//! While it works, a session tells an [`Observer`] how far it is. Errors are one [`Error`], sorted by what has to be mended.
//!
//! ```no_run
#![doc = include_str!("../../../examples/02-embedding/embed.rs")]
//! ```
//!
//! Nothing here prints or reads the environment. Beside sessions there is what the command line is made of: [`evaluate`],
//! [`generate`](fn@generate), [`inspect_model`], [`import_model`], [`merge_model`], [`compare_model`], [`inspect_data`], [`inspect_plugin`], [`check_plugin`] and [`embed_manifest`].

mod component;
mod data;
mod data_report;
mod error;
mod model;
mod models;
mod overrides;
mod plugins;
mod prompts;
mod session;
mod wire;
mod written;

pub use tunesmith_core::call::{Level, LogLine};
pub use tunesmith_core::digest::of as digest;
pub use tunesmith_core::error::CallError;
pub use tunesmith_core::model::{Finish, Generation, Message, Prompt, Sampling};
pub use tunesmith_core::plan::Plan;
pub use tunesmith_core::set::{Event, Observer};
pub use tunesmith_core::stage::Stage;
pub use tunesmith_core::trace;
pub use tunesmith_plugin::{Grant, Limits, Manifest};
pub use tunesmith_train::model::WeightType;

pub use self::component::{PluginImport, PluginReport, check_plugin, embed_manifest, inspect_plugin, read_manifest};
pub use self::data_report::{
    ColumnReport, DataFileReport, DataOptions, DataReport, DataSetReport, LengthReport, Percentiles, Piece,
    SampleReport, inspect_data,
};
pub use self::error::{Error, Fault};
pub use self::model::{
    Comparison, Imported, MergeOptions, Merged, ModelReport, compare_model, import_model, inspect_model, merge_model,
};
pub use self::models::Keys;
pub use self::prompts::{PromptOptions, read_prompts};
pub use self::session::{Options, Session, evaluate};
pub use self::wire::{Forecast, GenerateRequest, SetSummary, Summary, generate};

/// Whether runs call this stage. A recipe that names another is refused.
pub fn is_called(stage: Stage) -> bool {
    wire::STAGES.contains(&stage)
}

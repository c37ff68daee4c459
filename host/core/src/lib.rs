//! The vocabulary of Tunesmith: what recipes say, what stages decide, and what a trace records.
//!
//! This crate knows no WebAssembly, no tensor library and no file. It holds three things:
//!
//! * plain data: [`Recipe`](recipe::Recipe) (as written), [`Plan`](plan::Plan) (every choice made), [`Examples`](data::Examples),
//!   [`Rollouts`](data::Rollouts), the [`trace`];
//! * one trait per stage, with the check of its contract beside it, in [`stage`];
//! * what a stage may ask of the host: [`Tensors`](tensors::Tensors) by handle, [`LanguageModel`](model::LanguageModel), [`Judging`](stage::Judging).
//!
//! Built-ins, WebAssembly plugins and native plugins implement the same traits; nothing is privileged.

pub mod call;
pub mod data;
pub mod digest;
pub mod error;
pub mod extra;
pub mod memory;
pub mod model;
pub mod plan;
pub mod recipe;
pub mod set;
pub mod stage;
pub mod store;
pub mod tensors;
pub mod trace;

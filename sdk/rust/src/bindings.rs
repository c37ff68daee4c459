//! What `wit-bindgen` makes of `wit/`: checked in, and compared with `wit/` by `tests/bindings.rs`.
//!
//! Only `imports` defines types of the host; the module of each stage shares them and adds the macro that exports the stage.
#![allow(warnings, unsafe_code, clippy::all, clippy::pedantic, reason = "generated")]

#[rustfmt::skip]
pub mod answer;
#[rustfmt::skip]
pub mod credit;
#[rustfmt::skip]
pub mod curate;
#[rustfmt::skip]
pub mod edit;
#[rustfmt::skip]
pub mod imports;
#[rustfmt::skip]
pub mod judge;
#[rustfmt::skip]
pub mod measure;
#[rustfmt::skip]
pub mod objective;
#[rustfmt::skip]
pub mod retain;
#[rustfmt::skip]
pub mod reward;
#[rustfmt::skip]
pub mod state;
#[rustfmt::skip]
pub mod weigh;

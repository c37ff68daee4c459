//! Running components with wasmtime.

pub(crate) mod cache;
pub(crate) mod engine;
pub(crate) mod fault;
pub(crate) mod v0_1;

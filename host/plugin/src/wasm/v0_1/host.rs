//! What plugins import: one file per interface of the contract.

mod answers;
mod batches;
mod data;
mod model;
mod parameters;
mod services;
mod tensors;

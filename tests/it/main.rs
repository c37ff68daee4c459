//! Tests across crates, one binary.

mod answers;
mod bad_input;
mod contract;
mod extra_parameters;
mod objectives;
mod phases;
mod preferences;
mod same_as_built_in;
mod tidy;

//! Tests across crates, one binary.

mod bad_input;
mod contract;
mod same_as_built_in;
mod tidy;

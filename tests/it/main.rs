//! Tests across crates, one binary.

mod bad_input;
mod contract;
mod tidy;

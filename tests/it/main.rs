//! Tests across crates, one binary.

mod contract;
mod tidy;

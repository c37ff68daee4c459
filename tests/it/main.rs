//! Tests across crates, one binary.

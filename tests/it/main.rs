//! Tests across crates, one binary.

mod answers;
mod bad_input;
mod contract;
mod credit;
mod extra_parameters;
mod llm_judge;
mod methods;
mod objectives;
mod online_losses;
mod phases;
mod preferences;
mod same_as_built_in;
mod tidy;

//! Numbers that the host keeps for the plugin by example: over steps, phases and checkpoints. Each plugin has its own.

#[cfg(target_arch = "wasm32")]
use crate::bindings::imports::tunesmith::method::store as service;
#[cfg(not(target_arch = "wasm32"))]
use crate::native::store as service;

/// The number of this name for each example, none where there is none yet.
pub fn read(name: &str, ids: &[u64]) -> Vec<Option<f64>> {
    service::read(name, ids)
}

/// Keeps one finite number per example. Lists of other lengths, and numbers that are not finite, trap.
pub fn write(name: &str, ids: &[u64], values: &[f64]) {
    service::write(name, ids, values);
}

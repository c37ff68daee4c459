//! `retain`: which cache entries stay?

use std::sync::Arc;

use crate::call::Call;
use crate::error::CallError;
use crate::tensors::{TensorId, Tensors};

/// Scores the entries of a key-value cache.
pub trait Retain: Send + Sync {
    /// Returns one score per entry, float [kv-heads, length]; the host keeps the highest.
    ///
    /// # Errors
    ///
    /// Fails when the plugin declines or is broken.
    fn retain(&self, block: Arc<dyn CacheBlock>, call: &mut Call) -> Result<TensorId, CallError>;
}

/// One layer's cache of one sequence.
pub trait CacheBlock: Send + Sync {
    /// The engine in which the cache lives as handles.
    fn tensors(&self) -> Arc<dyn Tensors>;
    /// The layer, from 1.
    fn layer(&self) -> usize;
    /// A fresh handle to the keys [kv-heads, length, head-size].
    fn keys(&self) -> TensorId;
    /// A fresh handle to the values [kv-heads, length, head-size].
    fn values(&self) -> TensorId;
    /// How many entries may stay.
    fn budget(&self) -> usize;
}

/// Checks the contract: scores of shape [kv-heads, length], all finite. Returns them.
///
/// # Errors
///
/// Fails with [`CallError::Broken`] that names the shape.
pub fn checked(plugin: &str, block: &dyn CacheBlock, scores: TensorId) -> Result<Vec<f32>, CallError> {
    let broken = |what: String| CallError::broken(plugin, "retain", what);
    let tensors = block.tensors();
    let keys = block.keys();
    let expected = tensors.shape(keys).map_err(|error| broken(error.to_string()))?;
    tensors.release(keys);
    let shape = tensors.shape(scores).map_err(|error| broken(error.to_string()))?;
    if Some(shape.as_slice()) != expected.get(..2) {
        return Err(broken(format!("the scores have shape {shape:?}, not {:?}", expected.get(..2))));
    }
    let values = tensors.read_floats(scores).map_err(|error| broken(error.to_string()))?;
    if values.iter().all(|value| value.is_finite()) { Ok(values) } else { Err(broken("a score is not finite".into())) }
}

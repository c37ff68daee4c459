//! Fresh random weights for a model folder that has none yet.

use std::io;
use std::path::Path;

use burn::tensor::Device;

use crate::error::ModelError;
use crate::model::config::ModelConfig;
use crate::model::decoder::Decoder;
use crate::model::export::{WeightType, save_tensors};

/// Writes `model.safetensors` into a folder with a `config.json`: matrices are normal with the configuration's `initializer_range`,
/// norms are one, biases zero. The same seed gives the same bytes on every machine.
///
/// # Errors
///
/// Fails when the configuration cannot be used, the folder already holds weights, or the file cannot be written.
pub fn init(folder: &Path, seed: u64) -> Result<(), ModelError> {
    let config = ModelConfig::load(folder)?;
    let path = folder.join("model.safetensors");
    if path.exists() {
        let source = io::Error::new(io::ErrorKind::AlreadyExists, "the folder already holds a model");
        return Err(ModelError::Write { path, source });
    }
    let decoder = Decoder::random(&config, seed, &Device::flex())?;
    save_tensors(&path, &decoder.named_tensors(), WeightType::F32)
}

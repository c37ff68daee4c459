//! Extra trainable parameters: what a plugin declares beside the model, and the host starts, offers with gradients, trains and saves.
//!
//! They are named `parameters.PLUGIN.NAME` among gradients and moments, share the recipe's clipping (one norm over the model's parameters and these),
//! and are decayed as the model's are: matrices and larger, not vectors. A parameter that a step's loss does not touch has no gradient and stays as it is.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use tunesmith_core::digest;
use tunesmith_core::error::ServiceError;
use tunesmith_core::extra::{ExtraParameter, Init, Size};
use tunesmith_core::tensors::TensorId;

use crate::error::ModelError;
use crate::model::config::ModelConfig;
use crate::model::export::save_tensors;
use crate::model::weights::{TensorSource, WeightFiles};
use crate::model::{NamedTensor, WeightType};
use crate::random::Random;
use crate::tensor_values;
use crate::tensors::BurnTensors;

/// Elements that the parameters of a plugin may have together: 1 GiB in float32.
const MAX_ELEMENTS: u64 = 1 << 28;

/// The extra parameters of the objective's plugin, by name.
#[derive(Debug, Clone, Default)]
pub struct ExtraParameters {
    plugin: String,
    by_name: BTreeMap<String, Extra>,
}

#[derive(Debug, Clone)]
pub(crate) struct Extra {
    pub(crate) shape: Vec<usize>,
    /// A leaf of the graph, flat in row-major order.
    pub(crate) value: Tensor<1>,
    /// The highest learning rate, if it has its own.
    pub(crate) peak: Option<f64>,
}

/// The shapes of declared parameters for a model.
///
/// # Errors
///
/// Fails with a text for people when they have more elements together than the host allocates.
pub fn shapes(declared: &[ExtraParameter], config: &ModelConfig) -> Result<Vec<Vec<usize>>, String> {
    let size = |size: &Size| match size {
        Size::Number(number) => *number as usize,
        Size::Hidden => config.hidden_size,
        Size::Vocabulary => config.vocab_size,
        Size::Layers => config.layers,
    };
    let mut rest = MAX_ELEMENTS;
    let mut shapes = Vec::with_capacity(declared.len());
    for parameter in declared {
        let shape: Vec<usize> = parameter.shape.iter().map(size).collect();
        let elements = shape.iter().try_fold(1_u64, |product, size| product.checked_mul(*size as u64));
        rest = elements.and_then(|elements| rest.checked_sub(elements)).ok_or_else(|| {
            format!(
                "the extra parameters up to `{}` of shape {shape:?} have more than {MAX_ELEMENTS} elements",
                parameter.name
            )
        })?;
        shapes.push(shape);
    }
    Ok(shapes)
}

impl ExtraParameters {
    /// Starts the declared parameters of `plugin`. Values follow from the seed, the plugin's name and the parameter's alone.
    ///
    /// # Errors
    ///
    /// As [`shapes`].
    pub fn new(
        plugin: &str,
        declared: &[ExtraParameter],
        config: &ModelConfig,
        seed: u64,
        device: &Device,
    ) -> Result<Self, String> {
        let start = |(parameter, shape): (&ExtraParameter, Vec<usize>)| {
            let values = start(parameter.init, shape.iter().product(), seed, &key(plugin, &parameter.name));
            let value = leaf(values, device);
            (parameter.name.clone(), Extra { shape, value, peak: parameter.learning_rate })
        };
        let by_name = declared.iter().zip(shapes(declared, config)?).map(start).collect();
        Ok(Self { plugin: plugin.to_owned(), by_name })
    }

    /// Whether there is one of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The value of a parameter, flat in row-major order.
    pub(crate) fn value(&self, name: &str) -> Option<Tensor<1>> {
        self.by_name.get(name).map(|extra| extra.value.clone())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Each parameter's name among gradients and moments, with its parts.
    pub(crate) fn each(&mut self) -> impl Iterator<Item = (String, &mut Extra)> {
        let plugin = &self.plugin;
        self.by_name.iter_mut().map(move |(name, extra)| (key(plugin, name), extra))
    }

    /// As [`ExtraParameters::each`], for reading.
    pub(crate) fn all(&self) -> impl Iterator<Item = (String, &Extra)> {
        self.by_name.iter().map(|(name, extra)| (key(&self.plugin, name), extra))
    }

    /// A handle to a parameter, with its gradient.
    ///
    /// # Errors
    ///
    /// Fails when the plugin's manifest declares no such parameter; the text names those that it declares.
    pub(crate) fn offer(&self, name: &str, engine: &BurnTensors) -> Result<TensorId, ServiceError> {
        let Some(extra) = self.by_name.get(name) else {
            let known: Vec<String> = self.by_name.keys().map(|name| format!("`{name}`")).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            return Err(ServiceError::Unsupported(format!(
                "the plugin's manifest declares no parameter `{}`; it declares {known}",
                name.escape_debug()
            )));
        };
        let offered = engine.insert_flat(extra.value.clone(), &extra.shape);
        offered.map_err(|error| ServiceError::Failed(error.to_string()))
    }

    /// The parameters with their values, in the order of their names.
    pub fn tensors(&self) -> Vec<NamedTensor> {
        let tensor = |(name, extra): (&String, &Extra)| NamedTensor {
            name: name.clone(),
            shape: extra.shape.clone(),
            values: tensor_values(extra.value.clone()),
        };
        self.by_name.iter().map(tensor).collect()
    }

    /// The digest of all that is trained: of the model's, which is `digest`, and of these. Without extra parameters it is `digest`.
    pub fn digest_with(&self, digest: String) -> String {
        if self.is_empty() {
            return digest;
        }
        let part = |tensor: NamedTensor| {
            let bytes: Vec<u8> = tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            format!("{} {:?} {}", key(&self.plugin, &tensor.name), tensor.shape, digest::of(&bytes))
        };
        let parts: Vec<String> = std::iter::once(digest).chain(self.tensors().into_iter().map(part)).collect();
        digest::of_parts(parts.iter().map(String::as_bytes))
    }

    /// Writes `parameters/PLUGIN.safetensors` in `folder`, with the names of the manifest; nothing if there are none. Gives its place.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<Option<PathBuf>, ModelError> {
        if self.is_empty() {
            return Ok(None);
        }
        let path = self.place(folder);
        let parent = folder.join("parameters");
        fs::create_dir_all(&parent).map_err(|source| ModelError::Write { path: parent, source })?;
        save_tensors(&path, &self.tensors(), WeightType::F32)?;
        Ok(Some(path))
    }

    /// Takes the values that [`ExtraParameters::save`] wrote into `folder`.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be read, or has other names or shapes; nothing is changed then.
    pub fn restore(&mut self, folder: &Path) -> Result<(), ModelError> {
        if self.is_empty() {
            return Ok(());
        }
        let expected = self.by_name.iter().map(|(name, extra)| (name.clone(), extra.shape.clone())).collect();
        let mut file = WeightFiles::load_file(&self.place(folder), &expected)?;
        for (name, extra) in &mut self.by_name {
            extra.value = leaf(file.take(name, &extra.shape)?, &extra.value.device());
        }
        Ok(())
    }

    fn place(&self, folder: &Path) -> PathBuf {
        // A recipe may call its plugins anything; there is one plugin, so that no two names meet.
        let safe =
            |character: char| if character.is_ascii_alphanumeric() || character == '-' { character } else { '_' };
        let name: String = self.plugin.chars().map(safe).collect();
        folder.join("parameters").join(format!("{name}.safetensors"))
    }
}

/// What the parameter is called among gradients and moments. No name of a decoder begins like this.
fn key(plugin: &str, name: &str) -> String {
    format!("parameters.{plugin}.{name}")
}

fn start(init: Init, count: usize, seed: u64, key: &str) -> Vec<f32> {
    match init {
        Init::Zeros => vec![0.0; count],
        Init::Ones => vec![1.0; count],
        Init::Normal(deviation) => {
            let mut random = Random::named(seed, key);
            (0..count).map(|_| (random.normal() * deviation) as f32).collect()
        }
    }
}

fn leaf(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device).require_grad()
}

//! Where the decoder's tensors come from: safetensors files (one, or shards with an index), or a seeded random source.

pub(crate) mod headers;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::error::ModelError;
use crate::model::weight_type::WeightType;
use crate::random::Random;

pub use self::headers::{WeightHeader, check_headers};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A tensor as it stands in a file: row-major f32 values.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Row-major values; as many as the product of `shape`.
    pub values: Vec<f32>,
}

/// Hands out the tensors that the decoder asks for by their Hugging Face names.
pub trait TensorSource {
    /// Gives the tensor `name`, which must have this shape. Every name is asked for once.
    ///
    /// # Errors
    ///
    /// Fails when the source has no such tensor or has it in another shape.
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError>;
}

/// Tensors of a model folder, or of one file, read into memory.
#[derive(Debug)]
pub struct WeightFiles {
    origin: PathBuf,
    tensors: BTreeMap<String, (PathBuf, HostTensor)>,
}

impl WeightFiles {
    /// Reads `model.safetensors`, or the shards that `model.safetensors.index.json` names, in `folder`.
    ///
    /// `expected` maps every name that the model needs to its shape; it is checked before anything is converted, so that a
    /// wrong folder costs no time.
    ///
    /// # Errors
    ///
    /// Fails when files are missing, truncated or not safetensors, when the index names anything but plain file names, when
    /// tensors are missing, unknown, or have a wrong shape or type.
    pub fn load(folder: &Path, expected: &BTreeMap<String, Vec<usize>>) -> Result<Self, ModelError> {
        let files = weight_files(folder)?;
        Self::read(folder, &files, expected)
    }

    /// Reads one safetensors file whose tensors must be exactly `expected`.
    ///
    /// # Errors
    ///
    /// As [`WeightFiles::load`].
    pub fn load_file(path: &Path, expected: &BTreeMap<String, Vec<usize>>) -> Result<Self, ModelError> {
        Self::read(path, &[path.to_owned()], expected)
    }

    /// Whether there are no tensors left.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    fn read(origin: &Path, files: &[PathBuf], expected: &BTreeMap<String, Vec<usize>>) -> Result<Self, ModelError> {
        let mut tensors = BTreeMap::new();
        let mut unknown = BTreeSet::new();
        for path in files {
            let bytes = fs::read(path).map_err(|source| ModelError::Read { path: path.clone(), source })?;
            let file = SafeTensors::deserialize(&bytes)
                .map_err(|error| ModelError::BrokenWeights { path: path.clone(), reason: error.to_string() })?;
            let mut views: Vec<_> = file.iter().collect();
            views.sort_by_key(|(name, _)| *name);
            for (name, view) in &views {
                match expected.get(*name) {
                    Some(shape) => check_shape(path, name, shape, view.shape())?,
                    None if is_harmless(name) => {}
                    None => {
                        unknown.insert((*name).to_owned());
                    }
                }
            }
            for (name, view) in views {
                if expected.contains_key(name) {
                    let tensor = to_f32(path, name, view.dtype(), view.shape(), view.data())?;
                    tensors.insert(name.to_owned(), (path.clone(), tensor));
                }
            }
        }
        let missing: Vec<String> = expected.keys().filter(|name| !tensors.contains_key(*name)).cloned().collect();
        if !missing.is_empty() {
            return Err(ModelError::MissingTensors { folder: origin.to_owned(), names: missing });
        }
        if !unknown.is_empty() {
            return Err(ModelError::UnknownTensors { folder: origin.to_owned(), names: unknown.into_iter().collect() });
        }
        Ok(Self { origin: origin.to_owned(), tensors })
    }
}

impl TensorSource for WeightFiles {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let (path, tensor) = self
            .tensors
            .remove(name)
            .ok_or_else(|| ModelError::MissingTensors { folder: self.origin.clone(), names: vec![name.to_owned()] })?;
        check_shape(&path, name, shape, &tensor.shape)?;
        Ok(tensor.values)
    }
}

/// Fresh weights as transformers initialises them: matrices from a normal distribution, norms at their neutral value, biases at zero.
///
/// Every tensor has its own generator, seeded by the seed and its name: the values do not depend on the order of the calls.
#[derive(Debug)]
pub struct RandomWeights {
    /// Seed of all tensors.
    pub seed: u64,
    /// Standard deviation of the matrices.
    pub standard_deviation: f64,
    /// Every number of a norm.
    pub norm: f32,
}

impl TensorSource for RandomWeights {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let count = shape.iter().product();
        if shape.len() < 2 {
            let is_bias = name.rsplit('.').next() == Some("bias");
            let value = if is_bias { 0.0 } else { self.norm };
            return Ok(vec![value; count]);
        }
        let mut random = Random::named(self.seed, name);
        Ok((0..count).map(|_| (random.normal() * self.standard_deviation) as f32).collect())
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The weight files of a folder, in a fixed order.
fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let index = folder.join(INDEX);
    let single = folder.join(SINGLE);
    if single.exists() || !index.exists() {
        return Ok(vec![single]);
    }
    let text = fs::read_to_string(&index).map_err(|source| ModelError::Read { path: index.clone(), source })?;
    let parsed: Index =
        serde_json::from_str(&text).map_err(|source| ModelError::Json { path: index.clone(), source })?;
    let shards: BTreeSet<String> = parsed.weight_map.into_values().collect();
    if shards.is_empty() {
        return Err(ModelError::MissingTensors { folder: index, names: Vec::new() });
    }
    if let Some(shard) = shards.iter().find(|shard| !is_plain_file_name(shard)) {
        return Err(ModelError::UnsafeShardName { index, shard: shard.clone() });
    }
    let files: Vec<PathBuf> = shards.iter().map(|shard| folder.join(shard)).collect();
    let present = files.iter().filter(|path| path.is_file()).count();
    match shards.iter().zip(&files).find(|(_, path)| !path.is_file()) {
        Some((shard, _)) => Err(ModelError::MissingShard { index, shard: shard.clone(), present, total: files.len() }),
        None => Ok(files),
    }
}

/// A hostile index may name `../../secret` or `/etc/passwd`; backslashes and colons are separators elsewhere.
fn is_plain_file_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!((components.next(), components.next()), (Some(Component::Normal(_)), None))
        && !name.contains(['/', '\\', ':', '\0'])
}

/// Buffers that old exporters wrote and that are computed, and the second name of a tied head.
fn is_harmless(name: &str) -> bool {
    name.ends_with(".rotary_emb.inv_freq") || name == "lm_head.weight"
}

fn check_shape(path: &Path, name: &str, expected: &[usize], found: &[usize]) -> Result<(), ModelError> {
    if expected == found {
        return Ok(());
    }
    Err(ModelError::WrongShape {
        path: path.to_owned(),
        name: name.to_owned(),
        expected: expected.to_vec(),
        found: found.to_vec(),
    })
}

fn to_f32(path: &Path, name: &str, dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Result<HostTensor, ModelError> {
    let weight_type = match dtype {
        Dtype::F32 => WeightType::F32,
        Dtype::F16 => WeightType::F16,
        Dtype::BF16 => WeightType::Bf16,
        other => {
            return Err(ModelError::WrongType {
                path: path.to_owned(),
                name: name.to_owned(),
                dtype: format!("{other:?}"),
            });
        }
    };
    Ok(HostTensor { shape: shape.to_vec(), values: weight_type.decode(bytes) })
}

#[cfg(test)]
mod tests;

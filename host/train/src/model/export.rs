//! The decoder's parameters by their Hugging Face names: listing, gradients, safetensors files.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor};
use serde_json::Value;

use crate::error::ModelError;
use crate::model::decoder::Decoder;
use crate::model::projection::transposed;
use crate::model::shards::{Outline, SHARD_BYTES, write_file, write_model};

pub use crate::model::weight_type::WeightType;

/// A parameter in the form of a Hugging Face checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// For example `model.layers.0.self_attn.q_proj.weight`.
    pub name: String,
    /// `[output, input]` for linear layers.
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Vec<f32>,
}

/// Files beside the weights that belong to a model folder: they go along with every export.
pub(crate) const COMPANIONS: &[&str] = &[
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "LICENSE",
    "LICENSE.md",
    "LICENSE.txt",
    "NOTICE",
];

impl Decoder {
    /// Every parameter of the base model, by its name in a checkpoint; an adapter that is attached is left out (merge it first
    /// to export what it has learned).
    pub fn named_tensors(&self) -> Vec<NamedTensor> {
        let mut visitor = ParameterLister { place: Place::default(), tensors: Vec::new() };
        self.visit(&mut visitor);
        visitor.tensors.retain(|tensor| !tensor.name.contains(".lora."));
        visitor.tensors
    }

    /// The gradient of every parameter that has one, by the parameter's name, in the checkpoint's form. The factors of an
    /// adapter are called `....weight.lora.a` (`[input, rank]`) and `....weight.lora.b` (`[rank, output]`).
    pub fn named_gradients(&self, gradients: &Gradients) -> Vec<NamedTensor> {
        let mut visitor = GradientLister { place: Place::default(), gradients, tensors: Vec::new() };
        self.visit(&mut visitor);
        visitor.tensors
    }

    /// Writes a model folder: `model.safetensors` (several files with an index above 5 GB), and `config.json` and the tokenizer's files
    /// copied from `source`.
    ///
    /// # Errors
    ///
    /// Fails when `folder` already holds a model, or a file cannot be read or written.
    pub fn save(&self, folder: &Path, source: &Path, weight_type: WeightType) -> Result<(), ModelError> {
        let write = |path: &Path| {
            let path = path.to_owned();
            move |source| ModelError::Write { path, source }
        };
        for name in ["model.safetensors", "model.safetensors.index.json"] {
            let weights = folder.join(name);
            if weights.exists() {
                let taken = io::Error::new(io::ErrorKind::AlreadyExists, "the folder already holds a model");
                return Err(write(&weights)(taken));
            }
        }
        fs::create_dir_all(folder).map_err(write(folder))?;
        copy_small_files(source, folder, Some(weight_type))?;
        let tensors = self.named_tensors();
        write_model(folder, &outlines(&tensors, weight_type), SHARD_BYTES, &mut encoder(&tensors)).map(|_| ())
    }
}

/// Copies what belongs to a model beside its weights; `config.json` names the weight type, where one is given.
pub(crate) fn copy_small_files(
    source: &Path,
    folder: &Path,
    weight_type: Option<WeightType>,
) -> Result<(), ModelError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ModelError::Write { path, source }
    };
    let config = source.join("config.json");
    let mut text = fs::read_to_string(&config).map_err(|source| ModelError::Read { path: config.clone(), source })?;
    if let Some(kind) = weight_type {
        text = with_weight_type(&text, kind).map_err(|source| ModelError::Json { path: config, source })?;
    }
    let target = folder.join("config.json");
    fs::write(&target, text).map_err(failed(&target))?;
    for name in COMPANIONS {
        let (from, to) = (source.join(name), folder.join(name));
        if from.is_file() {
            fs::copy(&from, &to).map_err(failed(&to))?;
        }
    }
    Ok(())
}

/// Writes tensors to a safetensors file, whole or not at all.
///
/// # Errors
///
/// Fails when the file cannot be written, or a number does not fit the type.
pub fn save_tensors(path: &Path, tensors: &[NamedTensor], weight_type: WeightType) -> Result<(), ModelError> {
    write_file(path, &outlines(tensors, weight_type), &mut encoder(tensors))
}

fn outlines(tensors: &[NamedTensor], weight_type: WeightType) -> Vec<Outline> {
    let outline =
        |tensor: &NamedTensor| Outline { name: tensor.name.clone(), weight_type, shape: tensor.shape.clone() };
    tensors.iter().map(outline).collect()
}

/// Gives the numbers of each tensor in the type that its outline asks for.
fn encoder(tensors: &[NamedTensor]) -> impl FnMut(&Outline) -> Result<Vec<u8>, ModelError> {
    let values: BTreeMap<&str, &[f32]> =
        tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.values.as_slice())).collect();
    move |outline| {
        let values = values.get(outline.name.as_str()).copied().unwrap_or_default();
        outline.weight_type.encode(&outline.name, values)
    }
}

/// The text of a `config.json` with its weight type replaced, under whichever of its two names it uses.
fn with_weight_type(text: &str, weight_type: WeightType) -> Result<String, serde_json::Error> {
    let mut config: serde_json::Map<String, Value> = serde_json::from_str(text)?;
    let name = if config.contains_key("torch_dtype") { "torch_dtype" } else { "dtype" };
    config.insert(name.to_owned(), Value::from(weight_type.config_name()));
    serde_json::to_string_pretty(&config)
}

/// Where a visitor stands, and whether the layer it is in holds its weight transposed.
#[derive(Default)]
struct Place {
    names: Vec<String>,
    containers: Vec<String>,
}

impl Place {
    fn enter(&mut self, name: &str, container: &str) {
        self.names.push(name.to_owned());
        self.containers.push(container.to_owned());
    }

    fn exit(&mut self) {
        self.names.pop();
        self.containers.pop();
    }

    /// The parameter in the checkpoint's form.
    fn named<const D: usize>(&self, value: Tensor<D>) -> NamedTensor {
        let mut shape = value.dims().to_vec();
        let values = crate::tensor_values(value);
        let is_projection = self.containers.last().is_some_and(|container| container == "Struct:Projection");
        let values = match shape.as_mut_slice() {
            [input, output] if is_projection => {
                let values = transposed(&values, *input, *output);
                std::mem::swap(input, output);
                values
            }
            _ => values,
        };
        NamedTensor { name: self.names.join("."), shape, values }
    }
}

struct ParameterLister {
    place: Place,
    tensors: Vec<NamedTensor>,
}

impl ModuleVisitor for ParameterLister {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.tensors.push(self.place.named(param.base()));
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.place.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.place.exit();
    }
}

struct GradientLister<'a> {
    place: Place,
    gradients: &'a Gradients,
    tensors: Vec<NamedTensor>,
}

impl ModuleVisitor for GradientLister<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.base().grad(self.gradients) {
            self.tensors.push(self.place.named(gradient));
        }
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.place.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.place.exit();
    }
}

//! The decoder's parameters by their Hugging Face names: listing, gradients, safetensors files.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor};
use half::bf16;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value;

use crate::error::ModelError;
use crate::model::decoder::Decoder;
use crate::model::projection::transposed;

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

/// How weights are stored in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightType {
    /// Four bytes per number, exact.
    F32,
    /// Two bytes per number, rounded to nearest even.
    Bf16,
}

/// Files beside the weights that belong to a model folder.
const COMPANIONS: &[&str] = &[
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
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

    /// Writes a model folder: `model.safetensors`, and `config.json` and the tokenizer's files copied from `source`.
    ///
    /// # Errors
    ///
    /// Fails when `folder` already holds a model, or a file cannot be read or written.
    pub fn save(&self, folder: &Path, source: &Path, weight_type: WeightType) -> Result<(), ModelError> {
        let write = |path: &Path| {
            let path = path.to_owned();
            move |source| ModelError::Write { path, source }
        };
        let weights = folder.join("model.safetensors");
        if weights.exists() {
            return Err(write(&weights)(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the folder already holds a model",
            )));
        }
        fs::create_dir_all(folder).map_err(write(folder))?;
        let config = source.join("config.json");
        let text = fs::read_to_string(&config).map_err(|source| ModelError::Read { path: config.clone(), source })?;
        let text = with_weight_type(&text, weight_type).map_err(|source| ModelError::Json { path: config, source })?;
        let target = folder.join("config.json");
        fs::write(&target, text).map_err(write(&target))?;
        for name in COMPANIONS {
            let (from, to) = (source.join(name), folder.join(name));
            if from.is_file() {
                fs::copy(&from, &to).map_err(write(&to))?;
            }
        }
        save_tensors(&weights, &self.named_tensors(), weight_type)
    }
}

/// Writes tensors to a safetensors file, whole or not at all.
///
/// # Errors
///
/// Fails when the file cannot be written.
pub fn save_tensors(path: &Path, tensors: &[NamedTensor], weight_type: WeightType) -> Result<(), ModelError> {
    let dtype = match weight_type {
        WeightType::F32 => Dtype::F32,
        WeightType::Bf16 => Dtype::BF16,
    };
    let bytes: BTreeMap<&str, (Vec<u8>, &[usize])> = tensors
        .iter()
        .map(|tensor| (tensor.name.as_str(), (encoded(&tensor.values, weight_type), tensor.shape.as_slice())))
        .collect();
    let failed = |reason: String| ModelError::Write { path: path.to_owned(), source: io::Error::other(reason) };
    let views = bytes
        .iter()
        .map(|(name, (bytes, shape))| Ok((*name, TensorView::new(dtype, shape.to_vec(), bytes)?)))
        .collect::<Result<BTreeMap<_, _>, safetensors::SafeTensorError>>()
        .map_err(|error| failed(error.to_string()))?;
    // transformers refuses files without this entry.
    let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
    let partial = path.with_extension("safetensors.partial");
    safetensors::serialize_to_file(views, metadata, &partial).map_err(|error| failed(error.to_string()))?;
    fs::rename(&partial, path).map_err(|source| ModelError::Write { path: path.to_owned(), source })
}

fn encoded(values: &[f32], weight_type: WeightType) -> Vec<u8> {
    match weight_type {
        WeightType::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        WeightType::Bf16 => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
    }
}

/// The text of a `config.json` with its weight type replaced, under whichever of its two names it uses.
fn with_weight_type(text: &str, weight_type: WeightType) -> Result<String, serde_json::Error> {
    let mut config: serde_json::Map<String, Value> = serde_json::from_str(text)?;
    let name = if config.contains_key("torch_dtype") { "torch_dtype" } else { "dtype" };
    let value = match weight_type {
        WeightType::F32 => "float32",
        WeightType::Bf16 => "bfloat16",
    };
    config.insert(name.to_owned(), Value::from(value));
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

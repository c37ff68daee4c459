//! Adapters as files that PEFT and transformers load: `adapter_model.safetensors` and `adapter_config.json`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{LoraSettings, TARGETS};
use crate::error::ModelError;
use crate::model::decoder::Decoder;
use crate::model::export::{NamedTensor, WeightType, save_tensors};
use crate::model::projection::transposed;
use crate::model::weights::{TensorSource, WeightFiles};
use crate::tensor_values;

const WEIGHTS: &str = "adapter_model.safetensors";
const CONFIG: &str = "adapter_config.json";
/// PEFT wraps the model twice before it saves the state.
const PREFIX: &str = "base_model.model.";

impl Decoder {
    /// The adapter's factors in PEFT's form: `lora_A` `[rank, input]`, `lora_B` `[output, rank]`. Empty without an adapter.
    pub fn adapter_tensors(&self) -> Vec<NamedTensor> {
        let mut tensors = Vec::new();
        self.for_each_adapter(|name, _, adapter| {
            for (part, factor) in [("lora_A", &adapter.a), ("lora_B", &adapter.b)] {
                let value = factor.base();
                let [rows, columns] = value.dims();
                tensors.push(NamedTensor {
                    name: format!("{PREFIX}{name}.{part}.weight"),
                    shape: vec![columns, rows],
                    values: transposed(&tensor_values(value), rows, columns),
                });
            }
        });
        tensors
    }

    /// Writes the adapter into a folder, in float32. `base` is what PEFT will show as the base model's name or path.
    ///
    /// # Errors
    ///
    /// Fails when no adapter is attached, the folder already holds one, or a file cannot be written.
    pub fn save_adapter(&self, folder: &Path, base: &str) -> Result<(), ModelError> {
        let settings =
            self.adapter_settings().ok_or_else(|| ModelError::request("the model has no adapter to save"))?;
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ModelError::Write { path, source }
        };
        let weights = folder.join(WEIGHTS);
        if weights.exists() {
            let taken = io::Error::new(io::ErrorKind::AlreadyExists, "the folder already holds an adapter");
            return Err(failed(&weights)(taken));
        }
        fs::create_dir_all(folder).map_err(failed(folder))?;
        let config = folder.join(CONFIG);
        fs::write(&config, config_text(&settings, base)).map_err(failed(&config))?;
        save_tensors(&weights, &self.adapter_tensors(), WeightType::F32)
    }

    /// Attaches the adapter in a folder, written by us or by PEFT, and freezes everything else.
    ///
    /// # Errors
    ///
    /// Fails when a file is missing or damaged, the adapter was made for another model, or it uses a variant that is not
    /// supported.
    pub fn load_adapter(self, folder: &Path) -> Result<Self, ModelError> {
        if self.adapter_settings().is_some() {
            return Err(ModelError::request("the model has an adapter already\nhint: merge it or take it off first"));
        }
        let settings = read_config(&folder.join(CONFIG))?;
        settings.check(&self)?;
        let path = folder.join(WEIGHTS);
        let mut expected = BTreeMap::new();
        for (name, shape) in Decoder::tensor_shapes(self.config()) {
            let Some(name) = name.strip_suffix(".weight") else { continue };
            let is_target = settings.targets.iter().any(|target| name.rsplit('.').next() == Some(target.as_str()));
            if let ([output, input], true) = (shape.as_slice(), is_target) {
                expected.insert(format!("{PREFIX}{name}.lora_A.weight"), vec![settings.rank, *input]);
                expected.insert(format!("{PREFIX}{name}.lora_B.weight"), vec![*output, settings.rank]);
            }
        }
        let mut file = WeightFiles::load_file(&path, &expected)?;
        let rank = settings.rank;
        Ok(self.attach(&settings, |name, [input, output]| {
            let a = file.take(&format!("{PREFIX}{name}.lora_A.weight"), &[rank, input]).ok()?;
            let b = file.take(&format!("{PREFIX}{name}.lora_B.weight"), &[output, rank]).ok()?;
            Some((transposed(&a, rank, input), transposed(&b, output, rank)))
        }))
    }
}

fn config_text(settings: &LoraSettings, base: &str) -> String {
    let alpha = if settings.alpha.fract() == 0.0 && settings.alpha.abs() < 1e15 {
        json!(settings.alpha as i64)
    } else {
        json!(settings.alpha)
    };
    let config = json!({
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layers_pattern": null,
        "layers_to_transform": null,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": settings.rank,
        "rank_pattern": {},
        "revision": null,
        "target_modules": settings.targets,
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": false,
    });
    format!("{config:#}\n")
}

fn read_config(path: &Path) -> Result<LoraSettings, ModelError> {
    let text = fs::read_to_string(path).map_err(|source| ModelError::Read { path: path.to_owned(), source })?;
    let map: Map<String, Value> =
        serde_json::from_str(&text).map_err(|source| ModelError::Json { path: path.to_owned(), source })?;
    let config = AdapterConfig { path, map };
    config.reject_variants()?;
    let rank = config.get("r").and_then(Value::as_u64).and_then(|rank| usize::try_from(rank).ok());
    let alpha = config.get("lora_alpha").and_then(Value::as_f64);
    Ok(LoraSettings {
        rank: rank.ok_or_else(|| config.error("r", "is missing or not a whole number", "the rank of the factors"))?,
        alpha: alpha
            .ok_or_else(|| config.error("lora_alpha", "is missing or not a number", "the factors are scaled by it"))?,
        targets: config.targets()?,
    })
}

struct AdapterConfig<'a> {
    path: &'a Path,
    map: Map<String, Value>,
}

impl AdapterConfig<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    fn error(&self, field: &str, reason: &str, hint: &str) -> ModelError {
        ModelError::Config {
            path: PathBuf::from(self.path),
            field: field.to_owned(),
            reason: reason.to_owned(),
            hint: hint.to_owned(),
        }
    }

    /// Fails on everything that would make the adapter mean something else than `alpha / rank * A B` on whole layers.
    fn reject_variants(&self) -> Result<(), ModelError> {
        for (name, allowed) in [
            ("peft_type", json!("LORA")),
            ("bias", json!("none")),
            ("use_dora", json!(false)),
            ("use_rslora", json!(false)),
            ("fan_in_fan_out", json!(false)),
            ("lora_bias", json!(false)),
            ("rank_pattern", json!({})),
            ("alpha_pattern", json!({})),
            ("modules_to_save", json!([])),
            ("layers_to_transform", json!([])),
            ("target_parameters", json!([])),
            ("trainable_token_indices", json!([])),
            ("exclude_modules", json!([])),
        ] {
            if let Some(value) = self.get(name)
                && *value != allowed
            {
                let hint = format!("supported is {allowed}");
                return Err(self.error(name, &format!("is {value}, which is not supported"), &hint));
            }
        }
        Ok(())
    }

    /// `target_modules`: a list of names, or `"all-linear"`.
    fn targets(&self) -> Result<Vec<String>, ModelError> {
        let hint = "expected a list of projection names, or \"all-linear\"";
        match self.get("target_modules") {
            Some(Value::String(all)) if all == "all-linear" => Ok(TARGETS.map(str::to_owned).into()),
            Some(Value::Array(names)) => {
                let names: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
                let names =
                    names.ok_or_else(|| self.error("target_modules", "holds something that is no text", hint))?;
                // PEFT writes a set in arbitrary order.
                if let Some(name) = names.iter().find(|name| !TARGETS.contains(name)) {
                    let hint = format!("known are {}", TARGETS.join(", "));
                    return Err(self.error("target_modules", &format!("names `{name}`"), &hint));
                }
                Ok(TARGETS.iter().filter(|target| names.contains(target)).map(|name| (*name).to_owned()).collect())
            }
            Some(other) => Err(self.error("target_modules", &format!("is {other}"), hint)),
            None => Err(self.error("target_modules", "is missing", hint)),
        }
    }
}

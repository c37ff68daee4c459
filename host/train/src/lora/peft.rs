//! Adapters as files that PEFT and transformers load: `adapter_model.safetensors` and `adapter_config.json`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{FUSED_TARGETS, LoraSettings, TARGETS};
use crate::error::ModelError;
use crate::model::decoder::Decoder;
use crate::model::export::{NamedTensor, WeightType, save_tensors};
use crate::model::projection::transposed;
use crate::model::weights::{TensorSource, WeightFiles};
use crate::tensor_values;

const WEIGHTS: &str = "adapter_model.safetensors";
pub(super) const CONFIG: &str = "adapter_config.json";
/// Settings that are read elsewhere, or that do not change what a trained adapter does.
const HARMLESS: [&str; 20] = [
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "corda_config",
    "eva_config",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "loftq_config",
    "lora_alpha",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "revision",
    "target_modules",
    "task_type",
];
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
        let settings = read_config(&folder.join(CONFIG))?.resolved(&self)?;
        let mut file = read_factors(folder, &settings, &Decoder::tensor_shapes(self.config()))?;
        let rank = settings.rank;
        Ok(self.attach(&settings, |name, [input, output]| {
            let a = file.take(&factor_name(name, "A"), &[rank, input]).ok()?;
            let b = file.take(&factor_name(name, "B"), &[output, rank]).ok()?;
            Some((transposed(&a, rank, input), transposed(&b, output, rank)))
        }))
    }
}

/// The name of factor `A` or `B` of a projection: `base_model.model.model.layers.0.mlp.up_proj.lora_A.weight`.
pub(super) fn factor_name(projection: &str, factor: &str) -> String {
    format!("{PREFIX}{projection}.lora_{factor}.weight")
}

/// The factors in an adapter's folder, which must be exactly those that these settings give for a model with these tensors.
pub(super) fn read_factors(
    folder: &Path,
    settings: &LoraSettings,
    shapes: &BTreeMap<String, Vec<usize>>,
) -> Result<WeightFiles, ModelError> {
    let mut expected = BTreeMap::new();
    for (name, shape) in shapes {
        let Some(name) = name.strip_suffix(".weight") else { continue };
        let is_target = settings.targets.iter().any(|target| name.rsplit('.').next() == Some(target.as_str()));
        if let ([output, input], true) = (shape.as_slice(), is_target) {
            expected.insert(factor_name(name, "A"), vec![settings.rank, *input]);
            expected.insert(factor_name(name, "B"), vec![*output, settings.rank]);
        }
    }
    let path = folder.join(WEIGHTS);
    WeightFiles::load_file(&path, &expected).map_err(|error| {
        let is_other = matches!(
            error,
            ModelError::MissingTensors { .. } | ModelError::UnknownTensors { .. } | ModelError::WrongShape { .. }
        );
        if !is_other {
            return error;
        }
        let text = error.to_string();
        ModelError::Adapter {
            path: folder.to_owned(),
            reason: format!("it was made for another model: {}", text.lines().next().unwrap_or_default()),
            hint: match read_base(&folder.join(CONFIG)) {
                Some(base) => format!("it names `{}` as its model", base.escape_debug()),
                None => "use it with the model that it was trained on".to_owned(),
            },
        }
    })
}

/// The model that an adapter's configuration names, if it names one: a path or a name on a hub.
pub(super) fn read_base(config: &Path) -> Option<String> {
    let map: Map<String, Value> = serde_json::from_str(&fs::read_to_string(config).ok()?).ok()?;
    map.get("base_model_name_or_path").and_then(Value::as_str).map(str::to_owned)
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

pub(super) fn read_config(path: &Path) -> Result<LoraSettings, ModelError> {
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

    /// Fails on everything that would make the adapter mean something else than `alpha / rank * A B` on whole layers, and on unknown
    /// settings that are switched on.
    fn reject_variants(&self) -> Result<(), ModelError> {
        for (name, allowed) in [("peft_type", json!("LORA")), ("bias", json!("none"))] {
            self.require(name, &[allowed])?;
        }
        // The other ways to begin change the base's weights as well, so that the factors alone say too little.
        let beginnings = [json!(true), json!(false), json!("gaussian"), json!("orthogonal"), json!("eva")];
        self.require("init_lora_weights", &beginnings)?;
        let off = [json!(false), json!({}), json!([])];
        for name in self.map.keys().filter(|name| !HARMLESS.contains(&name.as_str())) {
            self.require(name, &off)?;
        }
        Ok(())
    }

    /// Fails unless the field is missing, null or one of these.
    fn require(&self, name: &str, allowed: &[Value]) -> Result<(), ModelError> {
        match self.get(name) {
            Some(value) if !allowed.contains(value) => {
                let hint =
                    format!("supported is {}", allowed.iter().map(Value::to_string).collect::<Vec<_>>().join(", "));
                Err(self.error(name, &format!("is {value}, which is not supported"), &hint))
            }
            _ => Ok(()),
        }
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
                let known = || TARGETS.iter().chain(FUSED_TARGETS.iter().filter(|target| !TARGETS.contains(target)));
                if let Some(name) = names.iter().find(|name| !known().any(|target| target == *name)) {
                    let hint = format!("known are {}", known().copied().collect::<Vec<_>>().join(", "));
                    return Err(self.error("target_modules", &format!("names `{name}`"), &hint));
                }
                // PEFT writes a set in arbitrary order.
                Ok(known().filter(|target| names.contains(target)).map(|name| (*name).to_owned()).collect())
            }
            Some(other) => Err(self.error("target_modules", &format!("is {other}"), hint)),
            None => Err(self.error("target_modules", "is missing", hint)),
        }
    }
}

//! Reads a Hugging Face `config.json` into the sizes and switches of the decoder.
//!
//! Every field is either used, known to be without effect on the numbers, or an error that names it.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::ModelError;

mod fields;

use fields::{Fields, IGNORED};

/// The architectures that one decoder covers by configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `model_type` `llama`: Llama 1 to 3.1 without rope scaling, `SmolLM`, `SmolLM2`, `TinyLlama`.
    Llama,
}

impl Family {
    const KNOWN: [(&'static str, Self); 1] = [("llama", Self::Llama)];
}

/// The gate's nonlinearity in the feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`; `silu` or `swish` in `config.json`.
    Silu,
}

/// Which projections carry a bias vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Biases {
    /// Query, key and value projections.
    pub qkv: bool,
    /// The attention's output projection.
    pub attention_output: bool,
    /// The three projections of the feed-forward block.
    pub mlp: bool,
}

/// Everything that shapes the decoder and its numbers.
///
/// All sizes are at least 1, and the number of parameters fits in a `usize`: a value of this type cannot make the decoder
/// overflow.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The architecture.
    pub family: Family,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward block.
    pub intermediate_size: usize,
    /// Number of layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head; even. Not necessarily `hidden_size / heads`.
    pub head_dim: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Longest sequence that the model was made for, in tokens.
    pub max_positions: usize,
    /// Added to the mean square in every norm.
    pub norm_epsilon: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Which projections have a bias.
    pub biases: Biases,
    /// The gate's nonlinearity.
    pub activation: Activation,
    /// The head is the embedding, transposed.
    pub tied_head: bool,
    /// Standard deviation of fresh random weights.
    pub initializer_range: f64,
    /// Token that begins a text, if `config.json` names one.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text, as far as `config.json` names them.
    pub eos_token_ids: Vec<u32>,
    /// Token that pads, if `config.json` names one.
    pub pad_token_id: Option<u32>,
}

impl ModelConfig {
    /// Reads `config.json` in `folder`.
    ///
    /// # Errors
    ///
    /// Fails when the file is missing or not a JSON object, names an unknown architecture, or has a field that is bad or asks
    /// for something unsupported.
    pub fn load(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join("config.json");
        let text = std::fs::read_to_string(&path).map_err(|source| ModelError::Read { path: path.clone(), source })?;
        Self::parse(&text, &path)
    }

    /// Reads the text of a `config.json`; `path` is for messages only.
    ///
    /// # Errors
    ///
    /// As [`ModelConfig::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ModelError> {
        let map: Map<String, Value> =
            serde_json::from_str(text).map_err(|source| ModelError::Json { path: path.to_owned(), source })?;
        let fields = Fields::new(path, &map);
        let family = family(&fields)?;
        reject_unsupported(&fields)?;
        let config = llama(&fields, family)?;
        config.check(path)?;
        Ok(config)
    }

    /// Number of parameters; a tied head counts once.
    pub fn parameters(&self) -> usize {
        self.checked_parameters().unwrap_or(usize::MAX)
    }

    /// Query heads that share one key and value head.
    pub fn heads_per_kv(&self) -> usize {
        self.heads / self.kv_heads
    }

    fn checked_parameters(&self) -> Option<usize> {
        let query = self.heads.checked_mul(self.head_dim)?;
        let key = self.kv_heads.checked_mul(self.head_dim)?;
        let attention = self.hidden_size.checked_mul(query.checked_add(key)?.checked_mul(2)?)?;
        let mlp = self.hidden_size.checked_mul(self.intermediate_size)?.checked_mul(3)?;
        let norms = self.hidden_size.checked_mul(2)?;
        let qkv_bias = if self.biases.qkv { query.checked_add(key.checked_mul(2)?)? } else { 0 };
        let output_bias = if self.biases.attention_output { self.hidden_size } else { 0 };
        let mlp_bias =
            if self.biases.mlp { self.intermediate_size.checked_mul(2)?.checked_add(self.hidden_size)? } else { 0 };
        let layer =
            [mlp, norms, qkv_bias, output_bias, mlp_bias].into_iter().try_fold(attention, usize::checked_add)?;
        let embedding = self.vocab_size.checked_mul(self.hidden_size)?;
        let heads = if self.tied_head { 1 } else { 2 };
        layer.checked_mul(self.layers)?.checked_add(embedding.checked_mul(heads)?)?.checked_add(self.hidden_size)
    }

    fn check(&self, path: &Path) -> Result<(), ModelError> {
        let fail = |field: &str, reason: String, hint: &str| {
            Err(ModelError::Config {
                path: PathBuf::from(path),
                field: field.to_owned(),
                reason,
                hint: hint.to_owned(),
            })
        };
        if !self.heads.is_multiple_of(self.kv_heads) {
            return fail(
                "num_key_value_heads",
                format!("is {}, which does not divide `num_attention_heads` {}", self.kv_heads, self.heads),
                "every key and value head is shared by the same number of query heads",
            );
        }
        if !self.head_dim.is_multiple_of(2) {
            return fail(
                "head_dim",
                format!("is {}, an odd number", self.head_dim),
                "rotary embedding turns pairs of dimensions",
            );
        }
        // 2^40 parameters are 4 TiB of f32: more than that is a damaged file, not a model.
        match self.checked_parameters() {
            Some(count) if count <= 1 << 40 => Ok(()),
            _ => fail(
                "hidden_size",
                "and the other sizes give more than 2^40 parameters".to_owned(),
                "the file is damaged or was not made for a model of this kind",
            ),
        }
    }
}

fn family(fields: &Fields<'_>) -> Result<Family, ModelError> {
    let model_type = match fields.get("model_type") {
        Some(Value::String(text)) => text.as_str(),
        Some(_) => return Err(fields.error("model_type", "is not a text", "for example \"llama\"")),
        None => {
            return Err(fields.error("model_type", "is missing", "it names the architecture, for example \"llama\""));
        }
    };
    Family::KNOWN.iter().find(|(name, _)| *name == model_type).map(|(_, family)| *family).ok_or_else(|| {
        ModelError::UnknownArchitecture {
            path: fields.path().to_owned(),
            model_type: model_type.to_owned(),
            supported: Family::KNOWN.map(|(name, _)| format!("`{name}`")).join(", "),
        }
    })
}

fn llama(fields: &Fields<'_>, family: Family) -> Result<ModelConfig, ModelError> {
    let hidden_size = fields.size("hidden_size")?;
    let heads = fields.size("num_attention_heads")?;
    let head_dim = match fields.optional_size("head_dim")? {
        Some(size) => size,
        None if hidden_size.is_multiple_of(heads) => hidden_size / heads,
        None => {
            return Err(fields.error(
                "num_attention_heads",
                &format!("is {heads}, which does not divide `hidden_size` {hidden_size}"),
                "give `head_dim` if the heads are not a partition of the hidden size",
            ));
        }
    };
    let attention_bias = fields.switch("attention_bias", false)?;
    Ok(ModelConfig {
        family,
        hidden_size,
        intermediate_size: fields.size("intermediate_size")?,
        layers: fields.size("num_hidden_layers")?,
        heads,
        kv_heads: fields.optional_size("num_key_value_heads")?.unwrap_or(heads),
        head_dim,
        vocab_size: fields.size("vocab_size")?,
        max_positions: fields.optional_size("max_position_embeddings")?.unwrap_or(2048),
        norm_epsilon: fields.positive("rms_norm_eps", Some(1e-6))?,
        rope_theta: rope_theta(fields)?,
        biases: Biases {
            qkv: attention_bias,
            attention_output: attention_bias,
            mlp: fields.switch("mlp_bias", false)?,
        },
        activation: activation(fields)?,
        tied_head: fields.switch("tie_word_embeddings", false)?,
        initializer_range: fields.positive("initializer_range", Some(0.02))?,
        bos_token_id: fields.token_ids("bos_token_id")?.first().copied(),
        eos_token_ids: fields.token_ids("eos_token_id")?,
        pad_token_id: fields.token_ids("pad_token_id")?.first().copied(),
    })
}

fn activation(fields: &Fields<'_>) -> Result<Activation, ModelError> {
    match fields.get("hidden_act") {
        None => Ok(Activation::Silu),
        Some(Value::String(name)) if name == "silu" || name == "swish" => Ok(Activation::Silu),
        Some(other) => Err(fields.error("hidden_act", &format!("is {other}"), "supported is \"silu\"")),
    }
}

/// The base of the rotary frequencies: `rope_parameters.rope_theta` (transformers 5) or `rope_theta` (before).
fn rope_theta(fields: &Fields<'_>) -> Result<f64, ModelError> {
    let Some(parameters) = fields.object("rope_parameters")? else {
        return fields.positive("rope_theta", Some(10000.0));
    };
    for (name, value) in parameters.iter() {
        match name.as_str() {
            "rope_theta" | "rope_type" | "type" => {}
            "partial_rotary_factor" if value.as_f64() == Some(1.0) => {}
            _ if value.is_null() => {}
            _ => {
                return Err(parameters.error(
                    name,
                    &format!("is {value}, which is not supported"),
                    "only plain rotary embedding (`rope_type` \"default\") is implemented",
                ));
            }
        }
    }
    check_rope_type(&parameters)?;
    match parameters.get("rope_theta") {
        Some(_) => parameters.positive("rope_theta", None),
        None => fields.positive("rope_theta", Some(10000.0)),
    }
}

fn check_rope_type(rope: &Fields<'_>) -> Result<(), ModelError> {
    for name in ["rope_type", "type"] {
        match rope.get(name) {
            None => {}
            Some(Value::String(kind)) if kind == "default" => {}
            Some(other) => {
                return Err(rope.error(
                    name,
                    &format!("is {other}, which is not supported"),
                    "only plain rotary embedding (\"default\") is implemented; scaled variants change every position",
                ));
            }
        }
    }
    Ok(())
}

/// Fails on fields that would change the numbers in a way that the decoder does not follow, and on unknown fields.
fn reject_unsupported(fields: &Fields<'_>) -> Result<(), ModelError> {
    if let Some(scaling) = fields.object("rope_scaling")? {
        check_rope_type(&scaling)?;
        if let Some((name, value)) = scaling
            .iter()
            .find(|(name, value)| !matches!(name.as_str(), "type" | "rope_type" | "rope_theta") && !value.is_null())
        {
            return Err(scaling.error(
                name,
                &format!("is {value}, which is not supported"),
                "rope scaling is not implemented; use a model without it",
            ));
        }
    }
    for (name, allowed) in [
        ("attention_dropout", 0.0),
        ("hidden_dropout", 0.0),
        ("resid_pdrop", 0.0),
        ("embd_pdrop", 0.0),
        ("partial_rotary_factor", 1.0),
        ("attn_logit_softcapping", f64::NAN),
        ("final_logit_softcapping", f64::NAN),
        ("sliding_window", f64::NAN),
        ("embedding_multiplier", 1.0),
        ("residual_multiplier", 1.0),
        ("attention_multiplier", f64::NAN),
        ("logits_scaling", 1.0),
    ] {
        if let Some(value) = fields.get(name)
            && value.as_f64() != Some(allowed)
        {
            let hint = if allowed.is_nan() {
                "remove the field or use null".to_owned()
            } else {
                format!("supported is {allowed}")
            };
            return Err(fields.error(name, &format!("is {value}, which is not supported"), &hint));
        }
    }
    for name in
        ["quantization_config", "rope_interleaved", "use_sliding_window", "is_encoder_decoder", "add_cross_attention"]
    {
        match fields.get(name) {
            None | Some(Value::Bool(false)) => {}
            Some(_) => {
                return Err(fields.error(
                    name,
                    "asks for something that is not supported",
                    "use a model in plain F32, F16 or BF16 weights with half-split rotary embedding",
                ));
            }
        }
    }
    match fields.names().find(|name| !IGNORED.contains(name) && !name.starts_with('_')) {
        Some(name) => Err(fields.error(
            name,
            "is unknown, so it may change the numbers",
            "check what it does; remove the field if it has no effect on the forward pass",
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;

//! Reads a Hugging Face `config.json` into the sizes and switches of the decoder.
//!
//! Every field is either used, known to be without effect on the numbers, or an error that names it.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::ModelError;

mod fields;
mod known;
mod layers;
mod rope;

use fields::Fields;

pub use layers::LayerKind;
pub use rope::{RopeConfig, RopeScaling};

/// More layers than any model has: a larger number is a damaged file.
const MAX_LAYERS: usize = 1 << 14;

/// The architectures that one decoder covers by configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `model_type` `llama`: Llama 1 to 3.3, `SmolLM`, `SmolLM2`, `TinyLlama`.
    Llama,
    /// `mistral`: Mistral 7B, Nemo, Small.
    Mistral,
    /// `qwen2`: Qwen 1.5, 2 and 2.5.
    Qwen2,
    /// `qwen3`: the dense models of Qwen 3.
    Qwen3,
    /// `gemma2`: Gemma 2.
    Gemma2,
    /// `gemma3_text`: the text part of Gemma 3.
    Gemma3,
    /// `phi3`: Phi 3, 3.5 and 4.
    Phi3,
}

impl Family {
    const KNOWN: [Self; 7] =
        [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3, Self::Gemma2, Self::Gemma3, Self::Phi3];

    /// The name in `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3_text",
            Self::Phi3 => "phi3",
        }
    }

    fn is_gemma(self) -> bool {
        matches!(self, Self::Gemma2 | Self::Gemma3)
    }
}

/// The gate's nonlinearity in the feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`; `silu` or `swish` in `config.json`.
    Silu,
    /// `x * Phi(x)` with the normal distribution's `Phi`; `gelu`.
    Gelu,
    /// Its approximation by a hyperbolic tangent; `gelu_pytorch_tanh` or `gelu_new`.
    GeluTanh,
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

/// Where the norms are and what their weights mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Norms {
    /// The factor of a dimension is `1 + weight` instead of `weight`.
    pub is_offset: bool,
    /// Attention and feed-forward block are normed after as well as before.
    pub is_around: bool,
    /// Each head of queries and keys is normed before it is turned.
    pub is_by_head: bool,
}

/// Limits of numbers: `cap * tanh(x / cap)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SoftCaps {
    /// Of attention scores, after scaling and before masking.
    pub attention: Option<f64>,
    /// Of logits.
    pub logits: Option<f64>,
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
    /// What each layer attends to; as many as `layers`.
    pub layer_kinds: Vec<LayerKind>,
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
    /// Where the norms are.
    pub norms: Norms,
    /// The rotary embeddings that the layers choose from.
    pub ropes: Vec<RopeConfig>,
    /// Products of queries and keys are divided by its square root.
    pub score_divisor: f64,
    /// Limits of scores and logits.
    pub soft_caps: SoftCaps,
    /// Embeddings are multiplied by it when they are looked up, not when they serve as the head.
    pub embedding_scale: Option<f64>,
    /// Which projections have a bias.
    pub biases: Biases,
    /// Queries, keys and values come from one matrix (`qkv_proj`), gate and up from another (`gate_up_proj`).
    pub is_fused: bool,
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
        known::reject_unsupported(&fields, family)?;
        let config = build(&fields, family)?;
        config.check(path)?;
        // Only now: the list has an entry for each layer.
        Ok(Self { layer_kinds: layers::layer_kinds(&fields, family, config.layers)?, ..config })
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
        let around = self.hidden_size.checked_mul(if self.norms.is_around { 4 } else { 2 })?;
        let by_head = if self.norms.is_by_head { self.head_dim.checked_mul(2)? } else { 0 };
        let norms = around.checked_add(by_head)?;
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
        if MAX_LAYERS < self.layers {
            return fail(
                "num_hidden_layers",
                format!("is {}, more than {MAX_LAYERS}", self.layers),
                "the file is damaged or was not made for a model of this kind",
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
    Family::KNOWN.into_iter().find(|family| family.model_type() == model_type).ok_or_else(|| {
        ModelError::UnknownArchitecture {
            path: fields.path().to_owned(),
            model_type: model_type.to_owned(),
            supported: Family::KNOWN.map(|family| format!("`{}`", family.model_type())).join(", "),
        }
    })
}

/// Everything but the kinds of the layers. What a file leaves out is as in the configuration classes of transformers.
fn build(fields: &Fields<'_>, family: Family) -> Result<ModelConfig, ModelError> {
    let hidden_size = fields.size("hidden_size")?;
    let heads = fields.size("num_attention_heads")?;
    let head_dim = head_dim(fields, family, hidden_size, heads)?;
    let max_positions = fields.optional_size("max_position_embeddings")?.unwrap_or(match family {
        Family::Llama => 2048,
        Family::Phi3 => 4096,
        Family::Gemma2 => 8192,
        Family::Qwen2 | Family::Qwen3 => 32_768,
        Family::Mistral | Family::Gemma3 => 131_072,
    });
    let default_kv_heads = match family {
        Family::Llama | Family::Phi3 => None,
        Family::Mistral => Some(8),
        Family::Qwen2 | Family::Qwen3 => Some(32),
        Family::Gemma2 | Family::Gemma3 => Some(4),
    };
    let epsilon = if family == Family::Phi3 { 1e-5 } else { 1e-6 };
    Ok(ModelConfig {
        family,
        hidden_size,
        intermediate_size: fields.size("intermediate_size")?,
        layers: fields.size("num_hidden_layers")?,
        layer_kinds: Vec::new(),
        heads,
        kv_heads: fields.nullable_size("num_key_value_heads", default_kv_heads)?.unwrap_or(heads),
        head_dim,
        vocab_size: fields.size("vocab_size")?,
        max_positions,
        norm_epsilon: fields.positive("rms_norm_eps", Some(epsilon))?,
        norms: Norms {
            is_offset: family.is_gemma(),
            is_around: family.is_gemma(),
            is_by_head: matches!(family, Family::Qwen3 | Family::Gemma3),
        },
        ropes: rope::ropes(fields, family, rope::Sizes { head_dim, max_positions })?,
        score_divisor: score_divisor(fields, family, head_dim)?,
        soft_caps: soft_caps(fields, family)?,
        embedding_scale: family.is_gemma().then(|| (hidden_size as f64).sqrt()),
        biases: biases(fields, family)?,
        is_fused: family == Family::Phi3,
        activation: activation(fields, family)?,
        tied_head: fields.switch("tie_word_embeddings", family.is_gemma())?,
        initializer_range: fields.positive("initializer_range", Some(0.02))?,
        bos_token_id: fields.token_ids("bos_token_id")?.first().copied(),
        eos_token_ids: fields.token_ids("eos_token_id")?,
        pad_token_id: fields.token_ids("pad_token_id")?.first().copied(),
    })
}

fn head_dim(fields: &Fields<'_>, family: Family, hidden_size: usize, heads: usize) -> Result<usize, ModelError> {
    let default = match family {
        Family::Qwen3 => Some(128),
        Family::Gemma2 | Family::Gemma3 => Some(256),
        Family::Llama | Family::Mistral | Family::Qwen2 | Family::Phi3 => None,
    };
    match fields.nullable_size("head_dim", default)? {
        Some(size) => Ok(size),
        None if hidden_size.is_multiple_of(heads) => Ok(hidden_size / heads),
        None => Err(fields.error(
            "num_attention_heads",
            &format!("is {heads}, which does not divide `hidden_size` {hidden_size}"),
            "give `head_dim` if the heads are not a partition of the hidden size",
        )),
    }
}

fn score_divisor(fields: &Fields<'_>, family: Family, head_dim: usize) -> Result<f64, ModelError> {
    if family.is_gemma() { fields.positive("query_pre_attn_scalar", Some(256.0)) } else { Ok(head_dim as f64) }
}

fn soft_caps(fields: &Fields<'_>, family: Family) -> Result<SoftCaps, ModelError> {
    let cap = |name: &str, default: Option<f64>| fields.nullable_positive(name, default);
    match family {
        Family::Gemma2 => Ok(SoftCaps {
            attention: cap("attn_logit_softcapping", Some(50.0))?,
            logits: cap("final_logit_softcapping", Some(30.0))?,
        }),
        Family::Gemma3 => Ok(SoftCaps { attention: None, logits: cap("final_logit_softcapping", None)? }),
        _ => Ok(SoftCaps::default()),
    }
}

fn biases(fields: &Fields<'_>, family: Family) -> Result<Biases, ModelError> {
    match family {
        Family::Mistral | Family::Phi3 => Ok(Biases::default()),
        Family::Qwen2 => Ok(Biases { qkv: true, ..Biases::default() }),
        Family::Llama | Family::Qwen3 | Family::Gemma2 | Family::Gemma3 => {
            let attention = fields.switch("attention_bias", false)?;
            let mlp = family == Family::Llama && fields.switch("mlp_bias", false)?;
            Ok(Biases { qkv: attention, attention_output: attention, mlp })
        }
    }
}

fn activation(fields: &Fields<'_>, family: Family) -> Result<Activation, ModelError> {
    let (name, default) =
        if family.is_gemma() { ("hidden_activation", Activation::GeluTanh) } else { ("hidden_act", Activation::Silu) };
    match fields.get(name).map(Value::as_str) {
        None => Ok(default),
        Some(Some("silu" | "swish")) => Ok(Activation::Silu),
        Some(Some("gelu")) => Ok(Activation::Gelu),
        Some(Some("gelu_pytorch_tanh" | "gelu_new")) => Ok(Activation::GeluTanh),
        Some(other) => Err(fields.error(
            name,
            &format!("is \"{}\"", other.unwrap_or("no text")),
            "supported are \"silu\", \"gelu\", \"gelu_pytorch_tanh\" and \"gelu_new\"",
        )),
    }
}

#[cfg(test)]
mod tests;

//! The `llama` architecture: its metadata as `config.json`, its tensors under their Hugging Face names.

use std::collections::HashSet;

use serde_json::{Value as Json, json};

use super::error::GgufError;
use super::metadata::{Metadata, Value};
use super::reader::{Gguf, TensorInfo};

/// Keys under `llama.` that are understood, or that say nothing about the numbers.
const KNOWN_KEYS: [&str; 15] = [
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "vocab_size",
];

/// The shape of a Llama model, checked.
#[derive(Debug, Clone)]
pub(super) struct Llama {
    pub(super) layers: u32,
    pub(super) context: u32,
    pub(super) hidden: u32,
    pub(super) feed_forward: u32,
    pub(super) heads: u32,
    pub(super) kv_heads: u32,
    pub(super) head_dim: u32,
    pub(super) vocab: u32,
    pub(super) norm_epsilon: f64,
    pub(super) rope_theta: f64,
    /// Positions are divided by this number (linear scaling).
    pub(super) rope_factor: Option<f64>,
    pub(super) attention_bias: bool,
    pub(super) mlp_bias: bool,
    pub(super) tied: bool,
}

/// Where one tensor of the Hugging Face file comes from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Name in `model.safetensors`.
    pub(super) name: String,
    /// Shape in `model.safetensors`, the slowest dimension first.
    pub(super) shape: Vec<u64>,
    /// The tensor in the GGUF file.
    pub(super) tensor: TensorInfo,
    /// Rows per attention head whose order has to be mended, for Q and K.
    pub(super) rotary_head: Option<u64>,
}

impl Llama {
    /// Reads the shape from the metadata; `general.architecture` must be `llama`.
    pub(super) fn from_gguf(gguf: &Gguf) -> Result<Self, GgufError> {
        const ARCHITECTURE: &str = "general.architecture";
        let meta = gguf.metadata();
        match meta.text(ARCHITECTURE)? {
            Some("llama") => {}
            Some(other) => return Err(meta.unknown(ARCHITECTURE, other, "`llama`")),
            None => return Err(meta.fault(ARCHITECTURE, "is missing")),
        }
        reject_unknown_keys(meta)?;
        let heads = positive(meta, "llama.attention.head_count")?;
        let kv_heads = meta.integer("llama.attention.head_count_kv")?.unwrap_or(heads);
        if kv_heads == 0 || heads % kv_heads != 0 {
            return Err(meta.fault(
                "llama.attention.head_count_kv",
                format!("is {kv_heads}, which does not divide {heads} heads"),
            ));
        }
        let hidden = positive(meta, "llama.embedding_length")?;
        let has = |name: &str| gguf.tensor(name).is_some();
        if has("rope_freqs.weight") {
            let fault = "scales rotary frequencies one by one (Llama 3.1 and later), which cannot be imported\nhint: take the model's safetensors files";
            return Err(GgufError::tensor(gguf.path(), "rope_freqs.weight", fault));
        }
        Ok(Self {
            layers: positive(meta, "llama.block_count")?,
            context: positive(meta, "llama.context_length")?,
            hidden,
            feed_forward: positive(meta, "llama.feed_forward_length")?,
            heads,
            kv_heads,
            head_dim: head_dim(meta, hidden, heads)?,
            vocab: vocab(meta)?,
            norm_epsilon: norm_epsilon(meta)?,
            rope_theta: meta.number("llama.rope.freq_base")?.unwrap_or(10_000.0),
            rope_factor: rope_factor(meta)?,
            attention_bias: has("blk.0.attn_q.bias"),
            mlp_bias: has("blk.0.ffn_gate.bias"),
            tied: !has("output.weight"),
        })
    }

    /// `config.json`. Token ids are added by the tokenizer's part of the import.
    pub(super) fn config(&self, name: Option<&str>) -> serde_json::Map<String, Json> {
        let mut rope = json!({ "rope_theta": self.rope_theta, "rope_type": "default" });
        if let Some(factor) = self.rope_factor {
            rope = json!({ "rope_theta": self.rope_theta, "rope_type": "linear", "factor": factor });
        }
        let config = json!({
            "_model_name_or_path": name.unwrap_or("imported from GGUF"),
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": self.attention_bias,
            "attention_dropout": 0.0,
            "dtype": "bfloat16",
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "initializer_range": 0.02,
            "intermediate_size": self.feed_forward,
            "max_position_embeddings": self.context,
            "mlp_bias": self.mlp_bias,
            "model_type": "llama",
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "pretraining_tp": 1,
            "rms_norm_eps": self.norm_epsilon,
            "rope_parameters": rope,
            // Older transformers read the base from here and would silently take 10000 without it.
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": self.tied,
            "use_cache": true,
            "vocab_size": self.vocab,
        });
        match config {
            Json::Object(map) => map,
            _ => serde_json::Map::new(),
        }
    }

    /// Every tensor of the Hugging Face file, sorted by name, each with its source; nothing may be missing or left over.
    pub(super) fn sources(&self, gguf: &Gguf) -> Result<Vec<Source>, GgufError> {
        let table = [self.vocab, self.hidden];
        let mut found = vec![
            self.find(gguf, "token_embd.weight", "model.embed_tokens.weight", &table)?,
            self.find(gguf, "output_norm.weight", "model.norm.weight", &[self.hidden])?,
        ];
        if !self.tied {
            found.push(self.find(gguf, "output.weight", "lm_head.weight", &table)?);
        }
        for layer in 0..self.layers {
            for (theirs, ours, shape) in self.layer() {
                let theirs = format!("blk.{layer}.{theirs}");
                let ours = format!("model.layers.{layer}.{ours}");
                found.push(self.find(gguf, &theirs, &ours, &shape)?);
            }
        }
        let known: HashSet<_> = found.iter().map(|source| source.tensor.name.as_str()).collect();
        let mut others = gguf.tensors().iter().filter(|tensor| !known.contains(tensor.name.as_str()));
        if let Some(extra) = others.next() {
            let fault = "is not part of a Llama model and would be lost\nhint: is `general.architecture` right?";
            return Err(GgufError::tensor(gguf.path(), &extra.name, fault));
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// The tensors of one layer: name in the GGUF file, name in the Hugging Face file, shape.
    fn layer(&self) -> Vec<(&'static str, &'static str, Vec<u32>)> {
        let (hidden, wide) = (self.hidden, self.feed_forward);
        // Checked in `head_dim`: neither product overflows.
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut tensors = vec![
            ("attn_norm.weight", "input_layernorm.weight", vec![hidden]),
            ("attn_q.weight", "self_attn.q_proj.weight", vec![q, hidden]),
            ("attn_k.weight", "self_attn.k_proj.weight", vec![kv, hidden]),
            ("attn_v.weight", "self_attn.v_proj.weight", vec![kv, hidden]),
            ("attn_output.weight", "self_attn.o_proj.weight", vec![hidden, q]),
            ("ffn_norm.weight", "post_attention_layernorm.weight", vec![hidden]),
            ("ffn_gate.weight", "mlp.gate_proj.weight", vec![wide, hidden]),
            ("ffn_up.weight", "mlp.up_proj.weight", vec![wide, hidden]),
            ("ffn_down.weight", "mlp.down_proj.weight", vec![hidden, wide]),
        ];
        if self.attention_bias {
            tensors.extend([
                ("attn_q.bias", "self_attn.q_proj.bias", vec![q]),
                ("attn_k.bias", "self_attn.k_proj.bias", vec![kv]),
                ("attn_v.bias", "self_attn.v_proj.bias", vec![kv]),
                ("attn_output.bias", "self_attn.o_proj.bias", vec![hidden]),
            ]);
        }
        if self.mlp_bias {
            tensors.extend([
                ("ffn_gate.bias", "mlp.gate_proj.bias", vec![wide]),
                ("ffn_up.bias", "mlp.up_proj.bias", vec![wide]),
                ("ffn_down.bias", "mlp.down_proj.bias", vec![hidden]),
            ]);
        }
        tensors
    }

    /// Finds `theirs` in the file and compares its shape; it becomes `ours`.
    fn find(&self, gguf: &Gguf, theirs: &str, ours: &str, shape: &[u32]) -> Result<Source, GgufError> {
        let fault = |fault: String| GgufError::tensor(gguf.path(), theirs, fault);
        let tensor = gguf.tensor(theirs).ok_or_else(|| fault("is missing".to_owned()))?;
        let shape: Vec<u64> = shape.iter().copied().map(u64::from).collect();
        if !tensor.dims.iter().rev().eq(shape.iter()) {
            let dims: Vec<_> = tensor.dims.iter().rev().collect();
            return Err(fault(format!("has the shape {dims:?}; the metadata asks for {shape:?}")));
        }
        let rotary = ["q_proj", "k_proj"].iter().any(|part| ours.contains(part));
        Ok(Source {
            name: ours.to_owned(),
            shape,
            tensor: tensor.clone(),
            rotary_head: rotary.then_some(self.head_dim.into()),
        })
    }
}

/// The row of the GGUF tensor that becomes row `row` of the Hugging Face tensor.
///
/// llama.cpp stores the two rows that one rotary frequency turns next to each other; Hugging Face keeps the first of each pair in
/// the first half of the head and the second in the second half. `head` is the number of rows per head, even.
pub(super) fn rotary_row(row: u64, head: u64) -> u64 {
    let (within, start) = (row % head, row - row % head);
    let half = head / 2;
    start + 2 * (within % half) + within / half
}

fn reject_unknown_keys(meta: &Metadata) -> Result<(), GgufError> {
    for (key, _) in meta.iter() {
        if let Some(rest) = key.strip_prefix("llama.")
            && !KNOWN_KEYS.contains(&rest)
        {
            return Err(meta.fault(key, "is unknown and may change the numbers, so the file is not imported"));
        }
    }
    Ok(())
}

fn positive(meta: &Metadata, key: &str) -> Result<u32, GgufError> {
    match meta.required_integer(key)? {
        0 => Err(meta.fault(key, "is 0")),
        value => Ok(value),
    }
}

/// Rows per head: stated, or the hidden size divided by the heads. Keys, values and rotary dimensions must agree.
fn head_dim(meta: &Metadata, hidden: u32, heads: u32) -> Result<u32, GgufError> {
    const KEY: &str = "llama.attention.key_length";
    let dim = match meta.integer(KEY)? {
        Some(dim) => dim,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => {
            return Err(meta.fault("llama.embedding_length", format!("is {hidden}, not a multiple of {heads} heads")));
        }
    };
    if dim == 0 || dim % 2 != 0 || dim.checked_mul(heads).is_none() {
        return Err(meta.fault(KEY, format!("gives heads of {dim} rows; an even number is needed")));
    }
    for key in ["llama.attention.value_length", "llama.rope.dimension_count"] {
        if let Some(other) = meta.integer(key)?
            && other != dim
        {
            return Err(meta.fault(key, format!("is {other}, but the heads have {dim} rows; this is not imported")));
        }
    }
    Ok(dim)
}

/// The number of tokens; the vocabulary's own length decides, and the metadata must agree where it says one.
fn vocab(meta: &Metadata) -> Result<u32, GgufError> {
    const KEY: &str = "llama.vocab_size";
    let tokens = meta.texts("tokenizer.ggml.tokens")?.len();
    let vocab = meta.integer(KEY)?.map_or(tokens, |vocab| vocab as usize);
    match u32::try_from(vocab) {
        Ok(vocab) if vocab as usize == tokens && vocab != 0 => Ok(vocab),
        _ => Err(meta.fault(KEY, format!("is {vocab}, but the tokenizer has {tokens} tokens"))),
    }
}

fn norm_epsilon(meta: &Metadata) -> Result<f64, GgufError> {
    const KEY: &str = "llama.attention.layer_norm_rms_epsilon";
    match meta.number(KEY)? {
        Some(value) if 0.0 < value => Ok(value),
        Some(_) => Err(meta.fault(KEY, "is not above 0")),
        None => Err(meta.fault(KEY, "is missing")),
    }
}

fn rope_factor(meta: &Metadata) -> Result<Option<f64>, GgufError> {
    const KIND: &str = "llama.rope.scaling.type";
    const FACTOR: &str = "llama.rope.scaling.factor";
    match (meta.text(KIND)?, meta.get(FACTOR)) {
        (None | Some("none"), None) => Ok(None),
        (Some("linear"), Some(Value::Float(factor))) if factor.is_finite() && 0.0 < *factor => Ok(Some(*factor)),
        (Some("linear"), _) => Err(meta.fault(FACTOR, "is missing or not above 0")),
        (None | Some("none"), Some(_)) => Err(meta.fault(FACTOR, format!("has no `{KIND}` beside it"))),
        (Some(other), _) => Err(meta.unknown(KIND, other, "`none`, `linear`")),
    }
}

#[cfg(test)]
mod tests {
    use super::rotary_row;

    #[test]
    fn rotary_rows_are_the_inverse_of_llama_cpps_permutation() {
        // llama.cpp writes row `head / 2 * j + i` of a head to row `2 * i + j`.
        let (heads, head) = (3, 8);
        for h in 0..heads {
            for j in 0..2 {
                for i in 0..head / 2 {
                    let ours = h * head + head / 2 * j + i;
                    assert_eq!(rotary_row(ours, head), h * head + 2 * i + j);
                }
            }
        }
    }
}

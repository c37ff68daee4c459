//! Typed access to the fields of a configuration, with errors that name file, field and remedy.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::ModelError;

/// Fields that are read elsewhere, checked elsewhere, or have no effect on the forward pass. `null` fields are always allowed.
pub(super) const IGNORED: &[&str] = &[
    "add_cross_attention",
    "architectures",
    "attention_bias",
    "attention_dropout",
    "attention_multiplier",
    "attn_implementation",
    "attn_logit_softcapping",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "embd_pdrop",
    "embedding_multiplier",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "final_logit_softcapping",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "head_dim",
    "hidden_act",
    "hidden_dropout",
    "hidden_size",
    "id2label",
    "initializer_range",
    "intermediate_size",
    "is_decoder",
    "is_encoder_decoder",
    "is_llama_config",
    "label2id",
    "length_penalty",
    "logits_scaling",
    "max_length",
    "max_position_embeddings",
    "min_length",
    "mlp_bias",
    "model_type",
    "no_repeat_ngram_size",
    "num_attention_heads",
    "num_beam_groups",
    "num_beams",
    "num_hidden_layers",
    "num_key_value_heads",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "partial_rotary_factor",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "pruned_heads",
    "quantization_config",
    "remove_invalid_values",
    "repetition_penalty",
    "resid_pdrop",
    "residual_multiplier",
    "return_dict",
    "return_dict_in_generate",
    "rms_norm_eps",
    "rope_interleaved",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "sep_token_id",
    "sliding_window",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tie_word_embeddings",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "use_bfloat16",
    "use_cache",
    "use_sliding_window",
    "vocab_size",
];

/// One JSON object of a configuration file.
pub(super) struct Fields<'a> {
    path: &'a Path,
    prefix: String,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(path: &'a Path, map: &'a Map<String, Value>) -> Self {
        Self { path, prefix: String::new(), map }
    }

    pub(super) fn path(&self) -> &Path {
        self.path
    }

    /// The value of a field; `None` when it is missing or null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.map.iter()
    }

    /// The names of the fields that are not null.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.map.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name.as_str())
    }

    pub(super) fn error(&self, field: &str, reason: &str, hint: &str) -> ModelError {
        ModelError::Config {
            path: PathBuf::from(self.path),
            field: format!("{}{field}", self.prefix),
            reason: reason.to_owned(),
            hint: hint.to_owned(),
        }
    }

    pub(super) fn size(&self, name: &str) -> Result<usize, ModelError> {
        self.optional_size(name)?.ok_or_else(|| self.error(name, "is missing", "the model's shape depends on it"))
    }

    pub(super) fn optional_size(&self, name: &str) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_u64().and_then(|number| usize::try_from(number).ok()) {
            Some(number) if (1..=1 << 31).contains(&number) => Ok(Some(number)),
            _ => Err(self.error(name, &format!("is {value}"), "expected a whole number between 1 and 2^31")),
        }
    }

    /// A finite number above zero.
    pub(super) fn positive(&self, name: &str, default: Option<f64>) -> Result<f64, ModelError> {
        match (self.get(name), default) {
            (Some(value), _) => match value.as_f64() {
                Some(number) if number.is_finite() && 0.0 < number => Ok(number),
                _ => Err(self.error(name, &format!("is {value}"), "expected a number above 0")),
            },
            (None, Some(number)) => Ok(number),
            (None, None) => Err(self.error(name, "is missing", "expected a number above 0")),
        }
    }

    pub(super) fn switch(&self, name: &str, default: bool) -> Result<bool, ModelError> {
        match self.get(name) {
            None => Ok(default),
            Some(Value::Bool(on)) => Ok(*on),
            Some(other) => Err(self.error(name, &format!("is {other}"), "expected true or false")),
        }
    }

    /// Token ids: none, one number, or a list of numbers. Some published models write -1 for none.
    pub(super) fn token_ids(&self, name: &str) -> Result<Vec<u32>, ModelError> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        if value.as_i64() == Some(-1) {
            return Ok(Vec::new());
        }
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        values
            .iter()
            .map(|value| value.as_u64().and_then(|id| u32::try_from(id).ok()))
            .collect::<Option<_>>()
            .ok_or_else(|| self.error(name, &format!("is {value}"), "expected a token id or a list of token ids"))
    }

    /// A nested object; `None` when it is missing or null.
    pub(super) fn object(&self, name: &str) -> Result<Option<Fields<'a>>, ModelError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(map)) => {
                Ok(Some(Fields { path: self.path, prefix: format!("{}{name}.", self.prefix), map }))
            }
            Some(other) => Err(self.error(name, &format!("is {other}"), "expected an object")),
        }
    }
}

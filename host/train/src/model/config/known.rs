//! Which fields of a `config.json` are understood, by family; everything else is an error that names the field.

use serde_json::{Value, json};

use super::Family;
use super::fields::Fields;
use crate::error::ModelError;

/// Fields without effect on the forward pass.
const HARMLESS: &[&str] = &[
    "architectures",
    "attn_implementation",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "cache_implementation",
    "chunk_size_feed_forward",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "id2label",
    "is_decoder",
    "is_llama_config",
    "label2id",
    "length_penalty",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "pruned_heads",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
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
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
];

/// Fields that are read for every family.
const READ: &[&str] = &[
    "bos_token_id",
    "eos_token_id",
    "head_dim",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "layer_types",
    "max_position_embeddings",
    "model_type",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "pad_token_id",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "tie_word_embeddings",
    "vocab_size",
];

/// Fields that are read for this family, or that transformers reads for it and that say what it does anyway.
fn own(family: Family) -> &'static [&'static str] {
    match family {
        Family::Llama => &["attention_bias", "hidden_act", "mlp_bias"],
        Family::Mistral => &["hidden_act", "sliding_window"],
        // Qwen 2 has biases on queries, keys and values whatever the field says.
        Family::Qwen2 | Family::Qwen3 => {
            &["attention_bias", "hidden_act", "max_window_layers", "sliding_window", "use_sliding_window"]
        }
        // `hidden_act` is written by old versions and read by none.
        Family::Gemma2 => &[
            "attention_bias",
            "attn_logit_softcapping",
            "final_logit_softcapping",
            "hidden_act",
            "hidden_activation",
            "query_pre_attn_scalar",
            "sliding_window",
        ],
        // The attention's soft-cap is left out: transformers has the field and does not apply it.
        Family::Gemma3 => &[
            "attention_bias",
            "final_logit_softcapping",
            "hidden_act",
            "hidden_activation",
            "query_pre_attn_scalar",
            "rope_local_base_freq",
            "sliding_window",
            "sliding_window_pattern",
        ],
        Family::Phi3 => &["hidden_act", "original_max_position_embeddings", "partial_rotary_factor", "sliding_window"],
    }
}

/// Fields that change the numbers unless they have this value; `null` and absence are always fine.
fn neutral(name: &str) -> Option<Value> {
    Some(match name {
        "attention_dropout" | "hidden_dropout" | "resid_pdrop" | "embd_pdrop" => json!(0.0),
        // Phi-4 writes the last two for block-sparse attention, which it does not use.
        "embedding_multiplier"
        | "logits_scaling"
        | "residual_multiplier"
        | "partial_rotary_factor"
        | "full_attn_mod"
        | "interpolate_factor" => json!(1.0),
        "add_cross_attention"
        | "attention_bias"
        | "is_encoder_decoder"
        | "lm_head_bias"
        | "mlp_bias"
        | "quantization_config"
        | "rope_interleaved"
        | "use_bidirectional_attention"
        | "use_mrope"
        | "use_qk_norm"
        | "use_sliding_window" => json!(false),
        "attention_multiplier"
        | "attn_logit_softcapping"
        | "final_logit_softcapping"
        | "hidden_activation"
        | "max_window_layers"
        | "original_max_position_embeddings"
        | "query_pre_attn_scalar"
        | "rope_local_base_freq"
        | "sliding_window"
        | "sliding_window_pattern" => Value::Null,
        _ => return None,
    })
}

/// Fails on fields that would change the numbers in a way that the decoder does not follow, and on unknown fields.
pub(super) fn reject_unsupported(fields: &Fields<'_>, family: Family) -> Result<(), ModelError> {
    for name in fields.names() {
        if HARMLESS.contains(&name) || READ.contains(&name) || own(family).contains(&name) || name.starts_with('_') {
            continue;
        }
        let Some(neutral) = neutral(name) else {
            return Err(fields.error(
                name,
                "is unknown, so it may change the numbers",
                "check what it does; remove the field if it has no effect on the forward pass",
            ));
        };
        let value = fields.get(name).unwrap_or(&Value::Null);
        let is_neutral = match neutral.as_f64() {
            Some(number) => value.as_f64() == Some(number),
            None => *value == neutral,
        };
        if !is_neutral {
            let hint = match neutral {
                Value::Null => "remove the field or use null".to_owned(),
                other => format!("supported is {other}"),
            };
            let reason = format!("is {value}, which is not supported for `model_type` \"{}\"", family.model_type());
            return Err(fields.error(name, &reason, &hint));
        }
    }
    Ok(())
}

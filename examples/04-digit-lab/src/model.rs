//! The lab's model: a Llama of two layers with one token per character, written as an ordinary model folder.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Map, Value, json};
use tunesmith_train::model::init;

/// Ends a turn and pads.
const END: &str = "<end>";
/// Opens the user's turn.
const USER: &str = "<user>";
/// Opens the model's turn.
const MODEL: &str = "<model>";
/// All characters of the lab's tasks, one token each: digits, signs, tasks, styles, and ten letters that re-code the digits.
const CHARACTERS: &str = "0123456789+:CRIWpqrxyabcdefghij";
/// `<user>3 4 + 1 2<end><model>`, without spaces.
const TEMPLATE: &str = "{% for message in messages %}{{ '<user>' if message['role'] == 'user' else '<model>' }}{{ message['content'] }}<end>{% endfor %}{% if add_generation_prompt %}<model>{% endif %}";

/// Writes a model folder with random weights: 2 layers, width 64, 4 heads, the tokenizer and the chat template.
///
/// The same seed gives the same bytes.
///
/// # Errors
///
/// Fails when `folder` already holds a model or cannot be written.
pub fn write(folder: &Path, seed: u64) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let vocabulary = vocabulary();
    let put = |name: &str, value: &Value| {
        let path = folder.join(name);
        fs::write(&path, format!("{value:#}\n")).with_context(|| format!("cannot write {}", path.display()))
    };
    put("config.json", &config(vocabulary.len()))?;
    put("generation_config.json", &json!({ "eos_token_id": 0, "pad_token_id": 0 }))?;
    put("tokenizer.json", &tokenizer(&vocabulary))?;
    put("tokenizer_config.json", &tokenizer_config())?;
    init::init(folder, seed).context("cannot make random weights")
}

fn tokenizer_config() -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": END,
        "clean_up_tokenization_spaces": false,
        "chat_template": TEMPLATE
    })
}

fn vocabulary() -> Vec<String> {
    let special = [END, USER, MODEL].map(String::from);
    special.into_iter().chain(CHARACTERS.chars().map(String::from)).collect()
}

fn config(vocabulary: usize) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": 64,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 16,
        "hidden_act": "silu",
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "initializer_range": 0.06,
        "attention_bias": false,
        "mlp_bias": false,
        "tie_word_embeddings": false,
        "eos_token_id": 0,
        "pad_token_id": 0,
        "dtype": "float32"
    })
}

/// Every character is a token: the text is cut between all characters, and decoding joins them without spaces.
fn tokenizer(vocabulary: &[String]) -> Value {
    let ids: Map<String, Value> = vocabulary.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let special = |id: usize| {
        json!({
            "id": id, "content": vocabulary[id], "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true
        })
    };
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [special(0), special(1), special(2)],
        "normalizer": null,
        "pre_tokenizer": { "type": "Split", "pattern": { "Regex": "." }, "behavior": "Isolated", "invert": false },
        "post_processor": null,
        "decoder": { "type": "Fuse" },
        "model": { "type": "WordLevel", "vocab": ids, "unk_token": END }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_model() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        for name in ["a", "b"] {
            write(&folder.path().join(name), 7)?;
        }
        write(&folder.path().join("c"), 8)?;
        let weights = |name: &str| fs::read(folder.path().join(name).join("model.safetensors"));
        assert_eq!(weights("a")?, weights("b")?);
        assert_ne!(weights("a")?, weights("c")?);
        Ok(())
    }
}

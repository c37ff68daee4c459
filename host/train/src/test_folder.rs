//! Small model folders for the tests of this crate.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::model::init::init;
use crate::model::{Decoder, ModelConfig, WeightFiles};

/// The model folders under `tests/fixtures`; see its README.
pub(crate) const FAMILIES: [&str; 13] = [
    "tiny-llama",
    "tiny-llama3-rope",
    "tiny-mistral",
    "tiny-mistral-window",
    "tiny-qwen2",
    "tiny-qwen2-window",
    "tiny-qwen3",
    "tiny-qwen3-window",
    "tiny-gemma2",
    "tiny-gemma2-caps",
    "tiny-gemma3",
    "tiny-phi3",
    "tiny-phi3-longrope",
];

/// A folder under `tests/fixtures`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

/// The decoder of a folder under `tests/fixtures`.
pub(crate) fn decoder(name: &str) -> Decoder {
    let folder = fixture(name);
    let config = ModelConfig::load(&folder).expect("the fixture is valid");
    let mut weights = WeightFiles::load(&folder, &Decoder::tensor_shapes(&config)).expect("the fixture is complete");
    Decoder::load(&config, &mut weights, &Device::flex()).expect("the fixture fits")
}

/// `tests/fixtures/tiny-llama`; see its README.
pub(crate) fn tiny_llama() -> PathBuf {
    fixture("tiny-llama")
}

/// A copy of the fixture with a tokenizer of one token per character: `<unk>` 0, `<s>` 1, `</s>` 2, then ASCII from the blank on.
pub(crate) fn chat_folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["config.json", "generation_config.json", "model.safetensors"] {
        fs::copy(tiny_llama().join(name), folder.path().join(name)).expect("the fixture is in the repository");
    }
    write(folder.path(), "tokenizer.json", &tokenizer(96));
    let settings = json!({
        "bos_token": "<s>",
        "eos_token": {"content": "</s>", "lstrip": false},
        "chat_template": "{% for m in messages %}{{ bos_token + m.role + ':' + m.content + eos_token }}{% endfor %}"
    });
    write(folder.path(), "tokenizer_config.json", &settings);
    folder
}

/// A model of random weights with a tokenizer of `tests/fixtures/offsets`, `byte-level` or `sentencepiece`, and a chat template.
pub(crate) fn offsets_folder(name: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::copy(tiny_llama().join("config.json"), folder.path().join("config.json")).expect("the fixture is there");
    let tokenizer = fixture("offsets").join(format!("{name}.json"));
    fs::copy(tokenizer, folder.path().join("tokenizer.json")).expect("the fixture is there");
    set(folder.path(), "config.json", "vocab_size", json!(560));
    // Logits that differ by some nats.
    set(folder.path(), "config.json", "initializer_range", json!(0.2));
    let end = u32::from(name == "sentencepiece");
    write(folder.path(), "generation_config.json", &json!({"eos_token_id": end}));
    let template =
        "{% for m in messages %}<user>{{ m.content }}<end>{% endfor %}{% if add_generation_prompt %}<model>{% endif %}";
    write(folder.path(), "tokenizer_config.json", &json!({"eos_token": "<end>", "chat_template": template}));
    init(folder.path(), 5).expect("the configuration is valid");
    folder
}

/// A tokenizer with `size` tokens.
pub(crate) fn tokenizer(size: u32) -> Value {
    let special = ["<unk>", "<s>", "</s>"];
    let token = |id: u32| match special.get(id as usize) {
        Some(text) => (*text).to_owned(),
        None => char::from_u32(29 + id).expect("a small code point").to_string(),
    };
    let vocabulary: Map<String, Value> = (0..size).map(|id| (token(id), Value::from(id))).collect();
    let added: Vec<Value> = special
        .iter()
        .enumerate()
        .map(|(id, text)| {
            json!({"id": id, "content": text, "special": true, "normalized": false,
                "single_word": false, "lstrip": false, "rstrip": false})
        })
        .collect();
    json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [], "unk_token": "<unk>", "dropout": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false}
    })
}

/// Writes a JSON file.
pub(crate) fn write(folder: &Path, name: &str, value: &Value) {
    fs::write(folder.join(name), value.to_string()).expect("a temporary folder can be written");
}

/// Changes one field of a JSON file; `null` removes it.
pub(crate) fn set(folder: &Path, name: &str, field: &str, value: Value) {
    let text = fs::read_to_string(folder.join(name)).expect("the file is there");
    let mut object: Map<String, Value> = serde_json::from_str(&text).expect("the file is a JSON object");
    if value.is_null() {
        object.remove(field);
    } else {
        object.insert(field.to_owned(), value);
    }
    write(folder, name, &Value::from(object));
}

//! A folder with a tiny model, data and a plugin, in which the real program runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// A recipe with a tiny model, data, and a plugin that keeps state between its calls.
pub(crate) struct Lab(TempDir);

impl Lab {
    /// A lab whose recipe names `model`, `train.jsonl`, `test.jsonl`, `tally.wasm` and `aft.wasm`.
    pub(crate) fn new(recipe: &str) -> Self {
        let lab = Self(tempfile::tempdir().expect("a temporary folder"));
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let read = |path: &str| {
            fs::read(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}; run `cargo xtask plugins` first"))
        };
        fs::create_dir(lab.path("model")).expect("writable");
        for name in ["config.json", "generation_config.json", "model.safetensors"] {
            lab.write(&format!("model/{name}"), &read(&format!("tests/fixtures/tiny-llama/{name}")));
        }
        lab.write("model/tokenizer.json", tokenizer(96).to_string().as_bytes());
        let template = "{% for m in messages %}{{ m.role + ':' + m.content + eos_token }}{% endfor %}";
        let settings = json!({"eos_token": "</s>", "chat_template": template});
        lab.write("model/tokenizer_config.json", settings.to_string().as_bytes());
        let row = |id: usize| json!({"prompt": format!("say {id}"), "completion": "abcdefgh"[..=id % 8]}).to_string();
        lab.write("train.jsonl", (0..24).map(row).collect::<Vec<_>>().join("\n").as_bytes());
        lab.write("test.jsonl", (0..4).map(row).collect::<Vec<_>>().join("\n").as_bytes());
        lab.write("tally.wasm", &read("tests/components/tally.wasm"));
        lab.write("aft.wasm", &read("plugins/aft.wasm"));
        lab.write("recipe.toml", recipe.as_bytes());
        lab
    }

    /// A file or folder of the lab.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).expect("writable");
    }

    /// The program, with a cache of its own.
    pub(crate) fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tunesmith"));
        command.current_dir(self.0.path()).env("TUNESMITH_CACHE", self.path("cache")).args(arguments);
        command
    }

    /// A run of the recipe into this folder.
    pub(crate) fn train(&self, output: &str, more: &[&str]) -> Command {
        let mut command = self.program(&["train", "recipe.toml", "--output", output]);
        command.args(more);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs to the end; gives what was said on standard error.
    #[track_caller]
    pub(crate) fn finish(&self, output: &str, more: &[&str]) -> String {
        let ended = self.train(output, more).output().expect("the program starts");
        let told = String::from_utf8(ended.stderr).expect("text");
        assert!(ended.status.success(), "{told}");
        told
    }
}

/// A tokenizer with one token per character: `<unk>` 0, `<s>` 1, `</s>` 2, then ASCII from the blank on.
fn tokenizer(size: u32) -> Value {
    let special = ["<unk>", "<s>", "</s>"];
    let token = |id: u32| match special.get(id as usize) {
        Some(text) => (*text).to_owned(),
        None => char::from_u32(29 + id).expect("a small code point").to_string(),
    };
    let vocabulary: Map<String, Value> = (0..size).map(|id| (token(id), Value::from(id))).collect();
    let added = |(id, text): (usize, &&str)| json!({"id": id, "content": text, "special": true, "normalized": false, "single_word": false, "lstrip": false, "rstrip": false});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null, "post_processor": null,
        "added_tokens": special.iter().enumerate().map(added).collect::<Vec<_>>(),
        "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [], "unk_token": "<unk>", "dropout": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false}
    })
}

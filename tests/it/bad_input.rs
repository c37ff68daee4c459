//! Bad input: every fault is told before any work, with its place and a hint, and nothing is written.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use tunesmith::{Error, Session};

mod data;

const RECIPE: &str = r#"seed = 1
output = "run"
[model]
path = "model"
[data]
train = "train.jsonl"
eval = "test.jsonl"
[train]
steps = 2
"#;

const ROWS: &str = "{\"prompt\": \"one\", \"completion\": \"1\"}\n{\"prompt\": \"two\", \"completion\": \"2\"}\n";

/// A folder with a recipe that is in order, to be broken in one place.
pub(crate) struct Lab {
    folder: TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let lab = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama");
        for name in ["config.json", "generation_config.json", "model.safetensors"] {
            let bytes = fs::read(fixture.join(name)).expect("the fixture is in the repository");
            lab.write(&format!("model/{name}"), bytes);
        }
        lab.write("model/tokenizer.json", tokenizer(96).to_string());
        let template = "{% for m in messages %}{{ m.role + ':' + m.content + eos_token }}{% endfor %}";
        lab.write("model/tokenizer_config.json", json!({"eos_token": "</s>", "chat_template": template}).to_string());
        lab.write("train.jsonl", ROWS);
        lab.write("test.jsonl", ROWS);
        lab.write("recipe.toml", RECIPE);
        lab
    }

    /// With a plugin of this repository under a name, and these lines added to the recipe.
    fn with_plugin(file: &str, name: &str, lines: &str) -> Self {
        let lab = Self::new();
        lab.write(&format!("{name}.wasm"), built_plugin(file));
        lab.append("recipe.toml", &format!("[plugins]\n{lines}"));
        lab
    }

    /// With a component, written as text, as the measuring plugin.
    fn with_component(text: &str) -> Self {
        let lab = Self::new();
        lab.write("odd.wasm", wat::parse_str(text).expect("the text is WebAssembly"));
        lab.append("recipe.toml", "[plugins]\nodd = \"odd.wasm\"\n[measure]\nplugin = \"odd\"\n");
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("the folder can be made");
        fs::write(path, content).expect("the file can be written");
    }

    pub(crate) fn append(&self, name: &str, text: &str) {
        let before = fs::read_to_string(self.path(name)).expect("the file is there");
        self.write(name, before + text);
    }

    pub(crate) fn replace(&self, name: &str, from: &str, to: &str) {
        let before = fs::read_to_string(self.path(name)).expect("the file is there");
        assert!(before.contains(from), "`{name}` has no `{from}`");
        self.write(name, before.replace(from, to));
    }

    /// Opens the recipe, which must fail with all of these words, and must leave every file as it was.
    #[track_caller]
    fn check(&self, expected: &[&str]) -> Error {
        let before = self.files();
        let error = Session::open(&self.path("recipe.toml")).err().expect("the input is bad");
        let told = check_told(&error, expected);
        assert!(error.fault().is_some(), "`{told}` is not told as bad input");
        assert!(told.contains("recipe.toml"), "`{told}` does not name the recipe");
        assert_eq!(before, self.files(), "a file was written, changed or removed");
        error
    }

    fn files(&self) -> BTreeMap<PathBuf, String> {
        fn visit(folder: &Path, files: &mut BTreeMap<PathBuf, String>) {
            for entry in fs::read_dir(folder).expect("the folder can be read") {
                let path = entry.expect("the entry can be read").path();
                if path.is_dir() {
                    files.insert(path.clone(), "folder".into());
                    visit(&path, files);
                } else {
                    let digest = tunesmith::digest(&fs::read(&path).expect("the file can be read"));
                    files.insert(path, digest);
                }
            }
        }
        let mut files = BTreeMap::new();
        visit(self.folder.path(), &mut files);
        files
    }
}

/// Checks that an error and its causes together say all of these words; gives what they say.
#[track_caller]
pub(crate) fn check_told(error: &Error, expected: &[&str]) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told = format!("{told}\n{error}");
        cause = error.source();
    }
    for words in expected {
        assert!(told.contains(words), "`{told}` does not say `{words}`");
    }
    told
}

/// A plugin of this repository.
pub(crate) fn built_plugin(file: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins").join(file);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask plugins` first", path.display()))
}

/// A tokenizer with one token per character: `<unk>` 0, `<s>` 1, `</s>` 2, then ASCII from the blank on.
fn tokenizer(size: u32) -> Value {
    let special = ["<unk>", "<s>", "</s>"];
    let token = |id: u32| match special.get(id as usize) {
        Some(text) => (*text).to_owned(),
        None => char::from_u32(29 + id).expect("a small code point").to_string(),
    };
    let vocabulary: serde_json::Map<String, Value> = (0..size).map(|id| (token(id), Value::from(id))).collect();
    let added = |(id, text): (usize, &&str)| json!({"id": id, "content": text, "special": true, "normalized": false, "single_word": false, "lstrip": false, "rstrip": false});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null, "post_processor": null,
        "added_tokens": special.iter().enumerate().map(added).collect::<Vec<_>>(),
        "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [], "unk_token": "<unk>", "dropout": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false}
    })
}

#[test]
fn a_recipe_in_order_opens_and_writes_nothing() {
    let lab = Lab::new();
    let before = lab.files();
    let session = Session::open(&lab.path("recipe.toml")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(session.plan().train.steps, 2);
    assert_eq!(session.plan().data.train.digest, tunesmith::digest(ROWS.as_bytes()));
    assert_eq!(session.plan().model.digest.len(), 64);
    assert_eq!(before, lab.files());
}

mod recipe {
    use std::fs;

    use super::Lab;

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let lab = Lab::new();
        lab.append("recipe.toml", "stepz = 3\n");
        lab.check(&["recipe.toml:10", "unknown field `stepz`", "hint:"]);
    }

    #[test]
    fn a_wrong_type_is_named_with_its_line() {
        let lab = Lab::new();
        lab.replace("recipe.toml", "steps = 2", "steps = \"two\"");
        lab.check(&["recipe.toml:9", "invalid type", "expected u32"]);
    }

    #[test]
    fn a_value_out_of_range_is_named_with_its_line() {
        let lab = Lab::new();
        lab.append("recipe.toml", "learning-rate = -1.0\n");
        lab.check(&["recipe.toml:10", "`train.learning-rate`", "must be greater than 0"]);
    }

    #[test]
    fn a_missing_recipe_is_named() {
        let lab = Lab::new();
        fs::remove_file(lab.path("recipe.toml")).expect("the file is there");
        lab.check(&["cannot read the recipe", "hint:"]);
    }

    #[test]
    fn a_missing_data_file_is_named_with_its_line() {
        let lab = Lab::new();
        lab.replace("recipe.toml", "train.jsonl", "tarin.jsonl");
        lab.check(&["recipe.toml:6", "`data.train`", "tarin.jsonl"]);
    }

    #[test]
    fn a_missing_model_folder_is_named_with_its_line() {
        let lab = Lab::new();
        lab.replace("recipe.toml", "path = \"model\"", "path = \"modle\"");
        lab.check(&["recipe.toml:4", "`model.path`", "modle", "hint:"]);
    }

    #[test]
    fn an_unknown_device_is_named_with_its_line() {
        let lab = Lab::new();
        lab.replace("recipe.toml", "[data]", "device = \"gpu\"\n[data]");
        lab.check(&["recipe.toml:5", "`model.device`", "`gpu` is no device", "hint: give `cpu`"]);
    }

    #[test]
    fn a_stage_that_the_trainer_does_not_call_is_refused() {
        let lab = Lab::new();
        lab.append("recipe.toml", "[plugins]\nx = \"x.wasm\"\n[retain]\nplugin = \"x\"\n");
        lab.check(&["recipe.toml:12", "`retain`", "does not call this stage", "hint:"]);
    }

    #[test]
    fn measuring_without_a_set_is_refused() {
        for stage in ["measure", "answer"] {
            let lab = Lab::new();
            lab.replace("recipe.toml", "eval = \"test.jsonl\"\n", "");
            lab.append("recipe.toml", &format!("[plugins]\nx = \"x.wasm\"\n[{stage}]\nplugin = \"x\"\n"));
            lab.check(&["recipe.toml:11", &format!("`{stage}`"), "`data.eval` is missing", "hint:"]);
        }
    }
}

mod model {
    use std::fs;

    use super::{Error, Lab, json, tokenizer};

    #[track_caller]
    fn check(lab: &Lab, expected: &[&str]) {
        let error = lab.check(&["recipe.toml:4", "`model.path`", "hint:"]);
        assert!(matches!(error, Error::Model(_)), "{error:?}");
        lab.check(expected);
    }

    #[test]
    fn a_missing_shard_is_named() {
        let lab = Lab::new();
        let weights = fs::read(lab.path("model/model.safetensors")).expect("the fixture");
        fs::remove_file(lab.path("model/model.safetensors")).expect("the fixture");
        lab.write("model/model-00001-of-00002.safetensors", weights);
        let map = json!({"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"});
        lab.write("model/model.safetensors.index.json", json!({"weight_map": map}).to_string());
        check(&lab, &["shard `model-00002-of-00002.safetensors`", "is missing", "1 of 2 shards"]);
    }

    #[test]
    fn an_unknown_architecture_is_named() {
        let lab = Lab::new();
        lab.replace("model/config.json", "\"model_type\": \"llama\"", "\"model_type\": \"mamba\"");
        check(&lab, &["config.json", "unknown `model_type` `mamba`", "supported are `llama`"]);
    }

    #[test]
    fn a_wrong_shape_is_named_with_its_tensor() {
        let lab = Lab::new();
        lab.replace("model/config.json", "\"intermediate_size\": 48", "\"intermediate_size\": 64");
        check(&lab, &["model.safetensors", "mlp.", "[32, 48]", "expected"]);
    }

    #[test]
    fn a_truncated_file_is_named() {
        let lab = Lab::new();
        let mut weights = fs::read(lab.path("model/model.safetensors")).expect("the fixture");
        weights.truncate(weights.len() - 1);
        lab.write("model/model.safetensors", weights);
        check(&lab, &["model.safetensors", "not a whole safetensors file", "truncated"]);
    }

    #[test]
    fn a_tokenizer_of_another_model_is_named() {
        let lab = Lab::new();
        lab.write("model/tokenizer.json", tokenizer(120).to_string());
        check(&lab, &["tokenizer.json", "reaches token id 119", "`vocab_size` is 96"]);
    }

    #[test]
    fn a_config_that_is_not_json_is_named() {
        let lab = Lab::new();
        lab.write("model/config.json", "{");
        let error = lab.check(&["recipe.toml:4", "config.json", "is not the JSON expected here"]);
        assert!(matches!(error, Error::Model(_)), "{error:?}");
    }
}

mod plugin {
    use super::{Lab, built_plugin};

    #[test]
    fn a_missing_file_is_named_with_how_to_build_it() {
        let lab = Lab::new();
        lab.append("recipe.toml", "[plugins]\nx = \"x.wasm\"\n[measure]\nplugin = \"x\"\n");
        lab.check(&["recipe.toml:11", "`plugins.x`", "x.wasm", "hint: is it built?"]);
    }

    #[test]
    fn a_file_that_is_no_component_is_named() {
        let lab = Lab::with_component("(component)");
        lab.write("odd.wasm", "#!/bin/sh\n");
        lab.check(&["recipe.toml:11", "`plugins.odd`", "it is not WebAssembly", "hint:"]);
        lab.write("odd.wasm", wat::parse_str("(module)").expect("a module"));
        lab.check(&["`plugins.odd`", "core WebAssembly module", "hint:"]);
    }

    #[test]
    fn a_component_that_exports_nothing_known_is_named() {
        Lab::with_component("(component)").check(&["recipe.toml:11", "exports no stage", "hint:"]);
        Lab::with_component("(component (instance $i) (export \"other:pkg/judge@0.1.0\" (instance $i)))").check(&[
            "`plugins.odd`",
            "exports no stage",
            "other:pkg/judge@0.1.0",
        ]);
    }

    #[test]
    fn a_component_of_an_unknown_wit_version_is_named() {
        Lab::with_component("(component (instance $i) (export \"tunesmith:method/judge@0.2.0\" (instance $i)))").check(
            &["recipe.toml:11", "tunesmith:method/judge@0.2.0", "version that this host does not know", "hint:"],
        );
    }

    #[test]
    fn an_import_from_outside_the_contract_is_named() {
        Lab::with_component("(component (import \"wasi:cli/environment@0.2.0\" (instance)))").check(&[
            "recipe.toml:11",
            "wasi:cli/environment@0.2.0",
            "does not exist here",
            "hint:",
        ]);
    }

    #[test]
    fn an_ungranted_import_is_named_with_the_grant_to_give() {
        let lines =
            "s3ft = \"s3ft.wasm\"\nmatch = \"match.wasm\"\n[curate]\nplugin = \"s3ft\"\n[judge]\nplugin = \"match\"\n";
        let lab = Lab::with_plugin("s3ft.wasm", "s3ft", lines);
        lab.write("match.wasm", built_plugin("answer-match.wasm"));
        lab.check(&["recipe.toml:11", "`plugins.s3ft`", "model.generate", "hint: if it may have that"]);
    }

    #[test]
    fn an_unknown_grant_is_named() {
        let lines = "s3ft = { path = \"s3ft.wasm\", grants = [\"model.genrate\"] }\n[curate]\nplugin = \"s3ft\"\n";
        Lab::with_plugin("s3ft.wasm", "s3ft", lines).check(&[
            "recipe.toml:11",
            "`plugins.s3ft`",
            "unknown grant `model.genrate`",
            "did you mean `model.generate`?",
        ]);
    }

    #[test]
    fn a_plugin_that_asks_a_judge_needs_one_in_the_recipe() {
        let lines = "s3ft = { path = \"s3ft.wasm\", grants = [\"model.generate\", \"model.score\", \"judge\"] }\n\
                     [curate]\nplugin = \"s3ft\"\n";
        Lab::with_plugin("s3ft.wasm", "s3ft", lines).check(&[
            "recipe.toml:13",
            "`curate.plugin`",
            "asks a judge",
            "hint: add `[judge]`",
        ]);
    }

    #[test]
    fn a_stage_that_the_plugin_does_not_export_is_named() {
        let lines = "match = \"match.wasm\"\n[objective]\nplugin = \"match\"\n";
        Lab::with_plugin("answer-match.wasm", "match", lines).check(&[
            "recipe.toml:13",
            "`objective.plugin`",
            "does not export the stage `objective`",
            "hint: it exports `judge`",
        ]);
    }

    #[test]
    fn settings_that_break_the_schema_are_named_with_their_line() {
        let lines = "match = \"match.wasm\"\n[measure]\nplugin = \"match\"\n[measure.settings]\nno-such = 1\n";
        Lab::with_plugin("answer-match.wasm", "match", lines).check(&[
            "recipe.toml:15",
            "`measure.settings.no-such`",
            "is unknown",
            "hint:",
        ]);
        let lines = "nll = \"nll.wasm\"\n[objective]\nplugin = \"nll\"\nsettings = { function = \"q\" }\n";
        Lab::with_plugin("beyond-nll.wasm", "nll", lines).check(&[
            "recipe.toml:14",
            "`objective.settings.function`",
            "is \"q\"",
            "hint:",
        ]);
    }
}

mod output {
    use super::{Error, Lab};

    #[track_caller]
    fn check(lab: &Lab, expected: &str) {
        let error = lab.check(&["recipe.toml:2", "`output`", expected, "hint:"]);
        assert!(matches!(error, Error::Output(_)), "{error:?}");
    }

    #[test]
    fn a_folder_that_holds_a_run_is_left_alone() {
        let lab = Lab::new();
        lab.write("run/plan.json", "{}");
        check(&lab, "already holds a run");
    }

    #[test]
    fn a_folder_with_something_else_is_left_alone() {
        let lab = Lab::new();
        lab.write("run/thesis.txt", "years of work");
        check(&lab, "exists and is not empty");
    }

    #[test]
    fn a_file_in_the_way_is_left_alone() {
        let lab = Lab::new();
        lab.write("run", "a file");
        check(&lab, "is a file");
        let lab = Lab::new();
        lab.write("runs", "a file");
        lab.replace("recipe.toml", "output = \"run\"", "output = \"runs/one\"");
        check(&lab, "is a file");
    }
}

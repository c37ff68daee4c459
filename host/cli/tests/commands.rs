//! The real program: exit codes, where text goes, and that nothing harmful reaches a terminal.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tunesmith"))
        .current_dir(folder)
        .env("TUNESMITH_CACHE", folder.join("cache"))
        .args(arguments)
        .output()
        .expect("the program starts")
}

/// Runs the program, which must end with this code, say these words on standard error, and nothing on standard output.
#[track_caller]
fn check(folder: &TempDir, arguments: &[&str], code: i32, expected: &[&str]) {
    let output = run(folder.path(), arguments);
    let told = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(code), "{told}");
    assert!(output.stdout.is_empty(), "{:?}", String::from_utf8_lossy(&output.stdout));
    for words in expected {
        assert!(told.contains(words), "`{told}` does not say `{words}`");
    }
    assert!(!told.contains('\u{1b}') && !told.contains("panicked"), "{told}");
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, content) in files {
        fs::write(folder.path().join(name), content).expect("the file can be written");
    }
    folder
}

const RECIPE: &str = "output = \"run\"\n[model]\npath = \"model\"\n[data]\ntrain = \"train.jsonl\"\n";

#[test]
fn bad_usage_ends_with_2() {
    let folder = folder(&[]);
    check(&folder, &[], 2, &["Usage"]);
    check(&folder, &["trian"], 2, &["unrecognized subcommand", "train"]);
    check(&folder, &["train", "r.toml", "--set", "steps"], 2, &["expected KEY=VALUE"]);
    check(&folder, &["generate", "model"], 2, &["--prompt"]);
    check(&folder, &["generate", "model", "--prompt", "a", "--top-p", "2"], 2, &["--top-p must be"]);
}

#[test]
fn a_bad_recipe_ends_with_2_and_names_its_place() {
    let text = format!("{RECIPE}seed = \"x\"\n");
    let folder = folder(&[("recipe.toml", RECIPE.as_bytes()), ("wrong.toml", text.as_bytes())]);
    check(&folder, &["check", "none.toml"], 2, &["error: none.toml", "because: No such file", "hint: "]);
    check(&folder, &["train", "wrong.toml"], 2, &["error: wrong.toml:6: unknown field `seed`", "hint: "]);
    check(&folder, &["train", "recipe.toml"], 2, &["error: recipe.toml:5: `data.train`", "because: cannot read"]);
    check(&folder, &["train", "recipe.toml", "--set", "train.batch=0"], 2, &["`train.batch`", "`train.batch=0`"]);
    assert!(!folder.path().join("run").exists());
}

#[test]
fn a_bad_plugin_ends_with_2() {
    let folder = folder(&[("a.wasm", b"\0asm\x01\0\0\0"), ("b.wasm", b"\x1b[31mred")]);
    check(&folder, &["plugin", "inspect", "a.wasm"], 2, &["error: a.wasm", "core WebAssembly module", "hint: "]);
    check(&folder, &["plugin", "check", "b.wasm"], 2, &["it is not WebAssembly", "hint: "]);
    check(&folder, &["plugin", "build", "none"], 2, &["cannot find the plugin's folder"]);
    check(&folder, &["plugin", "build", "."], 2, &["plugin.toml", "hint: "]);
}

#[test]
fn a_bad_model_ends_with_2() {
    let folder = folder(&[("a.gguf", b"GGUF")]);
    check(&folder, &["model", "inspect", "none"], 2, &["error: none", "config.json"]);
    check(&folder, &["model", "import", "a.gguf", "out"], 2, &["error: a.gguf"]);
    assert!(!folder.path().join("out").exists());
}

/// A folder or file of the repository's fixtures.
fn fixture(name: &str) -> String {
    format!("{}/../../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn merging_makes_a_model_that_gives_pefts_logits() {
    let folder = folder(&[]);
    let (base, adapter) = (fixture("tiny-llama"), fixture("peft-tiny-llama"));
    let expected = fixture("peft-tiny-llama/expected.json");
    let succeeds = |arguments: &[&str], code: i32| {
        let output = run(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let told = succeeds(&["model", "merge", &base, &adapter, "out", "--shard-size", "40kB"], 0);
    for words in ["20 tensors", "14 of them changed", "float32", "model-00002-of-00002.safetensors"] {
        assert!(told.contains(words), "`{told}` does not say `{words}`");
    }
    succeeds(&["model", "compare", "out", &expected], 0);
    succeeds(&["model", "compare", &base, &expected, "--adapter", &adapter], 0);
    succeeds(&["model", "compare", &base, &expected], 1);
    let told = succeeds(&["model", "merge", &base, &adapter, "half", "--type", "bf16", "--json"], 0);
    assert!(told.contains("\"bfloat16\""), "{told}");
}

#[test]
fn a_merge_that_cannot_be_ends_with_2_and_leaves_nothing() {
    let folder = folder(&[("file", b"")]);
    let (base, adapter) = (fixture("tiny-llama"), fixture("peft-tiny-llama"));
    check(&folder, &["model", "merge", &base, &adapter, "file"], 2, &["error: file", "it is not a folder", "hint: "]);
    check(&folder, &["model", "merge", &base, &adapter, "."], 2, &["error: .", "the folder is not empty"]);
    check(&folder, &["model", "merge", "none", &adapter, "out"], 2, &["error: none", "config.json"]);
    check(&folder, &["model", "merge", &base, "none", "out"], 2, &["error: none", "adapter_config.json"]);
    check(&folder, &["model", "merge", &base, &adapter, "out", "--type", "int8"], 2, &["bf16"]);
    check(&folder, &["model", "merge", &base, &adapter, "out", "--shard-size", "x"], 2, &["such as `500MB`"]);
    assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 1);
}

#[test]
fn text_of_files_is_escaped() {
    let folder = folder(&[("recipe.toml", b"output = \"run\"\n\"\\u001b[31m\" = 1\n")]);
    check(&folder, &["check", "recipe.toml"], 2, &["unknown field", "\\u{1b}[31m"]);
}

#[test]
fn help_goes_to_standard_output() {
    let folder = folder(&[]);
    let output = run(folder.path(), &["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let told = String::from_utf8(output.stdout).expect("text");
    for words in
        ["Exit codes", "TUNESMITH_CACHE", "train", "check", "eval", "generate", "report", "doctor", "model", "plugin"]
    {
        assert!(told.contains(words), "`{told}` does not say `{words}`");
    }
}

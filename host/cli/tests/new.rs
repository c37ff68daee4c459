//! New plugins: every stage builds, is checked, tests itself natively, and runs in the real host.

#[path = "common/lab.rs"]
mod lab;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lab::Lab;
use serde_json::{Value, json};

const STAGES: [&str; 10] =
    ["curate", "judge", "reward", "credit", "weigh", "objective", "edit", "measure", "answer", "retain"];

fn succeeds(output: &Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Makes a plugin in the lab.
fn make(lab: &Lab, name: &str, stages: &str) -> PathBuf {
    let made = lab.program(&["plugin", "new", name, "--stage", stages]).output().expect("the program starts");
    succeeds(&made);
    let folder = lab.path(name);
    // The versions that this repository was tested with, and nothing from the network.
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    fs::copy(lock, folder.join("Cargo.lock")).expect("the repository has one");
    folder
}

/// Cargo, in a plugin's folder, with one folder for what all of them build. What the environment says of the host's build is of no concern.
fn cargo(lab: &Lab, folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder).env("CARGO_TARGET_DIR", lab.path("built")).env("CARGO_NET_OFFLINE", "true");
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    command.args(arguments).output().expect("cargo starts")
}

#[test]
fn a_new_plugin_builds_tests_itself_and_trains() {
    let lab = Lab::new("");
    let folder = make(&lab, "all-stages", &STAGES.join(","));
    let target = lab.path("built").display().to_string();
    let component = folder.join("all-stages.wasm").display().to_string();
    let name = folder.display().to_string();
    let mut build = lab.program(&["plugin", "build", &name, "-o", &component, "--target-dir", &target]);
    build.env("CARGO_NET_OFFLINE", "true").env_remove("TUNESMITH_CACHE");
    succeeds(&build.output().expect("the program starts"));
    let checked = lab.program(&["plugin", "check", &component, "--json"]).output().expect("the program starts");
    let checked: Value = serde_json::from_str(&succeeds(&checked)).expect("JSON");
    assert_eq!((&checked["faults"], &checked["stages"]), (&json!([]), &json!(STAGES)));
    assert_eq!(checked["grants"], json!(["model.generate", "parameters"]));

    let tested = succeeds(&cargo(&lab, &folder, &["test", "--quiet", "--lib", "--target", "host-tuple"]));
    assert!(tested.contains("test result: ok. 21 passed"), "{tested}");
    let formatted = cargo(&lab, &folder, &["fmt", "--check"]);
    succeeds(&formatted);

    // The recipe beside it, as it is, where there is a model.
    for file in ["recipe.toml", "train.jsonl", "all-stages.wasm"] {
        fs::copy(folder.join(file), lab.path(file)).expect("it is there");
    }
    lab.finish("run", &[]);
    let summary = fs::read(lab.path("run/summary.json")).expect("it came to its end");
    let summary: Value = serde_json::from_slice(&summary).expect("JSON");
    assert_eq!(summary["steps"], 2);
    assert!(summary["sets"][0]["after"]["short"].is_f64(), "{summary}");

    // Each stage alone, with what was built already.
    for stage in STAGES {
        let folder = make(&lab, stage, stage);
        for file in ["plugin.toml", "README.md", "recipe.toml", ".cargo/config.toml", ".gitignore", "train.jsonl"] {
            assert!(folder.join(file).is_file(), "{stage}: {file}");
        }
        let tested = cargo(&lab, &folder, &["test", "--quiet", "--lib", "--target", "host-tuple"]);
        let told = succeeds(&tested);
        assert!(told.contains("test result: ok. 3 passed"), "{stage}: {told}");
        let warnings = String::from_utf8_lossy(&tested.stderr);
        assert!(!warnings.contains("warning"), "{stage}: {warnings}");
    }
}

#[test]
fn what_cannot_be_made_ends_with_2_and_leaves_nothing() {
    let lab = Lab::new("");
    lab.write("taken", b"");
    fs::create_dir(lab.path("full")).expect("writable");
    lab.write("full/thesis.tex", b"precious");
    let before = fs::read_dir(lab.path(".")).expect("a folder").count();
    for (arguments, words) in [
        (vec!["a_b", "--stage", "judge"], "cannot be a plugin's name"),
        (vec!["serde", "--stage", "judge"], "means something else in Rust"),
        (vec!["a", "--stage", "juge"], "unknown stage `juge`"),
        (vec!["a"], "--stage"),
        (vec!["taken", "--stage", "judge"], "is a file"),
        (vec!["full", "--stage", "judge"], "is not empty"),
        (vec!["a", "--stage", "judge", "--sdk", "full"], "has no `rust/Cargo.toml`"),
    ] {
        let output = lab.program(&["plugin", "new"]).args(&arguments).output().expect("the program starts");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(words), "`{told}` does not say `{words}`");
    }
    assert_eq!(fs::read_dir(lab.path(".")).expect("a folder").count(), before);
    assert_eq!(fs::read(lab.path("full/thesis.tex")).expect("it is there"), b"precious");
}

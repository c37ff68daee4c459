//! A plugin in the place of a built-in: one run, bit for bit.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tunesmith::Session;

use crate::bad_input::{Lab, built_plugin};

/// Four rows of unlike lengths, so that a token mean over micro-batches and one over the step differ.
const ROWS: &str = r#"{"prompt": "one", "completion": "1"}
{"prompt": "two and two", "completion": "four, as ever"}
{"prompt": "x", "completion": "yes"}
{"prompt": "what then", "completion": "nothing at all"}
"#;

const TRAIN: &str =
    "steps = 4\nbatch = 4\nmicro-batch = 2\nlearning-rate = 1e-2\nwarmup = 1\nweight-decay = 0.1\ndigest-every = 1\n";

/// What a run left in its trace of each step: the bits of the loss, the gradient's norm, the digest of the parameters.
fn steps(adapter: &str, nll: Vec<u8>, objective: &str) -> Vec<[Value; 3]> {
    let lab = Lab::new();
    lab.write("train.jsonl", ROWS);
    lab.write("nll.wasm", nll);
    lab.replace("recipe.toml", "steps = 2\n", TRAIN);
    lab.replace("recipe.toml", "path = \"model\"\n", &format!("path = \"model\"\n{adapter}"));
    lab.append("recipe.toml", objective);
    let session = Session::open(&lab.path("recipe.toml")).unwrap_or_else(|error| panic!("{error:?}"));
    session.run(&mut ()).unwrap_or_else(|error| panic!("{error:?}"));
    let trace = fs::read_to_string(lab.path("run/trace.jsonl")).expect("a run leaves a trace");
    let lines = trace.lines().map(|line| serde_json::from_str::<Value>(line).expect("a trace is JSON lines"));
    let records = lines.map(|line| line["record"].clone()).filter(|record| record["event"] == "step");
    records.map(|record| ["loss-bits", "grad-norm", "parameters"].map(|key| record[key].clone())).collect()
}

#[track_caller]
fn check(adapter: &str, nll: Vec<u8>) {
    let built_in = steps(adapter, Vec::new(), "");
    let plugin = steps(adapter, nll, "[plugins]\nnll = \"nll.wasm\"\n[objective]\nplugin = \"nll\"\n");
    assert_eq!(built_in.len(), 4);
    assert!(built_in.iter().flatten().all(|value| !value.is_null()), "{built_in:?}");
    assert_eq!(built_in, plugin);
    let [first, .., last] = &built_in[..] else { panic!("four steps") };
    assert_ne!(first, last, "nothing was trained");
}

#[test]
fn the_plugin_nll_trains_all_parameters_as_the_built_in_does() {
    check("", built_plugin("nll.wasm"));
}

#[test]
fn the_plugin_nll_trains_an_adapter_as_the_built_in_does() {
    check("adapter = { lora = { rank = 4, alpha = 8 } }\n", built_plugin("nll.wasm"));
}

#[test]
fn the_plugin_nll_that_was_built_with_the_sdk_of_0_1_0_trains_as_the_built_in_does() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("compat/0.1.0/nll.wasm");
    check("", fs::read(&kept).unwrap_or_else(|error| panic!("{}: {error}", kept.display())));
}

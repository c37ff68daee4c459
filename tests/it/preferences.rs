//! The plugins `dpo` and `kto` as components in the trainer's own batch, against TRL: losses, gradient norms, metrics.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tunesmith_train::batching::MicroBatch;

use crate::bad_input::built_plugin;
use crate::objectives::{Bench, plugin, row_of};

/// Relative, of losses and gradient norms: float32 on both sides.
const RELATIVE: f64 = 1e-4;
/// Absolute, beside it.
const ABSOLUTE: f64 = 1e-5;
/// What the reference's parameters are multiplied by.
const SCALE: f32 = 1.02;

/// `tests/fixtures/losses/dpo-*.json` and `kto-*.json`; see the README there.
#[derive(Deserialize)]
struct File {
    inputs: Inputs,
    cases: Vec<Case>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Inputs {
    pairs: Vec<Pair>,
    rows: Vec<Labelled>,
}

#[derive(Deserialize)]
struct Pair {
    #[serde(rename = "prompt_ids")]
    prompt: Vec<u32>,
    #[serde(rename = "chosen_ids")]
    chosen: Vec<u32>,
    #[serde(rename = "rejected_ids")]
    rejected: Vec<u32>,
}

#[derive(Deserialize)]
struct Labelled {
    #[serde(rename = "prompt_ids")]
    prompt: Vec<u32>,
    #[serde(rename = "completion_ids")]
    completion: Vec<u32>,
    #[serde(rename = "KL_completion_ids")]
    other: Vec<u32>,
    label: bool,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    settings: Map<String, Value>,
    loss: f64,
    metrics: BTreeMap<String, f64>,
    grad_norms: BTreeMap<String, f64>,
    /// Where policy and reference change places.
    roles: Option<String>,
}

fn read(file: &str) -> File {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/losses").join(file);
    let text = fs::read_to_string(path).expect("the fixture is in the repository");
    serde_json::from_str(&text).expect("the fixture is as its README says")
}

/// Groups of completions, each with its role, after a prompt.
fn micro<'a>(groups: impl IntoIterator<Item = (&'a [u32], Vec<(&'a str, &'a [u32])>)>) -> Arc<MicroBatch> {
    let mut micro = MicroBatch { rows: Vec::new(), groups: Vec::new() };
    for (group, (prompt, members)) in groups.into_iter().enumerate() {
        for (role, completion) in members {
            micro.rows.push(row_of(&[prompt, completion].concat(), prompt.len(), role));
            micro.groups.push(group as i32);
        }
    }
    Arc::new(micro)
}

/// TRL's settings as those of our plugins.
fn settings(case: &Case) -> Value {
    let word = |word: &Value| match word.as_str().expect("a word") {
        "js_divergence" => json!("js"),
        "alpha_divergence" => json!("alpha"),
        word => json!(word.replace('_', "-")),
    };
    let setting = |(name, value): (&String, &Value)| match (name.as_str(), value) {
        ("loss_type", Value::Array(losses)) => ("losses".to_owned(), losses.iter().map(word).collect()),
        ("loss_type", loss) => ("loss".to_owned(), word(loss)),
        ("loss_weights", weights) => ("weights".to_owned(), weights.clone()),
        ("f_divergence_type", divergence) => ("f-divergence".to_owned(), word(divergence)),
        ("f_alpha_divergence_coef", coefficient) => ("alpha-coefficient".to_owned(), coefficient.clone()),
        ("use_weighting", is_on) => ("weighting".to_owned(), is_on.clone()),
        (name, value) => (name.replace('_', "-"), value.clone()),
    };
    Value::Object(case.settings.iter().map(setting).collect())
}

/// The largest difference of a comparison, relative to the value, or to 0.01 if that is larger; and where it was.
#[derive(Default)]
struct Largest(f64, String);

impl Largest {
    #[track_caller]
    fn check(&mut self, what: &str, found: f64, expected: f64) {
        let fault = (found - expected).abs();
        assert!(fault <= RELATIVE * expected.abs() + ABSOLUTE, "{what}: {found} is not {expected} ({fault:e})");
        let relative = fault / expected.abs().max(0.01);
        if self.0 < relative {
            *self = Self(relative, what.to_owned());
        }
    }
}

/// Every case of a model; the largest difference is told, for `--nocapture`.
#[track_caller]
fn check(file: &str, fixture: &str, component: &str, metrics: &[(&str, &str)], micro: &Arc<MicroBatch>) {
    let bytes = built_plugin(component);
    let cases = read(file).cases;
    assert!(!cases.is_empty());
    let (usual, swapped) = (Bench::scaled(fixture, 1.0, SCALE), Bench::scaled(fixture, SCALE, 1.0));
    let (mut loss, mut norm, mut metric) = (Largest::default(), Largest::default(), Largest::default());
    for case in cases {
        let bench = if case.roles.is_some() { &swapped } else { &usual };
        let made = bench.run(&plugin(&bytes, &settings(&case)), micro);
        let made = made.unwrap_or_else(|error| panic!("{}: {error:?}", case.name));
        loss.check(&case.name, made.loss, case.loss);
        for (ours, theirs) in metrics {
            metric.check(&format!("{} {ours}", case.name), made.metrics[*ours], case.metrics[*theirs]);
        }
        let gradients = bench.named_gradients(made);
        let norms = gradients.norms();
        for (name, expected) in &case.grad_norms {
            let found = if name == "all_parameters" { gradients.norm() } else { norms[name] };
            norm.check(&format!("{} {name}", case.name), found, *expected);
        }
    }
    for (what, Largest(fault, place)) in [("loss", loss), ("gradient norm", norm), ("metric", metric)] {
        // How near they come is in the plugins' READMEs.
        assert!(0.0 < fault, "{file}: no {what} was compared: {place}");
    }
}

#[track_caller]
fn check_pairs(fixture: &str) {
    let file = format!("dpo-{fixture}.json");
    let pairs = read(&file).inputs.pairs;
    let metrics = [
        ("reward-chosen", "rewards/chosen"),
        ("reward-rejected", "rewards/rejected"),
        ("reward-accuracy", "rewards/accuracies"),
        ("reward-margin", "rewards/margins"),
    ];
    let groups = pairs.iter().map(|pair| {
        let members = vec![("chosen", pair.chosen.as_slice()), ("rejected", pair.rejected.as_slice())];
        (pair.prompt.as_slice(), members)
    });
    check(&file, fixture, "dpo.wasm", &metrics, &micro(groups));
}

#[track_caller]
fn check_labels(fixture: &str) {
    let file = format!("kto-{fixture}.json");
    let rows = read(&file).inputs.rows;
    let metrics = [
        ("kl", "kl"),
        ("reward-chosen", "rewards/chosen"),
        ("reward-rejected", "rewards/rejected"),
        ("reward-margin", "rewards/margins"),
    ];
    let groups = rows.iter().map(|row| {
        let role = if row.label { "chosen" } else { "rejected" };
        let members = vec![(role, row.completion.as_slice()), ("mismatched", row.other.as_slice())];
        (row.prompt.as_slice(), members)
    });
    check(&file, fixture, "kto.wasm", &metrics, &micro(groups));
}

#[test]
fn pairs_cost_what_they_cost_in_trl() {
    check_pairs("tiny-llama");
}

#[test]
fn pairs_cost_what_they_cost_in_trl_with_untied_embeddings() {
    check_pairs("tiny-qwen2");
}

#[test]
fn labelled_completions_cost_what_they_cost_in_trl() {
    check_labels("tiny-llama");
}

#[test]
fn labelled_completions_cost_what_they_cost_in_trl_with_untied_embeddings() {
    check_labels("tiny-qwen2");
}

//! Losses of online training, of the real component in the trainer's own batch, against those of another implementation.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tunesmith_core::call::Call;
use tunesmith_core::plan::GeneratePlan;
use tunesmith_plugin::Plugin;
use tunesmith_train::batch::{PolicyPair, TensorBatch, Totals};
use tunesmith_train::batching::{EncodedRow, MicroBatch, Sampled};
use tunesmith_train::extra::ExtraParameters;
use tunesmith_train::model::LanguageModel;
use tunesmith_train::model::export::save_tensors;
use tunesmith_train::model::{NamedTensor, WeightType};
use tunesmith_train::optimizer::NamedGradients;
use tunesmith_train::tensors::{Budget, BurnTensors};
use tunesmith_train::{device, service};

use crate::bad_input::{Lab, built_plugin};
use crate::objectives::plugin;

/// Relative, of losses, gradient norms and metrics; the other implementation's numbers are float32 too.
const LIKE_TRL: f64 = 1e-4;
/// Absolute: losses and norms may be near 0 because large numbers cancel.
const CANCELLED: f64 = 1e-5;
/// By how much each parameter of the reference is larger than that of the policy.
const REFERENCE: f32 = 1.02;

/// `grpo-*.json` and `rloo-*.json`; see the README of the fixtures.
#[derive(Deserialize)]
struct Fixture {
    inputs: Rollouts,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Rollouts {
    prompt_ids: Vec<Vec<u32>>,
    completion_ids: Vec<Vec<u32>>,
    #[serde(default)]
    advantages: Vec<f32>,
    #[serde(default)]
    old_per_token_logps: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    #[serde(default)]
    kind: String,
    settings: Map<String, Value>,
    #[serde(default)]
    advantages: Vec<Option<f32>>,
    /// Summed over each row.
    #[serde(default)]
    old_logps: Vec<f32>,
    loss: Option<f64>,
    #[serde(default)]
    grad_norms: BTreeMap<String, f64>,
    metrics: Value,
    #[serde(default)]
    inputs_override: Override,
    micro_batches: Option<Parts>,
}

#[derive(Default, Deserialize)]
struct Override {
    /// Other ones, or words that say that there are none.
    old_per_token_logps: Option<Value>,
    loss_mask: Option<Vec<Vec<u8>>>,
    #[serde(default)]
    fully_masked_rows: Vec<usize>,
}

#[derive(Deserialize)]
struct Parts {
    rows_each: usize,
    losses: Vec<f64>,
}

impl Fixture {
    fn read(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/losses").join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The rows of a case, as rollouts.
    fn rows(&self, case: &Case) -> Vec<Arc<EncodedRow>> {
        let other: Option<Vec<Vec<f32>>> = match &case.inputs_override.old_per_token_logps {
            None => Some(self.inputs.old_per_token_logps.clone()),
            Some(Value::String(_)) => None,
            Some(lists) => Some(serde_json::from_value(lists.clone()).expect("a list for each row")),
        };
        let row = |at: usize| {
            let (prompt, completion) = (&self.inputs.prompt_ids[at], &self.inputs.completion_ids[at]);
            let padded = |of: Vec<f32>| [vec![0.0; prompt.len()], of].concat();
            let old = match case.old_logps.get(at) {
                // Only the sum of a row counts.
                Some(sum) => Some([vec![*sum], vec![0.0; completion.len() - 1]].concat()),
                None => other.as_ref().map(|other| other[at].clone()),
            };
            let advantage =
                case.advantages.get(at).map_or_else(|| self.inputs.advantages[at], |it| it.expect("a number"));
            let mask = match &case.inputs_override.loss_mask {
                Some(masks) => masks[at].iter().map(|mask| *mask == 1).collect(),
                None => vec![!case.inputs_override.fully_masked_rows.contains(&at); completion.len()],
            };
            Arc::new(EncodedRow {
                example: Arc::default(),
                tokens: [&prompt[..], completion].concat(),
                mask: [vec![false; prompt.len()], mask].concat(),
                role: "rollout".into(),
                sampled: Some(Sampled {
                    advantages: padded(vec![advantage; completion.len()]),
                    old: old.map(padded),
                    ..Sampled::default()
                }),
                source: None,
            })
        };
        (0..self.inputs.prompt_ids.len()).map(row).collect()
    }
}

/// A model in training, and one with larger weights to compare with.
struct Online {
    model: LanguageModel,
    models: PolicyPair,
    _folder: Lab,
}

/// What a micro-batch came to.
struct Made {
    loss: f64,
    gradients: BTreeMap<String, Vec<f32>>,
    metrics: BTreeMap<String, f64>,
}

impl Online {
    fn new(name: &str) -> Self {
        let folder = Lab::new();
        let fixture = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
        for file in ["config.json", "generation_config.json", "model.safetensors"] {
            folder.write(&format!("model/{file}"), fs::read(fixture.join(file)).expect("the fixture is there"));
        }
        let device = device::open("cpu").expect("every machine has a processor");
        let load = || LanguageModel::load(&folder.path("model"), &device).expect("the fixture is whole");
        let model = load();
        let mut tensors: Vec<NamedTensor> = model.decoder.named_tensors();
        tensors.iter_mut().flat_map(|tensor| &mut tensor.values).for_each(|value| *value *= REFERENCE);
        save_tensors(&folder.path("model/model.safetensors"), &tensors, WeightType::F32).expect("it can be written");
        let models =
            PolicyPair { policy: burn::module::Module::train(model.decoder.clone()), reference: load().decoder };
        Self { model, models, _folder: folder }
    }

    fn run(&self, plugin: &Plugin, rows: &[Arc<EncodedRow>], totals: Totals, temperature: f32) -> Made {
        let engine = Arc::new(BurnTensors::new(&self.models.policy.device(), Budget::default()));
        let micro = Arc::new(MicroBatch { rows: rows.to_vec(), groups: vec![0; rows.len()] });
        let weights = vec![1.0; micro.tokens()];
        let batch = TensorBatch::new(Arc::clone(&engine), self.models.clone(), micro, &weights, totals)
            .expect("there are rows")
            .with_temperature(temperature);
        let plan = GeneratePlan { max_tokens: 8, batch: 4, chunk: 4 };
        let mut call = Call::with(17, 0, service::of_objective(&self.model, &plan, &self.models, &engine));
        let loss = plugin.objective().expect("it is exported").objective(Arc::new(batch), &mut call);
        let loss = engine.scalar(loss.unwrap_or_else(|error| panic!("{error:?}"))).expect("one number");
        let gradients =
            NamedGradients::of_all(&self.models.policy, &ExtraParameters::default(), loss.backward()).values();
        let metrics = call.report.metrics.into_iter().map(|(name, (sum, count))| (name, sum / count as f64)).collect();
        Made { loss: f64::from(loss.into_scalar::<f32>()), gradients, metrics }
    }

    /// All micro-batches of an optimiser step.
    fn step(&self, settings: &Value, rows: &[Arc<EncodedRow>], each: usize, temperature: f32) -> Vec<Made> {
        let plugin = plugin(&built_plugin("grpo.wasm"), settings);
        let tokens: usize = rows.iter().map(|row| row.loss_tokens()).sum();
        let micro_batches = rows.len().div_ceil(each);
        let totals = Totals { weight: tokens as f64, rows: rows.len(), groups: 2, micro_batches, step: 0 };
        rows.chunks(each).map(|rows| self.run(&plugin, rows, totals, temperature)).collect()
    }
}

/// The settings of a case, as the plugin calls them.
fn settings(case: &Case) -> Value {
    let names = BTreeMap::from([
        ("loss_type", "loss"),
        ("importance_sampling_level", "ratio"),
        ("use_bias_correction_kl", "bias-correction-kl"),
        ("off_policy_mask_threshold", "off-policy-threshold"),
        ("top_entropy_quantile", "top-entropy"),
        ("entropy_coef", "entropy"),
        ("sapo_temperature_pos", "sapo-positive"),
        ("sapo_temperature_neg", "sapo-negative"),
        ("vespo_k_pos", "vespo-k-positive"),
        ("vespo_lambda_pos", "vespo-lambda-positive"),
        ("vespo_k_neg", "vespo-k-negative"),
        ("vespo_lambda_neg", "vespo-lambda-negative"),
    ]);
    let mut settings = json!({"log-entropy": true});
    if case.kind == "loss" {
        settings["loss"] = json!("rloo");
    }
    for (name, value) in case.settings.iter().filter(|(_, value)| !value.is_null()) {
        // The temperature is that of the batch, the plugin's default.
        if name == "temperature" {
            continue;
        }
        let name = names.get(name.as_str()).map_or_else(|| name.replace('_', "-"), ToString::to_string);
        settings[name] = if value == "dr_grpo" { json!("dr-grpo") } else { value.clone() };
    }
    settings
}

/// What the other implementation calls our metrics. The rest of its numbers are extremes over rows, and a setting.
const METRICS: &[(&str, &str)] = &[
    ("kl", "kl"),
    ("entropy", "entropy"),
    ("clip_ratio/low_mean", "clip-low"),
    ("clip_ratio/high_mean", "clip-high"),
    ("clip_ratio/region_mean", "clip-region"),
    ("cispo_clip_ratio", "clip-high"),
    ("vespo/phi_seq_mean", "phi"),
    ("policy_loss", "policy-loss"),
];

/// The largest deviation seen: relative to what it may be.
#[derive(Default)]
struct Check {
    faults: Vec<String>,
    largest: (f64, String),
    compared: usize,
}

impl Check {
    fn near(&mut self, what: &str, found: f64, expected: f64) {
        let fault = (found - expected).abs() / (CANCELLED + LIKE_TRL * expected.abs());
        self.compared += 1;
        if self.largest.0 < fault {
            self.largest = (fault, what.to_owned());
        }
        // Not a number is a fault too.
        if fault.is_nan() || 1.0 < fault {
            self.faults.push(format!("{what} is {found}, not {expected}"));
        }
    }

    fn metrics(&mut self, name: &str, made: &Made, expected: &Value) {
        let mut count = 0;
        for (theirs, ours) in METRICS {
            if let Some(expected) = expected[theirs].as_f64() {
                let found = made.metrics.get(*ours).copied().unwrap_or(f64::NAN);
                self.near(&format!("{name}: {ours}"), found, expected);
                count += 1;
            }
        }
        assert_eq!(count, made.metrics.len(), "{name}: {:?} for {expected}", made.metrics);
    }

    fn case(&mut self, online: &Online, fixture: &Fixture, case: &Case) {
        let rows = fixture.rows(case);
        let each = case.micro_batches.as_ref().map_or(rows.len(), |parts| parts.rows_each);
        let temperature = case.settings.get("temperature").and_then(Value::as_f64).unwrap_or(1.0);
        let made = online.step(&settings(case), &rows, each, temperature as f32);
        let name = &case.name;
        self.near(&format!("{name}: loss"), made.iter().map(|made| made.loss).sum(), case.loss.expect("there is one"));
        for (made, expected) in made.iter().zip(case.micro_batches.iter().flat_map(|parts| &parts.losses)) {
            self.near(&format!("{name}: loss of a part"), made.loss, *expected);
        }
        let lists = case.metrics.as_array().cloned().unwrap_or_else(|| vec![case.metrics.clone()]);
        assert_eq!(lists.len(), made.len());
        for (made, expected) in made.iter().zip(&lists) {
            self.metrics(name, made, expected);
        }
        assert!(!case.grad_norms.is_empty(), "{name}");
        let norms = norms(&made);
        for (parameter, expected) in &case.grad_norms {
            self.near(&format!("{name}: gradient of {parameter}"), norms[parameter], *expected);
        }
    }
}

/// The norm of the gradients' sum by parameter, and of all.
fn norms(made: &[Made]) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<&String, Vec<f64>> = BTreeMap::new();
    for (name, values) in made.iter().flat_map(|made| &made.gradients) {
        let sum = sums.entry(name).or_insert_with(|| vec![0.0; values.len()]);
        sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let squares = |values: &Vec<f64>| values.iter().map(|value| value * value).sum::<f64>();
    let all = sums.values().map(squares).sum::<f64>().sqrt();
    let each = sums.iter().map(|(name, values)| ((*name).clone(), squares(values).sqrt()));
    each.chain([("all_parameters".to_owned(), all)]).collect()
}

#[track_caller]
fn check(model: &str, cases: [usize; 2]) {
    let online = Online::new(model);
    let mut check = Check::default();
    for (file, count) in ["grpo", "rloo"].into_iter().zip(cases) {
        let fixture = Fixture::read(&format!("{file}-{model}.json"));
        let of_losses: Vec<&Case> = fixture.cases.iter().filter(|case| case.kind != "advantages").collect();
        assert_eq!(of_losses.len(), count, "{file}");
        for case in of_losses {
            check.case(&online, &fixture, case);
        }
    }
    // How near it comes is in the plugin's README.
    assert!(
        check.largest.0 <= 1.0,
        "{} is {} of what it may be, of {}",
        check.largest.1,
        check.largest.0,
        check.compared
    );
    assert!(check.faults.is_empty(), "{}", check.faults.join("\n"));
}

#[test]
fn losses_of_tiny_llama_are_those_of_trl() {
    check("tiny-llama", [42, 2]);
}

#[test]
fn losses_of_tiny_qwen2_are_those_of_trl() {
    check("tiny-qwen2", [42, 2]);
}

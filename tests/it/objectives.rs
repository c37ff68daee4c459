//! Objectives of real components in the trainer's own batch: losses and gradients, element by element.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use burn::tensor::{Gradients, Tensor, TensorData};
use serde::Deserialize;
use serde_json::{Value, json};
use tunesmith_core::call::{Call, LogLine};
use tunesmith_core::data::Example;
use tunesmith_core::error::CallError;
use tunesmith_core::model::Message;
use tunesmith_core::plan::GeneratePlan;
use tunesmith_plugin::{Engine, EngineOptions, Grant, Limits, LoadOptions, Plugin};
use tunesmith_train::batch::{PolicyPair, TensorBatch, Totals};
use tunesmith_train::batching::{EncodedRow, MicroBatch};
use tunesmith_train::extra::ExtraParameters;
use tunesmith_train::model::export::save_tensors;
use tunesmith_train::model::{LanguageModel, NamedTensor, TokenBatch, WeightType};
use tunesmith_train::optimizer::NamedGradients;
use tunesmith_train::tensors::{Budget, BurnTensors};
use tunesmith_train::{device, service};

use crate::bad_input::{Lab, built_plugin};

/// Of the largest element of the model's gradient: both sides are float32 and add the same numbers in another order.
const SAME: f64 = 1e-6;
/// Relative to 1 + |expected|: float32 through two layers, against another library.
const LIKE_TRANSFORMERS: f64 = 2e-5;

static ENGINE: LazyLock<Engine> =
    LazyLock::new(|| Engine::new(&EngineOptions::default()).expect("this machine runs WebAssembly"));

/// A component of the folder `tests/components`.
pub(crate) fn built_component(file: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("components").join(file);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask plugins` first", path.display()))
}

/// A plugin of these bytes, with these settings and the defaults of the others.
pub(crate) fn plugin(bytes: &[u8], settings: &Value) -> Plugin {
    let limits = Limits { log_lines: 10_000, log_bytes: 1 << 20, ..Limits::default() };
    let settings = settings.as_object().cloned().expect("an object");
    let options = LoadOptions { grants: [Grant::ModelForward].into_iter().collect(), settings, limits };
    Plugin::load(&ENGINE, "probe", bytes, options).unwrap_or_else(|error| panic!("{error:?}"))
}

fn probe(settings: &Value) -> Plugin {
    plugin(&built_component("probe.wasm"), settings)
}

/// The tiny model in training, all of it.
pub(crate) struct Bench {
    model: LanguageModel,
    models: PolicyPair,
    _folder: Lab,
}

/// What an objective came to.
pub(crate) struct Made {
    pub(crate) loss: f64,
    /// None if the loss does not depend on anything that is trained.
    gradients: Option<Gradients>,
    lines: Vec<LogLine>,
    /// The mean of each named number that was logged.
    pub(crate) metrics: BTreeMap<String, f64>,
}

impl Bench {
    fn new() -> Self {
        Self::changed(|_| {})
    }

    /// With other weights.
    fn changed(change: impl FnOnce(&mut Vec<NamedTensor>)) -> Self {
        let folder = Lab::new();
        let device = device::open("cpu").expect("every machine has a processor");
        let load = || LanguageModel::load(&folder.path("model"), &device).expect("the fixture is whole");
        let mut tensors = load().decoder.named_tensors();
        change(&mut tensors);
        save_tensors(&folder.path("model/model.safetensors"), &tensors, WeightType::F32).expect("it can be written");
        let model = load();
        let reference = model.decoder.clone();
        let models = PolicyPair { policy: burn::module::Module::train(reference.clone()), reference };
        Self { model, models, _folder: folder }
    }

    /// Another model of the fixtures, with every parameter of policy and reference multiplied.
    pub(crate) fn scaled(fixture: &str, policy: f32, reference: f32) -> Self {
        let folder = Lab::new();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(fixture);
        fs::copy(source.join("config.json"), folder.path("model/config.json")).expect("the fixture is there");
        fs::copy(source.join("model.safetensors"), folder.path("model/model.safetensors"))
            .expect("the fixture is there");
        let device = device::open("cpu").expect("every machine has a processor");
        let load = || LanguageModel::load(&folder.path("model"), &device).expect("the fixture is whole");
        let tensors = load().decoder.named_tensors();
        let times = |factor: f32| {
            let mut tensors = tensors.clone();
            tensors.iter_mut().flat_map(|tensor| &mut tensor.values).for_each(|value| *value *= factor);
            save_tensors(&folder.path("model/model.safetensors"), &tensors, WeightType::F32)
                .expect("it can be written");
            load()
        };
        let reference = times(reference).decoder;
        let model = times(policy);
        let models = PolicyPair { policy: burn::module::Module::train(model.decoder.clone()), reference };
        Self { model, models, _folder: folder }
    }

    fn extra(&self, plugin: &Plugin) -> ExtraParameters {
        let (policy, config) = (&self.models.policy, self.model.config());
        ExtraParameters::new("probe", plugin.parameters(), config, 7, &policy.device()).expect("they are small")
    }

    pub(crate) fn run(&self, plugin: &Plugin, micro: &Arc<MicroBatch>) -> Result<Made, CallError> {
        self.run_with(plugin, micro, &self.extra(plugin))
    }

    fn run_with(&self, plugin: &Plugin, micro: &Arc<MicroBatch>, extra: &ExtraParameters) -> Result<Made, CallError> {
        let engine = Arc::new(BurnTensors::new(&self.models.policy.device(), Budget::default()));
        let weights = vec![1.0; micro.tokens()];
        let batch =
            TensorBatch::new(Arc::clone(&engine), self.models.clone(), Arc::clone(micro), &weights, totals(micro));
        let batch = batch.expect("there are rows").with_extra(extra.clone());
        let plan = GeneratePlan { max_tokens: 8, batch: 4, chunk: 4 };
        let services = service::of_objective(&self.model, &plan, &self.models, &engine);
        let mut call = Call::with(17, 0, services);
        let loss = plugin.objective().expect("it is exported").objective(Arc::new(batch), &mut call)?;
        let is_tracked = engine.is_tracked(loss).expect("live");
        let loss = engine.scalar(loss).expect("one number");
        let gradients = is_tracked.then(|| loss.backward());
        let metrics = call.report.metrics.into_iter().map(|(name, (sum, count))| (name, sum / count as f64)).collect();
        Ok(Made { loss: number(loss), gradients, lines: call.report.lines, metrics })
    }

    /// The gradient of each trained parameter, extra ones included.
    fn gradients(&self, made: Made, extra: &ExtraParameters) -> BTreeMap<String, Vec<f32>> {
        NamedGradients::of_all(&self.models.policy, extra, made.gradients.expect("the loss has a gradient")).values()
    }

    /// The gradients of the model's own parameters.
    pub(crate) fn named_gradients(&self, made: Made) -> NamedGradients {
        NamedGradients::of(&self.models.policy, made.gradients.expect("the loss has a gradient"))
    }

    /// The loss and the gradients of a plugin's objective.
    fn losses(&self, plugin: &Plugin, micro: &Arc<MicroBatch>) -> (f64, BTreeMap<String, Vec<f32>>) {
        let made = self.run(plugin, micro).unwrap_or_else(|error| panic!("{error:?}"));
        (made.loss, self.gradients(made, &self.extra(plugin)))
    }

    /// The loss and the gradients of what `loss` makes of each trained token's log-probability and its weight, [B, T].
    fn plain(
        &self,
        micro: &MicroBatch,
        loss: impl Fn(Tensor<2>, Tensor<2>) -> Tensor<1>,
    ) -> (f64, BTreeMap<String, Vec<f32>>) {
        let layout: TokenBatch = micro.layout().expect("there are rows");
        let mask = micro.padded_where_masked(&vec![1.0; micro.tokens()]);
        let device = self.models.reference.device();
        let mask = Tensor::from_data(TensorData::new(mask, [layout.rows(), layout.width()]), &device);
        let logprobs = self.models.policy.token_logprobs(&layout).expect("the batch fits");
        let loss = loss(logprobs, mask);
        let gradients = NamedGradients::of(&self.models.policy, loss.backward()).values();
        (number(loss), gradients)
    }
}

fn number(tensor: Tensor<1>) -> f64 {
    f64::from(tensor.into_scalar::<f32>())
}

fn totals(micro: &MicroBatch) -> Totals {
    Totals {
        weight: micro.loss_tokens() as f64,
        rows: micro.rows.len(),
        groups: micro.groups(),
        micro_batches: 1,
        step: 0,
    }
}

fn row(tokens: &[u32], prompt: usize) -> Arc<EncodedRow> {
    row_of(tokens, prompt, "")
}

/// A row of this role, of which the first `prompt` tokens are not trained on.
pub(crate) fn row_of(tokens: &[u32], prompt: usize, role: &str) -> Arc<EncodedRow> {
    let example = Example { messages: vec![Message::user("q")], ..Example::default() };
    let mask = (0..tokens.len()).map(|at| prompt <= at).collect();
    Arc::new(EncodedRow {
        example: Arc::new(example),
        tokens: tokens.to_vec(),
        mask,
        role: role.to_owned(),
        sampled: None,
        source: None,
    })
}

/// Three rows of unlike lengths.
fn micro() -> Arc<MicroBatch> {
    let rows = vec![row(&[1, 50, 60, 70, 80, 33, 12, 2], 3), row(&[1, 9, 90, 41, 2], 2), row(&[1, 7, 7, 31, 64, 2], 1)];
    Arc::new(MicroBatch { rows, groups: vec![0, 1, 2] })
}

#[track_caller]
fn same(found: &(f64, BTreeMap<String, Vec<f32>>), expected: &(f64, BTreeMap<String, Vec<f32>>)) {
    let fault = (found.0 - expected.0).abs() / expected.0.abs();
    assert!(fault <= SAME, "the loss {} is not {} ({fault:e})", found.0, expected.0);
    let largest = expected.1.values().flatten().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    assert!(0.0 < largest, "there is no gradient to compare");
    assert_eq!(found.1.keys().collect::<Vec<_>>(), expected.1.keys().collect::<Vec<_>>());
    for (name, expected) in &expected.1 {
        assert_eq!(found.1[name].len(), expected.len(), "{name}");
        for (at, (found, expected)) in found.1[name].iter().zip(expected).enumerate() {
            let fault = f64::from(found - expected).abs() / f64::from(largest);
            assert!(fault <= SAME, "{name}[{at}] is {found}, not {expected} ({fault:e} of {largest})");
        }
    }
}

#[test]
fn the_plugin_nll_has_the_gradients_of_plain_rust() {
    let bench = Bench::new();
    let count = totals(&micro()).weight;
    let plain = bench.plain(&micro(), |logprobs, mask| (logprobs * mask).sum().mul_scalar(-1.0 / count));
    same(&bench.losses(&plugin(&built_plugin("nll.wasm"), &json!({})), &micro()), &plain);
}

#[test]
fn the_plugin_beyond_nll_has_the_gradients_of_plain_rust() {
    let bench = Bench::new();
    let count = totals(&micro()).weight;
    for alpha in [0.25, 1.0] {
        // (1 - p^alpha) / alpha, mean over the trained tokens; with a small alpha, since the tiny model is unsure of all of them.
        let plain = bench.plain(&micro(), |logprobs, mask| {
            let power = logprobs.mul_scalar(alpha).exp();
            ((power.neg() + 1.0).mul_scalar(1.0 / alpha) * mask).sum().mul_scalar(1.0 / count)
        });
        let settings = json!({"function": "family", "alpha": alpha, "reduction": "token-mean"});
        same(&bench.losses(&plugin(&built_plugin("beyond-nll.wasm"), &settings), &micro()), &plain);
    }
}

#[test]
fn the_loss_rebuilt_from_logits_is_that_of_the_batchs_own_log_probabilities() {
    let bench = Bench::new();
    let port = bench.losses(&probe(&json!({"task": "port"})), &micro());
    for task in ["nll", "from-embeddings"] {
        same(&bench.losses(&probe(&json!({"task": task})), &micro()), &port);
    }
    // After the last layer there is nothing left out.
    same(&bench.losses(&probe(&json!({"task": "exit", "layer": 2})), &micro()), &port);
}

#[test]
fn layers_behind_an_exit_have_no_gradient() {
    let bench = Bench::new();
    let (_, gradients) = bench.losses(&probe(&json!({"task": "exit", "layer": 1})), &micro());
    let layers = |prefix: &str| gradients.keys().filter(|name| name.starts_with(prefix)).count();
    assert_eq!((layers("model.layers.0."), layers("model.layers.1."), layers("model.norm")), (9, 0, 1));
}

/// `tests/fixtures/tiny-llama/forward.json`; see the README there.
#[derive(Deserialize)]
struct Expected {
    ids: Vec<u32>,
    nll: f64,
    hidden: Vec<Vec<f64>>,
    attention: Vec<Vec<f64>>,
    logits_after_layer_1: Vec<f64>,
    embedding_gradient: Vec<f64>,
}

impl Expected {
    fn read() -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama/forward.json");
        let text = fs::read_to_string(path).expect("the fixture is in the repository");
        serde_json::from_str(&text).expect("the fixture is as its README says")
    }

    fn micro(&self) -> Arc<MicroBatch> {
        Arc::new(MicroBatch { rows: vec![row(&self.ids, 1)], groups: vec![0] })
    }
}

#[track_caller]
fn like(what: &str, found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let fault = (f64::from(*found) - expected).abs() / (1.0 + expected.abs());
        assert!(fault <= LIKE_TRANSFORMERS, "{what}[{at}] is {found}, not {expected} ({fault:e})");
    }
}

/// What a task of the probe logged: a shape, and every element's bits.
fn shown(bench: &Bench, micro: &Arc<MicroBatch>, settings: &Value) -> (String, Vec<f32>) {
    let made = bench.run(&probe(settings), micro).unwrap_or_else(|error| panic!("{error:?}"));
    let [shape, lines @ ..] = made.lines.as_slice() else { panic!("nothing was logged") };
    let values = lines.iter().flat_map(|line| line.text.split(' '));
    let values = values.map(|bits| f32::from_bits(bits.parse().expect("the bits of a number"))).collect();
    (shape.text.clone(), values)
}

#[test]
fn what_a_forward_pass_gives_is_what_transformers_gives() {
    let (bench, expected) = (Bench::new(), Expected::read());
    let micro = expected.micro();
    for (layer, hidden) in expected.hidden.iter().enumerate() {
        let (shape, found) = shown(&bench, &micro, &json!({"task": "show-hidden", "layer": layer}));
        assert_eq!(shape, "[1, 8, 32]");
        like(&format!("hidden {layer}"), &found, hidden);
    }
    for (layer, attention) in expected.attention.iter().enumerate() {
        let (shape, found) = shown(&bench, &micro, &json!({"task": "show-attention", "layer": layer + 1}));
        assert_eq!(shape, "[1, 4, 8, 8]");
        like(&format!("attention {}", layer + 1), &found, attention);
    }
    let (shape, found) = shown(&bench, &micro, &json!({"task": "show-exit", "layer": 1}));
    assert_eq!(shape, "[1, 8, 96]");
    like("logits after layer 1", &found, &expected.logits_after_layer_1);
}

#[test]
fn gradients_flow_to_input_embeddings_as_in_transformers() {
    let (bench, expected) = (Bench::new(), Expected::read());
    // The embeddings of the ids, as a parameter of the plugin: restored from the file that a checkpoint would hold.
    let plugin = probe(&json!({"task": "embedded", "prompt": 8}));
    let mut extra = bench.extra(&plugin);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut tensors = extra.tensors();
    let prompt = tensors.iter_mut().find(|tensor| tensor.name == "prompt").expect("it is declared");
    prompt.values = expected.hidden[0].iter().map(|value| *value as f32).collect();
    let file = extra.save(folder.path()).expect("it can be written").expect("there are parameters");
    save_tensors(&file, &tensors, WeightType::F32).expect("it can be written");
    extra.restore(folder.path()).expect("it fits");
    let made = bench.run_with(&plugin, &expected.micro(), &extra).unwrap_or_else(|error| panic!("{error:?}"));
    like("nll", &[made.loss as f32], &[expected.nll]);
    let gradients = bench.gradients(made, &extra);
    like("gradient", &gradients["parameters.probe.prompt"], &expected.embedding_gradient);
    assert!(!gradients.contains_key("parameters.probe.head"), "what is not used has no gradient");
}

/// A direction of length 1 in a tensor: that of the gradient, or signs without any order.
fn direction(gradient: &[f32], is_along: bool) -> Vec<f64> {
    let sign = |at: usize| if (at.wrapping_mul(2_654_435_761) >> 7) & 1 == 0 { 1.0 } else { -1.0 };
    let raw: Vec<f64> =
        gradient.iter().enumerate().map(|(at, value)| if is_along { f64::from(*value) } else { sign(at) }).collect();
    let norm = raw.iter().map(|value| value * value).sum::<f64>().sqrt();
    raw.into_iter().map(|value| value / norm).collect()
}

#[test]
fn gradients_through_hidden_states_are_those_of_finite_differences() {
    const STEP: f64 = 4e-3;
    let bench = Bench::new();
    for layer in [1, 2] {
        let plugin = probe(&json!({"task": "hidden", "layer": layer}));
        let made = bench.run(&plugin, &micro()).unwrap_or_else(|error| panic!("{error:?}"));
        let gradients = bench.models.policy.named_gradients(&made.gradients.expect("the loss has a gradient"));
        for (at, gradient) in gradients.iter().enumerate().filter(|(at, _)| (at + layer).is_multiple_of(3)) {
            let direction = direction(&gradient.values, at.is_multiple_of(2));
            let moved = |by: f64| {
                let change = |tensors: &mut Vec<NamedTensor>| {
                    let tensor =
                        tensors.iter_mut().find(|tensor| tensor.name == gradient.name).expect("the same names");
                    tensor.values.iter_mut().zip(&direction).for_each(|(value, way)| *value += (by * way) as f32);
                };
                Bench::changed(change).run(&plugin, &micro()).unwrap_or_else(|error| panic!("{error:?}")).loss
            };
            let approximate = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            let exact: f64 = gradient.values.iter().zip(&direction).map(|(value, way)| f64::from(*value) * way).sum();
            // Rounding of a float32 loss, divided by the step, and the third derivative.
            let fault = (exact - approximate).abs() / (0.5 + exact.abs());
            assert!(fault < 4e-3, "layer {layer}, {}: {exact} is not {approximate} ({fault:e})", gradient.name);
        }
    }
}

#[test]
fn a_forward_pass_of_the_reference_has_no_gradient() {
    let bench = Bench::new();
    let made = bench.run(&probe(&json!({"task": "reference"})), &micro()).unwrap_or_else(|error| panic!("{error:?}"));
    assert!(made.gradients.is_none());
    let (port, _) = bench.losses(&probe(&json!({"task": "port"})), &micro());
    assert!((made.loss - port).abs() <= SAME * port, "{} is not {port}", made.loss);
}

#[track_caller]
fn check_refusal(settings: &Value, expected: &[&str]) {
    let bench = Bench::new();
    let error = bench.run(&probe(settings), &micro()).err().expect("it fails");
    let told = format!("{error}: {error:?}");
    for words in expected {
        assert!(told.contains(words), "`{told}` does not say `{words}`");
    }
}

#[test]
fn what_is_not_there_is_named() {
    let known = "declares no parameter `haed`; it declares `bias`, `head`, `prompt`, `spare`";
    check_refusal(&json!({"task": "undeclared"}), &["probe", known]);
    check_refusal(&json!({"task": "hidden", "layer": 9}), &["probe", "9"]);
    check_refusal(&json!({"task": "exit", "layer": 9}), &["probe", "9"]);
    check_refusal(&json!({"task": "show-attention", "layer": 0}), &["probe", "attention layers are counted from 1"]);
}

//! Runs that come to an end: what they leave, and that they repeat.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Device;
use serde_json::Value;
use tunesmith_core::call::Call;
use tunesmith_core::data::{Examples, TokenBatch};
use tunesmith_core::error::CallError;
use tunesmith_core::model::{Prompt, Sampling};
use tunesmith_core::set::{Named, Stages};
use tunesmith_core::stage::{Choice, Curate, Curated, Weigh};
use tunesmith_core::trace::{Record, verify};

use super::{LORA, SHORT, inputs, plan, run_with};
use crate::extra::ExtraParameters;
use crate::model::LanguageModel;
use crate::optimizer::{AdamW, digest_of_trained};
use crate::run::{EvalSet, RunInputs, check, evaluate, run};

/// The text of a file of the run.
fn text(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join("run").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The trace's lines without their times.
pub(super) fn timeless(folder: &Path) -> Vec<String> {
    let strip = |line: &str| {
        let (start, rest) = line.split_once(r#","time":"#).expect("a trace line");
        format!("{start}{}", rest.split_once(r#","record":"#).expect("a trace line").1)
    };
    text(folder, "trace.jsonl").lines().map(strip).collect()
}

pub(super) fn records(folder: &Path) -> Vec<Record> {
    verify(&text(folder, "trace.jsonl")).expect("the trace is whole")
}

/// Weighs tokens by how unlikely they are.
pub(super) struct Surprise;

impl Weigh for Surprise {
    fn weigh(&self, batch: Arc<TokenBatch>, _: &mut Call) -> Result<Vec<f32>, CallError> {
        let logprobs = batch.logprobs.token_logprobs("policy").expect("there is a policy");
        Ok(logprobs.into_iter().map(|logprob| 1.0 - logprob.exp()).collect())
    }
}

/// Does every kind of choice, with the model's help.
struct Everything;

impl Curate for Everything {
    fn curate(&self, pool: Arc<Examples>, call: &mut Call) -> Result<Curated, CallError> {
        let policy = call.services.models.as_ref().expect("models").open("policy").expect("a policy");
        let prompts: Vec<Prompt> = pool.rows.iter().map(|row| Prompt::Chat(row.messages.clone())).collect();
        let sampling = Sampling { temperature: 1.0, seed: call.seed + call.number, ..Sampling::greedy(4) };
        let answers = policy.generate(&prompts, &sampling).expect("it generates");
        let provenance = || "self".to_owned();
        let mut curated = Curated::default();
        for (row, answer) in answers.into_iter().enumerate() {
            let completion = format!("{}.", answer.text);
            curated.choices.push(match row {
                0 => Choice::Keep { row, provenance: "gold".into() },
                1 => Choice::Drop { row, why: "too easy".into() },
                _ => Choice::Replace { row, completion, provenance: provenance() },
            });
            curated.notes.push((row, "length".into(), answer.tokens.len() as f64));
        }
        curated.choices.push(Choice::Add {
            prompt: "new".into(),
            completion: "n".into(),
            provenance: "synthetic".into(),
            like: Some(0),
        });
        Ok(curated)
    }
}

fn stages() -> Stages {
    Stages {
        curate: Some(Named::new("everything", Arc::new(Everything) as _)),
        weigh: Some(Named::new("surprise", Arc::new(Surprise) as _)),
        ..Stages::default()
    }
}

const CURATED: &str = "[train]\nsteps = 3\nbatch = 4\nmicro-batch = 2\nlearning-rate = 0.01\ncheckpoint-every = 2\n[generate]\nmax-tokens = 6\n[plugins]\neverything = \"e.wasm\"\n[curate]\nplugin = \"everything\"\nchunk = 3\n[measure]\nplugin = \"everything\"\n";

#[test]
fn the_same_run_leaves_the_same_trace() {
    for (adapter, tables) in [(LORA, CURATED), ("", SHORT)] {
        let stages = || if adapter.is_empty() { Stages::default() } else { stages() };
        let (one, first) = run_with(stages(), adapter, tables);
        let (other, second) = run_with(stages(), adapter, tables);
        let (first, second) = (first.expect("it runs"), second.expect("it runs"));
        assert_eq!(timeless(one.path()), timeless(other.path()));
        assert_eq!((first.trace, first.parameters), (second.trace, second.parameters));
        for name in ["curated.jsonl", "samples.jsonl"] {
            assert_eq!(text(one.path(), name), text(other.path(), name));
        }
    }
}

#[test]
fn a_run_leaves_all_that_explains_it() {
    let (folder, summary) = run_with(stages(), LORA, CURATED);
    let summary = summary.expect("it runs");
    assert_eq!((summary.steps, summary.rows), (3, 6));
    let counts: Vec<(&str, u64)> = summary.provenance.iter().map(|(word, count)| (word.as_str(), *count)).collect();
    assert_eq!(counts, [("gold", 2), ("self", 2), ("synthetic", 2)]);
    assert_eq!(summary.dropped["too easy"], 2);
    let set = &summary.sets[0];
    assert!(set.before["kl"].abs() < f64::MIN_POSITIVE, "nothing has changed yet");
    assert!(set.after["kl"] > 0.0 && set.after.contains_key("reference-nll"), "{set:?}");

    let kinds: Vec<&str> = records(folder.path())
        .iter()
        .map(|record| match record {
            Record::Start { .. } => "start",
            Record::Curate { .. } => "curate",
            Record::TrainingSet { .. } => "set",
            Record::Step(_) => "step",
            Record::Measure { .. } => "measure",
            Record::End { .. } => "end",
        })
        .collect();
    assert_eq!(kinds, ["start", "measure", "curate", "curate", "set", "step", "step", "step", "measure", "end"]);
    let Record::Step(step) = &records(folder.path())[7] else { panic!("a step") };
    assert!(step.parameters.is_some() && step.grad_norm > 0.0);
    assert_eq!(step.calls.len(), 2 + 2, "two micro-batches, weighed and minimised");

    assert_eq!(text(folder.path(), "metrics.jsonl").lines().count(), 3);
    assert_eq!(text(folder.path(), "samples.jsonl").lines().count(), 4);
    let curated: Vec<Value> =
        text(folder.path(), "curated.jsonl").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(curated.len(), 8);
    assert_eq!(curated[2]["example"]["id"], 6);
    assert!(curated[7]["dropped"] == "too easy" && curated[7]["notes"]["length"].is_number());
    let written: Value = serde_json::from_str(&text(folder.path(), "summary.json")).expect("JSON");
    assert_eq!(written["trace"], summary.trace);
    let hidden = fs::read_dir(folder.path().join("run")).expect("a folder").flatten();
    assert!(hidden.map(|entry| entry.file_name()).all(|name| !name.to_string_lossy().starts_with('.')));
}

#[test]
fn a_checkpoint_holds_what_the_run_was_at_that_step() {
    let (folder, summary) = run_with(Stages::default(), LORA, SHORT);
    let summary = summary.expect("it runs");
    let place = folder.path().join("run/checkpoints/step-3");
    let state: Value =
        serde_json::from_str(&fs::read_to_string(place.join("state.json")).expect("a state")).expect("JSON");
    assert_eq!((&state["step"], &state["parameters"]), (&Value::from(3), &Value::from(summary.parameters.as_str())));
    assert_eq!(state["sampler"]["epoch"], 1);
    let base = inputs(Stages::default()).model.decoder;
    for adapter in [place.join("adapter"), summary.trained.clone()] {
        let loaded = base.clone().load_adapter(&adapter).expect("it fits").train();
        assert_eq!(digest_of_trained(&loaded), summary.parameters);
        let plan = plan(folder.path(), LORA, SHORT);
        assert!(
            AdamW::load(&plan.train, &place.join("optimizer.safetensors"), &loaded, &ExtraParameters::default())
                .is_ok()
        );
    }
}

#[test]
fn a_whole_model_is_exported_as_a_model_folder() {
    let (_folder, summary) = run_with(Stages::default(), "", SHORT);
    let summary = summary.expect("it runs");
    let model = LanguageModel::load(&summary.trained, &Device::flex()).expect("a model folder");
    assert_eq!(digest_of_trained(&model.decoder.train()), summary.parameters);
}

#[test]
fn training_lowers_the_loss() {
    let tables = SHORT.replace("steps = 3", "steps = 30");
    let (_folder, summary) = run_with(Stages::default(), LORA, &tables);
    let summary = summary.expect("it runs");
    let (first, last) = (summary.loss_first.expect("steps"), summary.loss_last.expect("steps"));
    assert!(last < 0.7 * first, "{first} became {last}");
    assert!(summary.sets[0].after["reference-nll"] < summary.sets[0].before["reference-nll"]);
}

#[test]
fn a_trained_adapter_is_measured_as_the_run_measured_it() {
    let tables = format!("{SHORT}[plugins]\nm = \"m.wasm\"\n[measure]\nplugin = \"m\"\n");
    let (folder, summary) = run_with(Stages::default(), LORA, &tables);
    let summary = summary.expect("it runs");
    let plan = plan(folder.path(), LORA, &tables);
    let sets = evaluate(&plan, inputs(Stages::default()), Some(&summary.trained), &mut ()).expect("it measures");
    assert_eq!(sets[0].before, summary.sets[0].after);
}

#[test]
fn a_forecast_is_what_the_run_does() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan = plan(folder.path(), LORA, "[train]\nbatch = 4\n");
    let forecast = check(&plan, &inputs(Stages::default())).expect("all is well");
    // Each prompt has 12 tokens, completions 1 to 6 and an end.
    assert_eq!((forecast.rows, forecast.tokens, forecast.loss_tokens), (6, 6 * 12 + 21 + 6, 27));
    assert_eq!((forecast.longest, forecast.steps), (19, Some(2)));
    assert!(!plan.output.exists());
    let summary =
        run(&plan, RunInputs { evals: Vec::<EvalSet>::new(), ..inputs(Stages::default()) }, &mut ()).expect("it runs");
    assert_eq!((summary.steps, summary.tokens, summary.loss_tokens), (2, forecast.tokens, forecast.loss_tokens));
}

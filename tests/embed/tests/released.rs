//! Components that were built against released contracts, in today's host: `tests/compat/`.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use serde_json::json;
use tunesmith_core::call::Call;
use tunesmith_core::data::{Answered, Case, Cases, Evaluation, TokenBatch, TokenRow, Verdict};
use tunesmith_core::stage::Stage;
use tunesmith_core::tensors::Tensors as _;
use tunesmith_embed::{
    Halves, Letters, OneBatch, Parrot, Plain, SquareBlock, TwoParameters, bytes_of, cause, examples, grants, rollouts,
    services,
};
use tunesmith_plugin::{Engine, EngineOptions, Limits, LoadOptions, Plugin, inspect};

static ENGINE: LazyLock<Engine> =
    LazyLock::new(|| Engine::new(&EngineOptions::default()).expect("this machine runs WebAssembly"));

fn kept(version: &str, name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat").join(version);
    let path = folder.join(name).with_extension("wasm");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn load(name: &str, bytes: &[u8], settings: &serde_json::Value) -> Plugin {
    let settings = settings.as_object().cloned().expect("an object");
    let options = LoadOptions { grants: grants(), settings, ..LoadOptions::default() };
    Plugin::load(&ENGINE, name, bytes, options).unwrap_or_else(|error| panic!("{}", cause(&error)))
}

fn call() -> Call {
    Call::with(17, 0, services(&Parrot::new(Arc::default())))
}

#[track_caller]
fn told<T>(answer: Result<T, tunesmith_core::error::CallError>) -> T {
    answer.unwrap_or_else(|error| panic!("{}", cause(&error)))
}

/// Everything that a component of all ten stages answers to the data of the conformance tests.
fn answers(plugin: &Plugin) -> Vec<String> {
    let pool = examples(&[("a", Some("a")), ("b", Some("b!")), ("c", Some("gold")), ("d", None), ("e", Some("*"))]);
    let curated = told(plugin.curate().expect("exported").curate(pool.clone(), &mut call()));
    let case = |answer: &str| Case { example: pool.rows[0].clone(), answer: answer.into(), rival: None };
    let cases = Cases { cases: ["a", "an", "b"].map(case).into() };
    let verdicts = told(plugin.judge().expect("exported").judge(Arc::new(cases), &mut call()));
    let rewards = told(plugin.reward().expect("exported").reward(rollouts(None), &mut call()));
    let advantages = told(plugin.credit().expect("exported").credit(rollouts(None), &rewards, &mut call()));
    let row = TokenRow {
        example: pool.rows[0].clone(),
        tokens: vec![1, 2],
        mask: vec![false, true],
        texts: vec!["a".into(), "b".into()],
        role: String::new(),
    };
    let row_texts = Arc::new(Letters(vec![("ab", 1)]));
    let batch = TokenBatch { rows: vec![row], logprobs: Arc::new(Halves(2)), row_texts, step: 0 };
    let weights = told(plugin.weigh().expect("exported").weigh(Arc::new(batch), &mut call()));
    let engine = Arc::new(Plain::default());
    let loss = told(plugin.objective().expect("exported").objective(Arc::new(OneBatch(engine.clone())), &mut call()));
    let loss = engine.read_floats(loss);
    let parameters = TwoParameters::new(engine.clone());
    told(plugin.edit().expect("exported").edit(parameters.clone(), &mut call()));
    let answered = |answer: &str| Answered { example: pool.rows[0].clone(), answer: answer.into(), is_finished: true };
    let evaluation =
        Evaluation { name: "target".into(), rows: ["a", "b"].map(answered).into(), statistics: Vec::new() };
    let metrics = told(plugin.measure().expect("exported").measure(Arc::new(evaluation), &mut call()));
    let answers = told(plugin.answer().expect("exported").answer(pool.clone(), &mut call()));
    let scores = told(plugin.retain().expect("exported").retain(Arc::new(SquareBlock(engine.clone())), &mut call()));
    let scores = engine.read_floats(scores);
    vec![
        format!("{curated:?}"),
        format!("{verdicts:?}"),
        format!("{rewards:?}"),
        format!("{advantages:?}"),
        format!("{weights:?}"),
        format!("{loss:?}"),
        format!("{:?}", parameters.values()),
        format!("{metrics:?}"),
        format!("{answers:?}"),
        format!("{scores:?}"),
    ]
}

#[test]
fn a_component_of_each_version_answers_in_all_stages_as_one_of_today() {
    for version in ["0.1.0", "0.1.1"] {
        let bytes = kept(version, "bare");
        let outline = inspect(&bytes, &Limits::default()).expect("a component");
        let is_of = |name: &str| name.ends_with(&format!("@{version}"));
        assert!(outline.imports.iter().all(|import| is_of(&import.name)), "{:?}", outline.imports);
        let plugin = load("bare", &bytes, &json!({}));
        assert_eq!(plugin.stages(), Stage::ALL);
        let (found, expected) = (answers(&plugin), answers(&load("bare", &bytes_of("bare"), &json!({}))));
        assert_eq!(found, expected, "{version}");
        assert_eq!(found[5], "Ok([1.75])");
    }
}

/// `otr` draws candidates, which came with 0.1.1.
#[test]
fn a_plugin_of_the_sdk_of_0_1_1_runs() {
    let objective = load("otr", &kept("0.1.1", "otr"), &json!({})).objective().expect("exported");
    let engine = Arc::new(Plain::default());
    let loss = told(objective.objective(Arc::new(OneBatch(engine.clone())), &mut call()));
    assert!(engine.read_floats(loss).expect("live").iter().all(|loss| loss.is_finite()));
}

#[test]
fn plugins_of_the_sdk_of_0_1_0_run() {
    let judge =
        load("answer-match", &kept("0.1.0", "answer-match"), &json!({"kind": "text"})).judge().expect("exported");
    let example = examples(&[("a", Some("four"))]).rows[0].clone();
    let case = |answer: &str| Case { example: example.clone(), answer: answer.into(), rival: None };
    let cases = Arc::new(Cases { cases: ["four", "five"].map(case).into() });
    assert_eq!(told(judge.judge(cases, &mut call())), [Verdict::Right, Verdict::Wrong]);
    let engine = Arc::new(Plain::default());
    let objective = load("nll", &kept("0.1.0", "nll"), &json!({})).objective().expect("exported");
    let loss = told(objective.objective(Arc::new(OneBatch(engine.clone())), &mut call()));
    assert_eq!(engine.read_floats(loss), Ok(vec![1.75]));
}

//! Recipes whose evaluation answers through a component: from the recipe's table to trace, samples and metrics.

use std::fs;

use serde_json::Value;
use tunesmith::{Error, Options, Session, Summary, evaluate};

use crate::bad_input::{Lab, built_plugin, check_told};

/// A recipe that answers with two drafts and an aggregation, all sampled.
fn lab(grants: &str, answer: &str) -> Lab {
    let lab = Lab::new();
    lab.write("aft.wasm", built_plugin("aft.wasm"));
    let plugin = format!("[generate]\nmax-tokens = 6\n[plugins]\naft = {{ path = \"aft.wasm\", grants = {grants} }}\n");
    lab.append("recipe.toml", &format!("{plugin}[answer]\nplugin = \"aft\"\n{answer}"));
    lab
}

const GRANTED: &str = "[\"model.generate\"]";
const ROUND: &str = "chunk = 1\n[answer.settings]\nproposals = 2\nrounds = 1\ntemperature = 1.0\nfinal-temperature = 1.0\naggregation-prompt = \"{proposals}{prompt}\"\nproposal = \"{draft}|\"\n";

fn run(lab: &Lab) -> Result<Summary, Error> {
    Session::open(&lab.path("recipe.toml"))?.run(&mut ())
}

fn lines(lab: &Lab, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(lab.path("run").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    text.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect()
}

#[test]
fn a_component_answers_before_and_after_training_and_every_call_is_in_the_trace() {
    let lab = lab(GRANTED, ROUND);
    let summary = run(&lab).unwrap_or_else(|error| panic!("{error:?}"));
    let samples = lines(&lab, "samples.jsonl");
    assert_eq!(samples.iter().map(|line| line["step"].as_u64()).collect::<Vec<_>>(), [0, 0, 2, 2].map(Some));
    let mut calls = Vec::new();
    for record in lines(&lab, "trace.jsonl").iter().map(|line| &line["record"]).filter(|it| it["event"] == "measure") {
        let own = record["calls"].as_array().expect("calls").iter().filter(|call| call["stage"] == "answer");
        calls.extend(own.cloned());
    }
    assert_eq!(calls.len(), 4, "two rows, one per call, before and after");
    for call in &calls {
        assert_eq!(call["plugin"], "aft");
        assert!(call["report"]["fuel"].as_u64() > Some(1_000), "{call}");
        assert!(["input", "output"].iter().all(|side| call[side].as_str().map(str::len) == Some(64)), "{call}");
    }
    assert_eq!(calls[0]["input"], calls[2]["input"], "the same row");
    assert_ne!(calls[0]["output"], calls[2]["output"], "another draw");
    let seconds = summary.plugin_seconds.keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(seconds, ["answer"]);
}

#[test]
fn an_evaluation_answers_as_the_run_did_before_training() {
    let lab = lab(GRANTED, ROUND);
    let summary = run(&lab).unwrap_or_else(|error| panic!("{error:?}"));
    let sets = evaluate(&lab.path("recipe.toml"), None, &Options::default(), &mut ());
    let sets = sets.unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(sets[0].before, summary.sets[0].before);
}

#[test]
fn the_same_recipe_answers_alike_and_another_seed_does_not() {
    let answers = |seed: u64| {
        let lab = lab(GRANTED, ROUND);
        lab.replace("recipe.toml", "seed = 1", &format!("seed = {seed}"));
        let summary = run(&lab).unwrap_or_else(|error| panic!("{error:?}"));
        (lines(&lab, "samples.jsonl"), summary.trace)
    };
    assert_eq!(answers(1), answers(1));
    assert_ne!(answers(1).0, answers(2).0);
}

#[test]
fn what_an_answering_plugin_lacks_is_told_before_any_work() {
    let error = run(&lab("[]", ROUND)).expect_err("nothing is granted");
    check_told(&error, &["recipe.toml", "`plugins.aft`", "model.generate", "hint:"]);
    let error = run(&lab(GRANTED, "settings = { round = 1 }\n")).expect_err("there is no such setting");
    check_told(&error, &["`answer.settings.round`", "is unknown", "hint:"]);
    let error = run(&lab(GRANTED, "chunk = 0\n")).expect_err("no call has no rows");
    check_told(&error, &["`answer.chunk`", "must be at least 1"]);
    let lab = lab(GRANTED, "");
    lab.replace("recipe.toml", "[answer]", "[measure]");
    let error = run(&lab).expect_err("it does not measure");
    check_told(&error, &["does not export the stage `measure`", "hint: it exports `curate`, `answer`"]);
}

/// A prompt that fits, and drafts that make the request for an aggregation longer than the model reads.
#[test]
fn a_request_that_is_too_long_stops_the_run_and_says_whose_it_is() {
    let lab = lab(GRANTED, "settings = { rounds = 1, proposals-column = \"drafts\", longest = 0 }\n");
    let row = serde_json::json!({ "prompt": "q", "completion": "a", "drafts": ["x".repeat(3_000)] });
    lab.write("test.jsonl", format!("{row}\n"));
    let error = run(&lab).expect_err("the drafts are too long");
    check_told(&error, &["the run failed", "plugin `aft`", "stage `answer`", "positions"]);
}

//! Methods of several plugins in one run, through the real host: mixed-policy rewards by BLEU, and training for tool use.

use std::fs;

use serde_json::{Value, json};
use tunesmith::Session;

use crate::bad_input::{Lab, built_plugin};

fn lab(plugins: &[&str], tables: &str) -> Lab {
    let lab = Lab::new();
    let mut lines = String::from("batch = 2\nlearning-rate = 1e-2\n[generate]\nmax-tokens = 12\n[plugins]\n");
    for name in plugins {
        lab.write(&format!("{name}.wasm"), built_plugin(&format!("{name}.wasm")));
        lines.extend([name, " = \"", name, ".wasm\"\n"]);
    }
    lab.append("recipe.toml", &(lines + tables));
    lab
}

fn run(lab: &Lab) {
    let session = Session::open(&lab.path("recipe.toml")).unwrap_or_else(|error| panic!("{error:?}"));
    session.run(&mut ()).unwrap_or_else(|error| panic!("{error:?}"));
}

fn lines(lab: &Lab, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(lab.path("run").join(name)).expect("the run writes it");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect()
}

/// Two rewards beside each other, one of them fading out; the gold completion is a member of each group.
#[test]
fn bleu_rewards_groups_that_hold_the_gold_completion() {
    let tables = "[rollout]\ngroup-size = 4\nreferences = true\nmax-tokens = 12\n[[reward]]\nplugin = \"bleu\"\n[[reward]]\nplugin = \"answer-match\"\nsettings = { kind = \"text\", marker = \"\" }\nweight = { from = 1.0, to = 0.0, steps = 2 }\n[credit]\nplugin = \"group-advantage\"\n[objective]\nplugin = \"grpo\"\nsettings = { beta = 0.02 }\n";
    let lab = lab(&["bleu", "answer-match", "group-advantage", "grpo"], tables);
    run(&lab);
    let rollouts = lines(&lab, "rollouts.jsonl");
    assert_eq!(rollouts.len(), 2 * 2 * 4);
    for group in rollouts.chunks(4) {
        let (given, sampled) = group.split_last().expect("four of them");
        assert_eq!((&given["is-off-policy"], given["rewards"]["bleu"].as_f64()), (&json!(true), Some(1.0)));
        assert!(
            sampled.iter().all(|line| line["is-off-policy"] == false && line["rewards"]["bleu"].as_f64() < Some(1.0))
        );
        assert!(0.0 < given["advantage"].as_f64().expect("a number"), "{given}");
    }
    // The second reward counts whole in the first step and half in the second.
    let total = |line: &Value, weight: f64| {
        line["rewards"]["bleu"].as_f64().unwrap_or(0.0)
            + weight * line["rewards"]["answer-match"].as_f64().unwrap_or(0.0)
    };
    for line in &rollouts {
        let weight = if line["step"] == 0 { 1.0 } else { 0.5 };
        let reward = line["reward"].as_f64().expect("a number");
        assert!((reward - total(line, weight)).abs() < 1e-6, "{line}");
    }
}

/// Calls of two tools that begin alike, one of which fails.
fn chats() -> String {
    let tools = json!([
        { "type": "function", "function": { "name": "get_time", "parameters": { "type": "object", "properties": { "city": {} } } } },
        { "type": "function", "function": { "name": "get_rain", "parameters": { "type": "object", "properties": { "city": {} } } } },
    ]);
    let turn = |role: &str, content: &str| json!({ "role": role, "content": content });
    let chat = |call: &str, result: &str| {
        let messages =
            [turn("user", "rain?"), turn("assistant", call), turn("tool", result), turn("assistant", "It rains.")];
        json!({ "messages": messages, "tools": tools }).to_string() + "\n"
    };
    chat("get_rain(city=\"Rome\")", "yes") + &chat("get_time(place=\"Rome\")", "unexpected keyword argument")
}

#[test]
fn turns_that_fail_are_no_targets_and_the_names_of_tools_weigh_more() {
    let tables = "[curate]\nplugin = \"tl-training\"\n[weigh]\nplugin = \"tl-training\"\n";
    let lab = lab(&["tl-training"], tables);
    lab.write("train.jsonl", chats());
    run(&lab);
    let curated = lines(&lab, "curated.jsonl");
    let targets: Vec<&str> = curated.iter().filter_map(|line| line["target"]["completion"].as_str()).collect();
    assert!(targets.contains(&"get_rain(city=\"Rome\")"), "{targets:?}");
    assert!(!targets.iter().any(|target| target.starts_with("get_time")), "{targets:?}");
    assert_eq!(targets.iter().filter(|target| **target == "It rains.").count(), 2, "the last turns stay");
    let steps = lines(&lab, "trace.jsonl");
    let calls = steps
        .iter()
        .filter(|line| line["record"]["event"] == "step")
        .flat_map(|line| line["record"]["calls"].as_array().cloned().unwrap_or_default());
    assert!(calls.filter(|call| call["stage"] == "weigh").count() > 0);
}

//! Credit by real components: advantages of another implementation, and proximal policy optimisation on the tiny model.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tunesmith::{Session, Summary};
use tunesmith_core::call::Call;
use tunesmith_core::data::{Advantages, Example, NamedReward, Rollout, Rollouts, TokenLogprobs};
use tunesmith_core::error::ServiceError;
use tunesmith_plugin::{Engine, EngineOptions, LoadOptions, Plugin};

use crate::bad_input::{Lab, built_plugin};
use crate::extra_parameters::tensors;

/// Float32 sums in another order, divided by deviations that are not small.
const LIKE_TRL: f64 = 1e-5;

static ENGINE: LazyLock<Engine> =
    LazyLock::new(|| Engine::new(&EngineOptions::default()).expect("this machine runs WebAssembly"));

fn plugin(name: &str, settings: &Value) -> Plugin {
    let settings = settings.as_object().cloned().expect("an object");
    let options = LoadOptions { settings, ..LoadOptions::default() };
    Plugin::load(&ENGINE, name, &built_plugin(&format!("{name}.wasm")), options)
        .unwrap_or_else(|error| panic!("{error:?}"))
}

/// `tests/fixtures/losses`; see the README there.
#[derive(Deserialize)]
struct Expected {
    cases: Vec<Case>,
    #[serde(default)]
    policy_per_token_logps: Vec<Vec<f32>>,
    #[serde(default)]
    ref_per_token_logps: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    kind: Option<String>,
    settings: Map<String, Value>,
    #[serde(default)]
    rewards: Vec<Vec<Option<f32>>>,
    advantages: Vec<f64>,
}

impl Expected {
    fn read(file: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/losses").join(file);
        let text = fs::read_to_string(path).expect("the fixture is in the repository");
        serde_json::from_str(&text).expect("the fixture is as its README says")
    }
}

/// Log-probabilities as a file has them.
struct Given {
    policy: Vec<f32>,
    reference: Vec<f32>,
}

impl TokenLogprobs for Given {
    fn token_logprobs(&self, under: &str) -> Result<Vec<f32>, ServiceError> {
        Ok(if under == "reference" { &self.reference } else { &self.policy }.clone())
    }
}

impl Case {
    /// The rollouts, each of as many tokens as the file says or of one, and the sums of their rewards.
    fn rollouts(&self, expected: &Expected) -> (Rollouts, Vec<Option<f32>>) {
        let size = self.settings["num_generations"].as_u64().expect("a number") as usize;
        let weights = self.settings["reward_weights"].as_array().expect("a list").iter();
        let weights: Vec<f32> = weights.map(|weight| weight.as_f64().expect("a number") as f32).collect();
        let rollout = |row: usize| Rollout {
            example: Arc::new(Example::default()),
            group: (row / size) as u32,
            completion: "a".into(),
            tokens: vec![68; expected.policy_per_token_logps.get(row).map_or(1, Vec::len)],
            is_finished: true,
            is_off_policy: false,
        };
        let given = Given {
            policy: expected.policy_per_token_logps.concat(),
            reference: expected.ref_per_token_logps.concat(),
        };
        let rows = (0..self.rewards.len()).map(rollout).collect();
        let mut rollouts = Rollouts::new(rows, Arc::new(given), 0);
        let column = |(column, weight): (usize, &f32)| NamedReward {
            name: format!("reward-{column}"),
            weight: *weight,
            scores: self.rewards.iter().map(|row| row[column]).collect(),
        };
        rollouts.rewards = weights.iter().enumerate().map(column).collect();
        let total = |row: &Vec<Option<f32>>| {
            let given = row.iter().zip(&weights).filter_map(|(reward, weight)| Some(weight * (*reward)?));
            given.reduce(|sum, more| sum + more)
        };
        (rollouts, self.rewards.iter().map(total).collect())
    }

    /// The largest distance of the plugin's advantages from the file's.
    fn distance(&self, expected: &Expected, plugin: &Plugin) -> f64 {
        let (rollouts, rewards) = self.rollouts(expected);
        let credit = plugin.credit().expect("it is exported");
        let advantages = credit.credit(Arc::new(rollouts), &rewards, &mut Call::new(1, 0));
        let Advantages::PerRollout(found) = advantages.unwrap_or_else(|error| panic!("{}: {error:?}", self.name))
        else {
            panic!("{}: advantages per token", self.name);
        };
        assert_eq!(found.len(), self.advantages.len(), "{}", self.name);
        let distances =
            found.iter().zip(&self.advantages).map(|(found, expected)| (f64::from(*found) - expected).abs());
        distances.fold(0.0, f64::max)
    }
}

#[test]
fn group_advantages_are_those_of_trl() {
    let expected = Expected::read("grpo-advantages.json");
    let mut plugins: BTreeMap<(&str, &str), Plugin> = BTreeMap::new();
    for case in &expected.cases {
        let word = |name: &str| case.settings[name].as_str().expect("a word");
        let (scale, aggregation) = (word("scale_rewards"), word("multi_objective_aggregation"));
        let plugin = plugins.entry((scale, aggregation)).or_insert_with(|| {
            let aggregation = aggregation.replace('_', "-").replace("ize", "ise");
            plugin("group-advantage", &json!({ "scale": scale, "aggregation": aggregation }))
        });
        let distance = case.distance(&expected, plugin);
        assert!(distance <= LIKE_TRL, "{}: {distance:e}", case.name);
    }
    assert_eq!(plugins.len(), 4, "every scale, and normalising first");
}

#[test]
fn leave_one_out_advantages_are_those_of_trl() {
    for file in ["rloo-tiny-llama.json", "rloo-tiny-qwen2.json"] {
        let expected = Expected::read(file);
        let cases: Vec<&Case> =
            expected.cases.iter().filter(|case| case.kind.as_deref() == Some("advantages")).collect();
        assert_eq!(cases.len(), 12, "{file}");
        for case in cases {
            let mut settings =
                json!({ "beta": case.settings["beta"], "normalise": case.settings["normalize_advantages"] });
            if let Some(range) = case.settings.get("reward_clip_range").filter(|range| !range.is_null()) {
                settings["lowest"] = range[0].clone();
                settings["highest"] = range[1].clone();
            }
            let distance = case.distance(&expected, &plugin("rloo", &settings));
            assert!(distance <= LIKE_TRL, "{file}, {}: {distance:e}", case.name);
        }
    }
}

/// An online recipe of two rounds of two updates, whose rewards are for saying the gold completion.
fn lab(rows: &str) -> Lab {
    let lab = Lab::new();
    lab.write("train.jsonl", rows);
    for name in ["ppo", "answer-match"] {
        lab.write(&format!("{name}.wasm"), built_plugin(&format!("{name}.wasm")));
    }
    lab.replace("recipe.toml", "steps = 2\n", "steps = 4\nbatch = 2\nlearning-rate = 1e-2\nschedule = \"constant\"\n");
    lab.replace("recipe.toml", "eval = \"test.jsonl\"\n", "");
    let settings = "{ kl = 0.1, lambda = 0.9, whiten = false }";
    lab.append(
        "recipe.toml",
        &format!(
            "[plugins]\nppo = \"ppo.wasm\"\nmatch = \"answer-match.wasm\"\n[[reward]]\nplugin = \"match\"\nsettings = {{ kind = \"text\", marker = \"\" }}\n[rollout]\ngroup-size = 2\nupdates = 2\nmax-tokens = 4\n[credit]\nplugin = \"ppo\"\nsettings = {settings}\n[objective]\nplugin = \"ppo\"\nsettings = {settings}\n"
        ),
    );
    lab
}

fn run(lab: &Lab) -> Summary {
    let session = Session::open(&lab.path("recipe.toml")).unwrap_or_else(|error| panic!("{error:?}"));
    session.run(&mut ()).unwrap_or_else(|error| panic!("{error:?}"))
}

fn lines(lab: &Lab, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(lab.path("run").join(name)).expect("the run writes it");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect()
}

/// Rows whose gold completion is what the policy says in its first round: what it samples does not depend on them.
fn said() -> String {
    let before = lab("{\"prompt\": \"one\", \"completion\": \"1\"}\n{\"prompt\": \"two\", \"completion\": \"2\"}\n");
    run(&before);
    let prompts = ["one", "two"];
    let row = |(id, prompt): (usize, &&str)| {
        let lines = lines(&before, "rollouts.jsonl");
        let own = lines.iter().filter(|line| line["id"].as_u64() == Some(id as u64));
        let has_letters = |text: &&str| text.chars().any(char::is_alphanumeric);
        let text = own.filter_map(|line| line["completion"].as_str()).find(has_letters).expect("it says something");
        format!("{}\n", json!({ "prompt": prompt, "completion": text }))
    };
    prompts.iter().enumerate().map(row).collect()
}

/// The metric of the stage in each step where it has one.
fn metric(lab: &Lab, stage: &str, name: &str) -> Vec<f64> {
    let steps = lines(lab, "trace.jsonl").into_iter().map(|line| line["record"].clone());
    let mut found = Vec::new();
    for step in steps.filter(|record| record["event"] == "step") {
        for call in step["calls"].as_array().expect("calls").iter().filter(|call| call["stage"] == stage) {
            found.extend(call["report"]["metrics"][name][0].as_f64());
        }
    }
    found
}

#[test]
fn proximal_policy_optimisation_trains_a_value_head() {
    let rows = said();
    let (one, other) = (lab(&rows), lab(&rows));
    let (summary, again) = (run(&one), run(&other));
    assert_eq!((summary.trace, summary.parameters), (again.trace, again.parameters));

    let exported = tensors(&one.path("run/parameters/ppo.safetensors"));
    assert_eq!((exported["value"].0.as_slice(), exported["value-bias"].0.as_slice()), (&[32][..], &[1][..]));
    let values = ["value", "value-bias"].iter().flat_map(|name| &exported[*name].1);
    assert!(values.clone().all(|value| value.is_finite() && *value != 0.0), "they start at 0: {exported:?}");

    let rewards: Vec<f64> = lines(&one, "rollouts.jsonl").iter().filter_map(|line| line["reward"].as_f64()).collect();
    assert!(rewards[..4].contains(&1.0), "{rewards:?}");
    let (losses, clipped) = (metric(&one, "objective", "value-loss"), metric(&one, "objective", "clipped-share"));
    assert_eq!((losses.len(), clipped.len()), (4, 4), "one micro-batch per step");
    let of = |name| metric(&one, "credit", name);
    let (values, returns, deviations) = (of("value"), of("return"), of("advantage-std"));
    assert_eq!(values.len(), 2, "one round for two updates");
    assert!(values[0] == 0.0 && 1e-3 < values[1].abs(), "the head has learned: {values:?}");
    for round in 0..2 {
        // In the first update nothing has moved: the head's error is the advantage, and what the objective computes is what the host has.
        let square = deviations[round].powi(2) + (returns[round] - values[round]).powi(2);
        let loss = losses[2 * round];
        assert!((loss - 0.5 * square).abs() < 1e-5 * (1.0 + loss), "round {round}: {loss}, not half of {square}");
        assert!(clipped[2 * round].abs() < 1e-9, "round {round}: {clipped:?}");
    }
    assert!(losses[1] < losses[0], "the head comes nearer to what it is taught: {losses:?}");
}

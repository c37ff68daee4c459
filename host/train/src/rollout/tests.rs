//! Online training on the tiny model: what is sampled, rewarded and credited, and that it depends on nothing else.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tunesmith_core::call::Call;
use tunesmith_core::data::{Advantages, Example, Rollout, Rollouts, TokenLogprobs};
use tunesmith_core::error::{CallError, ServiceError};
use tunesmith_core::set::{Named, Stages};
use tunesmith_core::stage::{Batch, Credit, Objective, Port, Reward, checked_objective};
use tunesmith_core::tensors::{Binary, Op, Scalar, TensorId};
use tunesmith_core::trace::{Record, verify};

use crate::run::tests::{LORA, example, inputs_of, plan, run_with};
use crate::run::{resume, run};
use crate::test_folder::chat_folder;

/// No log-probabilities.
struct Nothing;

impl TokenLogprobs for Nothing {
    fn token_logprobs(&self, _: &str) -> Result<Vec<f32>, ServiceError> {
        Err(ServiceError::Unsupported("there are none".into()))
    }
}

/// Rollouts of two tokens in these groups.
pub(super) fn rollouts(groups: &[u32]) -> Rollouts {
    let rollout = |group: &u32| Rollout {
        example: Arc::new(Example::default()),
        group: *group,
        completion: "ab".into(),
        tokens: vec![68, 69],
        is_finished: true,
        is_off_policy: false,
    };
    Rollouts::new(groups.iter().map(rollout).collect(), Arc::new(Nothing), 0)
}

/// The share of the letters `a` to `m`: what a policy can learn in a few steps. 0.0 for completions without a text.
struct EarlyLetters;

impl Reward for EarlyLetters {
    fn reward(&self, rollouts: Arc<Rollouts>, call: &mut Call) -> Result<Vec<Option<f32>>, CallError> {
        call.report.metric("asked", rollouts.rollouts.len() as f64);
        let share =
            |text: &str| text.matches(|letter| ('a'..='m').contains(&letter)).count() as f32 / text.len() as f32;
        let score =
            |rollout: &Rollout| Some(if rollout.completion.is_empty() { 0.0 } else { share(&rollout.completion) });
        Ok(rollouts.rollouts.iter().map(score).collect())
    }
}

/// `-sum(exp(l - old) A) / rows`: the gradient of the policy for the rewards.
struct PolicyGradient;

impl Objective for PolicyGradient {
    fn objective(&self, batch: Arc<dyn Batch>, call: &mut Call) -> Result<TensorId, CallError> {
        let port = |port: Port| batch.port(&port).expect("a port").expect("a tensor");
        let tensors = batch.tensors();
        let binary = |op, one, other| tensors.apply(&Op::Binary(op, one, other)).expect("they fit");
        let logprobs = batch.logprobs_at("policy", batch.temperature()).expect("a tensor");
        let ratio = binary(Binary::Sub, logprobs, port(Port::TokenLogprobs("old".into())));
        let ratio = tensors.apply(&Op::Unary(tunesmith_core::tensors::Unary::Exp, ratio)).expect("it is fine");
        let far = |far: f32, ratio: f32| far.max((ratio - 1.0).abs());
        let far = tensors.read_floats(ratio).expect("floats").into_iter().fold(0.0, far);
        call.report.metric("far", f64::from(far));
        let product = binary(Binary::Mul, ratio, port(Port::Advantages));
        let sum = tensors.apply(&Op::Sum(product)).expect("it sums");
        let loss = tensors.apply(&Op::Scalar(Scalar::Mul, sum, -1.0 / batch.total_rows() as f32)).expect("it is fine");
        checked_objective("pg", &*batch, loss).map(|_| loss)
    }
}

fn stages() -> Stages {
    Stages {
        rewards: vec![Named::new("a", Arc::new(EarlyLetters) as _)],
        objective: Some(Named::new("pg", Arc::new(PolicyGradient) as _)),
        ..Stages::default()
    }
}

/// The tables of an online recipe.
fn tables(steps: u32, rollout: &str) -> String {
    format!(
        "[plugins]\nx = \"x.wasm\"\n[objective]\nplugin = \"x\"\n[[reward]]\nplugin = \"x\"\n[rollout]\ngroup-size = 6\nmax-tokens = 8\n{rollout}\n[train]\nsteps = {steps}\nbatch = 2\nmicro-batch = 1\nlearning-rate = 0.02\nschedule = \"constant\"\n[generate]\nmax-tokens = 8\n"
    )
}

fn steps(run: &Path) -> Vec<tunesmith_core::trace::StepRecord> {
    let trace = fs::read_to_string(run.join("trace.jsonl")).expect("a trace");
    let records = verify(&trace).expect("it is whole");
    records.into_iter().filter_map(|it| if let Record::Step(step) = it { Some(step) } else { None }).collect()
}

fn lines(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("rollouts.jsonl")).expect("rollouts");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn the_reward_rises() {
    let (folder, made) = run_with(stages(), LORA, &tables(40, ""));
    made.expect("it runs");
    let run = folder.path().join("run");
    let rewards: Vec<f64> =
        steps(&run).iter().map(|step| step.rollouts.as_ref().expect("sampled").numbers["reward"]).collect();
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&rewards[..8]), mean(&rewards[32..]));
    assert!(first + 0.1 < last, "{first} at first, {last} at last");
    let lines = lines(&run);
    assert_eq!(lines.len(), 40 * 2 * 6);
    // Within each group advantages add up to nothing, and the better completion has the larger one.
    for group in lines.chunks(6).take(20) {
        let numbers =
            |name: &str| -> Vec<f64> { group.iter().map(|line| line[name].as_f64().unwrap_or(0.0)).collect() };
        let (rewards, advantages) = (numbers("reward"), numbers("advantage"));
        assert!(advantages.iter().sum::<f64>().abs() < 1e-4, "{advantages:?}");
        let pairs: Vec<(f64, f64)> = rewards.iter().copied().zip(advantages.iter().copied()).collect();
        for (reward, advantage) in &pairs {
            assert!(pairs.iter().all(|other| *reward <= other.0 || other.1 <= *advantage), "{pairs:?}");
        }
    }
}

#[test]
fn a_run_is_the_same_twice_and_calls_are_counted() {
    let made = || {
        let (folder, made) = run_with(stages(), LORA, &tables(2, ""));
        made.expect("it runs");
        steps(&folder.path().join("run"))
    };
    let (one, other) = (made(), made());
    assert_eq!(one, other);
    let asked: Vec<f64> = one.iter().map(|step| step.calls[0].report.metrics["asked"].0).collect();
    assert_eq!(asked, [12.0, 12.0]);
    assert_ne!(one[0].rollouts, one[1].rollouts, "each step samples anew");
}

#[test]
fn several_updates_are_made_on_what_was_sampled_once() {
    let (folder, made) = run_with(stages(), LORA, &tables(18, "updates = 3\ntemperature = 0.8"));
    made.expect("it runs");
    let steps = steps(&folder.path().join("run"));
    for round in steps.chunks(3) {
        let sampled: Vec<bool> = round.iter().map(|step| step.rollouts.is_some()).collect();
        assert_eq!(sampled, [true, false, false]);
        assert_eq!(round[0].rows, round[2].rows);
    }
    let far = |step: usize| {
        let metrics = steps[step].calls.iter().filter_map(|call| call.report.metrics.get("far"));
        metrics.map(|(sum, count)| sum / *count as f64).fold(0.0, f64::max)
    };
    // Rounding of two passes through the same layers, in batches of one shape.
    assert!((0..6).all(|round| far(3 * round) < 1e-5), "the first update is on the policy that sampled");
    // Where there was something to learn, the policy has moved.
    assert!((0..6).any(|round| 1e-3 < far(3 * round + 2)), "the others are not");
}

#[test]
fn references_are_members_that_were_not_sampled() {
    let (folder, made) = run_with(stages(), LORA, &tables(1, "references = true"));
    made.expect("it runs");
    let run = folder.path().join("run");
    let given: Vec<Value> = lines(&run).into_iter().filter(|line| line["is-off-policy"] == true).collect();
    assert_eq!(given.len(), 2, "one of each group");
    for line in &given {
        let id = line["id"].as_u64().expect("an id") as usize;
        assert_eq!(line["completion"], "abcdef"[..=id]);
    }
    let sampled: Vec<f64> = lines(&run)
        .iter()
        .filter(|line| line["is-off-policy"] == false)
        .map(|line| line["tokens"].as_f64().expect("a number"))
        .collect();
    let length = steps(&run)[0].rollouts.as_ref().expect("sampled").numbers["length"];
    assert!((length - sampled.iter().sum::<f64>() / sampled.len() as f64).abs() < 1e-9, "given ones do not count");
}

#[test]
fn a_row_without_a_reference_is_named_before_any_work() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan = plan(folder.path(), LORA, &tables(1, "references = true"));
    let mut inputs = inputs_of(&chat_folder(), stages());
    inputs.pool = Arc::new(vec![example(0, "q", Some("a")), example(1, "q", None)]);
    let error = run(&plan, inputs, &mut ()).expect_err("a row has no completion").to_string();
    assert!(error.contains("row 1 of `train`: has no completion"), "{error}");
    assert!(!plan.output.exists());
    // Without references a prompt is enough.
    let plan = self::plan(folder.path(), LORA, &tables(1, ""));
    let mut inputs = inputs_of(&chat_folder(), stages());
    inputs.pool = Arc::new(vec![example(0, "q", None), example(1, "r", None)]);
    run(&plan, inputs, &mut ()).expect("it runs");
}

/// Attaches each token's place in its completion, and gives it as its advantage.
struct Places;

impl Credit for Places {
    fn credit(&self, rollouts: Arc<Rollouts>, _: &[Option<f32>], _: &mut Call) -> Result<Advantages, CallError> {
        let places: Vec<f32> =
            rollouts.rollouts.iter().flat_map(|it| (1..=it.tokens.len()).map(|place| place as f32)).collect();
        rollouts.attached.put("place", places.clone());
        Ok(Advantages::PerToken(places))
    }
}

/// That what was attached is where the advantages are.
struct Compare;

impl Objective for Compare {
    fn objective(&self, batch: Arc<dyn Batch>, call: &mut Call) -> Result<TensorId, CallError> {
        let tensors = batch.tensors();
        let read = |port: Port| {
            let id = batch.port(&port).expect("a port").expect("a tensor");
            tensors.read_floats(id).expect("floats")
        };
        let (places, advantages) = (read(Port::TokenNumbers("place".into())), read(Port::Advantages));
        assert_eq!(places, advantages);
        let mask = read(Port::Mask);
        assert!(places.iter().zip(&mask).all(|(place, mask)| (*place > 0.0) == (*mask > 0.0)), "{places:?} {mask:?}");
        assert!(batch.roles().iter().all(|role| role == "rollout"));
        assert_eq!(batch.total_groups(), 2);
        PolicyGradient.objective(batch, call)
    }
}

#[test]
fn numbers_per_token_stand_where_the_tokens_stand() {
    let stages = Stages {
        credit: Some(Named::new("places", Arc::new(Places) as _)),
        objective: Some(Named::new("compare", Arc::new(Compare) as _)),
        ..stages()
    };
    let (_folder, made) = run_with(stages, LORA, &tables(1, ""));
    made.expect("it runs");
}

#[test]
fn rewards_are_added_up_where_they_apply() {
    let mut rollouts = rollouts(&[0, 0, 0]);
    let reward =
        |name: &str, weight, scores| tunesmith_core::data::NamedReward { name: String::from(name), weight, scores };
    rollouts.rewards =
        vec![reward("a", 1.0, vec![Some(1.0), None, None]), reward("b", 0.5, vec![Some(3.0), Some(2.0), None])];
    assert_eq!(super::totals(&rollouts), [Some(2.5), Some(1.0), None]);
}

#[test]
fn calls_get_whole_groups() {
    let groups: Vec<u32> = (0..100).flat_map(|group| [group; 6]).collect();
    let parts = super::parts(&rollouts(&groups).rollouts);
    assert_eq!(parts, [0..258, 258..516, 516..600]);
    assert!(super::parts(&[]).is_empty());
}

#[test]
fn a_stopped_run_goes_on_between_two_samplings() {
    let tables = tables(7, "updates = 2").replace("steps = 7", "steps = 7\ncheckpoint-every = 1\nkeep-checkpoints = 9");
    let (model, folder) = (chat_folder(), tempfile::tempdir().expect("a temporary folder"));
    let plan = plan(folder.path(), LORA, &tables);
    run(&plan, inputs_of(&model, stages()), &mut ()).expect("it runs");
    let text = |name: &str| fs::read_to_string(plan.output.join(name)).expect("it is there");
    let timeless = |trace: &str| -> Vec<String> {
        trace.lines().map(|line| line.split_once(r#","record":"#).expect("a trace line").1.to_owned()).collect()
    };
    let (trace, rollouts) = (timeless(&text("trace.jsonl")), text("rollouts.jsonl"));
    // Steps 2, 4 and 6 are between two samplings; 7 is the last.
    let checkpoints = plan.output.join("checkpoints");
    let mut names: Vec<String> = fs::read_dir(&checkpoints)
        .expect("a folder")
        .flatten()
        .map(|it| it.file_name().to_string_lossy().into())
        .collect();
    names.sort();
    assert_eq!(names, ["step-2", "step-4", "step-6", "step-7"]);
    // As if it had been killed after step 5.
    for name in ["step-6", "step-7"] {
        fs::remove_dir_all(checkpoints.join(name)).expect("it is there");
    }
    fs::remove_file(plan.output.join("summary.json")).expect("it is there");
    resume(&plan, inputs_of(&model, stages()), &mut ()).expect("it goes on");
    assert_eq!(timeless(&text("trace.jsonl")), trace);
    assert_eq!(text("rollouts.jsonl"), rollouts);
}

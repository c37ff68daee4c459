//! Runs whose evaluation answers through a plugin.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};
use tunesmith_core::call::Call;
use tunesmith_core::data::{Case, Cases, Evaluation, Example, Examples, Verdict};
use tunesmith_core::error::CallError;
use tunesmith_core::model::{Message, Prompt, Sampling};
use tunesmith_core::set::{Event, Named, Observer, Stages};
use tunesmith_core::stage::{Answer, Judge, Measure, Stage, checked_answer, checked_judge};
use tunesmith_core::trace::{CallRecord, Record, verify};

use super::{LORA, SHORT, inputs, plan, run_with};
use crate::run::{EvalSet, RunInputs, evaluate};
use crate::service::open;

/// An answering stage made of one closure, which notes what it was asked.
struct Answering<F> {
    answer: F,
    asked: Arc<Mutex<Vec<Arc<Examples>>>>,
}

impl<F: Fn(&Examples, &Call) -> Vec<String> + Send + Sync> Answer for Answering<F> {
    fn answer(&self, examples: Arc<Examples>, call: &mut Call) -> Result<Vec<String>, CallError> {
        self.asked.lock().expect("no panic").push(Arc::clone(&examples));
        checked_answer("voter", examples.rows.len(), (self.answer)(&examples, call))
    }
}

type Asked = Arc<Mutex<Vec<Arc<Examples>>>>;

fn answering(answer: impl Fn(&Examples, &Call) -> Vec<String> + Send + Sync + 'static) -> (Stages, Asked) {
    let asked = Asked::default();
    let stage = Answering { answer, asked: Arc::clone(&asked) };
    (Stages { answer: Some(Named::new("voter", Arc::new(stage) as _)), ..Stages::default() }, asked)
}

/// What the policy says when it is asked like this, from the call's own stream.
fn said(examples: &Examples, call: &Call, temperature: f32) -> Vec<String> {
    let policy = call.services.models.as_ref().expect("models").open("policy").expect("a policy");
    let prompts: Vec<Prompt> = examples.rows.iter().map(|row| Prompt::Chat(row.messages.clone())).collect();
    let sampling = Sampling { temperature, seed: call.seed + call.number, ..Sampling::greedy(6) };
    policy.generate(&prompts, &sampling).expect("it generates").into_iter().map(|answer| answer.text).collect()
}

const ANSWERED: &str = "[train]\nsteps = 3\nbatch = 4\nlearning-rate = 0.01\n[generate]\nmax-tokens = 6\n[plugins]\nvoter = \"v.wasm\"\n[measure]\nplugin = \"voter\"\nevery = 2\n[answer]\nplugin = \"voter\"\nchunk = 1\n";

fn records(folder: &Path) -> Vec<Record> {
    let text = fs::read_to_string(folder.join("run/trace.jsonl")).expect("a trace");
    verify(&text).expect("the trace is whole")
}

fn samples(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("run/samples.jsonl")).expect("samples");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The calls of one stage at each measurement.
fn calls(folder: &Path, stage: Stage) -> Vec<Vec<CallRecord>> {
    let measured = records(folder).into_iter().filter_map(|record| match record {
        Record::Measure { calls, .. } => Some(calls.into_iter().filter(|call| call.stage == stage).collect()),
        _ => None,
    });
    measured.collect()
}

#[test]
fn answers_are_those_of_the_plugin_before_during_and_after_training() {
    let (stages, asked) =
        answering(|examples, call| examples.rows.iter().map(|row| format!("{} {}", row.id, call.number)).collect());
    let (folder, made) = run_with(stages, LORA, ANSWERED);
    let summary = made.expect("it runs");
    // Two rows, one per call; measured before training, after two steps, and at the end.
    let answers: Vec<String> = samples(folder.path()).iter().map(|line| line["answer"].to_string()).collect();
    assert_eq!(answers, ["\"0 0\"", "\"1 1\"", "\"0 2\"", "\"1 3\"", "\"0 4\"", "\"1 5\""]);
    let calls = calls(folder.path(), Stage::Answer);
    assert_eq!(calls.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2]);
    assert!(calls.iter().flatten().all(|call| call.plugin == "voter"));
    assert_eq!(calls[0][0].input, calls[2][0].input, "the same row");
    assert_ne!(calls[0][0].output, calls[2][0].output, "another answer");
    assert_eq!(asked.lock().expect("no panic").len(), 6);
    let tokens = samples(folder.path())[0]["statistics"]["answer-tokens"].as_f64();
    assert_eq!(tokens, Some(4.0), "three characters and the end");
    assert!(summary.sets[0].after["kl"] > 0.0, "{:?}", summary.sets[0]);
}

#[test]
fn a_plugin_that_asks_greedily_answers_as_the_host_does() {
    let (stages, _) = answering(|examples, call| said(examples, call, 0.0));
    let (one, through_plugin) = run_with(stages, LORA, ANSWERED);
    let (other, plain) = run_with(Stages::default(), LORA, ANSWERED);
    let (through_plugin, plain) = (through_plugin.expect("it runs"), plain.expect("it runs"));
    let texts = |folder: &Path| samples(folder).iter().map(|line| line["answer"].clone()).collect::<Vec<_>>();
    assert_eq!(texts(one.path()), texts(other.path()));
    assert_eq!(through_plugin.parameters, plain.parameters, "answering changes nothing of training");
    assert_ne!(through_plugin.trace, plain.trace);
}

#[test]
fn an_evaluation_alone_answers_as_the_run_did() {
    let (stages, _) = answering(|examples, call| said(examples, call, 1.0));
    let (folder, made) = run_with(stages.clone(), LORA, ANSWERED);
    let before = &made.expect("it runs").sets[0].before;
    let plan = plan(folder.path(), LORA, ANSWERED);
    let sets = evaluate(&plan, inputs(stages), None, &mut ()).expect("it measures");
    // Without an adapter there is no divergence to be measured.
    let mut before = before.clone();
    before.remove("kl");
    assert_eq!(sets[0].before, before);
}

#[test]
fn an_answer_scores_as_the_policy_would_have_said_it() {
    let (stages, _) = answering(|examples, _| examples.rows.iter().map(|row| "ab".repeat(row.id as usize)).collect());
    let (folder, made) = run_with(stages, LORA, SHORT);
    made.expect("it runs");
    let model = open(&inputs(Stages::default()).model, &plan(folder.path(), LORA, SHORT).generate);
    let before = samples(folder.path());
    for (line, (prompt, answer)) in before.iter().zip([("say 1", ""), ("say 9", "ab")]) {
        let prompt = Prompt::Chat(vec![Message::user(prompt)]);
        let score = &model.score(&[prompt], &[answer.to_owned()]).expect("it scores")[0];
        assert_eq!(line["statistics"]["answer-tokens"].as_f64(), Some(score.token_logprobs.len() as f64));
        let logprob = line["statistics"]["answer-logprob"].as_f64().expect("a number");
        assert!((logprob - score.sum()).abs() < 1e-4, "{logprob} is not {}", score.sum());
    }
}

#[test]
fn an_answer_longer_than_the_model_reads_counts_as_far_as_it_can() {
    let (stages, _) = answering(|examples, _| vec!["a".repeat(5_000); examples.rows.len()]);
    let (folder, made) = run_with(stages, LORA, ANSWERED);
    made.expect("it runs");
    let positions = inputs(Stages::default()).model.config().max_positions;
    let line = &samples(folder.path())[0];
    assert_eq!(line["answer"].as_str().map(str::len), Some(5_000));
    // The prompt has 12 tokens.
    assert_eq!(line["statistics"]["answer-tokens"].as_f64(), Some((positions - 12) as f64));
}

/// Right if there is a gold completion to compare with.
struct NeedsGold;

impl Judge for NeedsGold {
    fn judge(&self, cases: Arc<Cases>, _: &mut Call) -> Result<Vec<Verdict>, CallError> {
        let verdict = |case: &Case| match &case.example.completion {
            Some(gold) if *gold == case.answer => Verdict::Right,
            Some(_) => Verdict::Wrong,
            None => Verdict::Undecided("no gold".into()),
        };
        checked_judge("needs-gold", &cases, cases.cases.iter().map(verdict).collect())
    }
}

/// Measures how many rows have a gold completion.
struct Golds;

impl Measure for Golds {
    fn measure(&self, evaluation: Arc<Evaluation>, _: &mut Call) -> Result<Vec<(String, f64)>, CallError> {
        let golds = evaluation.rows.iter().filter(|row| row.example.completion.is_some()).count();
        Ok(vec![("golds".into(), golds as f64)])
    }
}

#[test]
fn gold_completions_are_for_measuring_and_not_for_answering() {
    let verdicts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&verdicts);
    let (mut stages, asked) = answering(move |examples, call| {
        let case = |row: &Arc<Example>| Case { example: Arc::clone(row), answer: "a".into(), rival: None };
        let cases = Cases { cases: examples.rows.iter().map(case).collect() };
        let judging = call.services.judging.as_ref().expect("a judge");
        seen.lock().expect("no panic").extend(judging.verdicts(Arc::new(cases)).expect("it judges"));
        vec!["a".into(); examples.rows.len()]
    });
    stages.judge = Some(Named::new("needs-gold", Arc::new(NeedsGold) as _));
    stages.measure = Some(Named::new("golds", Arc::new(Golds) as _));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let columns: Map<String, Value> =
        ["messages", "completion", "topic"].map(|name| (name.to_owned(), Value::from("x"))).into_iter().collect();
    let messages = vec![Message::user("q")];
    let row = Example { messages, completion: Some("a".into()), columns, ..Example::default() };
    let evals = vec![EvalSet { name: "eval".into(), examples: vec![Arc::new(row)] }];
    let plan = plan(folder.path(), LORA, ANSWERED);
    let sets = evaluate(&plan, RunInputs { evals, ..inputs(stages) }, None, &mut ()).expect("it measures");
    let asked = asked.lock().expect("no panic");
    assert_eq!(asked[0].rows[0].completion, None);
    assert_eq!(asked[0].rows[0].columns.keys().collect::<Vec<_>>(), ["topic"]);
    assert_eq!(*verdicts.lock().expect("no panic"), [Verdict::Undecided("no gold".into())]);
    assert!((sets[0].before["golds"] - 1.0).abs() < f64::EPSILON && sets[0].before.contains_key("exact-match"));
}

#[test]
fn an_answer_too_few_stops_the_run() {
    let (stages, _) = answering(|_, _| Vec::new());
    let (folder, made) = run_with(stages, LORA, ANSWERED);
    let error = made.expect_err("it stops");
    let text = crate::service::with_causes(&error);
    assert!(text.contains("plugin `voter`") && text.contains("0 answers for 1 rows"), "{text}");
    assert_eq!(records(folder.path()).len(), 1, "nothing was measured");
}

/// The units of work that were told.
#[derive(Default)]
struct Units(Vec<u64>);

impl Observer for Units {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Begin { work, total } if work.starts_with("measure") => self.0.push(total.unwrap_or(0)),
            Event::Advance { units, .. } => self.0.push(units),
            _ => {}
        }
    }
}

#[test]
fn who_watches_is_told_of_every_chunk() {
    let (stages, _) = answering(|examples, _| vec![String::new(); examples.rows.len()]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (plan, mut units) = (plan(folder.path(), LORA, ANSWERED), Units::default());
    evaluate(&plan, inputs(stages), None, &mut units).expect("it measures");
    assert_eq!(units.0, [2, 1, 1]);
}

/// The model behind the port answers a chunk of any size alike, so only the number of calls changes.
#[test]
fn greedy_answers_do_not_depend_on_the_chunk() {
    let texts = |chunk: &str| {
        let (stages, _) = answering(|examples, call| said(examples, call, 0.0));
        let (folder, made) = run_with(stages, LORA, &ANSWERED.replace("chunk = 1", chunk));
        made.expect("it runs");
        let calls = calls(folder.path(), Stage::Answer)[0].len();
        (samples(folder.path()), calls)
    };
    let ((one, first), (other, second)) = (texts("chunk = 1"), texts("chunk = 7"));
    assert_eq!((one, first, second), (other, 2, 1));
}

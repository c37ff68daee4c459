//! Runs that stop: who is told what, and what stays.

use std::error::Error;
use std::fs;
use std::sync::Arc;

use tunesmith_core::call::Call;
use tunesmith_core::data::{Examples, TokenBatch};
use tunesmith_core::error::CallError;
use tunesmith_core::set::{Named, Stages};
use tunesmith_core::stage::{Batch, Choice, Curate, Curated, Objective, Port, Weigh, checked_objective};
use tunesmith_core::tensors::{Op, Scalar, TensorId, Unary};

use super::{LORA, SHORT, example, inputs, plan, run_with};
use crate::run::{RunError, RunInputs, run};
use crate::service::with_causes;

/// An objective made of one closure.
struct Loss<F>(F);

impl<F: Fn(&dyn Batch) -> TensorId + Send + Sync> Objective for Loss<F> {
    fn objective(&self, batch: Arc<dyn Batch>, _: &mut Call) -> Result<TensorId, CallError> {
        let loss = self.0(&*batch);
        checked_objective("bad", &*batch, loss).map(|_| loss)
    }
}

fn objective(loss: impl Fn(&dyn Batch) -> TensorId + Send + Sync + 'static) -> Stages {
    Stages { objective: Some(Named::new("bad", Arc::new(Loss(loss)) as _)), ..Stages::default() }
}

fn sum_of_logprobs(batch: &dyn Batch, under: &str) -> TensorId {
    let logprobs = batch.port(&Port::TokenLogprobs(under.into())).expect("a port").expect("a tensor");
    batch.tensors().apply(&Op::Sum(logprobs)).expect("it sums")
}

#[track_caller]
fn check(stages: Stages, tables: &str, expected: &str) {
    let (_folder, made) = run_with(stages, LORA, tables);
    let error = made.expect_err("the run stops");
    let text = with_causes(&error as &dyn Error);
    assert!(text.contains(expected), "`{text}` does not say `{expected}`");
}

#[test]
fn a_loss_that_does_not_depend_on_the_policy_is_the_plugins_fault() {
    let what = "stage `objective` gave no usable answer: the loss does not depend on the policy";
    check(
        objective(|batch| batch.tensors().apply(&Op::Full { value: 1.0, shape: vec![] }).expect("a number")),
        SHORT,
        what,
    );
    check(objective(|batch| sum_of_logprobs(batch, "reference")), SHORT, what);
    check(objective(|batch| sum_of_logprobs(batch, "old")), SHORT, what);
}

#[test]
fn a_loss_that_is_no_number_is_the_plugins_fault() {
    let infinite = |batch: &dyn Batch| {
        let sum = sum_of_logprobs(batch, "policy");
        batch.tensors().apply(&Op::Scalar(Scalar::Mul, sum, f32::INFINITY)).expect("it scales")
    };
    check(objective(infinite), SHORT, "the loss is [-inf], not one finite number");
    let many =
        |batch: &dyn Batch| batch.port(&Port::TokenLogprobs("policy".into())).expect("a port").expect("a tensor");
    check(objective(many), SHORT, "not one element");
}

#[test]
fn a_gradient_that_is_no_number_stops_the_run_before_the_update_and_leaves_its_checkpoints() {
    // The root of zero: the loss is a number, its slope is none.
    let steep = |batch: &dyn Batch| {
        let sum = sum_of_logprobs(batch, "policy");
        let factor = if batch.step() < 2 { -1.0 } else { 0.0 };
        let scaled = batch.tensors().apply(&Op::Scalar(Scalar::Mul, sum, factor)).expect("it scales");
        batch.tensors().apply(&Op::Unary(Unary::Sqrt, scaled)).expect("a root")
    };
    let tables = SHORT.replace("steps = 3", "steps = 3\ncheckpoint-every = 1");
    let (folder, made) = run_with(objective(steep), LORA, &tables);
    let error = made.expect_err("the run stops");
    let RunError::NotFinite { step: 2, rows, .. } = &error else { panic!("{error}") };
    assert!(!rows.is_empty());
    let run = folder.path().join("run");
    let mut checkpoints: Vec<String> = fs::read_dir(run.join("checkpoints"))
        .expect("a folder")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    checkpoints.sort();
    assert_eq!(checkpoints, ["step-1", "step-2"]);
    assert!(run.join("checkpoints/step-2/state.json").exists() && !run.join("summary.json").exists());
    let trace = fs::read_to_string(run.join("trace.jsonl")).expect("a trace");
    assert!(tunesmith_core::trace::verify(&trace).is_ok());
}

/// Gives every token no weight.
struct Nothing;

impl Weigh for Nothing {
    fn weigh(&self, batch: Arc<TokenBatch>, _: &mut Call) -> Result<Vec<f32>, CallError> {
        Ok(vec![0.0; batch.tokens()])
    }
}

#[test]
fn a_step_without_weight_has_a_loss_of_zero() {
    let stages = Stages { weigh: Some(Named::new("nothing", Arc::new(Nothing) as _)), ..Stages::default() };
    let (_folder, made) = run_with(stages, LORA, SHORT);
    assert_eq!(made.expect("it runs").loss_last, Some(0.0));
}

/// Drops everything, or prefers where it can.
struct Picky(bool);

impl Curate for Picky {
    fn curate(&self, pool: Arc<Examples>, _: &mut Call) -> Result<Curated, CallError> {
        let choice = |row| {
            if self.0 {
                return Choice::Prefer { row, chosen: "a".into(), rejected: "b".into(), provenance: "self".into() };
            }
            Choice::Drop { row, why: "wrong answer".into() }
        };
        Ok(Curated { choices: (0..pool.rows.len()).map(choice).collect(), notes: Vec::new() })
    }
}

fn curate(curate: impl Curate + 'static) -> Stages {
    Stages { curate: Some(Named::new("picky", Arc::new(curate) as _)), ..Stages::default() }
}

#[test]
fn an_empty_training_set_says_why_rows_were_dropped() {
    check(curate(Picky(false)), SHORT, "the training set is empty: 6 row(s) were dropped (wrong answer: 6)");
}

#[test]
fn preferences_need_an_objective_that_knows_them() {
    check(curate(Picky(true)), SHORT, "name an objective for preferences in `[objective]`");
}

/// Names a row that is not there, as an implementation that skips its check could.
struct Outside;

impl Curate for Outside {
    fn curate(&self, _: Arc<Examples>, _: &mut Call) -> Result<Curated, CallError> {
        let choice = Choice::Keep { row: 99, provenance: "gold".into() };
        Ok(Curated { choices: vec![choice], notes: Vec::new() })
    }
}

#[test]
fn a_row_that_is_not_there_is_no_panic() {
    check(curate(Outside), SHORT, "row 99 of 6 rows");
}

#[test]
fn an_output_folder_is_never_written_into() {
    let (folder, made) = run_with(Stages::default(), LORA, SHORT);
    made.expect("it runs");
    let before = fs::read(folder.path().join("run/trace.jsonl")).expect("a trace");
    let plan = plan(folder.path(), LORA, SHORT);
    let error = run(&plan, inputs(Stages::default()), &mut ()).expect_err("it is taken");
    assert!(error.to_string().contains("already holds a run\nhint:"), "{error}");
    assert_eq!(before, fs::read(folder.path().join("run/trace.jsonl")).expect("a trace"));

    let other = tempfile::tempdir().expect("a temporary folder");
    let plan = super::plan(other.path(), LORA, SHORT);
    fs::create_dir(&plan.output).expect("writable");
    fs::write(plan.output.join("thesis.tex"), "precious").expect("writable");
    let error = run(&plan, inputs(Stages::default()), &mut ()).expect_err("it is not empty");
    assert!(error.to_string().contains("is not empty"), "{error}");
}

#[test]
fn an_empty_output_folder_is_taken() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan = plan(folder.path(), LORA, SHORT);
    fs::create_dir(&plan.output).expect("writable");
    assert!(run(&plan, inputs(Stages::default()), &mut ()).is_ok());
}

#[test]
fn rows_that_cannot_be_trained_on_are_named_before_anything_is_made() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows = |row| RunInputs { pool: Arc::new(vec![row]), ..inputs(Stages::default()) };
    let check = |tables: &str, row, expected: &str| {
        let plan = plan(folder.path(), LORA, tables);
        let error = run(&plan, rows(row), &mut ()).expect_err("the row is wrong").to_string();
        assert!(error.contains(expected), "`{error}` does not say `{expected}`");
        assert!(!plan.output.exists());
    };
    check(
        SHORT,
        example(4, "q", None),
        "row 4 of `train`: has no completion (column `completion`); there are `prompt`",
    );
    let long = example(5, "q", Some(&"a".repeat(200)));
    check(
        SHORT,
        long,
        "row 5 of `train`: the row has 209 tokens, of which 8 are the prompt; the longest allowed is 128",
    );
    let tables = SHORT.replace("[train]\n", "[train]\nmax-length = 4096\n");
    check(&tables, example(0, "q", Some("a")), "`train.max-length`: is 4096, but the model has 128 positions");
}

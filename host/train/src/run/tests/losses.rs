//! Losses and gradients of the loop's own batch and objective, against TRL's and against plain tensors.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use serde::Deserialize;
use tunesmith_core::call::Call;
use tunesmith_core::error::CallError;
use tunesmith_core::plan::Plan;
use tunesmith_core::set::{Named, Stages};
use tunesmith_core::stage::{Batch, Objective, Port};
use tunesmith_core::tensors::{Binary, Op, Scalar, TensorId, Unary};

use super::{example, inputs, plan};
use crate::batch::PolicyPair;
use crate::batching::{EncodedRow, LengthRule, MicroBatch, Sampler};
use crate::extra::ExtraParameters;
use crate::model::Decoder;
use crate::optimizer::{AdamW, NamedGradients};
use crate::run::{Training, TrainingRows};
use crate::schedule::LearningRate;
use crate::service::Host;
use crate::tensor_values;

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

/// A case of `tests/fixtures/losses`; see its README.
#[derive(Deserialize)]
struct Case {
    name: String,
    rows: Vec<Row>,
    loss: f64,
    grad_norms: BTreeMap<String, f64>,
    #[serde(default)]
    micro_batch_sizes: Vec<usize>,
    #[serde(default)]
    micro_batch_losses: Vec<f64>,
}

#[derive(Deserialize)]
struct Row {
    input_ids: Vec<u32>,
    labels: Vec<i64>,
}

fn cases() -> Vec<Case> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/losses/sft-tiny-llama.json");
    let text = std::fs::read_to_string(path).expect("the fixture is in the repository");
    serde_json::from_str::<File>(&text).expect("the fixture is as its README says").cases
}

fn micro_batches(case: &Case) -> Vec<Arc<MicroBatch>> {
    let row = |row: &Row| {
        Arc::new(EncodedRow {
            example: example(0, "q", None),
            tokens: row.input_ids.clone(),
            mask: row.labels.iter().enumerate().map(|(place, label)| 0 < place && *label != -100).collect(),
            role: String::new(),
            sampled: None,
            source: None,
        })
    };
    let sizes = if case.micro_batch_sizes.is_empty() { vec![case.rows.len()] } else { case.micro_batch_sizes.clone() };
    let mut rest = case.rows.as_slice();
    let micro = |size: usize| {
        let (own, others) = rest.split_at(size);
        rest = others;
        Arc::new(MicroBatch { rows: own.iter().map(row).collect(), groups: (0..size as i32).collect() })
    };
    sizes.into_iter().map(micro).collect()
}

/// The loop with the tiny model and all its parameters in training, without rows of its own.
pub(super) fn training<'a>(plan: &'a Plan, stages: &'a Stages, host: &'a Host, decoder: &Decoder) -> Training<'a> {
    let reference = decoder.valid();
    Training {
        plan,
        stages,
        host,
        rows: TrainingRows::default(),
        lengths: LengthRule { longest: 128, truncate: false },
        sampler: Sampler::new(0, 0),
        models: PolicyPair { policy: reference.clone().train(), reference },
        extra: ExtraParameters::default(),
        optimizer: AdamW::new(&plan.train),
        rate: LearningRate::new(&plan.train, 1),
        round: None,
        sampled: None,
        lines: Vec::new(),
        step: 0,
        steps: 1,
    }
}

/// Losses of the micro-batches and the summed gradients, as a step computes them.
pub(super) fn losses(training: &Training<'_>, micro_batches: &[Arc<MicroBatch>]) -> (Vec<f32>, NamedGradients) {
    let weights: Vec<Vec<f32>> = micro_batches.iter().map(|micro| training.weigh(micro).expect("no plugin")).collect();
    let totals = training.totals(micro_batches, &weights);
    let mut gradients = NamedGradients::default();
    let mut losses = Vec::new();
    for (micro, weights) in micro_batches.iter().zip(&weights) {
        let batch = training.batch(micro, weights, totals).expect("rows");
        let (value, tensor) = training.objective(micro, &batch).expect("the loss is fine");
        losses.push(value);
        gradients = gradients.plus(training.backward(&batch, tensor).expect("it depends on the policy"));
    }
    (losses, gradients)
}

#[track_caller]
pub(super) fn close(what: &str, found: f64, expected: f64, tolerance: f64) {
    let fault = (found - expected).abs() / expected.abs().max(1e-12);
    assert!(fault < tolerance, "{what}: {found} is not {expected} (relative {fault:e})");
}

fn with_training(stages: &Stages, check: impl FnOnce(&Training<'_>)) {
    let plan = plan(std::path::Path::new("."), "", "");
    let inputs = inputs(Stages::default());
    let host = super::super::host(&plan, &inputs);
    check(&training(&plan, stages, &host, &inputs.model.decoder));
}

#[test]
fn losses_and_gradients_are_those_of_trl() {
    let stages = Stages::default();
    with_training(&stages, |training| {
        for case in cases() {
            let (losses, gradients) = losses(training, &micro_batches(&case));
            close(&case.name, losses.iter().map(|loss| f64::from(*loss)).sum(), case.loss, 1e-4);
            for (found, expected) in losses.iter().zip(&case.micro_batch_losses) {
                close(&case.name, f64::from(*found), *expected, 1e-4);
            }
            let norms = gradients.norms();
            for (name, expected) in &case.grad_norms {
                let found = if name == "all_parameters" { gradients.norm() } else { norms[name] };
                close(&format!("{} {name}", case.name), found, *expected, 1e-4);
            }
        }
    });
}

/// `- sum w sg(p) log p / W` (dynamic fine-tuning) and a term of every kind of operation that objectives use, through handles.
pub(super) struct Composed;

impl Objective for Composed {
    fn objective(&self, batch: Arc<dyn Batch>, _: &mut Call) -> Result<TensorId, CallError> {
        let tensors = batch.tensors();
        let port = |name: Port| batch.port(&name).expect("a port").expect("a tensor");
        let apply = |op: Op| tensors.apply(&op).expect("the shapes fit");
        let logprobs = port(Port::TokenLogprobs("policy".into()));
        let reference = port(Port::TokenLogprobs("reference".into()));
        let weights = port(Port::Weights);
        let probabilities = apply(Op::Detach(apply(Op::Unary(Unary::Exp, logprobs))));
        let dynamic = apply(Op::Binary(Binary::Mul, apply(Op::Binary(Binary::Mul, probabilities, logprobs)), weights));
        let gap = apply(Op::Scalar(Scalar::Mul, apply(Op::Binary(Binary::Sub, logprobs, reference)), 0.1));
        let soft = apply(Op::Binary(Binary::Mul, apply(Op::Unary(Unary::Softplus, gap)), weights));
        let sum = apply(Op::Sum(apply(Op::Binary(Binary::Sub, soft, dynamic))));
        Ok(apply(Op::Scalar(Scalar::Mul, sum, (1.0 / batch.total_weight()) as f32)))
    }
}

/// The same in burn's own words, on its own forward pass.
fn plain(decoder: &Decoder, reference: &Decoder, micro: &MicroBatch) -> (f32, NamedGradients) {
    let layout = micro.layout().expect("rows");
    let shape = [layout.rows(), layout.width()];
    let ones = vec![1.0; micro.tokens()];
    let weights = TensorData::new(micro.padded_where_masked(&ones), shape);
    let weights = Tensor::<2>::from_data(weights, &Device::flex());
    let logprobs = decoder.token_logprobs(&layout).expect("it fits") * weights.clone();
    let reference = reference.token_logprobs(&layout).expect("it fits") * weights.clone();
    let dynamic = logprobs.clone().exp().detach() * logprobs.clone() * weights.clone();
    let gap = (logprobs - reference).mul_scalar(0.1);
    let soft = (gap.exp() + 1.0).log() * weights;
    let loss = (soft - dynamic).sum().mul_scalar(1.0 / micro.loss_tokens() as f64);
    let value = tensor_values(loss.clone())[0];
    (value, NamedGradients::of(decoder, loss.backward()))
}

#[test]
fn an_objective_through_handles_is_the_objective_in_plain_tensors() {
    let stages = Stages { objective: Some(Named::new("composed", Arc::new(Composed) as _)), ..Stages::default() };
    with_training(&stages, |training| {
        for case in cases().into_iter().filter(|case| case.micro_batch_sizes.is_empty()) {
            let micro = micro_batches(&case);
            let (found, gradients) = losses(training, &micro);
            let (expected, plain) = plain(&training.models.policy, &training.models.reference, &micro[0]);
            close(&case.name, f64::from(found[0]), f64::from(expected), 1e-6);
            let norm = plain.norm();
            for ((name, found), expected) in gradients.norms().into_iter().zip(plain.norms().into_values()) {
                assert!((found - expected).abs() <= 1e-6 * norm, "{} {name}: {found} is not {expected}", case.name);
            }
            close(&case.name, gradients.norm(), norm, 1e-6);
        }
    });
}

#[test]
fn accumulation_is_the_same_step_as_one_large_batch() {
    let stages = Stages::default();
    with_training(&stages, |training| {
        let case = cases().into_iter().find(|case| case.name == "accumulate2-nll").expect("the case");
        let (apart, one) = losses(training, &micro_batches(&case));
        let whole = Case { micro_batch_sizes: Vec::new(), ..case };
        let (together, other) = losses(training, &micro_batches(&whole));
        close("loss", f64::from(apart.iter().sum::<f32>()), f64::from(together[0]), 1e-6);
        close("norm", one.norm(), other.norm(), 1e-5);
    });
}

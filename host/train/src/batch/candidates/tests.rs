//! Draws follow the policy's distribution; log-probabilities and their gradients are those of plain tensor operations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use burn::module::Module as _;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use tempfile::TempDir;
use tunesmith_core::data::{Example, Target, TrainingRow};
use tunesmith_core::error::ServiceError;
use tunesmith_core::model::Message;
use tunesmith_core::stage::{Batch as _, Draws, Port};

use super::fill;
use crate::batch::{PolicyPair, TensorBatch, Totals};
use crate::batching::{Encoder, LengthRule, MicroBatch};
use crate::model::LanguageModel;
use crate::optimizer::NamedGradients;
use crate::random::Random;
use crate::tensor_values;
use crate::tensors::{Budget, BurnTensors};
use crate::test_folder::offsets_folder;

/// How far numbers in float32 may be from those of plain operations, which add in another order.
const TOLERANCE: f32 = 1e-5;

struct Lab {
    _folder: TempDir,
    encoder: Arc<Encoder>,
    models: PolicyPair,
    micro: Arc<MicroBatch>,
}

/// Two rows of unlike lengths before a model of random weights.
fn lab() -> Lab {
    let folder = offsets_folder("byte-level");
    let model = LanguageModel::load(folder.path(), &Device::flex()).expect("the fixture is whole");
    let encoder = Arc::new(Encoder::new(&model));
    let row = |completion: &str| {
        let messages = vec![Message::user("add")];
        let example = Example { messages, ..Example::default() };
        let target = Target::Completion(completion.into());
        let row = TrainingRow { example: Arc::new(example), target, provenance: String::new(), notes: Vec::new() };
        encoder.target(&row, LengthRule { longest: 99, truncate: false }).expect("it fits")
    };
    let micro = Arc::new(MicroBatch::new([&row("return a + b"), &row("no")]));
    let reference = model.decoder;
    Lab { _folder: folder, encoder, models: PolicyPair { policy: reference.clone().train(), reference }, micro }
}

impl Lab {
    fn batch(&self) -> TensorBatch {
        let engine = Arc::new(BurnTensors::new(&self.models.policy.device(), Budget::default()));
        let totals = Totals { weight: 1.0, rows: 2, groups: 2, micro_batches: 1, step: 0 };
        let weights = vec![1.0; self.micro.tokens()];
        TensorBatch::new(engine, self.models.clone(), Arc::clone(&self.micro), &weights, totals)
            .expect("it has rows")
            .with_encoder(Arc::clone(&self.encoder))
    }

    fn shape(&self) -> [usize; 2] {
        [self.micro.rows.len(), self.micro.width()]
    }

    /// Log-probabilities [B, T, vocabulary] by plain operations: entry [b, t] speaks of token t.
    fn plain(&self) -> Tensor<3> {
        let layout = self.micro.layout().expect("it has rows");
        let policy = &self.models.policy;
        let logits = policy.head(policy.hidden(&layout).expect("it is short"));
        let [rows, width, vocabulary] = logits.dims();
        let first = Tensor::zeros([rows, 1, vocabulary], &logits.device().inner());
        Tensor::cat(vec![first, log_softmax(logits, 2).narrow(1, 0, width - 1)], 1)
    }

    fn is_trained(&self, row: usize, column: usize) -> bool {
        self.micro.rows[row].mask.get(column) == Some(&true)
    }
}

fn drawn(batch: &TensorBatch, draws: &Draws) -> Vec<i32> {
    let id = batch.samples(draws).expect("there is a tokenizer");
    batch
        .engine()
        .int::<3>(id)
        .expect("integers of rank 3")
        .into_data()
        .convert::<i32>()
        .try_into_vec()
        .expect("integers")
}

#[test]
fn draws_are_where_something_is_trained_on_and_follow_from_the_seed() {
    let lab = lab();
    let [rows, width] = lab.shape();
    let draws = Draws { count: 5, temperature: 1.0, seed: 3 };
    let first = drawn(&lab.batch(), &draws);
    assert_eq!(first, drawn(&lab.batch(), &draws));
    assert_ne!(first, drawn(&lab.batch(), &Draws { seed: 4, ..draws }));
    for row in 0..rows {
        for column in 0..width {
            let own = &first[(row * width + column) * 5..][..5];
            if lab.is_trained(row, column) {
                // Plain text or the end token 0: never <user> or <model>, and never an id beyond the tokenizer's 480.
                assert!(own.iter().all(|id| *id != 1 && *id != 2 && *id < 480), "{own:?}");
            } else {
                assert_eq!(own, [0; 5]);
            }
        }
    }
}

#[test]
fn draws_have_the_frequencies_of_the_tempered_distribution() {
    let lab = lab();
    let count = 20_000;
    let batch = lab.batch();
    let temperature = 1.3;
    let found = drawn(&batch, &Draws { count, temperature, seed: 11 });
    let [_, width] = lab.shape();
    let vocabulary = batch.vocabulary();
    let plain = tensor_values(lab.plain());
    let column = lab.micro.rows[0].mask.iter().position(|is_trained| *is_trained).expect("a completion");
    let logprobs = &plain[column * vocabulary..][..vocabulary];
    let drawable = lab.encoder.drawable();
    let weight = |id: usize| if drawable[id] { (f64::from(logprobs[id]) / f64::from(temperature)).exp() } else { 0.0 };
    let total: f64 = (0..vocabulary).map(weight).sum();
    let mut counts = vec![0_u32; vocabulary];
    found[column * count..(column + 1) * count].iter().for_each(|id| counts[*id as usize] += 1);
    assert!(column < width && counts.iter().sum::<u32>() as usize == count);
    // Pearson's statistic, with the ids that are expected less than five times as one cell: about normal, with as many degrees of freedom as cells but one.
    let (mut cells, mut rest) = (Vec::new(), [0.0_f64; 2]);
    for (id, found) in counts.iter().enumerate() {
        let (expected, found) = (weight(id) / total * count as f64, f64::from(*found));
        assert!(0.0 < expected || found < 0.5, "id {id} may not be drawn");
        if 5.0 <= expected {
            cells.push([expected, found]);
        } else {
            rest = [rest[0] + expected, rest[1] + found];
        }
    }
    cells.extend((0.0 < rest[0]).then_some(rest));
    let statistic: f64 = cells.iter().map(|[expected, found]| (found - expected).powi(2) / expected).sum();
    let freedom = cells.len() as f64 - 1.0;
    let deviations = (statistic - freedom) / (2.0 * freedom).sqrt();
    assert!(100.0 < freedom && deviations.abs() < 4.0, "{statistic} with {freedom} degrees of freedom");
}

#[test]
fn the_label_may_be_drawn_even_if_it_is_special() {
    let mut out = [0; 4];
    let own = 2;
    fill(&mut out, &[9.0, 9.0, 1.0, 9.0], 1.0, |id| id == own, &mut Random::numbered(1, 1));
    assert_eq!(out, [2; 4]);
    // A distribution with all its mass in one place, at a low temperature, neither overflows nor leaves the drawable ids.
    fill(&mut out, &[500.0, -500.0, 499.0, 600.0], 1e-3, |id| id != 3, &mut Random::numbered(1, 2));
    assert_eq!(out, [0; 4]);
}

/// The gradients of the policy's parameters of a loss over candidates, and its value.
fn gradients(lab: &Lab, loss: &Tensor<1>) -> BTreeMap<String, Vec<f32>> {
    NamedGradients::of(&lab.models.policy, loss.backward()).values()
}

#[test]
fn candidates_are_as_likely_as_by_plain_operations_and_so_are_gradients() {
    let lab = lab();
    let ([rows, width], count) = (lab.shape(), 7);
    let batch = lab.batch();
    let ids = drawn(&batch, &Draws { count, temperature: 2.0, seed: 5 });
    let candidates = Tensor::<3, Int>::from_data(TensorData::new(ids, [rows, width, count]), &Device::flex());
    let id = batch.engine().insert_int(candidates.clone());
    let fused = batch.candidate_logprobs("policy", id).expect("they fit");
    let fused = batch.engine().float::<3>(fused).expect("floats of rank 3");
    let mask: Vec<f32> =
        (0..rows * width).map(|at| f32::from(u8::from(lab.is_trained(at / width, at % width)))).collect();
    let mask = Tensor::<1>::from_floats(mask.as_slice(), &Device::flex()).reshape([rows, width, 1]);
    let plain = lab.plain().gather(2, candidates) * mask;
    for (found, expected) in tensor_values(fused.clone()).iter().zip(tensor_values(plain.clone())) {
        assert!((found - expected).abs() <= TOLERANCE * (1.0 + expected.abs()), "{found}, not {expected}");
    }
    let weights: Vec<f32> = (0..rows * width * count).map(|at| ((at * 37) % 11) as f32 - 4.0).collect();
    let weights = Tensor::<3>::from_data(TensorData::new(weights, [rows, width, count]), &Device::flex());
    let (found, expected) =
        (gradients(&lab, &(fused * weights.clone()).sum()), gradients(&lab, &(plain * weights).sum()));
    assert!(!found.is_empty() && found.len() == expected.len());
    for ((name, found), (other, expected)) in found.iter().zip(&expected) {
        assert_eq!(name, other);
        let size = expected.iter().fold(1e-3_f32, |size, value| size.max(value.abs()));
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= 10.0 * TOLERANCE * size, "{name}: {found}, not {expected} of {size}");
        }
    }
}

#[test]
fn the_label_as_candidate_is_the_token_bit_for_bit() {
    let lab = lab();
    let batch = lab.batch();
    let tokens = batch.port(&Port::Tokens).expect("every batch has them").expect("every batch has them");
    let tokens = batch.engine().int::<2>(tokens).expect("integers").unsqueeze_dim::<3>(2);
    for under in ["policy", "reference", "old"] {
        let id = batch.engine().insert_int(tokens.clone());
        let candidate = batch.candidate_logprobs(under, id).expect("they fit");
        let token = batch.port(&Port::TokenLogprobs(under.into())).expect("there is one").expect("there is one");
        let candidate = batch.engine().float::<3>(candidate).expect("floats");
        let token = batch.engine().float::<2>(token).expect("floats");
        assert_eq!(candidate.is_tracked(), under == "policy");
        assert_eq!(tensor_values(candidate), tensor_values(token), "{under}");
    }
}

#[test]
fn what_does_not_fit_is_told() {
    let lab = lab();
    let batch = lab.batch();
    let [rows, width] = lab.shape();
    let ask = |under: &str, ids: Vec<i32>, shape: [usize; 3]| {
        let ids = Tensor::<3, Int>::from_data(TensorData::new(ids, shape), &Device::flex());
        batch.candidate_logprobs(under, batch.engine().insert_int(ids)).expect_err("it does not fit").to_string()
    };
    let cells = rows * width;
    let errors: BTreeSet<String> = [
        ask("policy", vec![0; cells], [width, rows, 1]),
        ask("policy", vec![560; cells], [rows, width, 1]),
        ask("policy", vec![-1; cells], [rows, width, 1]),
        ask("teacher", vec![0; cells], [rows, width, 1]),
    ]
    .into();
    for part in ["candidates have shape", "560 is no token of 560", "-1 is no token", "under `teacher`"] {
        assert!(errors.iter().any(|error| error.contains(part)), "{errors:?} do not say `{part}`");
    }
    let bare = TensorBatch::new(
        Arc::clone(batch.engine()),
        lab.models.clone(),
        Arc::clone(&lab.micro),
        &vec![1.0; lab.micro.tokens()],
        *batch.totals(),
    );
    let draws = Draws { count: 1, temperature: 1.0, seed: 0 };
    assert!(matches!(bare.expect("it has rows").samples(&draws), Err(ServiceError::Unsupported(_))));
}

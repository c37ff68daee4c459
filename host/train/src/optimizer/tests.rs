//! The update against its formula, and the state's way through a file.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use tunesmith_core::plan::TrainPlan;
use tunesmith_core::recipe::Schedule;

use super::{AdamW, NamedGradients, digest_of_trained, trained_parameters};
use crate::extra::ExtraParameters;
use crate::lora::LoraSettings;
use crate::model::{Decoder, LanguageModel, TokenBatch};
use crate::tensor_values;
use crate::test_folder::chat_folder;

/// A plan for a few steps of `AdamW`.
pub(crate) fn plan() -> TrainPlan {
    TrainPlan {
        steps: 3,
        batch: 1,
        micro_batch: 1,
        learning_rate: 0.1,
        schedule: Schedule::Constant,
        warmup: 0,
        weight_decay: 0.01,
        betas: [0.9, 0.99],
        epsilon: 1e-8,
        clip: 0.0,
        max_length: 0,
        truncate: false,
        packing: false,
        buckets: 0,
        checkpoint_every: 0,
        keep_checkpoints: 1,
        digest_every: 1,
    }
}

fn decoder() -> Decoder {
    let folder = chat_folder();
    LanguageModel::load(folder.path(), &Device::flex()).expect("the fixture is whole").decoder.train()
}

fn gradients(decoder: &Decoder) -> NamedGradients {
    let batch = TokenBatch::right_padded(&[vec![1, 50, 60, 70, 80]]).expect("one row");
    let loss = decoder.token_logprobs(&batch).expect("the batch fits").sum().neg();
    NamedGradients::of(decoder, loss.backward())
}

#[test]
fn the_update_follows_its_formula() {
    let plan = plan();
    let mut optimizer = AdamW::new(&plan);
    let device = Device::flex();
    let gradients: [[f32; 3]; 3] = [[0.5, -1.0, 0.0], [0.25, 2.0, 1e-3], [-0.5, 0.5, 0.0]];
    let mut value = Tensor::<2>::from_floats([[1.0, -2.0, 3.0]], &device);
    let mut expected = [1.0_f64, -2.0, 3.0];
    let (mut mean, mut square) = ([0.0_f64; 3], [0.0_f64; 3]);
    for (step, gradient) in gradients.iter().enumerate() {
        value = optimizer.step("p", value, Tensor::<1>::from_floats(*gradient, &device), 0.1);
        let time = step as i32 + 1;
        for index in 0..3 {
            let g = f64::from(gradient[index]);
            expected[index] *= 1.0 - 0.1 * 0.01;
            mean[index] = 0.9 * mean[index] + 0.1 * g;
            square[index] = 0.99 * square[index] + 0.01 * g * g;
            let m = mean[index] / (1.0 - 0.9_f64.powi(time));
            let v = square[index] / (1.0 - 0.99_f64.powi(time));
            expected[index] -= 0.1 * m / (v.sqrt() + 1e-8);
        }
    }
    for (value, expected) in tensor_values(value).into_iter().zip(expected) {
        assert!((f64::from(value) - expected).abs() < 1e-5, "{value} is not {expected}");
    }
}

#[test]
fn norms_and_biases_are_not_decayed() {
    let mut optimizer = AdamW::new(&TrainPlan { weight_decay: 1.0, ..plan() });
    let zero = Tensor::<1>::zeros([2], &Device::flex());
    let vector = optimizer.step("v", Tensor::<1>::ones([2], &Device::flex()), zero.clone(), 0.1);
    let matrix = optimizer.step("m", Tensor::<2>::ones([1, 2], &Device::flex()), zero, 0.1);
    assert_eq!(tensor_values(vector), [1.0, 1.0]);
    assert_eq!(tensor_values(matrix), [0.9, 0.9]);
}

#[test]
fn a_parameter_that_is_first_used_late_moves_as_in_pytorch() {
    // Two updates of another one first. The first change of an element is the learning rate, whatever its gradient.
    let mut optimizer = AdamW::new(&TrainPlan { weight_decay: 0.0, ..plan() });
    let vector = |value: f32| Tensor::<1>::from_floats([value], &Device::flex());
    for _ in 0..2 {
        optimizer.step("early", vector(1.0), vector(0.5), 0.1);
    }
    let late = tensor_values(optimizer.step("late", vector(1.0), vector(0.5), 0.1));
    assert!((late[0] - 0.9).abs() < 1e-6, "{late:?}");
}

#[test]
fn clipping_scales_to_the_limit() {
    let decoder = decoder();
    let gradients = gradients(&decoder);
    let norm = gradients.norm();
    let clipped = gradients.clipped(norm, 0.5).norm();
    assert!(0.5 < norm && (clipped - 0.5).abs() < 1e-5, "{norm} became {clipped}");
    let gradients = super::tests::gradients(&decoder);
    assert!((gradients.clipped(norm, 0.0).norm() - norm).abs() < 1e-6);
}

#[test]
fn an_adapter_trains_its_factors_and_nothing_else() {
    let decoder = decoder().with_adapter(&LoraSettings::new(2, 4.0), 1).expect("it fits");
    let frozen = decoder.named_tensors();
    let names: Vec<String> = trained_parameters(&decoder).into_iter().map(|tensor| tensor.name).collect();
    assert_eq!(names.len(), 2 * 7 * 2);
    assert!(names.iter().all(|name| name.contains(".weight.lora.")), "{names:?}");
    let mut optimizer = AdamW::new(&plan());
    let before = digest_of_trained(&decoder);
    let found = gradients(&decoder);
    let trained = optimizer.update(decoder, found, 0.1);
    assert_ne!(before, digest_of_trained(&trained));
    assert_eq!(frozen, trained.named_tensors());
}

#[test]
fn a_saved_state_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("optimizer.safetensors");
    let plan = plan();
    let mut optimizer = AdamW::new(&plan);
    let start = decoder();
    let found = gradients(&start);
    let decoder = optimizer.update(start, found, 0.1);
    optimizer.save(&path).expect("writable");
    let mut again = AdamW::load(&plan, &path, &decoder, &ExtraParameters::default()).expect("it fits");
    let (one, other) = (gradients(&decoder), gradients(&decoder));
    let went_on = optimizer.update(decoder.clone(), one, 0.1);
    let resumed = again.update(decoder.clone(), other, 0.1);
    assert_eq!(digest_of_trained(&went_on), digest_of_trained(&resumed));
    assert_ne!(digest_of_trained(&went_on), digest_of_trained(&decoder));
}

#[test]
fn a_state_of_other_parameters_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("optimizer.safetensors");
    let mut optimizer = AdamW::new(&plan());
    let start = decoder();
    let found = gradients(&start);
    let decoder = optimizer.update(start, found, 0.1);
    optimizer.save(&path).expect("writable");
    let other = decoder.valid().train().with_adapter(&LoraSettings::new(2, 4.0), 1).expect("it fits");
    assert!(AdamW::load(&plan(), &path, &other, &ExtraParameters::default()).is_err());
}

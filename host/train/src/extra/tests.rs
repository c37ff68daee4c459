//! Extra parameters: started, offered, clipped, trained, saved.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Device;
use tunesmith_core::tensors::{Op, Tensors};

use super::*;
use crate::model::LanguageModel;
use crate::optimizer::{AdamW, NamedGradients};
use crate::tensors::Budget;
use crate::test_folder::chat_folder;

fn declared(name: &str, shape: &[Size], init: Init) -> ExtraParameter {
    ExtraParameter { name: name.into(), shape: shape.to_vec(), init, learning_rate: None }
}

fn model() -> LanguageModel {
    LanguageModel::load(chat_folder().path(), &Device::flex()).expect("the fixture is whole")
}

fn made(seed: u64) -> ExtraParameters {
    let all = [
        declared("head", &[Size::Hidden, Size::Number(2)], Init::Normal(0.02)),
        declared("bias", &[], Init::Ones),
        declared("gate", &[Size::Layers], Init::Zeros),
    ];
    ExtraParameters::new("own", &all, model().config(), seed, &Device::flex().autodiff()).expect("they are small")
}

/// The gradients of the sum of all elements of `name`, offered through the engine as a plugin sees it.
fn gradients(extra: &ExtraParameters, name: &str) -> NamedGradients {
    let engine = Arc::new(BurnTensors::new(&Device::flex().autodiff(), Budget::default()));
    let id = extra.offer(name, &engine).expect("it is declared");
    let sum = engine.apply(&Op::Sum(id)).expect("it fits");
    let decoder = model().decoder.train();
    NamedGradients::of_all(&decoder, extra, engine.scalar(sum).expect("one number").backward())
}

#[test]
fn values_follow_from_the_seed_and_the_name() {
    let values = |extra: &ExtraParameters| extra.tensors().into_iter().map(|it| it.values).collect::<Vec<_>>();
    assert_eq!(values(&made(1)), values(&made(1)));
    assert_ne!(values(&made(1)), values(&made(2)));
    let shapes: Vec<_> = made(1).tensors().into_iter().map(|tensor| (tensor.name, tensor.shape)).collect();
    assert_eq!(shapes, [("bias".into(), vec![]), ("gate".into(), vec![2]), ("head".into(), vec![32, 2])]);
    let head = &made(1).tensors()[2].values;
    let deviation = (head.iter().map(|value| value * value).sum::<f32>() / 64.0).sqrt();
    assert!((deviation - 0.02).abs() < 0.005, "{deviation}");
}

#[test]
fn parameters_are_clipped_together_and_what_is_not_used_has_no_gradient() {
    let extra = made(1);
    let found = gradients(&extra, "head").plus(gradients(&extra, "bias"));
    // 64 ones and 1 one.
    assert!((found.norm() - 65.0_f64.sqrt()).abs() < 1e-6);
    let clipped = found.clipped(65.0_f64.sqrt(), 1.0);
    assert!((clipped.norm() - 1.0).abs() < 1e-5);
    let names: Vec<String> = clipped.values().into_keys().collect();
    assert_eq!(names, ["parameters.own.bias", "parameters.own.head"]);
}

#[test]
fn an_unknown_name_is_answered_with_those_there_are() {
    let engine = BurnTensors::new(&Device::flex().autodiff(), Budget::default());
    let told = made(1).offer("hade\u{1b}", &engine).expect_err("it is not declared").to_string();
    assert!(told.contains(r"declares no parameter `hade\u{1b}`; it declares `bias`, `gate`, `head`"), "{told}");
    let told = ExtraParameters::default().offer("head", &engine).expect_err("nothing is declared").to_string();
    assert!(told.contains("it declares none"), "{told}");
}

#[test]
fn more_elements_than_the_host_makes_are_refused() {
    let config = model().config().clone();
    let large = [Size::Number(1 << 24); 5];
    for shape in [&large[..], &[Size::Number(1 << 24), Size::Number(17)], &[Size::Hidden, Size::Number(1 << 24)]] {
        let told = shapes(&[declared("huge", shape, Init::Zeros)], &config).expect_err("it is huge");
        assert!(told.contains("`huge`") && told.contains("268435456"), "{told}");
    }
    assert!(shapes(&[declared("fits", &[Size::Number(1 << 24), Size::Number(16)], Init::Zeros)], &config).is_ok());
}

#[test]
fn values_and_moments_come_back_from_their_files() {
    let plan = crate::optimizer::test_plan();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let decoder = model().decoder.train();
    let mut extra = made(1);
    let mut optimizer = AdamW::new(&plan);
    let step = |optimizer: &mut AdamW, extra: &mut ExtraParameters| {
        let found = gradients(extra, "head");
        let decoder = optimizer.update(decoder.clone(), NamedGradients::default(), 0.1);
        optimizer.update_extra(extra, found, |peak| peak.unwrap_or(0.1));
        decoder
    };
    let before = extra.digest_with("policy".into());
    let _ = step(&mut optimizer, &mut extra);
    assert_ne!(before, extra.digest_with("policy".into()));
    extra.save(folder.path()).expect("it can be written");
    let moments = folder.path().join("optimizer.safetensors");
    optimizer.save(&moments).expect("it can be written");

    let mut again = made(9);
    again.restore(folder.path()).expect("it fits");
    assert_eq!(again.digest_with("policy".into()), extra.digest_with("policy".into()));
    // Nothing of the decoder has a gradient here, and `bias` and `gate` have none either.
    let mut resumed = AdamW::load(&plan, &moments, &decoder, &again).expect("it fits");
    let _ = (step(&mut optimizer, &mut extra), step(&mut resumed, &mut again));
    assert_eq!(again.digest_with("policy".into()), extra.digest_with("policy".into()));

    let mut other = ExtraParameters { plugin: "other/../plugin".into(), ..made(1) };
    assert!(other.restore(folder.path()).is_err());
    assert!(
        other
            .save(folder.path())
            .expect("it can be written")
            .expect("a place")
            .ends_with("parameters/other____plugin.safetensors")
    );
}

//! The decoder against transformers 5.23 on `tests/fixtures/tiny-llama` (see its README).

use std::path::PathBuf;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::Deserialize;

use super::*;
use crate::model::weights::WeightFiles;
use crate::tensor_values;

#[derive(Deserialize)]
struct Expected {
    input_ids: Vec<Vec<u32>>,
    attention_mask: Vec<Vec<u32>>,
    logits_row0: Vec<Vec<f32>>,
    logits_row1_unpadded_part: Vec<Vec<f32>>,
    hidden_norms_row0: Vec<f32>,
    nll_row0_labels_from_6: f32,
    gradient_norms: BTreeMap<String, f32>,
}

impl Expected {
    /// The real tokens of a row.
    fn sequence(&self, row: usize) -> Vec<u32> {
        let pairs = self.input_ids[row].iter().zip(&self.attention_mask[row]);
        pairs.filter(|(_, mask)| **mask == 1).map(|(id, _)| *id).collect()
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny-llama")
}

fn fixture() -> (Decoder, Expected) {
    let text = std::fs::read_to_string(folder().join("expected.json")).expect("the fixture is in the repository");
    let config = ModelConfig::load(&folder()).expect("the fixture is valid");
    let mut weights = WeightFiles::load(&folder(), &Decoder::tensor_shapes(&config)).expect("the fixture is complete");
    let decoder = Decoder::load(&config, &mut weights, &Device::flex()).expect("the fixture fits");
    (decoder, serde_json::from_str(&text).expect("the fixture is JSON"))
}

#[track_caller]
fn check(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= 1e-4 * expected.abs() + 1e-5, "at {index}: {found}, expected {expected}");
    }
}

fn with_logits() -> Forward {
    Forward { logits: true, ..Forward::default() }
}

#[test]
fn logits_equal_those_of_transformers_also_behind_left_padding() {
    let (decoder, expected) = fixture();
    let batch = TokenBatch::left_padded(&[expected.sequence(0), expected.sequence(1)]).expect("two rows");
    let logits = decoder.forward(&batch, &with_logits()).expect("valid ids").logits.expect("asked for");
    check(&tensor_values(logits.clone().narrow(0, 0, 1)), &expected.logits_row0.concat());
    let unpadded = logits.narrow(0, 1, 1).narrow(1, 5, 19);
    check(&tensor_values(unpadded), &expected.logits_row1_unpadded_part.concat());
}

#[test]
fn right_padding_and_packing_give_the_same_logits() {
    let (decoder, expected) = fixture();
    let (first, second) = (expected.sequence(0), expected.sequence(1));
    let batch = TokenBatch::right_padded(&[second.clone(), first.clone()]).expect("two rows");
    let logits = decoder.forward(&batch, &with_logits()).expect("valid ids").logits.expect("asked for");
    let part = logits.narrow(0, 0, 1).narrow(1, 0, 19);
    check(&tensor_values(part), &expected.logits_row1_unpadded_part.concat());
    let batch = TokenBatch::packed(&[vec![first, second]]).expect("one row");
    let logits = decoder.forward(&batch, &with_logits()).expect("valid ids").logits.expect("asked for");
    check(&tensor_values(logits.clone().narrow(1, 0, 24)), &expected.logits_row0.concat());
    check(&tensor_values(logits.narrow(1, 24, 19)), &expected.logits_row1_unpadded_part.concat());
}

#[test]
fn hidden_states_have_the_norms_of_transformers() {
    let (decoder, expected) = fixture();
    let batch = TokenBatch::left_padded(&[expected.sequence(0)]).expect("one row");
    let want = Forward { hidden_layers: vec![0, 1, 2], attention_layers: vec![1], ..Forward::default() };
    let output = decoder.forward(&batch, &want).expect("valid ids");
    let norms: Vec<f32> =
        output.hidden.into_iter().map(|hidden| tensor_values(hidden.square().sum().sqrt())[0]).collect();
    check(&norms, &expected.hidden_norms_row0);
    let sums = tensor_values(output.attention[0].clone().sum_dim(3));
    check(&sums, &vec![1.0; 4 * 24]);
}

#[test]
fn an_early_exit_stops_after_its_layer() {
    let (decoder, expected) = fixture();
    let batch = TokenBatch::left_padded(&[expected.sequence(0)]).expect("one row");
    let early = Forward { exit_after: Some(1), hidden_layers: vec![1], ..Forward::default() };
    let output = decoder.forward(&batch, &early).expect("valid ids");
    let norm = tensor_values(output.hidden[0].clone().square().sum().sqrt());
    check(&norm, &expected.hidden_norms_row0[1..2]);
    check(&tensor_values(output.last_hidden), &tensor_values(decoder.model.norm.forward(output.hidden[0].clone())));
}

fn loss(decoder: &Decoder, expected: &Expected) -> Tensor<1> {
    let batch = TokenBatch::left_padded(&[expected.sequence(0)]).expect("one row");
    decoder.token_logprobs(&batch).expect("valid ids").narrow(1, 6, 18).mean().neg()
}

#[test]
fn loss_and_gradients_equal_those_of_transformers_by_name() {
    let (decoder, expected) = fixture();
    check(&tensor_values(loss(&decoder, &expected)), &[expected.nll_row0_labels_from_6]);
    let decoder = decoder.train();
    let loss = loss(&decoder, &expected);
    check(&tensor_values(loss.clone()), &[expected.nll_row0_labels_from_6]);
    let gradients: BTreeMap<String, Vec<f32>> = decoder
        .named_gradients(&loss.backward())
        .into_iter()
        .map(|gradient| (gradient.name, gradient.values))
        .collect();
    assert!(gradients.keys().eq(expected.gradient_norms.keys()), "{:?}", gradients.keys());
    for (name, norm) in &expected.gradient_norms {
        let square: f64 = gradients[name].iter().map(|value| f64::from(*value).powi(2)).sum();
        check(&[square.sqrt() as f32], &[*norm]);
    }
}

#[test]
fn cached_columns_give_the_same_hidden_states_as_a_whole_pass() {
    let (decoder, expected) = fixture();
    let batch = TokenBatch::left_padded(&[expected.sequence(0), expected.sequence(1)]).expect("two rows");
    let whole = decoder.hidden(&batch).expect("valid ids");
    let mut cache = KvCache::new(decoder.config(), vec![0, 5], 24, &Device::flex());
    let columns = |range: std::ops::Range<usize>| -> Vec<u32> {
        batch.tokens().chunks(24).flat_map(|row| row[range.clone()].to_vec()).collect()
    };
    let mut parts = vec![decoder.extend(&columns(0..10), &mut cache).expect("room for 24")];
    parts.extend((10..24).map(|column| decoder.extend(&columns(column..column + 1), &mut cache).expect("room for 24")));
    let stepped = Tensor::cat(parts, 1);
    check(&tensor_values(stepped.clone().narrow(0, 0, 1)), &tensor_values(whole.clone().narrow(0, 0, 1)));
    let real = |hidden: Tensor<3>| tensor_values(hidden.narrow(0, 1, 1).narrow(1, 5, 19));
    check(&real(stepped), &real(whole));
    assert_eq!(cache.free(), 0);
    assert!(decoder.extend(&[1, 1], &mut cache).is_err());
}

#[test]
fn impossible_requests_are_refused() {
    let (decoder, _) = fixture();
    let refused = |tokens: Vec<u32>, want: Forward| {
        let batch = TokenBatch::left_padded(&[tokens]).expect("one row");
        decoder.forward(&batch, &want).expect_err("must be refused").to_string()
    };
    assert!(refused(vec![96], Forward::default()).contains("token id 96"));
    assert!(refused(vec![1; 129], Forward::default()).contains("129 tokens"));
    assert!(refused(vec![1], Forward { exit_after: Some(3), ..Forward::default() }).contains("layer 3 of 2"));
    assert!(refused(vec![1], Forward { hidden_layers: vec![3], ..Forward::default() }).contains("layer 3 of 2"));
    assert!(refused(vec![1], Forward { attention_layers: vec![2], ..Forward::default() }).contains("layer 2 of 2"));
}

#[test]
fn saving_and_loading_gives_the_same_weights() {
    let (decoder, _) = fixture();
    let target = tempfile::tempdir().expect("a temporary folder");
    let saved = target.path().join("model");
    decoder.save(&saved, &folder(), crate::model::WeightType::F32).expect("saved");
    let config = ModelConfig::load(&saved).expect("saved config");
    let mut weights = WeightFiles::load(&saved, &Decoder::tensor_shapes(&config)).expect("saved weights");
    let loaded = Decoder::load(&config, &mut weights, &Device::flex()).expect("saved model");
    assert_eq!(loaded.named_tensors(), decoder.named_tensors());
    let again = decoder.save(&saved, &folder(), crate::model::WeightType::Bf16);
    assert!(again.is_err(), "nothing may be overwritten");
}

#[test]
fn a_random_decoder_depends_on_the_seed_only() {
    let config = ModelConfig::load(&folder()).expect("the fixture is valid");
    let build = |seed| Decoder::random(&config, seed, &Device::flex()).expect("valid").named_tensors();
    assert_eq!(build(1), build(1));
    assert_ne!(build(1), build(2));
}

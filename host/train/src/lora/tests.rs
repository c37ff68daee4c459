//! Tests of `lora.rs`.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use serde_json::json;

use super::*;
use crate::model::config::ModelConfig;
use crate::model::export::{NamedTensor, WeightType, save_tensors};
use crate::model::{Forward, TokenBatch, WeightFiles};
use crate::tensor_values;
use crate::test_folder::{set, tiny_llama};

fn plain() -> Decoder {
    let config = ModelConfig::load(&tiny_llama()).expect("the fixture is valid");
    let mut weights = WeightFiles::load(&tiny_llama(), &Decoder::tensor_shapes(&config)).expect("complete");
    Decoder::load(&config, &mut weights, &Device::flex()).expect("the fixture fits")
}

fn settings() -> LoraSettings {
    LoraSettings::new(4, 8.0)
}

/// The fixture with an adapter whose `B` is not zero.
fn adapted() -> Decoder {
    let mut random = Random::numbered(5, 0);
    let factors = |_: &str, [input, output]: [usize; 2]| {
        let mut draw = |count: usize| (0..count).map(|_| random.normal() as f32 * 0.1).collect::<Vec<f32>>();
        Some((draw(input * 4), draw(4 * output)))
    };
    plain().attach(&settings(), factors)
}

fn logits(decoder: &Decoder) -> Vec<f32> {
    let batch = TokenBatch::left_padded(&[[5, 6, 7, 8]]).expect("one row");
    let want = Forward { logits: true, ..Forward::default() };
    tensor_values(decoder.forward(&batch, &want).expect("valid ids").logits.expect("asked for"))
}

#[track_caller]
fn check(found: &[f32], expected: &[f32]) {
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-4 * expected.abs() + 1e-5, "{found}, expected {expected}");
    }
}

#[test]
fn a_fresh_adapter_changes_nothing_and_repeats() {
    let decoder = plain().with_adapter(&settings(), 3).expect("valid");
    assert_eq!(logits(&decoder), logits(&plain()));
    assert_eq!(decoder.adapter_settings(), Some(settings()));
    let few = LoraSettings { targets: vec!["v_proj".to_owned()], ..settings() };
    let few = plain().with_adapter(&few, 3).expect("valid").adapter_tensors();
    let all = decoder.adapter_tensors();
    assert_eq!((all.len(), few.len()), (28, 4));
    assert!(few.iter().all(|tensor| all.contains(tensor)));
    let other = plain().with_adapter(&settings(), 4).expect("valid").adapter_tensors();
    assert_ne!(all, other);
    let a = all.iter().find(|tensor| tensor.name.ends_with("lora_A.weight")).expect("there");
    assert!(
        a.values.iter().all(|value| value.abs() <= 32_f32.powf(-0.5)) && a.values.iter().any(|value| *value != 0.0)
    );
}

#[test]
fn merging_gives_the_same_output_and_taking_off_gives_the_base() {
    let decoder = adapted();
    let changed = logits(&decoder);
    assert!(changed.iter().zip(logits(&plain())).any(|(one, other)| 0.1 < (one - other).abs()));
    check(&logits(&decoder.merged()), &changed);
    assert!(decoder.merged().adapter_settings().is_none());
    assert_eq!(logits(&decoder.without_adapter()), logits(&plain()));
    assert_eq!(decoder.named_tensors(), plain().named_tensors());
}

#[test]
fn only_the_factors_get_gradients() {
    let decoder = adapted().train();
    let batch = TokenBatch::left_padded(&[[5, 6, 7, 8]]).expect("one row");
    let loss = decoder.token_logprobs(&batch).expect("valid ids").sum();
    let names: Vec<String> =
        decoder.named_gradients(&loss.backward()).into_iter().map(|gradient| gradient.name).collect();
    assert_eq!(names.len(), 28);
    assert!(names.iter().all(|name| name.ends_with(".weight.lora.a") || name.ends_with(".weight.lora.b")), "{names:?}");
    let reference = decoder.without_adapter();
    check(&logits(&reference), &logits(&plain()));
}

#[test]
fn files_have_the_names_and_shapes_of_peft() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("adapter");
    let decoder = adapted();
    decoder.save_adapter(&path, "tiny").expect("written");
    assert!(decoder.save_adapter(&path, "tiny").is_err(), "nothing may be overwritten");
    let shapes: BTreeMap<String, Vec<usize>> =
        decoder.adapter_tensors().into_iter().map(|tensor| (tensor.name, tensor.shape)).collect();
    let name = "base_model.model.model.layers.1.mlp.down_proj";
    assert_eq!(shapes[&format!("{name}.lora_A.weight")], [4, 48]);
    assert_eq!(shapes[&format!("{name}.lora_B.weight")], [32, 4]);
    let loaded = plain().load_adapter(&path).expect("just written");
    assert_eq!(loaded.adapter_tensors(), decoder.adapter_tensors());
    assert_eq!(logits(&loaded), logits(&decoder));
    let text = std::fs::read_to_string(path.join("adapter_config.json")).expect("written");
    let config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&config["peft_type"], &config["r"], &config["lora_alpha"]), (&json!("LORA"), &json!(4), &json!(8)));
}

/// What PEFT itself writes for an adapter on all projections of the fixture; see its README.
#[test]
fn files_are_like_those_that_peft_writes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ours = folder.path().join("adapter");
    plain()
        .with_adapter(&LoraSettings::new(2, 6.0), 1)
        .expect("valid")
        .save_adapter(&ours, "tiny-llama")
        .expect("written");
    let theirs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/peft-tiny-llama");
    let read = |folder: &Path| -> serde_json::Map<String, serde_json::Value> {
        let text = std::fs::read_to_string(folder.join("adapter_config.json")).expect("there");
        let mut map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).expect("a JSON object");
        // PEFT writes a set.
        map["target_modules"].as_array_mut().expect("a list").sort_by_key(ToString::to_string);
        map
    };
    let (our_config, their_config) = (read(&ours), read(&theirs));
    for (field, value) in &our_config {
        assert_eq!(Some(value), their_config.get(field), "{field}");
    }
    // What we leave out is off or without effect there; older versions of PEFT do not know all of it.
    for (field, value) in their_config.iter().filter(|(field, _)| !our_config.contains_key(*field)) {
        let is_off = value.is_null() || *value == json!(false) || *value == json!({});
        assert!(
            is_off || ["megatron_core", "peft_version", "qalora_group_size"].contains(&field.as_str()),
            "{field}: {value}"
        );
    }
    let bytes = |folder: &Path| std::fs::read(folder.join("adapter_model.safetensors")).expect("there");
    let (our_bytes, their_bytes) = (bytes(&ours), bytes(&theirs));
    let (_, our_head) = safetensors::SafeTensors::read_metadata(&our_bytes).expect("whole");
    let (_, their_head) = safetensors::SafeTensors::read_metadata(&their_bytes).expect("whole");
    assert_eq!(our_head.metadata(), their_head.metadata());
    let outline = |head: &safetensors::tensor::Metadata| -> BTreeMap<String, (safetensors::Dtype, Vec<usize>)> {
        head.tensors().into_iter().map(|(name, info)| (name, (info.dtype, info.shape.clone()))).collect()
    };
    assert_eq!(outline(&our_head), outline(&their_head));
}

#[track_caller]
fn refused(change: impl FnOnce(&Path), expected: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("adapter");
    adapted().save_adapter(&path, "tiny").expect("written");
    change(&path);
    let error = plain().load_adapter(&path).expect_err("must be refused").to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn adapters_of_another_kind_are_refused_by_field() {
    for (field, value) in [
        ("peft_type", json!("IA3")),
        ("use_dora", json!(true)),
        ("use_rslora", json!(true)),
        ("bias", json!("all")),
        ("rank_pattern", json!({"q_proj": 2})),
        ("modules_to_save", json!(["lm_head"])),
        ("target_modules", json!(["lm_head"])),
        ("target_modules", json!(".*proj")),
        ("target_modules", json!([1])),
        ("r", json!("four")),
        ("lora_alpha", json!(null)),
    ] {
        refused(|path| set(path, "adapter_config.json", field, value), &format!("`{field}`"));
    }
    refused(|path| set(path, "adapter_config.json", "r", json!(0)), "rank 0");
    refused(|path| set(path, "adapter_config.json", "r", json!(1_000_000)), "rank 1000000");
    refused(|path| set(path, "adapter_config.json", "lora_alpha", json!(-1)), "alpha -1");
    refused(|path| set(path, "adapter_config.json", "r", json!(8)), "expected [8, ");
    refused(|path| set(path, "adapter_config.json", "target_modules", json!(["q_proj"])), "unknown tensor(s)");
    let one = [NamedTensor { name: "x".to_owned(), shape: vec![1], values: vec![0.0] }];
    refused(
        |path| save_tensors(&path.join("adapter_model.safetensors"), &one, WeightType::F32).expect("written"),
        "lacks 28 tensor(s)",
    );
    refused(|path| std::fs::remove_file(path.join("adapter_model.safetensors")).expect("there"), "cannot read");
}

#[test]
fn settings_out_of_range_are_refused() {
    let refused = |settings: LoraSettings| plain().with_adapter(&settings, 0).expect_err("must be refused").to_string();
    assert!(refused(LoraSettings::new(0, 1.0)).contains("rank 0"));
    assert!(refused(LoraSettings::new(2, f64::NAN)).contains("alpha"));
    assert!(refused(LoraSettings { targets: vec!["x".to_owned()], ..settings() }).contains("`x`"));
    assert!(refused(LoraSettings { targets: Vec::new(), ..settings() }).contains("at least one"));
    assert!(adapted().with_adapter(&settings(), 0).is_err());
}

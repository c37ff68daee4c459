//! Tests of `merge.rs`; the adapter was trained and saved by PEFT (see `tests/fixtures/peft-tiny-llama/README.md`).

use std::fs;

use burn::tensor::Device;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::compare::{compare, compare_adapted};
use crate::model::export::{NamedTensor, save_tensors};
use crate::model::shards::SHARD_BYTES;
use crate::test_folder::{chat_folder, set, tiny_llama};

fn adapter() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/peft-tiny-llama")
}

fn merge(base: &Path, adapter: &Path) -> Result<Merge, ModelError> {
    MergeBase::open(base)?.with_adapter(adapter, false)
}

fn merged(weight_type: Option<WeightType>, shard_bytes: u64) -> (TempDir, MergeReport) {
    let base = chat_folder();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let merge = merge(base.path(), &adapter()).expect("they belong together");
    let report = merge.write(&folder.path().join("out"), weight_type, shard_bytes, &mut |_, _| {}).expect("written");
    (folder, report)
}

/// The largest error of the merged fixture's logits against those that PEFT computed with the adapter on top.
fn error_of(folder: &TempDir) -> f64 {
    let found = compare(&folder.path().join("out"), &adapter().join("expected.json"), &Device::flex());
    found.expect("comparable").iter().map(|one| one.error).fold(0.0, f64::max)
}

/// The numbers in a folder of the fixture's shapes.
fn tensors(folder: &Path) -> BTreeMap<String, Vec<f32>> {
    let shapes = Decoder::tensor_shapes(&ModelConfig::load(folder).expect("valid"));
    let mut files = WeightFiles::load(folder, &shapes).expect("complete");
    shapes.iter().map(|(name, shape)| (name.clone(), files.take(name, shape).expect("listed"))).collect()
}

fn json_file(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).expect("written")).expect("JSON")
}

#[test]
fn an_adapter_of_peft_gives_pefts_logits_on_top_and_merged() {
    let on_top = compare_adapted(&tiny_llama(), Some(&adapter()), &adapter().join("expected.json"), &Device::flex());
    let on_top = on_top.expect("comparable");
    assert_eq!((on_top.len(), on_top[0].values), (1, 6 * 96));
    // Sums in another order than PyTorch's: as for all logits here.
    assert!(on_top[0].error <= 1e-4, "{on_top:?}");
    let plain = compare(&tiny_llama(), &adapter().join("expected.json"), &Device::flex()).expect("comparable");
    assert!(1e-2 < plain[0].error, "the adapter does something: {plain:?}");
    assert!(error_of(&merged(None, SHARD_BYTES).0) <= 1e-4);
}

#[test]
fn every_linear_layer_of_a_model_with_fused_projections_is_every_one() {
    let base = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny-phi3");
    let config = ModelConfig::load(&base).expect("valid");
    let mut files = WeightFiles::load(&base, &Decoder::tensor_shapes(&config)).expect("complete");
    let decoder = Decoder::load(&config, &mut files, &Device::flex()).expect("complete");
    let adapted = decoder.with_adapter(&LoraSettings::new(2, 4.0), 1).expect("valid");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("adapter");
    adapted.save_adapter(&path, &base.display().to_string()).expect("written");
    set(&path, "adapter_config.json", "target_modules", "all-linear".into());
    let merge = merge(&base, &path).expect("they belong together");
    let report = merge.write(&folder.path().join("out"), None, SHARD_BYTES, &mut |_, _| {}).expect("written");
    assert_eq!(report.changed, 4 * config.layers as u64);
}

#[test]
fn a_merged_folder_is_complete() {
    let (folder, report) = merged(None, SHARD_BYTES);
    let out = folder.path().join("out");
    assert_eq!((report.changed, report.files.as_slice()), (14, ["model.safetensors".to_owned()].as_slice()));
    assert_eq!(report.types, [WeightType::F32].into());
    assert_eq!(json_file(&out.join("config.json")), json_file(&tiny_llama().join("config.json")));
    for name in ["generation_config.json", "tokenizer.json", "tokenizer_config.json"] {
        assert!(out.join(name).is_file(), "{name}");
    }
    let bytes = fs::read(out.join("model.safetensors")).expect("written");
    let (_, head) = SafeTensors::read_metadata(&bytes).expect("whole");
    assert_eq!(head.metadata().as_ref().and_then(|it| it.get("format")).map(String::as_str), Some("pt"));
    let base = fs::read(tiny_llama().join("model.safetensors")).expect("in the repository");
    let (base, ours) =
        (SafeTensors::deserialize(&base).expect("whole"), SafeTensors::deserialize(&bytes).expect("whole"));
    assert_eq!(base.len(), ours.len());
    for (name, tensor) in base.iter() {
        let ours = ours.tensor(name).expect("the same names");
        assert_eq!((ours.shape(), ours.dtype()), (tensor.shape(), tensor.dtype()));
        assert_eq!(ours.data() != tensor.data(), name.contains("_proj"), "{name}: only projections are changed");
    }
}

#[test]
fn the_weight_type_may_be_changed_and_is_kept_otherwise() {
    for (kind, name) in [(WeightType::Bf16, "bfloat16"), (WeightType::F16, "float16")] {
        let (folder, report) = merged(Some(kind), SHARD_BYTES);
        assert_eq!(report.types, [kind].into());
        let out = folder.path().join("out");
        assert_eq!(json_file(&out.join("config.json"))["dtype"], name);
        let whole = tensors(&merged(None, SHARD_BYTES).0.path().join("out"));
        for (name, rounded) in tensors(&out) {
            let expected = kind.encode(&name, &whole[&name]).expect("it fits");
            assert_eq!(rounded, kind.decode(&expected), "{name}");
        }
        let again = tempfile::tempdir().expect("a temporary folder");
        let merge = merge(&out, &adapter()).expect("they belong together");
        let report = merge.write(&again.path().join("out"), None, SHARD_BYTES, &mut |_, _| {}).expect("written");
        assert_eq!(report.types, [kind].into(), "the base's own type");
        assert_eq!(json_file(&again.path().join("out/config.json"))["dtype"], name);
    }
}

#[test]
fn large_exports_are_split_and_read_back() {
    let (folder, report) = merged(None, 40_000);
    assert_eq!(report.files, ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]);
    let index = json_file(&folder.path().join("out/model.safetensors.index.json"));
    assert_eq!(index["metadata"]["total_size"], json!(4 * report.weights));
    assert_eq!(index["weight_map"].as_object().map(serde_json::Map::len), Some(report.tensors as usize));
    assert!(error_of(&folder) <= 1e-4);
}

#[test]
fn progress_counts_weights_up_to_the_total() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut seen = Vec::new();
    let merge = merge(&tiny_llama(), &adapter()).expect("they belong together");
    let report = merge
        .write(&folder.path().join("out"), None, SHARD_BYTES, &mut |done, total| seen.push((done, total)))
        .expect("written");
    assert_eq!((seen.first(), seen.last()), (Some(&(0, report.weights)), Some(&(report.weights, report.weights))));
}

#[track_caller]
fn refused(change: impl FnOnce(&Path), expected: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(adapter().join(name), folder.path().join(name)).expect("the fixture is in the repository");
    }
    change(folder.path());
    let error = merge(&tiny_llama(), folder.path()).expect_err("must be refused").to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn an_adapter_that_does_not_fit_is_refused() {
    let of_another = "it was made for another model: ";
    refused(|path| set(path, "adapter_config.json", "r", json!(3)), of_another);
    refused(|path| set(path, "adapter_config.json", "r", json!(3)), "hint: it names `tiny-llama` as its model");
    refused(|path| set(path, "adapter_config.json", "target_modules", json!(["q_proj"])), "unknown tensor(s)");
    refused(|path| set(path, "adapter_config.json", "r", json!(0)), "not both above 0");
    refused(|path| set(path, "adapter_config.json", "lora_alpha", json!(-1)), "not both above 0");
    refused(|path| set(path, "adapter_config.json", "init_lora_weights", json!("pissa")), "`init_lora_weights`");
    refused(|path| set(path, "adapter_config.json", "something_new", json!(true)), "`something_new`");
    let one = [NamedTensor { name: "x".to_owned(), shape: vec![1], values: vec![0.0] }];
    let write =
        |path: &Path| save_tensors(&path.join("adapter_model.safetensors"), &one, WeightType::F32).expect("written");
    refused(write, "lacks 28 tensor(s)");
    refused(
        |path| fs::write(path.join("adapter_model.safetensors"), b"x").expect("written"),
        "not a whole safetensors",
    );
    refused(|path| fs::remove_file(path.join("adapter_config.json")).expect("there"), "cannot read");
}

#[test]
fn an_adapter_of_a_model_with_other_weights_is_refused_while_that_is_there() {
    let other = chat_folder();
    let path = other.path().join("model.safetensors");
    let shapes = Decoder::tensor_shapes(&ModelConfig::load(other.path()).expect("the fixture is valid"));
    let scaled = tensors(other.path()).into_iter().map(|(name, values)| NamedTensor {
        shape: shapes[&name].clone(),
        name,
        values: values.into_iter().map(|value| 1.1 * value).collect(),
    });
    let tensors: Vec<NamedTensor> = scaled.collect();
    save_tensors(&path, &tensors, WeightType::F32).expect("written");
    let names = |path: &Path| set(path, "adapter_config.json", "base_model_name_or_path", json!(other.path()));
    refused(names, "it was made for another model: `model.layers.0.mlp.down_proj.weight` is another");
    // The same weights in another type are no other model, and whoever asks for it gets any base.
    let (half, _) = merged(Some(WeightType::Bf16), SHARD_BYTES);
    let base = MergeBase::open(&half.path().join("out")).expect("whole");
    let (same, _) = merged(None, SHARD_BYTES);
    assert!(base.refuse_other_than(&same.path().join("out")).is_ok());
    assert!(base.refuse_other_than(other.path()).is_err());
    assert!(base.refuse_other_than(Path::new("HuggingFaceTB/SmolLM2-135M")).is_ok());
}

#[test]
fn a_taken_place_is_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("mine"), "x").expect("written");
    let write = |out: &Path| {
        let merge = merge(&tiny_llama(), &adapter()).expect("they belong together");
        merge.write(out, None, SHARD_BYTES, &mut |_, _| {}).expect_err("taken").to_string()
    };
    assert!(write(folder.path()).contains("the folder is not empty"));
    assert!(write(&folder.path().join("mine")).contains("it is not a folder"));
    let left: Vec<_> = fs::read_dir(folder.path()).expect("there").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["mine"]);
}

#[test]
fn a_weight_too_large_for_the_type_leaves_nothing_behind() {
    let base = chat_folder();
    let path = base.path().join("model.safetensors");
    let mut bytes = fs::read(&path).expect("there");
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&1e6_f32.to_le_bytes());
    fs::write(&path, bytes).expect("written");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let merge = merge(base.path(), &adapter()).expect("they belong together");
    let error = merge.write(&folder.path().join("out"), Some(WeightType::F16), SHARD_BYTES, &mut |_, _| {});
    assert!(error.expect_err("too large").to_string().contains("which float16 cannot hold"));
    assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 0);
}

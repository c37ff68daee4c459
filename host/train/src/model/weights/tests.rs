//! Tests of `weights.rs`.

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::model::config::ModelConfig;
use crate::model::decoder::Decoder;
use crate::model::export::{NamedTensor, WeightType, save_tensors};
use crate::test_folder::{tiny_llama, write};

fn expected() -> BTreeMap<String, Vec<usize>> {
    Decoder::tensor_shapes(&ModelConfig::load(&tiny_llama()).expect("the fixture is valid"))
}

fn tensors() -> Vec<NamedTensor> {
    let mut file = WeightFiles::load(&tiny_llama(), &expected()).expect("the fixture is complete");
    let take = |(name, shape): (&String, &Vec<usize>)| NamedTensor {
        name: name.clone(),
        shape: shape.clone(),
        values: file.take(name, shape).expect("listed"),
    };
    expected().iter().map(take).collect()
}

/// The fixture's tensors in two shards.
fn sharded() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tensors = tensors();
    let (first, second) = tensors.split_at(7);
    let mut map = serde_json::Map::new();
    for (name, part) in [("model-1.safetensors", first), ("model-2.safetensors", second)] {
        save_tensors(&folder.path().join(name), part, WeightType::F32).expect("written");
        map.extend(part.iter().map(|tensor| (tensor.name.clone(), json!(name))));
    }
    write(folder.path(), INDEX, &json!({"metadata": {"total_size": 1}, "weight_map": map}));
    folder
}

#[track_caller]
fn check(folder: &Path, expected_text: &str) {
    let error = WeightFiles::load(folder, &expected()).expect_err("must be refused").to_string();
    assert!(error.contains(expected_text), "{error}");
}

#[test]
fn shards_hold_the_same_as_one_file() {
    let folder = sharded();
    let mut shards = WeightFiles::load(folder.path(), &expected()).expect("complete");
    for tensor in tensors() {
        assert_eq!(shards.take(&tensor.name, &tensor.shape).expect("listed"), tensor.values);
    }
}

#[test]
fn half_precision_files_are_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    save_tensors(&folder.path().join(SINGLE), &tensors(), WeightType::Bf16).expect("written");
    let mut file = WeightFiles::load(folder.path(), &expected()).expect("complete");
    for tensor in tensors() {
        for (read, exact) in file.take(&tensor.name, &tensor.shape).expect("listed").iter().zip(tensor.values) {
            assert!((read - exact).abs() <= exact.abs() / 256.0);
        }
    }
    assert_eq!(to_f32(Path::new(""), "", Dtype::F16, &[1], &[0, 0x3c]).expect("supported").values, [1.0]);
    assert!(to_f32(Path::new(""), "t", Dtype::I8, &[1], &[0]).expect_err("unsupported").to_string().contains("`I8`"));
}

#[test]
fn a_missing_shard_is_named() {
    let folder = sharded();
    fs::remove_file(folder.path().join("model-2.safetensors")).expect("there");
    check(folder.path(), "shard `model-2.safetensors`");
    check(folder.path(), "1 of 2 shards");
}

#[test]
fn an_index_cannot_reach_out_of_its_folder() {
    let folder = sharded();
    for name in ["../model-1.safetensors", "/etc/passwd", "a/b", "a\\b", "C:b", "..", ".", ""] {
        write(folder.path(), INDEX, &json!({"weight_map": {"model.norm.weight": name}}));
        check(folder.path(), "not a plain file name");
    }
    write(folder.path(), INDEX, &json!({"weight_map": {}}));
    check(folder.path(), "lacks 0");
    write(folder.path(), INDEX, &json!({"weight_map": 3}));
    check(folder.path(), "is not the JSON expected");
}

#[test]
fn a_folder_without_weights_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    check(folder.path(), "model.safetensors");
}

#[test]
fn a_truncated_file_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bytes = fs::read(tiny_llama().join(SINGLE)).expect("the fixture is in the repository");
    for len in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(folder.path().join(SINGLE), &bytes[..len]).expect("written");
        check(folder.path(), "not a whole safetensors file");
    }
    let mut huge = u64::MAX.to_le_bytes().to_vec();
    huge.extend(b"{}");
    fs::write(folder.path().join(SINGLE), huge).expect("written");
    check(folder.path(), "not a whole safetensors file");
}

#[test]
fn missing_unknown_and_misshapen_tensors_are_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(SINGLE);
    let mut changed = tensors();
    let gone = changed.remove(3);
    save_tensors(&path, &changed, WeightType::F32).expect("written");
    check(folder.path(), &format!("`{}`", gone.name));
    let mut changed = tensors();
    changed.push(NamedTensor { name: "model.extra".to_owned(), shape: vec![1], values: vec![0.0] });
    save_tensors(&path, &changed, WeightType::F32).expect("written");
    check(folder.path(), "1 unknown tensor(s), the first is `model.extra`");
    let mut changed = tensors();
    changed[0].shape.swap(0, 1);
    save_tensors(&path, &changed, WeightType::F32).expect("written");
    check(folder.path(), "has shape [32, 96], expected [96, 32]");
}

#[test]
fn the_second_name_of_a_tied_head_is_tolerated() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut with_head = tensors();
    with_head.push(NamedTensor { name: "lm_head.weight".to_owned(), shape: vec![1], values: vec![0.0] });
    save_tensors(&folder.path().join(SINGLE), &with_head, WeightType::F32).expect("written");
    assert!(WeightFiles::load(folder.path(), &expected()).is_ok());
}

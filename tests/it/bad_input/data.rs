//! Data that is not as a recipe expects it.

use super::{Error, Lab};

#[track_caller]
fn check(rows: &[u8], expected: &[&str]) {
    let lab = Lab::new();
    lab.write("train.jsonl", rows);
    let error = lab.check(&["recipe.toml:6", "`data.train`", "hint:"]);
    assert!(matches!(error, Error::Data(_)), "{error:?}");
    lab.check(expected);
}

#[test]
fn data_that_is_not_utf8_is_named_with_its_line() {
    check(
        b"{\"prompt\": \"one\", \"completion\": \"1\"}\n{\"prompt\": \"\xff\"}\n",
        &["train.jsonl:2", "is not UTF-8"],
    );
}

#[test]
fn data_that_is_not_json_is_named_with_its_line() {
    check(b"{\"prompt\": \"one\", \"completion\": \"1\"}\n{\"prompt\"\n", &["train.jsonl:2", "is not JSON"]);
}

#[test]
fn a_missing_column_is_named_with_its_line_and_those_there_are() {
    check(b"{\"question\": \"one\"}\n", &["train.jsonl:1", "misses the column `prompt`", "there are `question`"]);
}

#[test]
fn a_missing_completion_is_named_with_its_line_if_nothing_makes_one() {
    check(
        b"{\"prompt\": \"one\", \"completion\": \"1\"}\n\n{\"prompt\": \"two\"}\n",
        &["train.jsonl:3", "`completion`"],
    );
}

#[test]
fn an_empty_file_is_named() {
    check(b"\n", &["train.jsonl", "has no rows"]);
}

#[test]
fn a_pattern_without_a_file_is_named_with_its_line() {
    let lab = Lab::new();
    lab.replace("recipe.toml", "\"train.jsonl\"", "\"data/*.jsonl\"");
    lab.check(&["recipe.toml:6", "`data.train`", "data/*.jsonl` matches no file", "hint:"]);
}

#[test]
fn a_weight_that_is_not_positive_is_named_with_its_line() {
    let lab = Lab::new();
    lab.replace("recipe.toml", "\"train.jsonl\"", "[{ path = \"train.jsonl\", weight = 0.0 }]");
    lab.check(&["recipe.toml:6", "`data.train`", "has a weight of 0, which is not from 0.001 to 1000", "hint:"]);
}

#[test]
fn a_parquet_file_that_is_cut_is_named() {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/train/tests/fixtures/data/few.gzip.parquet");
    let bytes = std::fs::read(path).expect("the fixture is in the repository");
    let lab = Lab::new();
    lab.replace("recipe.toml", "train.jsonl", "train.parquet");
    lab.write("train.parquet", &bytes);
    tunesmith::Session::open(&lab.path("recipe.toml")).unwrap_or_else(|error| panic!("{error}"));
    lab.write("train.parquet", &bytes[..bytes.len() / 2]);
    lab.check(&["recipe.toml:6", "`data.train`", "train.parquet` is damaged, ends too soon", "hint:"]);
}

#[test]
fn a_packed_file_that_is_cut_is_named() {
    let lab = Lab::new();
    lab.replace("recipe.toml", "train.jsonl", "train.jsonl.gz");
    // The ten bytes of a head, and nothing behind it.
    lab.write("train.jsonl.gz", [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
    lab.check(&["recipe.toml:6", "`data.train`", "train.jsonl.gz` is damaged or ends too soon", "hint:"]);
}

#[test]
fn an_evaluation_set_is_named_with_its_line() {
    let lab = Lab::new();
    lab.write("test.jsonl", "[1]\n");
    lab.check(&["recipe.toml:7", "`data.eval`", "test.jsonl:1", "not an object"]);
}

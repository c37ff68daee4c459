//! Parquet against what pyarrow reads, and damaged files.

use std::fs;
use std::path::PathBuf;

use parquet::file::reader::{FileReader as _, SerializedFileReader};
use serde_json::{Map, Value};

use super::{plan, read, read_as};
use tunesmith_core::plan::FilePlan;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data").join(name)
}

#[track_caller]
fn check(parquet: &str, json: &str) {
    let file = FilePlan { path: fixture(parquet), ..plan().train };
    let data = read(&file, &plan()).unwrap_or_else(|error| panic!("{error}"));
    let text = fs::read_to_string(fixture(json)).expect("the fixture is in the repository");
    let expected: Vec<Map<String, Value>> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(data.examples.len(), expected.len());
    for (row, expected) in data.examples.iter().zip(&expected) {
        assert_eq!(row.columns.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (name, value) in expected {
            assert_eq!(&row.columns[name], value, "`{name}` of row {} of {parquet}", row.id);
        }
    }
    assert_eq!(data.file.digest, tunesmith_core::digest::of(&fs::read(fixture(parquet)).expect("it is there")));
}

#[test]
fn values_are_those_that_pyarrow_reads() {
    check("chat.snappy.parquet", "chat.jsonl");
    check("pairs.zstd.parquet", "pairs.jsonl");
    for codec in ["gzip", "lz4", "none"] {
        check(&format!("few.{codec}.parquet"), "few.jsonl");
    }
}

#[test]
fn chats_of_parquet_are_those_of_json() {
    let of = |name: &str| read(&FilePlan { path: fixture(name), ..plan().train }, &plan()).expect("fine").examples;
    let (parquet, json) = (of("chat.snappy.parquet"), of("chat.jsonl"));
    for (row, same) in parquet.iter().zip(&json) {
        assert_eq!(
            (&row.messages, &row.tools, &row.reply, &row.completion),
            (&same.messages, &same.tools, &same.reply, &same.completion)
        );
    }
    assert!(parquet[3].reply.is_some() && parquet[1].tools.is_some() && parquet[0].tools.is_none());
}

#[test]
fn a_fault_names_the_row() {
    let plan = super::plan_of("train = \"t\"\nprompt = \"level\"");
    let error = read(&FilePlan { path: fixture("pairs.zstd.parquet"), ..plan.train.clone() }, &plan)
        .err()
        .expect("numbers are no prompts");
    assert!(error.contains("pairs.zstd.parquet: row 1: the column `level` is a number, not text"), "{error}");
    let plan = super::plan_of("train = \"t\"\ncompletion = \"price\"");
    let error = read(&FilePlan { path: fixture("chat.snappy.parquet"), ..plan.train.clone() }, &plan);
    assert!(error.is_ok(), "the chats have their own answers");
    let plan = super::plan_of("train = \"t\"\nprompt = \"price\"");
    let error = read(&FilePlan { path: fixture("pairs.zstd.parquet"), ..plan.train.clone() }, &plan)
        .err()
        .expect("row 8 has none");
    assert!(error.contains("row 8: misses the column `price`"), "{error}");
}

#[test]
fn a_compression_that_is_not_read_is_named() {
    let error =
        read(&FilePlan { path: fixture("few.brotli.parquet"), ..plan().train }, &plan()).err().expect("it is not read");
    assert!(error.to_lowercase().contains("brotli") && error.contains("hint:"), "{error}");
}

#[test]
fn a_file_that_is_cut_is_an_error() {
    let bytes = fs::read(fixture("few.gzip.parquet")).expect("the fixture is in the repository");
    for end in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
        let error =
            read_as("rows.parquet", &bytes[..end], None, &plan()).err().unwrap_or_else(|| panic!("cut at {end}"));
        assert!(error.contains("rows.parquet") && error.contains("hint:"), "{error}");
    }
    let error = read_as("rows.parquet", b"{\"prompt\": \"a\"}\n", None, &plan()).err().expect("it is JSON");
    assert!(error.contains("is no Parquet file"), "{error}");
}

#[test]
fn row_groups_are_read_one_after_the_other() {
    let path = fixture("chat.snappy.parquet");
    let reader = SerializedFileReader::new(fs::File::open(&path).expect("it is there")).expect("it is whole");
    let last = reader.metadata().row_group(2).column(0).byte_range();
    let mut bytes = fs::read(path).expect("it is there");
    bytes[last.0 as usize..(last.0 + last.1) as usize].fill(0xff);
    // Six rows are in the groups before.
    assert_eq!(read_as("rows.parquet", &bytes, Some(6), &plan()).expect("the damage is behind them").examples.len(), 6);
    assert!(read_as("rows.parquet", &bytes, None, &plan()).is_err());
}

#[test]
fn a_damaged_file_is_an_error_or_other_data_and_never_a_crash() {
    let bytes = fs::read(fixture("chat.snappy.parquet")).expect("the fixture is in the repository");
    let mut refused = 0;
    for at in (0..bytes.len()).step_by(61) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x55;
        refused += usize::from(read_as("rows.parquet", &bytes, None, &plan()).is_err());
    }
    assert!(refused > 0, "no damage was found");
}

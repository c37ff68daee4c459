//! Several files: patterns, weights, gzip, limits, and the order of rows.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use tunesmith_core::plan::{DataPlan, Plan};
use tunesmith_core::recipe::Recipe;

use super::{Read, Rows, plan, read, read_as};

fn packed(text: &str) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(text.as_bytes()).expect("memory takes it");
    packer.finish().expect("memory takes it")
}

fn row(prompt: &str) -> String {
    format!("{{\"prompt\":\"{prompt}\",\"completion\":\"x\"}}\n")
}

/// A folder with files of two, one and three rows.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        fs::write(path, bytes).expect("writable");
    };
    write("data [1]/b.jsonl", (row("b0") + "\n" + &row("b1")).as_bytes());
    write("data [1]/a.jsonl", row("a0").as_bytes());
    write("data [1]/c.jsonl.gz", &packed(&(row("c0") + &row("c1") + &row("c2"))));
    write("data [1]/.hidden.jsonl", b"not JSON");
    write("data [1]/deep/d.jsonl", row("d0").as_bytes());
    folder
}

fn plan_in(folder: &Path, data: &str) -> DataPlan {
    let text = format!("output = \"run\"\n[model]\npath = \"m\"\n[data]\n{data}\n");
    Plan::resolve(&Recipe::parse(&text).expect("a recipe"), &text, folder).expect("a plan").data
}

fn read_in(folder: &Path, data: &str) -> Result<Read, String> {
    let plan = plan_in(folder, data);
    read(&plan.train, &plan)
}

#[track_caller]
fn check(data: &str, expected: &[&str]) -> Read {
    let folder = folder();
    let read = read_in(folder.path(), data).unwrap_or_else(|error| panic!("{error}"));
    let prompts: Vec<&str> = read.examples.iter().map(|example| example.prompt()).collect();
    assert_eq!(prompts, expected);
    let ids: Vec<u64> = read.examples.iter().map(|example| example.id).collect();
    assert_eq!(ids, (0..expected.len() as u64).collect::<Vec<_>>());
    read
}

#[track_caller]
fn refused(data: &str, expected: &str) {
    let folder = folder();
    let error = read_in(folder.path(), data).err().expect("the files are wrong");
    assert!(error.contains(expected) && error.contains("hint:"), "`{error}` does not say `{expected}`");
}

#[test]
fn a_pattern_is_its_files_in_the_order_of_their_names() {
    let read = check("train = \"data [1]/*.jsonl\"", &["a0", "b0", "b1"]);
    let names: Vec<&str> = read.file.files.iter().filter_map(|file| file.path.file_name()?.to_str()).collect();
    assert_eq!(names, ["a.jsonl", "b.jsonl"]);
    assert!(read.file.files.iter().all(|file| file.digest.len() == 64) && read.file.digest.len() == 64);
    check("train = \"data [1]/**/*.jsonl*\"", &["a0", "b0", "b1", "c0", "c1", "c2", "d0"]);
    check("train = \"data [1]/[bc].jsonl*\"", &["b0", "b1", "c0", "c1", "c2"]);
}

#[test]
fn a_list_is_read_in_its_order_with_weights() {
    let data = "train = [{ path = \"data [1]/c.jsonl.gz\", weight = 2.0 }, \"data [1]/?.jsonl\"]\nlimit = 5";
    check(data, &["c0", "c1", "c2", "a0", "b0"]);
    let folder = folder();
    let read = read_in(folder.path(), data).expect("fine");
    assert_eq!(read.data.weights(), [(0..3, 2.0), (3..4, 1.0), (4..5, 1.0)]);
    let place = |id| read.data.place(id).map(|place| place.to_string()).unwrap_or_default();
    assert!(place(2).ends_with("c.jsonl.gz:3"), "{}", place(2));
    assert_eq!(place(5), "");
}

#[test]
fn the_line_of_a_row_counts_empty_ones() {
    let folder = folder();
    let read = read_in(folder.path(), "train = \"data [1]/b.jsonl\"").expect("fine");
    assert!(read.data.place(1).expect("it is there").to_string().ends_with("b.jsonl:3"));
    assert!(read.file.files.is_empty(), "one file is planned as it always was");
}

#[test]
fn the_digest_of_several_files_changes_with_each() {
    let folder = folder();
    let digest = || read_in(folder.path(), "train = \"data [1]/*.jsonl\"").expect("fine").file.digest;
    let before = digest();
    assert_eq!(before, digest());
    fs::write(folder.path().join("data [1]/b.jsonl"), row("b9")).expect("writable");
    assert_ne!(before, digest());
}

#[test]
fn files_that_are_not_there_are_named() {
    refused("train = \"data [1]/*.parquet\"", "*.parquet` matches no file");
    refused("train = \"data [1]/[.jsonl\"", "is no pattern");
    refused("train = \"data [1]\"", "is a folder");
    refused("train = [\"data [1]/a.jsonl\", \"data [1]/*.jsonl\"]", "a.jsonl` is named twice");
    let folder = folder();
    let error =
        read_in(folder.path(), "train = [\"data [1]/a.jsonl\", \"nowhere.jsonl\"]").err().expect("it is missing");
    assert!(error.contains("nowhere.jsonl"), "{error}");
    fs::write(folder.path().join("data [1]/e.jsonl"), "\n").expect("writable");
    let error = read_in(folder.path(), "train = \"data [1]/*.jsonl\"").err().expect("one is empty");
    assert!(error.contains("e.jsonl` has no rows"), "{error}");
}

#[test]
fn packed_lines_are_lines() {
    let text = row("a") + &row("b");
    let data = read_as("rows.jsonl.gz", &packed(&text), None, &plan()).expect("fine");
    assert_eq!(data.examples.len(), 2);
    let two = [packed(&row("a")), packed(&row("b"))].concat();
    assert_eq!(read_as("rows.jsonl.gz", &two, None, &plan()).expect("packed in two parts").examples.len(), 2);
    assert_eq!(read_as("rows.jsonl", &packed(&text), None, &plan()).expect("whatever its name").examples.len(), 2);
}

#[test]
fn faults_in_packed_lines_are_named() {
    let whole = packed(&(0..200).map(|row_number| row(&format!("row {row_number}"))).collect::<String>());
    for end in [11, 60, whole.len() / 2, whole.len() - 1] {
        let error = read_as("rows.jsonl.gz", &whole[..end], None, &plan()).err().expect("it is cut");
        assert!(
            error.contains("rows.jsonl.gz` is damaged or ends too soon") && error.contains("hint:"),
            "{end}: {error}"
        );
    }
    let mut damaged = whole;
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    assert!(read_as("rows.jsonl.gz", &damaged, None, &plan()).is_err());
    let error = read_as("rows.jsonl.gz", b"{\"prompt\":\"a\"}\n", None, &plan()).err().expect("it is not packed");
    assert!(error.contains("is not packed with gzip"), "{error}");
    let error = read_as("rows.jsonl", &[0x28, 0xb5, 0x2f, 0xfd, 0], None, &plan()).err().expect("it is zstd");
    assert!(error.contains("is packed with zstd"), "{error}");
    let error =
        read_as("rows.jsonl.gz", &packed("{\"prompt\":\"a\"}\n{\n"), None, &plan()).err().expect("line 2 is wrong");
    assert!(error.contains("rows.jsonl.gz:2:1: is not JSON"), "{error}");
}

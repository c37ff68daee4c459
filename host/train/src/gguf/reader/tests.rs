//! Files that lie about their lengths, counts and offsets.

use super::super::samples::{Folder, Sample, llama};
use super::Gguf;

#[track_caller]
fn check(name: &str, bytes: &[u8], expected: &str) {
    let folder = Folder::new(name);
    let error = Gguf::open(&folder.file(bytes)).expect_err("the file is broken").to_string();
    assert!(error.contains(expected), "{error}");
    assert!(error.contains("sample.gguf"), "{error}");
}

#[test]
fn another_file_is_named_as_such() {
    check("magic", b"PK\x03\x04 something else entirely", "not a GGUF file");
    check("empty", b"", "not a GGUF file");
    check("version", b"GGUF\x09\0\0\0 and more bytes behind it", "version 9");
    check("endian", b"GGUF\0\0\0\x03 and more bytes behind it", "big-endian");
}

#[test]
fn counts_are_limited() {
    let mut bytes = llama().bytes();
    bytes[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    check("counts", &bytes, "at most");
}

#[test]
fn a_text_longer_than_the_file_allocates_nothing() {
    let sample = Sample::default().raw("general.name", 8, &(1_u64 << 60).to_le_bytes());
    check("text", &sample.bytes(), "are left in the file");
}

#[test]
fn a_list_longer_than_the_file_allocates_nothing() {
    let list = [8_u32.to_le_bytes().to_vec(), (u64::MAX / 4).to_le_bytes().to_vec()].concat();
    check("overflow", &Sample::default().raw("a", 9, &list).bytes(), "overflows");
    let list = [0_u32.to_le_bytes().to_vec(), (1_u64 << 40).to_le_bytes().to_vec()].concat();
    check("list", &Sample::default().raw("a", 9, &list).bytes(), "are left in the file");
    let nested = [9_u32.to_le_bytes().to_vec(), 1_u64.to_le_bytes().to_vec()].concat();
    check("nested", &Sample::default().raw("a", 9, &nested).bytes(), "element type 9");
}

#[test]
fn keys_and_tensors_stand_there_once() {
    let twice = llama().again("general.name", 7, &[1]);
    check("twice", &twice.bytes(), "`general.name` stands there twice");
}

#[test]
fn control_characters_of_the_file_do_not_reach_a_terminal() {
    let sample = llama().tensor("\u{1b}[2J", &[1], 99, &[]);
    check("escape", &sample.bytes(), "`\\u{1b}[2J` has the block format number 99");
}

#[test]
fn a_format_that_is_not_read_is_named_with_its_tensor() {
    check(
        "iq4",
        &llama().tensor("blk.0.x", &[256], 23, &[0; 136]).bytes(),
        "tensor `blk.0.x` has the block format `IQ4_XS`",
    );
}

#[test]
fn tensors_lie_inside_the_file() {
    let mut bytes = llama().bytes();
    bytes.truncate(bytes.len() - 64);
    check("short", &bytes, "cut short");
    let huge = llama().tensor("x", &[1 << 40, 1 << 40], 0, &[]);
    check("huge", &huge.bytes(), "overflow");
    check("rows", &llama().tensor("x", &[31], 8, &[]).bytes(), "in blocks of 32");
    check("zero", &llama().tensor("x", &[0], 0, &[]).bytes(), "dimensions [0]");
    check("rank", &llama().tensor("x", &[1; 5], 0, &[]).bytes(), "rank 5");
}

#[test]
fn tensors_do_not_share_bytes() {
    let mut bytes = llama().bytes();
    // The second tensor's offset, the last eight bytes of its entry.
    let name = b"output_norm.weight";
    let at = bytes.windows(name.len()).position(|part| part == name).expect("the tensor is there");
    let offset = at + name.len() + 4 + 8 + 4;
    bytes[offset..offset + 8].copy_from_slice(&0_u64.to_le_bytes());
    check("overlap", &bytes, "overlaps tensor");
}

#[test]
fn a_file_cut_anywhere_or_with_any_byte_changed_never_panics() {
    let folder = Folder::new("fuzz");
    let good = llama().bytes();
    for len in (0..good.len()).step_by(7) {
        assert!(Gguf::open(&folder.file(&good[..len])).is_err() || len + 32 > good.len());
    }
    for at in (0..1600).step_by(3) {
        for value in [0, 0x7f, 0xff] {
            let mut bad = good.clone();
            bad[at] = value;
            let _ = Gguf::open(&folder.file(&bad));
        }
    }
}

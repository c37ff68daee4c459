//! Every block format against the Python package `gguf`, bit for bit (see `tests/fixtures/gguf/README.md`).

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use tunesmith_core::digest;

use super::{BlockFormat, name_of};
use crate::gguf::Gguf;

#[derive(Deserialize)]
struct Case {
    packed: String,
    weights_f32_le: String,
    stream_sha256: String,
}

fn case(format: BlockFormat) -> Case {
    let text = include_str!("../../../tests/fixtures/gguf/blocks.json");
    let mut cases: BTreeMap<String, Case> = serde_json::from_str(text).expect("the fixture is JSON");
    cases.remove(format.name()).expect("the fixture has every format")
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = (0..hex.len()).step_by(2);
    digits.map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("the fixture is hex")).collect()
}

/// The weights of packed blocks, as float32 bytes.
fn unpacked(format: BlockFormat, packed: &[u8]) -> Vec<u8> {
    let mut weights = Vec::new();
    format.dequantise(packed, &mut weights);
    assert_eq!(weights.len(), packed.len() / format.block_bytes() * format.block_len());
    weights.iter().flat_map(|weight| weight.to_le_bytes()).collect()
}

/// `stream_blocks` of `make.py`: 512 blocks of pseudo-random bits whose half-precision numbers are finite.
fn stream(format: BlockFormat) -> Vec<u8> {
    let highs: &[usize] = match format {
        BlockFormat::F32 => &[3],
        BlockFormat::F16 | BlockFormat::Bf16 | BlockFormat::Q4_0 | BlockFormat::Q5_0 | BlockFormat::Q8_0 => &[1],
        BlockFormat::Q4_1 | BlockFormat::Q5_1 | BlockFormat::Q4K | BlockFormat::Q5K => &[1, 3],
        BlockFormat::Q6K => &[209],
    };
    let mut state = 17_u32;
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut packed: Vec<u8> = (0..512 * format.block_bytes()).map(|_| draw()).collect();
    for block in packed.chunks_exact_mut(format.block_bytes()) {
        for high in highs {
            block[*high] &= 0xbf;
        }
    }
    packed
}

#[test]
fn every_format_gives_the_weights_of_the_reference() {
    for (number, format) in BlockFormat::ALL {
        let case = case(format);
        assert_eq!(unpacked(format, &bytes(&case.packed)), bytes(&case.weights_f32_le), "{}", format.name());
        assert_eq!(BlockFormat::from_number(number), Some(format));
    }
}

#[test]
fn every_bit_pattern_counts_as_in_the_reference() {
    for (_, format) in BlockFormat::ALL {
        assert_eq!(digest::of(&unpacked(format, &stream(format))), case(format).stream_sha256, "{}", format.name());
    }
}

#[test]
fn a_file_written_by_the_reference_reads_as_there() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf/formats.gguf");
    let mut file = Gguf::open(&path).expect("the fixture is sound");
    for (_, format) in BlockFormat::ALL {
        let tensor = file.tensor(&format!("weights.{}", format.name())).expect("one tensor per format").clone();
        assert_eq!((tensor.format, tensor.dims.as_slice()), (format, [256, 2].as_slice()));
        let packed = file.read(&tensor).expect("it lies in the file");
        let key = format!("sha256.{}", format.name());
        let expected = file.metadata().text(&key).expect("a text");
        assert_eq!(Some(digest::of(&unpacked(format, &packed)).as_str()), expected, "{}", format.name());
    }
}

#[test]
fn formats_that_are_not_read_are_known_by_name() {
    assert_eq!(BlockFormat::from_number(4), None);
    assert_eq!(BlockFormat::from_number(u32::MAX), None);
    assert_eq!((name_of(23), name_of(10), name_of(99)), (Some("IQ4_XS"), Some("Q2_K"), None));
    assert_eq!(name_of(12), Some("Q4_K"));
}

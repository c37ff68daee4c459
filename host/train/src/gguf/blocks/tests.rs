//! Every block format against the Python package `gguf`, bit for bit (see `tests/fixtures/gguf/README.md`).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::BlockFormat;

#[derive(Deserialize)]
struct Case {
    packed: String,
    weights_f32_le: String,
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = (0..hex.len()).step_by(2);
    digits.map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("the fixture is hex")).collect()
}

#[track_caller]
fn check(format: BlockFormat) {
    let text = include_str!("../../../tests/fixtures/gguf/blocks.json");
    let cases: BTreeMap<String, Case> = serde_json::from_str(text).expect("the fixture is JSON");
    let case = &cases[format.name()];
    let mut weights = Vec::new();
    format.dequantise(&bytes(&case.packed), &mut weights);
    let ours: Vec<u8> = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
    assert_eq!(ours, bytes(&case.weights_f32_le), "{}", format.name());
    assert_eq!(weights.len() % format.block_len(), 0);
}

#[test]
fn every_format_gives_the_weights_of_the_reference() {
    for (number, format) in BlockFormat::ALL {
        check(format);
        assert_eq!(BlockFormat::from_number(number), Some(format));
    }
}

#[test]
fn unknown_formats_have_no_number() {
    assert_eq!(BlockFormat::from_number(4), None);
    assert_eq!(BlockFormat::from_number(u32::MAX), None);
}

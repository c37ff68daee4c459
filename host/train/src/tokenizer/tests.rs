//! Tests of `tokenizer.rs`.

use serde_json::json;

use super::*;
use crate::test_folder::{chat_folder, fixture, offsets_folder, set, tokenizer, write};

fn load(folder: &Path) -> Result<TextTokenizer, ModelError> {
    TextTokenizer::load(folder, &ModelConfig::load(folder).expect("the fixture is valid"))
}

#[test]
fn text_goes_to_ids_and_back_and_stored_limits_are_ignored() {
    let folder = chat_folder();
    let tokenizer = load(folder.path()).expect("valid");
    let ids = tokenizer.encode("Ab 1</s>", false).expect("known characters");
    assert_eq!(ids, [36, 69, 3, 20, 2]);
    assert_eq!(tokenizer.decode(&ids, true).expect("known ids"), "Ab 1");
    assert_eq!(tokenizer.decode(&ids, false).expect("known ids"), "Ab 1</s>");
    assert_eq!(tokenizer.decode(&[4_000_000], true).expect("unknown ids give nothing"), "");
}

#[test]
fn special_tokens_come_from_the_first_file_that_names_them() {
    let folder = chat_folder();
    let special = load(folder.path()).expect("valid").special().clone();
    assert_eq!((special.bos, special.eos, special.pad), (Some(1), vec![2], Some(2)));
    assert_eq!(special.texts["eos_token"], "</s>");
    set(folder.path(), "generation_config.json", "eos_token_id", json!([2, 40]));
    set(folder.path(), "generation_config.json", "pad_token_id", json!(0));
    let special = load(folder.path()).expect("valid").special().clone();
    assert_eq!((special.eos, special.pad), (vec![2, 40], Some(0)));
}

#[test]
fn a_tokenizer_larger_than_the_vocabulary_is_refused() {
    let folder = chat_folder();
    write(folder.path(), "tokenizer.json", &tokenizer(97));
    let error = load(folder.path()).expect_err("must be refused").to_string();
    assert!(error.contains("token id 96") && error.contains("`vocab_size` is 96"), "{error}");
}

#[test]
fn damaged_files_are_named() {
    let folder = chat_folder();
    write(folder.path(), "generation_config.json", &json!([1]));
    assert!(load(folder.path()).expect_err("must be refused").to_string().contains("generation_config.json"));
    let folder = chat_folder();
    write(folder.path(), "tokenizer.json", &json!({"model": 1}));
    assert!(load(folder.path()).expect_err("must be refused").to_string().contains("is not a tokenizer"));
    fs::remove_file(folder.path().join("tokenizer.json")).expect("there");
    assert!(load(folder.path()).expect_err("must be refused").to_string().contains("tokenizer.json"));
}

/// Texts of two real kinds of tokenizers, with spans worked out from the tokens' bytes: see `tests/fixtures/offsets/make.py`.
#[test]
fn spans_count_characters_and_a_part_of_one_stands_for_all_of_it() {
    let text = fs::read_to_string(fixture("offsets").join("expected.json")).expect("the fixture is there");
    let expected: Value = serde_json::from_str(&text).expect("it is JSON");
    for name in ["byte-level", "sentencepiece"] {
        let tokenizer = load(offsets_folder(name).path()).expect("valid");
        for case in expected[name].as_array().expect("a list") {
            let text = case["text"].as_str().expect("text");
            let (ids, spans) = tokenizer.encode_with_spans(text, true).expect("any text will do");
            let spans: Vec<[u32; 2]> = spans.iter().map(|span| [span.start, span.end]).collect();
            assert_eq!(json!(ids), case["ids"], "{name}: {text}");
            assert_eq!(json!(spans), case["spans"], "{name}: {text}");
            assert_eq!(tokenizer.encode(text, true).expect("as before"), ids, "{name}: {text}");
        }
    }
}

#[test]
fn special_tokens_and_ids_without_a_token_are_not_plain() {
    let plain = load(offsets_folder("byte-level").path()).expect("valid").plain(560);
    assert_eq!(plain[..5], [false, false, false, true, true]);
    assert_eq!(plain.iter().filter(|is_plain| **is_plain).count(), 480 - 3);
    assert!(plain[480..].iter().all(|is_plain| !is_plain));
}

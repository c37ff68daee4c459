//! Tests of `generate.rs`.

use std::collections::BTreeMap;

use burn::tensor::Device;
use serde_json::Value;

use super::*;
use crate::lora::LoraSettings;
use crate::model::logprobs::Pair;
use crate::test_folder::{chat_folder, tiny_llama};

fn model() -> LanguageModel {
    LanguageModel::load(chat_folder().path(), &Device::flex()).expect("the fixture is complete")
}

/// Prompts of all lengths from 1 to `count`.
fn prompts(count: usize) -> Vec<Prompt> {
    let ids = |len: usize| (0..len).map(|place| 3 + ((place * 17 + len * 29) % 90) as u32).collect();
    (1..=count).map(|len| Prompt { ids: ids(len), stream: len as u64 }).collect()
}

fn sampling() -> Sampling {
    Sampling { temperature: 1.0, seed: 11, ..Sampling::greedy(12, &[2]) }
}

#[test]
fn greedy_ids_equal_those_of_transformers() {
    let text = std::fs::read_to_string(tiny_llama().join("expected.json")).expect("the fixture is in the repository");
    let expected: BTreeMap<String, Value> = serde_json::from_str(&text).expect("JSON");
    let ids: Vec<u32> = serde_json::from_value(expected["greedy_from_first_8"].clone()).expect("ids");
    let mut prompts = prompts(5);
    prompts.insert(2, Prompt { ids: ids[..8].to_vec(), stream: 0 });
    let answers = model().generate(&prompts, &Sampling::greedy(16, &[2])).expect("valid prompts");
    assert_eq!(answers[2].ids, ids[8..]);
    assert_eq!(answers[2].finish, Finish::Length);
}

#[test]
fn a_sequence_does_not_depend_on_its_neighbours() {
    let model = model();
    let prompts = prompts(24);
    let together = model.generate(&prompts, &Sampling { batch: 24, ..sampling() }).expect("valid");
    let in_fives = model.generate(&prompts, &Sampling { batch: 5, ..sampling() }).expect("valid");
    assert_eq!(together, in_fives);
    for (prompt, answer) in prompts.iter().zip(&together) {
        let alone = model.generate(std::slice::from_ref(prompt), &sampling()).expect("valid");
        assert_eq!(alone[0], *answer);
    }
    let other = model.generate(&prompts, &Sampling { seed: 12, ..sampling() }).expect("valid");
    assert_ne!(together, other);
    let ends: Vec<usize> = together.iter().map(|answer| answer.ids.len()).collect();
    assert!(ends.iter().any(|len| *len < 12), "some must leave the batch early: {ends:?}");
}

#[test]
fn the_stream_decides_between_equal_prompts() {
    let prompt = |stream| Prompt { ids: vec![5, 6, 7], stream };
    let answers = model().generate(&[prompt(1), prompt(2), prompt(1)], &sampling()).expect("valid");
    assert_eq!(answers[0], answers[2]);
    assert_ne!(answers[0], answers[1]);
}

#[test]
fn log_probabilities_equal_those_of_scoring() {
    let model = model();
    let prompts = prompts(9);
    let answers = model.generate(&prompts, &sampling()).expect("valid");
    let pairs: Vec<Pair> = prompts
        .iter()
        .zip(&answers)
        .map(|(prompt, answer)| Pair { prompt: prompt.ids.clone(), completion: answer.ids.clone() })
        .collect();
    let scores = model.decoder.score(&pairs, 4).expect("valid");
    for (answer, scores) in answers.iter().zip(&scores) {
        assert_eq!(answer.logprobs.len(), scores.len());
        for (one, other) in answer.logprobs.iter().zip(scores) {
            assert!((one - other).abs() < 1e-4, "{one} {other}");
        }
    }
}

#[test]
fn an_ending_token_a_stop_text_and_the_limit_end_a_sequence() {
    let model = model();
    let free = Sampling { eos: Vec::new(), ..sampling() };
    let prompt = [Prompt { ids: vec![5, 6, 7], stream: 1 }];
    let whole = model.generate(&prompt, &free).expect("valid").remove(0);
    assert_eq!((whole.ids.len(), whole.finish), (12, Finish::Length));
    let ended = Sampling { eos: vec![whole.ids[4]], ..free.clone() };
    let answer = model.generate(&prompt, &ended).expect("valid").remove(0);
    let place = whole.ids.iter().position(|id| *id == whole.ids[4]).expect("there");
    assert_eq!((answer.ids.as_slice(), answer.finish), (&whole.ids[..=place], Finish::Eos));
    let characters: Vec<char> = whole.text.chars().collect();
    let stop: String = characters[3..5].iter().collect();
    let stopped = Sampling { stop: vec![stop.clone()], ..free };
    let answer = model.generate(&prompt, &stopped).expect("valid").remove(0);
    assert_eq!(answer.finish, Finish::Stop);
    assert_eq!(answer.text, whole.text[..whole.text.find(&stop).expect("there")]);
    assert_eq!(answer.ids, whole.ids[..answer.ids.len()]);
}

#[test]
fn the_model_s_positions_limit_the_answer() {
    let model = model();
    let long = [Prompt { ids: vec![5; 124], stream: 0 }, Prompt { ids: vec![6; 3], stream: 1 }];
    let free = Sampling { eos: Vec::new(), max_new_tokens: 8, ..sampling() };
    let answers = model.generate(&long, &free).expect("valid");
    assert_eq!((answers[0].ids.len(), answers[0].finish), (4, Finish::Length));
    assert_eq!(answers[1].ids.len(), 8);
}

#[test]
fn an_adapter_takes_part() {
    let model = model();
    let adapted = model.decoder.clone().with_adapter(&LoraSettings::new(2, 4.0), 1).expect("valid");
    let mut calls = Vec::new();
    let generator = Generator::new(&adapted, &model.tokenizer);
    let answers = generator.generate(&prompts(3), &sampling(), &mut |state| calls.push(state)).expect("valid");
    assert_eq!(answers, model.generate(&prompts(3), &sampling()).expect("valid"));
    let tokens = answers.iter().map(|answer| answer.ids.len()).sum();
    assert_eq!(calls.last(), Some(&GenerationProgress { finished: 3, total: 3, tokens }));
}

#[test]
fn impossible_prompts_are_refused() {
    let model = model();
    let refused = |ids: Vec<u32>| {
        model.generate(&[Prompt { ids, stream: 0 }], &sampling()).expect_err("must be refused").to_string()
    };
    assert!(refused(Vec::new()).contains("prompt 0 is empty"));
    assert!(refused(vec![1; 128]).contains("128 tokens"));
    assert!(refused(vec![96]).contains("token id 96"));
    assert!(model.generate(&[], &sampling()).expect("nothing to do").is_empty());
}

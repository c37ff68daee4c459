//! Masks, lengths and orders.

use std::sync::Arc;

use burn::tensor::Device;
use tunesmith_core::data::{Example, Target, TrainingRow};
use tunesmith_core::model::{Message, Prompt};

use super::{EncodeError, Encoder, LengthRule, MicroBatch, Sampler};
use crate::model::LanguageModel;
use crate::test_folder::chat_folder;

fn encoder() -> Encoder {
    let folder = chat_folder();
    Encoder::new(&LanguageModel::load(folder.path(), &Device::flex()).expect("the fixture is whole"))
}

fn row(prompt: &str, target: Target) -> TrainingRow {
    let example =
        Example { id: 7, messages: vec![Message::user(prompt)], completion: None, columns: serde_json::Map::new() };
    TrainingRow { example: Arc::new(example), target, provenance: "gold".into(), notes: Vec::new() }
}

const LONG: LengthRule = LengthRule { longest: 100, truncate: false };

#[test]
fn only_the_completion_and_its_end_are_trained_on() {
    let encoder = encoder();
    let target = encoder.target(&row("q", Target::Completion("ab".into())), LONG).expect("it fits");
    let row = &target.rows[0];
    // <s>user:q</s> is nine tokens, one of them for each letter.
    assert_eq!(row.tokens[..8], encoder.prompt(&Prompt::Chat(row.example.messages.clone())).expect("a prompt"));
    assert_eq!(row.tokens[8..], [68, 69, 2]);
    assert_eq!(row.loss_tokens(), 3);
    assert!(row.mask[8..].iter().all(|is_trained| *is_trained));
}

#[test]
fn a_preference_gives_two_rows_of_one_group() {
    let target = Target::Preference { chosen: "ab".into(), rejected: "c".into() };
    let encoded = encoder().target(&row("q", target), LONG).expect("it fits");
    let batch = MicroBatch::new([&encoded, &encoded]);
    assert_eq!(batch.groups, [0, 0, 1, 1]);
    assert_eq!(
        batch.rows.iter().map(|row| row.is_chosen).collect::<Vec<_>>(),
        [Some(true), Some(false), Some(true), Some(false)]
    );
}

#[test]
fn a_row_that_is_too_long_is_refused_or_cut() {
    let encoder = encoder();
    let row = row("q", Target::Completion("abcdef".into()));
    let short = LengthRule { longest: 11, truncate: false };
    assert!(matches!(encoder.target(&row, short), Err(EncodeError::TooLong { tokens: 15, prompt: 8, longest: 11 })));
    let cut = encoder.target(&row, LengthRule { truncate: true, ..short }).expect("it is cut");
    assert_eq!((cut.rows[0].tokens.len(), cut.rows[0].loss_tokens(), cut.truncated), (11, 3, 1));
    let no_room = LengthRule { longest: 8, truncate: true };
    assert!(matches!(encoder.target(&row, no_room), Err(EncodeError::TooLong { .. })));
}

#[test]
fn numbers_are_padded_and_masked() {
    let encoder = encoder();
    let long = encoder.target(&row("q", Target::Completion("ab".into())), LONG).expect("it fits");
    let short = encoder.target(&row("q", Target::Completion("a".into())), LONG).expect("it fits");
    let batch = MicroBatch::new([&long, &short]);
    let flat: Vec<f32> = (0..batch.tokens()).map(|index| index as f32).collect();
    let padded = batch.padded_where_masked(&flat);
    assert_eq!(padded[..11], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 8.0, 9.0, 10.0]);
    assert_eq!(padded[19..], [19.0, 20.0, 0.0]);
    assert_eq!((batch.width(), batch.loss_tokens()), (11, 5));
}

#[test]
fn a_token_reads_as_its_text() {
    let encoder = encoder();
    assert_eq!(encoder.token_text(68), "a");
    assert_eq!(encoder.token_text(2), "</s>");
}

#[test]
fn an_epoch_draws_every_row_once_and_the_next_one_in_another_order() {
    let mut sampler = Sampler::new(1, 50);
    let mut draw = |times: usize| -> Vec<usize> { (0..times).flat_map(|_| sampler.next(8)).collect() };
    let (first, second) = (draw(7), draw(7));
    for epoch in [&first, &second] {
        let mut sorted = epoch.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
    }
    assert_ne!(first, second);
    assert_ne!(first, (0..50).collect::<Vec<_>>());
}

#[test]
fn a_sampler_goes_on_from_its_position() {
    let mut sampler = Sampler::new(1, 10);
    for _ in 0..4 {
        sampler.next(4);
    }
    let mut again = Sampler::at(1, 10, sampler.position());
    assert_eq!(again.next(4), sampler.next(4));
    assert_eq!(again.position(), sampler.position());
}

#[test]
fn the_order_is_the_same_on_every_machine() {
    assert_eq!(Sampler::new(17, 8).next(8), Sampler::new(17, 8).next(8));
    assert_ne!(Sampler::new(17, 8).next(8), Sampler::new(18, 8).next(8));
}

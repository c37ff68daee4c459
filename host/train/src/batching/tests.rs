//! Masks, lengths and orders.

mod loss;

use std::sync::Arc;

use burn::tensor::Device;
use tempfile::TempDir;
use tunesmith_core::data::{Example, RowText, RowTexts as _, Span, Target, TrainingRow};
use tunesmith_core::model::{Message, Prompt};

use super::{EncodeError, EncodedRow, EncodedTarget, Encoder, LengthRule, MicroBatch, MicroBatchTexts, Sampler};
use crate::model::LanguageModel;
use crate::test_folder::{chat_folder, offsets_folder};

fn encoder() -> Encoder {
    encoder_of(&chat_folder())
}

fn encoder_of(folder: &TempDir) -> Encoder {
    Encoder::new(&LanguageModel::load(folder.path(), &Device::flex()).expect("the fixture is whole"))
}

fn row(prompt: &str, target: Target) -> TrainingRow {
    let example = Example { id: 7, messages: vec![Message::user(prompt)], ..Example::default() };
    TrainingRow { example: Arc::new(example), target, provenance: "gold".into(), notes: Vec::new() }
}

pub(super) const LONG: LengthRule = LengthRule { longest: 100, truncate: false };

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
        batch.rows.iter().map(|row| row.role.as_str()).collect::<Vec<_>>(),
        ["chosen", "rejected", "chosen", "rejected"]
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
    let mut again = Sampler::new(1, 10).at(sampler.position());
    assert_eq!(again.next(4), sampler.next(4));
    assert_eq!(again.position(), sampler.position());
}

#[test]
fn the_order_is_the_same_on_every_machine() {
    assert_eq!(Sampler::new(17, 8).next(8), Sampler::new(17, 8).next(8));
    assert_ne!(Sampler::new(17, 8).next(8), Sampler::new(18, 8).next(8));
}

/// The texts of these tokens, cut out of the row's text by their spans.
fn cut(row: &RowText) -> Vec<String> {
    let cut = |span: &Span| row.text.chars().skip(span.start as usize).take((span.end - span.start) as usize).collect();
    row.spans.iter().map(cut).collect()
}

fn row_text(encoder: &Encoder, row: &TrainingRow, lengths: LengthRule) -> RowText {
    let target = encoder.target(row, lengths).expect("it fits");
    let row = &target.rows[0];
    encoder.row_text(row.source.as_ref().expect("it is known"), &row.tokens).expect("the tokens are those of the text")
}

#[test]
fn a_rows_text_is_what_was_tokenised_and_its_end_token_stands_for_nothing() {
    for name in ["byte-level", "sentencepiece"] {
        let encoder = encoder_of(&offsets_folder(name));
        let row = row("naïve 🙂?", Target::Completion("Fluß 世界".into()));
        let text = row_text(&encoder, &row, LONG);
        assert_eq!(text.text, "<user>naïve 🙂?<end><model>Fluß 世界");
        let start = text.completion_start as usize;
        assert_eq!(text.text.chars().skip(start).collect::<String>(), "Fluß 世界");
        let target = encoder.target(&row, LONG).expect("it fits");
        let mask = &target.rows[0].mask;
        assert_eq!(text.spans.len(), mask.len());
        for (span, is_trained) in text.spans.iter().zip(mask) {
            assert_eq!(*is_trained, start <= span.start as usize, "{name}: {span:?}");
        }
        let end = text.text.chars().count() as u32;
        assert_eq!(text.spans.last(), Some(&Span { start: end, end }), "{name}");
        assert_eq!(cut(&text)[0], "<user>");
        // Every character belongs to a token.
        let covered = |place: u32| text.spans.iter().any(|span| (span.start..span.end).contains(&place));
        assert!((0..end).all(covered), "{name}: {:?}", text.spans);
    }
}

#[test]
fn a_row_that_was_cut_has_the_text_of_its_tokens() {
    let encoder = encoder_of(&offsets_folder("byte-level"));
    let row = row("q", Target::Completion("世界 and so on".into()));
    let whole = row_text(&encoder, &row, LONG);
    assert_eq!(cut(&whole)[..5], ["<user>", "q", "<end>", "<model>", "世"]);
    let longest = 4 + 1 + 2;
    let text = row_text(&encoder, &row, LengthRule { longest, truncate: true });
    assert_eq!(text.spans, whole.spans[..longest]);
    assert_eq!(text.text, "<user>q<end><model>世界");
}

#[test]
fn a_completion_that_would_join_the_prompt_keeps_its_places() {
    let encoder = encoder_of(&offsets_folder("byte-level"));
    // Together they are cut elsewhere than between `qui` and `ck`, so the completion is tokenised by itself.
    let prompt = Prompt::Raw("The qui".into());
    let (pair, source) = encoder.pair_with_source(&prompt, "ck brown fox").expect("plain text");
    let alone = encoder.tokenizer().encode("ck brown fox", false).expect("plain text");
    assert_eq!(pair.completion[..alone.len()], alone);
    let whole = encoder.tokenizer().encode("The quick brown fox", false).expect("plain text");
    assert!(!whole.starts_with(&pair.prompt), "the test is about tokens that join");
    let text = encoder.row_text(&source, &[&pair.prompt[..], &pair.completion].concat()).expect("it is its text");
    assert_eq!(cut(&text).concat(), "The quick brown fox");
    assert_eq!(text.completion_start, 7);
    let spans = encoder.completion_spans(&pair, &source).expect("it is its text");
    assert_eq!((spans[0].start, spans.last()), (0, Some(&Span { start: 12, end: 12 })));
}

#[test]
fn tokens_that_are_not_those_of_the_text_are_told() {
    let encoder = encoder();
    let (_, source) = encoder.pair_with_source(&Prompt::Raw("ab".into()), "c").expect("plain text");
    let error = encoder.row_text(&source, &[69, 68]).expect_err("they are others");
    assert!(error.to_string().contains("not those of its text"), "{error}");
}

#[test]
fn texts_of_a_micro_batch_need_rows_whose_text_is_known() {
    let encoder = Arc::new(encoder());
    let known = encoder.target(&row("q", Target::Completion("ab".into())), LONG).expect("it fits");
    let mut unknown = known.clone();
    unknown.rows = vec![Arc::new(EncodedRow { source: None, ..known.rows[0].as_ref().clone() })];
    let texts = |target: &EncodedTarget| {
        MicroBatchTexts::new(Arc::clone(&encoder), Arc::new(MicroBatch::new([target]))).row_texts()
    };
    assert_eq!(texts(&known).expect("it is known")[0].text, "<s>user:q</s>ab");
    let error = texts(&unknown).expect_err("nobody knows");
    assert!(error.to_string().contains("row 7: the text behind its tokens is not known"), "{error}");
}

//! Where the tokens of a row stand in the text that they were made from.

use std::iter::once;
use std::sync::Arc;

use tunesmith_core::data::{RowText, Span};

use super::Encoder;
use crate::error::ModelError;
use crate::model::logprobs::Pair;

/// The text that the tokens of a row were made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The prompt as the chat template writes it, then the completion.
    pub text: Arc<str>,
    /// The byte at which the completion starts.
    pub completion: usize,
    /// Whether the tokenizer adds its own beginning.
    pub is_whole: bool,
    /// The bytes at which the text was cut, each part being tokenised by itself.
    pub cuts: Vec<usize>,
    /// Whether the token that ends an answer was added.
    pub is_ended: bool,
}

impl Encoder {
    /// Where the tokens of a row stand in its text, and the text.
    ///
    /// # Errors
    ///
    /// Fails when the tokens are not those of the text, up to where the row was cut.
    pub fn row_text(&self, source: &Source, tokens: &[u32]) -> Result<RowText, ModelError> {
        let completion_start = source.text[..source.completion].chars().count() as u32;
        let (mut ids, mut spans, mut characters) = (Vec::new(), Vec::new(), 0);
        let ends = source.cuts.iter().copied().chain(once(source.text.len()));
        for (start, end) in once(0).chain(source.cuts.iter().copied()).zip(ends) {
            let part = &source.text[start..end];
            let (part_ids, part_spans) = self.encode_start_with_spans(part, source.is_whole && start == 0)?;
            ids.extend(part_ids);
            let later = |span: Span| Span { start: characters + span.start, end: characters + span.end };
            spans.extend(part_spans.into_iter().map(later));
            characters += part.chars().count() as u32;
        }
        let end = self.end.filter(|_| source.is_ended);
        ids.extend(end);
        spans.extend(end.map(|_| Span { start: characters, end: characters }));
        if !ids.starts_with(tokens) {
            return Err(ModelError::request("the tokens of a row are not those of its text"));
        }
        let is_cut = tokens.len() + usize::from(end.is_some()) < ids.len();
        spans.truncate(tokens.len());
        let text = match spans.last().filter(|_| is_cut) {
            Some(last) => source.text.chars().take(last.end as usize).collect(),
            None => source.text.to_string(),
        };
        Ok(RowText { completion_start: completion_start.min(text.chars().count() as u32), text, spans })
    }

    /// Where the completion's tokens of a pair stand in the completion.
    ///
    /// # Errors
    ///
    /// As [`Encoder::row_text`].
    pub fn completion_spans(&self, pair: &Pair, source: &Source) -> Result<Vec<Span>, ModelError> {
        let row = self.row_text(source, &[&pair.prompt[..], &pair.completion].concat())?;
        let inside = |place: u32| place.saturating_sub(row.completion_start);
        let own = row.spans.iter().skip(pair.prompt.len());
        Ok(own.map(|span| Span { start: inside(span.start), end: inside(span.end) }).collect())
    }

    /// As [`Encoder::encode_start`], with the characters that each token stands for.
    fn encode_start_with_spans(&self, text: &str, adds_special: bool) -> Result<(Vec<u32>, Vec<Span>), ModelError> {
        let (mut tokens, mut spans) = self.tokenizer.encode_with_spans(text, adds_special)?;
        if self.adds_end(text, adds_special, &tokens)? {
            tokens.pop();
            spans.pop();
        }
        Ok((tokens, spans))
    }
}

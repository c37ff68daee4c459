//! Where the tokens of a row stand in the text that they were made from.

use std::sync::Arc;

use tunesmith_core::data::{Example, RowText, Span};
use tunesmith_core::model::Prompt;
use tunesmith_core::recipe::Loss;

use super::{Encoder, own_reply};
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
    /// Where the chat template wrote the answer too: the bytes at which tokens may be cut. None: prompt and completion, as [`Encoder::pair`] cuts them,
    /// with the token that ends an answer.
    pub bounds: Option<Vec<usize>>,
}

/// Tokens, and the characters that each stands for.
type Spanned = (Vec<u32>, Vec<Span>);

impl Encoder {
    /// What the tokens of a row with an answer are made from.
    ///
    /// # Errors
    ///
    /// As [`Encoder::answer`].
    pub fn source_of(&self, example: &Example, completion: &str, is_preference: bool) -> Result<Source, ModelError> {
        if example.is_text {
            return Ok(Source { text: completion.into(), completion: 0, is_whole: true, bounds: None });
        }
        let is_own = own_reply(example, completion).is_some();
        match (is_own, self.loss == Loss::COMPLETION || is_preference || self.template.is_none()) {
            (false, true) => self.source(&example.conversation(), completion),
            (true, true) => Ok(self.said(example, completion, &|index, turns| index + 1 == turns)?.source),
            (_, false) => Ok(self.conversation(example, completion)?.source),
        }
    }

    /// Where the tokens of a row stand in its text, and the text.
    ///
    /// # Errors
    ///
    /// Fails when the tokens are not those of the text, up to where the row was cut.
    pub fn row_text(&self, source: &Source, tokens: &[u32]) -> Result<RowText, ModelError> {
        let completion_start = source.text[..source.completion].chars().count() as u32;
        let end = self.end.filter(|_| source.bounds.is_none());
        let (mut ids, mut spans) = match &source.bounds {
            Some(bounds) => self.turns_with_spans(&source.text, bounds)?,
            None => self.pair_with_spans(source, completion_start)?,
        };
        let last = source.text.chars().count() as u32;
        ids.extend(end);
        spans.extend(end.map(|_| Span { start: last, end: last }));
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
    pub fn completion_spans(&self, prompt: &Prompt, completion: &str, pair: &Pair) -> Result<Vec<Span>, ModelError> {
        let tokens = [&pair.prompt[..], &pair.completion].concat();
        let row = self.row_text(&self.source(prompt, completion)?, &tokens)?;
        let inside = |place: u32| place.saturating_sub(row.completion_start);
        let own = row.spans.iter().skip(pair.prompt.len());
        Ok(own.map(|span| Span { start: inside(span.start), end: inside(span.end) }).collect())
    }

    /// A prompt and its completion, as [`Encoder::open_pair`] cuts them.
    fn pair_with_spans(&self, source: &Source, completion_start: u32) -> Result<Spanned, ModelError> {
        let (prompt, completion) = source.text.split_at(source.completion);
        let (first, first_spans) = self.encode_start_with_spans(prompt, source.is_whole)?;
        let (whole, whole_spans) = self.encode_start_with_spans(&source.text, source.is_whole)?;
        if whole.starts_with(&first) {
            return Ok((whole, whole_spans));
        }
        let (rest, rest_spans) = self.tokenizer.encode_with_spans(completion, false)?;
        let rest_spans = rest_spans.into_iter().map(|span| later(span, completion_start));
        Ok(([first, rest].concat(), first_spans.into_iter().chain(rest_spans).collect()))
    }

    /// A conversation, as [`Encoder::encode_with`] cuts it.
    fn turns_with_spans(&self, text: &str, bounds: &[usize]) -> Result<Spanned, ModelError> {
        let (mut done, mut done_spans) = (Vec::new(), Vec::new());
        let (mut start, mut characters) = (0, 0);
        let (mut rest, mut rest_spans) = self.tokenizer.encode_with_spans(text, false)?;
        for &bound in bounds {
            let (before, before_spans) = self.tokenizer.encode_with_spans(&text[start..bound], false)?;
            if !rest.starts_with(&before) {
                done.extend(before);
                done_spans.extend(before_spans.into_iter().map(|span| later(span, characters)));
                characters += text[start..bound].chars().count() as u32;
                start = bound;
                (rest, rest_spans) = self.tokenizer.encode_with_spans(&text[start..], false)?;
            }
        }
        done.extend(rest);
        done_spans.extend(rest_spans.into_iter().map(|span| later(span, characters)));
        Ok((done, done_spans))
    }

    /// As [`Encoder::encode_start`], with the characters that each token stands for.
    fn encode_start_with_spans(&self, text: &str, adds_special: bool) -> Result<Spanned, ModelError> {
        let (mut tokens, mut spans) = self.tokenizer.encode_with_spans(text, adds_special)?;
        if self.adds_end(text, adds_special, &tokens)? {
            tokens.pop();
            spans.pop();
        }
        Ok((tokens, spans))
    }
}

/// A span that many characters further on.
fn later(span: Span, characters: u32) -> Span {
    Span { start: characters + span.start, end: characters + span.end }
}

//! From training rows to micro-batches of tokens: tokenising, masks, lengths, and the order in which rows are drawn.

mod encoder;
mod lines;
mod row_texts;
mod sampler;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::BTreeMap;
use std::sync::Arc;

use tunesmith_core::data::{Example, Member, TokenBatch, TokenLogprobs, TokenRow, TrainingRow};

use crate::error::ModelError;
use crate::model;

use encoder::Row;
pub use encoder::{Encoder, Source};
pub use lines::Lines;
pub use row_texts::MicroBatchTexts;
pub use sampler::{Buckets, Sampler, SamplerPosition, Share, Urn};

/// A tokenised sequence and which of its tokens are trained on.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedRow {
    /// The example behind it.
    pub example: Arc<Example>,
    /// Prompt and completion, the end token included.
    pub tokens: Vec<u32>,
    /// Whether each token is trained on: the completion and its end token. Never the first.
    pub mask: Vec<bool>,
    /// What the row is for, as the contract's `roles`.
    pub role: String,
    /// In online training: what goes with the completion.
    pub sampled: Option<Sampled>,
    /// What the tokens were made from; none where nobody knows.
    pub source: Option<Source>,
}

/// What goes with a completion of online training. Lists have one number per token of the row, 0.0 for those of the prompt.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sampled {
    /// The advantage of each token.
    pub advantages: Vec<f32>,
    /// Log-probabilities under the policy that sampled; none while that is the policy as it is.
    pub old: Option<Vec<f32>>,
    /// What `credit` attached, by name, and the value head's estimates.
    pub numbers: BTreeMap<String, Vec<f32>>,
    /// Whether the completion was given, not sampled.
    pub is_off_policy: bool,
}

impl EncodedRow {
    /// How many tokens are trained on.
    pub fn loss_tokens(&self) -> usize {
        self.mask.iter().filter(|is_trained| **is_trained).count()
    }
}

/// A training row as one sequence, or for a group as several.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedTarget {
    /// The sequences, in the group's order; of a preference the chosen one first.
    pub rows: Vec<Arc<EncodedRow>>,
    /// How many of them were cut.
    pub truncated: usize,
}

impl EncodedTarget {
    /// The tokens of its longest sequence.
    pub fn width(&self) -> usize {
        self.rows.iter().map(|row| row.tokens.len()).max().unwrap_or(0)
    }
}

/// How long rows may get, and what happens to longer ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LengthRule {
    /// The longest row in tokens, prompt and completion.
    pub longest: usize,
    /// Whether longer rows are cut at their end.
    pub truncate: bool,
}

impl LengthRule {
    /// The longest row of a recipe that does not say, unless the model takes less.
    pub const USUAL: usize = 2048;
}

/// Why a row cannot be trained on.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The template or the tokenizer refused it.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// It is too long.
    #[error("the row has {tokens} tokens{}; the longest allowed is {longest}",
        if *prompt > 1 { format!(", of which {prompt} are the prompt") } else { String::new() })]
    TooLong {
        /// Tokens of the row.
        tokens: usize,
        /// Tokens before the first that is trained on.
        prompt: usize,
        /// Tokens allowed.
        longest: usize,
    },
    /// There is nothing to train on.
    #[error("the row has no token to train on")]
    NoTarget,
}

impl Encoder {
    /// Tokenises a training row.
    ///
    /// # Errors
    ///
    /// Fails when the template or the tokenizer refuses the row, or it is too long: without `truncate` at all, with it when the prompt alone
    /// leaves no room for a completion.
    pub fn target(&self, row: &TrainingRow, lengths: LengthRule) -> Result<EncodedTarget, EncodeError> {
        let mut target = EncodedTarget { rows: Vec::new(), truncated: 0 };
        for Member { role, completion } in row.target.members() {
            let Row { tokens, mask, source } = self.row(&row.example, &completion, !role.is_empty())?;
            let (tokens, mask, is_truncated) = fitted(tokens, mask, lengths)?;
            target.truncated += usize::from(is_truncated);
            let example = Arc::clone(&row.example);
            let source = Some(source);
            target.rows.push(Arc::new(EncodedRow { example, tokens, mask, role, sampled: None, source }));
        }
        Ok(target)
    }

    /// Tokenises the prompt of a row, for the policy to answer: one sequence of which nothing is trained on.
    ///
    /// # Errors
    ///
    /// As [`Encoder::target`]; a prompt is never cut.
    pub fn prompt_target(&self, row: &TrainingRow, lengths: LengthRule) -> Result<EncodedTarget, EncodeError> {
        let tokens = self.prompt(&row.example.conversation())?;
        if lengths.longest <= tokens.len() {
            let (tokens, longest) = (tokens.len(), lengths.longest);
            return Err(EncodeError::TooLong { tokens, prompt: tokens, longest });
        }
        let mask = vec![false; tokens.len()];
        let example = Arc::clone(&row.example);
        let row = EncodedRow { example, tokens, mask, role: String::new(), sampled: None, source: None };
        Ok(EncodedTarget { rows: vec![Arc::new(row)], truncated: 0 })
    }
}

/// The tokens that fit, which of them are trained on, and whether some were cut.
fn fitted(
    mut tokens: Vec<u32>,
    mut mask: Vec<bool>,
    lengths: LengthRule,
) -> Result<(Vec<u32>, Vec<bool>, bool), EncodeError> {
    // Nothing comes before the first token, so nothing predicts it.
    if let Some(first) = mask.first_mut() {
        *first = false;
    }
    let Some(prompt) = mask.iter().position(|is_trained| *is_trained) else { return Err(EncodeError::NoTarget) };
    let is_truncated = lengths.longest < tokens.len();
    if is_truncated && (!lengths.truncate || lengths.longest <= prompt) {
        return Err(EncodeError::TooLong { tokens: tokens.len(), prompt, longest: lengths.longest });
    }
    tokens.truncate(lengths.longest);
    mask.truncate(lengths.longest);
    Ok((tokens, mask, is_truncated))
}

/// Rows that go through the model together.
#[derive(Debug, Clone, PartialEq)]
pub struct MicroBatch {
    /// The rows.
    pub rows: Vec<Arc<EncodedRow>>,
    /// The group of each row: training rows count from 0, all sequences of one share its number.
    pub groups: Vec<i32>,
}

impl MicroBatch {
    /// The sequences of these training rows.
    pub fn new<'a>(targets: impl IntoIterator<Item = &'a EncodedTarget>) -> Self {
        let mut batch = Self { rows: Vec::new(), groups: Vec::new() };
        for (group, target) in targets.into_iter().enumerate() {
            for row in &target.rows {
                batch.rows.push(Arc::clone(row));
                batch.groups.push(group as i32);
            }
        }
        batch
    }

    /// The number of tokens, padding not counted.
    pub fn tokens(&self) -> usize {
        self.rows.iter().map(|row| row.tokens.len()).sum()
    }

    /// The number of groups.
    pub fn groups(&self) -> usize {
        self.groups.iter().max().map_or(0, |last| *last as usize + 1)
    }

    /// The number of tokens that are trained on.
    pub fn loss_tokens(&self) -> usize {
        self.rows.iter().map(|row| row.loss_tokens()).sum()
    }

    /// The number of tokens of the longest row: the T of [B, T].
    pub fn width(&self) -> usize {
        self.rows.iter().map(|row| row.tokens.len()).max().unwrap_or(0)
    }

    /// The rows in one rectangle, padded on the right.
    ///
    /// # Errors
    ///
    /// Fails when there is no row.
    pub fn layout(&self) -> Result<model::TokenBatch, ModelError> {
        let tokens: Vec<&[u32]> = self.rows.iter().map(|row| row.tokens.as_slice()).collect();
        model::TokenBatch::right_padded(&tokens)
    }

    /// Numbers per token, flat and without padding, as rows of [B, T] padded with zeros and with zeros where the mask is false.
    pub fn padded_where_masked(&self, flat: &[f32]) -> Vec<f32> {
        let width = self.width();
        let mut padded = vec![0.0; self.rows.len() * width];
        let mut rest = flat;
        for (row, out) in self.rows.iter().zip(padded.chunks_mut(width.max(1))) {
            let (own, others) = rest.split_at(row.tokens.len().min(rest.len()));
            rest = others;
            for ((out, value), is_trained) in out.iter_mut().zip(own).zip(&row.mask) {
                *out = if *is_trained { *value } else { 0.0 };
            }
        }
        padded
    }

    /// The same rows as text and numbers, for `weigh`.
    pub fn as_text(
        self: &Arc<Self>,
        encoder: &Arc<Encoder>,
        logprobs: Arc<dyn TokenLogprobs>,
        step: u32,
    ) -> TokenBatch {
        let row = |row: &Arc<EncodedRow>| TokenRow {
            example: Arc::clone(&row.example),
            tokens: row.tokens.clone(),
            mask: row.mask.clone(),
            texts: row.tokens.iter().map(|id| encoder.token_text(*id)).collect(),
            role: row.role.clone(),
        };
        let row_texts = Arc::new(MicroBatchTexts::new(Arc::clone(encoder), Arc::clone(self)));
        TokenBatch { rows: self.rows.iter().map(row).collect(), logprobs, row_texts, step }
    }
}

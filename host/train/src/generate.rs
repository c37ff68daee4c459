//! Batched generation: prefill once, then one token per sequence and step, keys and values cached.
//!
//! A sequence's result depends on the weights, its prompt, the settings and its own random stream, not on its neighbours in
//! the batch: padding is never attended to, and every sequence draws from its own generator.

use burn::tensor::Tensor;
use burn_flex::Flex;

use crate::error::ModelError;
use crate::model::batch::TokenBatch;
use crate::model::cache::KvCache;
use crate::model::decoder::Decoder;
use crate::model::language_model::LanguageModel;
use crate::tensor_values;
use crate::tokenizer::TextTokenizer;

mod sampling;
mod sequence;

pub use sampling::Sampling;
pub use sequence::{Finish, Generation, Prompt};

use sequence::Sequence;

/// How far a call to [`Generator::generate`] has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenerationProgress {
    /// Sequences that have ended.
    pub finished: usize,
    /// Sequences asked for.
    pub total: usize,
    /// Tokens generated so far, over all sequences.
    pub tokens: usize,
}

/// Generates text with a decoder. Cheap to make; borrows the model.
#[derive(Clone, Copy, Debug)]
pub struct Generator<'a> {
    decoder: &'a Decoder,
    tokenizer: &'a TextTokenizer,
}

impl LanguageModel {
    /// Continues each prompt; results in the order of the prompts.
    ///
    /// # Errors
    ///
    /// As [`Generator::generate`].
    pub fn generate(&self, prompts: &[Prompt], sampling: &Sampling) -> Result<Vec<Generation>, ModelError> {
        Generator::new(&self.decoder, &self.tokenizer).generate(prompts, sampling, &mut |_| {})
    }
}

impl<'a> Generator<'a> {
    /// Uses this decoder (with its adapter, if one is attached) and this tokenizer.
    pub fn new(decoder: &'a Decoder, tokenizer: &'a TextTokenizer) -> Self {
        Self { decoder, tokenizer }
    }

    /// Continues each prompt; results in the order of the prompts. `progress` is called after every step.
    ///
    /// Prompts of like length run together. A prompt that leaves no room for `max_new_tokens` in the model's positions gets
    /// shorter answers.
    ///
    /// # Errors
    ///
    /// Fails when the settings are out of range, a prompt is empty, fills all positions or has an id outside the vocabulary.
    pub fn generate(
        &self,
        prompts: &[Prompt],
        sampling: &Sampling,
        progress: &mut dyn FnMut(GenerationProgress),
    ) -> Result<Vec<Generation>, ModelError> {
        sampling.check()?;
        self.check(prompts)?;
        if prompts.is_empty() {
            return Ok(Vec::new());
        }
        // One dense product per layer and step instead of three: worth one merge for many steps.
        let merged = self.decoder.adapter_settings().map(|_| self.decoder.merged());
        let plain = Plain::new(merged.as_ref().unwrap_or(self.decoder));
        let mut order: Vec<usize> = (0..prompts.len()).collect();
        order.sort_by_key(|index| prompts[*index].ids.len());
        let mut results: Vec<Option<Generation>> = prompts.iter().map(|_| None).collect();
        let mut state = GenerationProgress { finished: 0, total: prompts.len(), tokens: 0 };
        for indices in order.chunks(sampling.batch) {
            let mut step = |finished: usize, tokens: usize| {
                state.finished += finished;
                state.tokens += tokens;
                progress(state);
            };
            let batch = indices.iter().map(|index| Sequence::new(*index, &prompts[*index], sampling)).collect();
            for sequence in self.run(&plain, batch, sampling, &mut step)? {
                let index = sequence.index();
                results[index] = Some(sequence.into_generation(self.tokenizer)?);
            }
        }
        Ok(results.into_iter().flatten().collect())
    }

    fn check(&self, prompts: &[Prompt]) -> Result<(), ModelError> {
        let config = self.decoder.config();
        for (index, prompt) in prompts.iter().enumerate() {
            if prompt.ids.is_empty() {
                return Err(ModelError::request(format!("prompt {index} is empty")));
            }
            if config.max_positions <= prompt.ids.len() {
                return Err(ModelError::request(format!(
                    "prompt {index} has {} tokens, which leaves no room in the model's {} positions",
                    prompt.ids.len(),
                    config.max_positions
                )));
            }
        }
        Ok(())
    }

    /// Runs one batch until every sequence has ended; gives them in any order.
    fn run(
        &self,
        plain: &Plain<'_>,
        batch: Vec<Sequence>,
        sampling: &Sampling,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Sequence>, ModelError> {
        let config = plain.decoder.config();
        let (mut cache, mut logits) = plain.prefill(&batch, sampling.max_new_tokens)?;
        let mut rows = batch;
        let mut done = Vec::new();
        loop {
            let mut next = Vec::with_capacity(rows.len());
            let (mut ended, mut drawn) = (0, 0);
            for (row, logits) in rows.iter_mut().zip(logits.chunks(config.vocab_size)) {
                if !row.is_finished() {
                    drawn += 1;
                    row.draw(logits, sampling, self.tokenizer, config.max_positions)?;
                    ended += usize::from(row.is_finished());
                }
                next.push(row.last_token());
            }
            progress(ended, drawn);
            if rows.iter().all(Sequence::is_finished) {
                done.extend(rows);
                return Ok(done);
            }
            let is_full = config.max_positions < cache.length() + 2;
            leave(&mut rows, &mut next, &mut cache, &mut done, is_full);
            next.resize(cache.rows(), next[0]);
            logits = plain.last_logits(plain.decoder.extend(&next, &mut cache)?);
        }
    }
}

/// The decoder in the form that generation reads fastest.
struct Plain<'a> {
    decoder: &'a Decoder,
    /// `[hidden, vocabulary]`, in this order in memory.
    head: Tensor<2>,
}

/// A lone row gets a copy of itself beside it: products with a single row add in another order, and then a sequence's bits would
/// depend on whether it has company.
const LEAST: usize = 2;

impl<'a> Plain<'a> {
    fn new(decoder: &'a Decoder) -> Self {
        let head = decoder.head_weight().inner().transpose();
        let head = match head.clone().try_into_primitive::<Flex>() {
            Ok(head) => Tensor::from_primitive::<Flex>(head.to_contiguous()),
            Err(_) => head,
        };
        Self { decoder, head }
    }

    /// Computes the prompts; gives their cache, with room for the answers, and the logits of their last columns.
    fn prefill(&self, batch: &[Sequence], max_new_tokens: usize) -> Result<(KvCache, Vec<f32>), ModelError> {
        let mut prompts: Vec<&[u32]> = batch.iter().map(Sequence::prompt).collect();
        prompts.resize(prompts.len().max(LEAST), prompts[0]);
        let tokens = TokenBatch::left_padded_to(LEAST, &prompts)?;
        let starts = prompts.iter().map(|prompt| tokens.width() - prompt.len()).collect();
        let config = self.decoder.config();
        let capacity = tokens.width() + max_new_tokens.min(config.max_positions);
        let mut cache = KvCache::new(config, starts, capacity, &self.decoder.device().inner());
        let hidden = self.decoder.extend(tokens.tokens(), &mut cache)?;
        Ok((cache, self.last_logits(hidden)))
    }

    /// Only the last column's logits are ever looked at.
    fn last_logits(&self, hidden: Tensor<3>) -> Vec<f32> {
        let [rows, columns, width] = hidden.dims();
        let logits = hidden.narrow(1, columns - 1, 1).reshape([rows, width]).matmul(self.head.clone());
        tensor_values(self.decoder.capped(logits))
    }
}

/// Takes the ended sequences out of the batch once they are a quarter of it (copying the cache has its price), or at once if
/// they might run into the end of the model's positions.
fn leave(rows: &mut Vec<Sequence>, next: &mut Vec<u32>, cache: &mut KvCache, done: &mut Vec<Sequence>, at_once: bool) {
    let finished = rows.iter().filter(|row| row.is_finished()).count();
    if finished == 0 || (finished * 4 < rows.len() && !at_once) {
        return;
    }
    let mut stay: Vec<usize> = (0..rows.len()).filter(|row| !rows[*row].is_finished()).collect();
    *next = stay.iter().map(|row| next[*row]).collect();
    stay.resize(stay.len().max(LEAST), stay[0]);
    cache.keep(&stay);
    let (gone, active): (Vec<_>, Vec<_>) = std::mem::take(rows).into_iter().partition(Sequence::is_finished);
    *rows = active;
    done.extend(gone);
}

#[cfg(test)]
mod tests;

//! One sequence on its way through generation.

use crate::error::ModelError;
use crate::generate::sampling::Sampling;
use crate::random::Random;
use crate::tokenizer::TextTokenizer;

/// What to continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// At least one token.
    pub ids: Vec<u32>,
    /// Number of the sequence's own random stream. Equal prompts need different numbers to get different answers.
    pub stream: u64,
}

/// Why a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model said so, with an ending token.
    Eos,
    /// One of the stop texts appeared.
    Stop,
    /// The limit of new tokens, or of the model's positions, was reached.
    Length,
}

/// What the model answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// New token ids, the ending token included.
    pub ids: Vec<u32>,
    /// Their text, without special tokens and without the stop text and what follows it.
    pub text: String,
    /// Log-probability of each new token under the model at temperature 1.
    pub logprobs: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
}

/// A sequence in a batch.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    index: usize,
    prompt: Vec<u32>,
    random: Random,
    ids: Vec<u32>,
    logprobs: Vec<f32>,
    finish: Option<Finish>,
    stop: Vec<String>,
}

impl Sequence {
    pub(super) fn new(index: usize, prompt: &Prompt, sampling: &Sampling) -> Self {
        Self {
            index,
            prompt: prompt.ids.clone(),
            random: Random::numbered(sampling.seed, prompt.stream),
            ids: Vec::new(),
            logprobs: Vec::new(),
            finish: None,
            stop: sampling.stop.clone(),
        }
    }

    /// Place in the caller's list.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn prompt(&self) -> &[u32] {
        &self.prompt
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// The newest token; it is what the next step computes.
    pub(super) fn last_token(&self) -> u32 {
        self.ids.last().or(self.prompt.last()).copied().unwrap_or(0)
    }

    /// Adds one token and decides whether that was the last.
    pub(super) fn draw(
        &mut self,
        logits: &[f32],
        sampling: &Sampling,
        tokenizer: &TextTokenizer,
        max_positions: usize,
    ) -> Result<(), ModelError> {
        let (id, logprob) = sampling.choose(logits, &mut self.random);
        self.ids.push(id);
        self.logprobs.push(logprob);
        let is_full = sampling.max_new_tokens <= self.ids.len() || max_positions <= self.prompt.len() + self.ids.len();
        self.finish = if sampling.eos.contains(&id) {
            Some(Finish::Eos)
        } else if !self.stop.is_empty() && self.stop_at(&tokenizer.decode(&self.ids, true)?).is_some() {
            Some(Finish::Stop)
        } else if is_full {
            Some(Finish::Length)
        } else {
            None
        };
        Ok(())
    }

    pub(super) fn into_generation(self, tokenizer: &TextTokenizer) -> Result<Generation, ModelError> {
        let finish = self.finish.unwrap_or(Finish::Length);
        let spoken = if finish == Finish::Eos { &self.ids[..self.ids.len() - 1] } else { &self.ids };
        let mut text = tokenizer.decode(spoken, true)?;
        if finish == Finish::Stop
            && let Some(start) = self.stop_at(&text)
        {
            text.truncate(start);
        }
        Ok(Generation { ids: self.ids, text, logprobs: self.logprobs, finish })
    }

    /// Where the first stop text begins.
    fn stop_at(&self, text: &str) -> Option<usize> {
        self.stop.iter().filter_map(|stop| text.find(stop)).min()
    }
}

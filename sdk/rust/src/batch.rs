//! Tokens of a training micro-batch: as text and numbers for `weigh`, as tensors for `objective`.

use std::ops::Range;

use crate::host;
use crate::{Error, Tensor};

/// A micro-batch as text and numbers, without padding. Row `r` has the tokens `offsets[r]` to `offsets[r + 1]` of the flat lists.
#[derive(Clone, Copy)]
pub struct TokenBatch<'a>(&'a host::TokenBatch);

impl<'a> TokenBatch<'a> {
    #[doc(hidden)]
    pub fn from_host(batch: &'a host::TokenBatch) -> Self {
        Self(batch)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.0.len() as usize
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id of each row's example.
    pub fn ids(&self) -> Vec<u64> {
        self.0.ids()
    }

    /// What each row is for, as [`Batch::roles`].
    pub fn roles(&self) -> Vec<String> {
        self.0.roles()
    }

    /// Where each row starts in the flat lists: `len + 1` numbers.
    pub fn offsets(&self) -> Vec<usize> {
        self.0.offsets().into_iter().map(|offset| offset as usize).collect()
    }

    /// All tokens, prompt and completion, flat.
    pub fn tokens(&self) -> Vec<u32> {
        self.0.tokens()
    }

    /// Whether each token is trained on, flat.
    pub fn mask(&self) -> Vec<bool> {
        self.0.mask()
    }

    /// The text of each token, flat. Bytes that are no UTF-8 by themselves are replaced.
    pub fn texts(&self) -> Vec<String> {
        self.0.texts()
    }

    /// The whole conversation before the completion of each row as JSON: what [`Prompts::messages`](crate::Prompts::messages) takes.
    pub fn messages(&self) -> Vec<String> {
        self.0.messages()
    }

    /// The text of each row as it was tokenised: the prompt as the chat template writes it, then the completion. A row that was cut ends
    /// with its last token.
    ///
    /// # Errors
    ///
    /// Fails when the host does not know the text of a row.
    pub fn row_texts(&self) -> Result<Vec<String>, Error> {
        host::result(self.0.row_texts())
    }

    /// Where the completion starts in the text of each row, in characters.
    ///
    /// # Errors
    ///
    /// As [`row_texts`](Self::row_texts).
    pub fn completion_starts(&self) -> Result<Vec<usize>, Error> {
        Ok(host::result(self.0.completion_starts())?.into_iter().map(|start| start as usize).collect())
    }

    /// The characters (not bytes) of its row's text that each token stands for, flat: the contract's `starts` and `ends`.
    ///
    /// A token that is a part of a character stands for the whole character, so that tokens may share one. Tokens that stand for no text, such
    /// as the end token after a completion, have an empty range.
    ///
    /// # Errors
    ///
    /// As [`row_texts`](Self::row_texts).
    pub fn spans(&self) -> Result<Vec<Range<usize>>, Error> {
        Ok(host::ranges(&host::result(self.0.starts())?, &host::result(self.0.ends())?))
    }

    /// Log-probability of each token given those before it, in nats, flat, under `policy` or `reference`; 0.0 for the first of a row.
    ///
    /// # Errors
    ///
    /// Fails when the run has no such model.
    pub fn token_logprobs(&self, under: &str) -> Result<Vec<f32>, Error> {
        host::result(self.0.token_logprobs(under))
    }

    /// The names of all columns, in the data's order.
    pub fn columns(&self) -> Vec<String> {
        self.0.columns()
    }

    /// One column of every row, as [`Examples::column`](crate::Examples::column).
    pub fn column(&self, name: &str) -> Vec<Option<String>> {
        self.0.column(name)
    }

    /// The number of the optimiser step, from 0.
    pub fn step(&self) -> u32 {
        self.0.step()
    }
}

/// A micro-batch as tensors: B rows, padded at the end to T tokens.
///
/// Everything of shape [B, T] is aligned with the tokens: entry [b, t] speaks of token t, given the tokens before it.
/// An optimiser step may consist of several micro-batches, whose losses the host adds. For a mean over the whole step divide by
/// [`total_weight`](Self::total_weight) (tokens) or [`total_rows`](Self::total_rows) (rows); for a mean of micro-batch means divide by
/// [`micro_batches`](Self::micro_batches).
#[derive(Clone, Copy)]
pub struct Batch<'a>(&'a host::Batch);

impl<'a> Batch<'a> {
    #[doc(hidden)]
    pub fn from_host(batch: &'a host::Batch) -> Self {
        Self(batch)
    }

    /// The number of rows, B.
    pub fn rows(&self) -> usize {
        self.0.rows() as usize
    }

    /// Token ids, integers [B, T].
    pub fn tokens(&self) -> Tensor {
        Tensor(self.0.tokens())
    }

    /// 1.0 for each token that is trained on, else 0.0; [B, T]. The first token of a row is never trained on.
    pub fn mask(&self) -> Tensor {
        Tensor(self.0.mask())
    }

    /// The weight of each token, [B, T]: what `weigh` answered, else 1.0; 0.0 where the mask is 0.0.
    pub fn weights(&self) -> Tensor {
        Tensor(self.0.weights())
    }

    /// The advantage of each token, [B, T]; none outside online training.
    pub fn advantages(&self) -> Option<Tensor> {
        self.0.advantages().map(Tensor)
    }

    /// Log-probability of each token in nats, [B, T]; 0.0 where the mask is 0.0. `under` is `policy` (with gradient), `reference` or `old` (without).
    ///
    /// `old` is the policy that sampled the rollouts, at their temperature, and 0.0 for rows that were given; outside online training it is the
    /// policy as it is.
    ///
    /// # Errors
    ///
    /// Fails when the run has no such model.
    pub fn token_logprobs(&self, under: &str) -> Result<Tensor, Error> {
        host::result(self.0.token_logprobs(under)).map(Tensor)
    }

    /// As [`token_logprobs`](Self::token_logprobs), of logits that are divided by this temperature, which is above 0.0; else the call traps.
    ///
    /// # Errors
    ///
    /// Fails when the run has no such model.
    pub fn token_logprobs_at(&self, under: &str, temperature: f32) -> Result<Tensor, Error> {
        host::result(self.0.token_logprobs_at(under, temperature)).map(Tensor)
    }

    /// The entropy in nats of the policy's distribution that predicts each token, at this temperature, [B, T]; 0.0 where the mask is 0.0. With
    /// gradient.
    ///
    /// # Errors
    ///
    /// Fails when the run cannot tell.
    pub fn token_entropies(&self, temperature: f32) -> Result<Tensor, Error> {
        host::result(self.0.token_entropies(temperature)).map(Tensor)
    }

    /// The logarithm of the probability that two draws from the policy's distribution for a token are the same, `log(sum(p^2))`, [B, T]; 0.0
    /// where the mask is 0.0. No gradient.
    ///
    /// # Errors
    ///
    /// Fails when the run cannot tell.
    pub fn token_collisions(&self) -> Result<Tensor, Error> {
        host::result(self.0.token_collisions()).map(Tensor)
    }

    /// A number per token that `credit` attached under this name, or `value`: what the value head estimated before the step, [B, T]; 0.0 for
    /// tokens that were not sampled.
    ///
    /// # Errors
    ///
    /// Fails when there are no such numbers.
    pub fn token_numbers(&self, name: &str) -> Result<Tensor, Error> {
        host::result(self.0.token_numbers(name)).map(Tensor)
    }

    /// The policy's last hidden states, after the final norm, [B, T, hidden]: entry [b, t] predicts token t + 1. With gradient; the same forward
    /// pass as for [`token_logprobs`](Self::token_logprobs). Nothing is said of padding.
    ///
    /// # Errors
    ///
    /// Fails when the run has no hidden states.
    pub fn hidden_states(&self) -> Result<Tensor, Error> {
        host::result(self.0.hidden_states()).map(Tensor)
    }

    /// The id of each row's example.
    pub fn ids(&self) -> Vec<u64> {
        self.0.ids()
    }

    /// What each row is for: `chosen` and `rejected` in preferences, the words of [`TrainingSet::group`](crate::TrainingSet::group), `rollout`
    /// for sampled rows, `reference` for given ones, else empty.
    pub fn roles(&self) -> Vec<String> {
        self.0.roles()
    }

    /// 1.0 for rows of online training whose completion was given, not sampled, else 0.0; `[B]`.
    pub fn off_policy(&self) -> Tensor {
        Tensor(self.0.off_policy())
    }

    /// The temperature at which the rollouts were sampled; 1.0 outside online training.
    pub fn temperature(&self) -> f32 {
        self.0.temperature()
    }

    /// The number of token ids that the model knows.
    pub fn vocabulary(&self) -> usize {
        self.0.vocabulary() as usize
    }

    /// Tokens that the policy would put in each place, integers [B, T, count]: drawn independently and with replacement from its distribution
    /// at this temperature, given the row's own tokens before. 0 where the mask is 0.0. No gradient.
    ///
    /// Ids without a text and special tokens are never drawn, but for those that end an answer and the token that stands in the place itself.
    /// `count` is at least 1 and `temperature` above 0.0; else the call traps.
    ///
    /// # Errors
    ///
    /// Fails when the host cannot sample inside an objective.
    pub fn samples(&self, count: usize, temperature: f32) -> Result<Tensor, Error> {
        host::result(self.0.samples(count as u32, temperature)).map(Tensor)
    }

    /// Log-probability in nats of each of several candidates for each token, [B, T, K], at temperature 1.0; 0.0 where the mask is 0.0.
    /// `candidates` are token ids, integers [B, T, K]; the same id may come more than once. `under` as for
    /// [`token_logprobs`](Self::token_logprobs).
    ///
    /// # Errors
    ///
    /// Fails when the run has no such model, and when shape or ids do not fit.
    pub fn candidate_logprobs(&self, under: &str, candidates: &Tensor) -> Result<Tensor, Error> {
        host::result(self.0.candidate_logprobs(under, &candidates.0)).map(Tensor)
    }

    /// The group of each row, integers `[B]`: the rollouts of one prompt, or 0, 0, 1, 1, ... for chosen and rejected rows of a pair.
    pub fn groups(&self) -> Tensor {
        Tensor(self.0.groups())
    }

    /// 1.0 for rows that were chosen (or labelled good), 0.0 for all others, `[B]`; none if no row is chosen or rejected.
    pub fn chosen(&self) -> Option<Tensor> {
        self.0.chosen().map(Tensor)
    }

    /// One numeric column of every row as a float tensor `[B]`.
    ///
    /// # Errors
    ///
    /// Fails when a row has no such column or it is no number.
    pub fn numbers(&self, column: &str) -> Result<Tensor, Error> {
        host::result(self.0.numbers(column)).map(Tensor)
    }

    /// An extra trainable parameter that this plugin's manifest declares.
    ///
    /// # Errors
    ///
    /// Fails when the manifest declares no such parameter.
    pub fn parameter(&self, name: &str) -> Result<Tensor, Error> {
        host::result(self.0.parameter(name)).map(Tensor)
    }

    /// The sum of all weights over every micro-batch of this optimiser step: the global token count where weights are 1.0.
    pub fn total_weight(&self) -> f64 {
        self.0.total_weight()
    }

    /// The number of rows over every micro-batch of this optimiser step.
    pub fn total_rows(&self) -> usize {
        self.0.total_rows() as usize
    }

    /// The number of groups over every micro-batch of this optimiser step.
    pub fn total_groups(&self) -> usize {
        self.0.total_groups() as usize
    }

    /// The number of micro-batches of this optimiser step.
    pub fn micro_batches(&self) -> usize {
        self.0.micro_batches() as usize
    }

    /// The number of the optimiser step, from 0.
    pub fn step(&self) -> u32 {
        self.0.step()
    }
}

//! Language models of the run. Each function needs its own grant in the recipe.

use std::ops::Range;

#[cfg(target_arch = "wasm32")]
use crate::bindings::imports::tunesmith::method::model as service;
#[cfg(not(target_arch = "wasm32"))]
use crate::native::service;
use crate::{Error, Examples, Tensor, host};

/// A list of prompts, in the order in which they were added.
#[derive(Default)]
pub struct Prompts(Wrapped<service::Prompts>);

/// Gives a bound type the `Default` of its constructor.
struct Wrapped<T>(T);

impl Default for Wrapped<service::Prompts> {
    fn default() -> Self {
        Self(service::Prompts::new())
    }
}

impl Prompts {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the conversations of these rows, in this order; a row may come more than once.
    #[must_use]
    pub fn rows(self, examples: &Examples<'_>, rows: &[usize]) -> Self {
        let rows: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
        self.0.0.add_rows(examples.0, &rows);
        self
    }

    /// Adds one single-turn conversation per text: the text is the user's message.
    #[must_use]
    pub fn users(self, texts: &[String]) -> Self {
        self.0.0.add_users(texts);
        self
    }

    /// Adds conversations: JSON lists of `{"role", "content"}` objects with whatever else the chat template takes of a turn. Text that is no such list traps.
    #[must_use]
    pub fn messages(self, conversations: &[String]) -> Self {
        self.0.0.add_messages(conversations);
        self
    }

    /// Adds texts as they are, without the chat template.
    #[must_use]
    pub fn raw(self, texts: &[String]) -> Self {
        self.0.0.add_raw(texts);
        self
    }
}

/// How to sample. What is not set is the host's choice: greedy, one sample, the recipe's length limit, its own stream of random numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sampling {
    /// 0.0 is greedy. At least 0.0.
    pub temperature: Option<f32>,
    /// Keeps the most likely tokens that together have this probability, in 0.0 to 1.0.
    pub top_p: Option<f32>,
    /// Keeps this many most likely tokens; 0 keeps all.
    pub top_k: Option<u32>,
    /// At most this many new tokens. The recipe's limit still holds.
    pub max_tokens: Option<u32>,
    /// This many samples per prompt.
    pub samples: Option<u32>,
    /// Ends a completion before any of these texts.
    pub stop: Vec<String>,
    /// Another stream of random numbers. Without it the stream follows from the run's seed, the plugin and the call.
    pub seed: Option<u64>,
}

impl Sampling {
    /// The most likely token each time.
    pub fn greedy() -> Self {
        Self::default()
    }

    /// `samples` samples per prompt at this temperature.
    pub fn at(temperature: f32, samples: u32) -> Self {
        Self { temperature: Some(temperature), samples: Some(samples), ..Self::default() }
    }

    fn to_host(&self) -> service::Sampling {
        let sampling = service::Sampling::new();
        self.temperature.inspect(|&value| sampling.set_temperature(value));
        self.top_p.inspect(|&value| sampling.set_top_p(value));
        self.top_k.inspect(|&value| sampling.set_top_k(value));
        self.max_tokens.inspect(|&value| sampling.set_max_tokens(value));
        self.samples.inspect(|&value| sampling.set_samples(value));
        self.seed.inspect(|&value| sampling.set_seed(value));
        if !self.stop.is_empty() {
            sampling.set_stop(&self.stop);
        }
        sampling
    }
}

/// Sampled completions: those of the first prompt, then those of the second, and so on.
pub struct Generations(service::Generations);

impl Generations {
    /// The texts, without special tokens.
    pub fn texts(&self) -> Vec<String> {
        self.0.texts()
    }

    /// Whether each ended by itself; false if it was cut at the length limit.
    pub fn finished(&self) -> Vec<bool> {
        self.0.finished()
    }

    /// The number of sampled tokens of each.
    pub fn lengths(&self) -> Vec<u32> {
        self.0.lengths()
    }

    /// The log-probability of each sampled token in nats, flat; at temperature 1.0 and without cuts.
    pub fn token_logprobs(&self) -> Vec<f32> {
        self.0.token_logprobs()
    }
}

/// How likely given completions are.
pub struct Scores(service::Scores);

impl Scores {
    /// The log-probability of each completion in nats: the sum over its tokens, its end token included.
    pub fn sums(&self) -> Vec<f64> {
        self.0.sums()
    }

    /// The number of tokens of each completion, its end token included.
    pub fn lengths(&self) -> Vec<u32> {
        self.0.lengths()
    }

    /// The log-probability of each token in nats, flat.
    pub fn token_logprobs(&self) -> Vec<f32> {
        self.0.token_logprobs()
    }

    /// The characters (not bytes) of its completion that each token stands for, flat: the contract's `starts` and `ends`. As
    /// [`TokenBatch::spans`](crate::TokenBatch::spans).
    ///
    /// # Errors
    ///
    /// Fails for a model that does not tell.
    pub fn spans(&self) -> Result<Vec<Range<usize>>, Error> {
        Ok(host::ranges(&host::result(self.0.starts())?, &host::result(self.0.ends())?))
    }

    /// The mean log-probability per token of each completion in nats; 0.0 for one without tokens.
    pub fn means(&self) -> Vec<f64> {
        let mean = |(sum, length): (f64, u32)| if length == 0 { 0.0 } else { sum / f64::from(length) };
        self.sums().into_iter().zip(self.lengths()).map(mean).collect()
    }
}

/// What a forward pass starts from and what it shall return. Needs the grant `model.forward`.
pub struct ForwardRequest(service::ForwardRequest);

impl ForwardRequest {
    /// A pass over token ids, integers [B, T]; `mask` is 1.0 for real tokens and 0.0 for padding, [B, T].
    pub fn from_tokens(tokens: &Tensor, mask: &Tensor) -> Self {
        Self(service::ForwardRequest::from_tokens(&tokens.0, &mask.0))
    }

    /// A pass over input embeddings [B, T, hidden] in place of tokens.
    pub fn from_embeddings(embeddings: &Tensor, mask: &Tensor) -> Self {
        Self(service::ForwardRequest::from_embeddings(&embeddings.0, &mask.0))
    }

    /// Asks for the logits.
    #[must_use]
    pub fn logits(self) -> Self {
        self.0.want_logits();
        self
    }

    /// Asks for the hidden states after layer `layer`; 0 is the embedding.
    #[must_use]
    pub fn hidden(self, layer: usize) -> Self {
        self.0.want_hidden(layer as u32);
        self
    }

    /// Asks for the attention weights of layer `layer`, from 1.
    #[must_use]
    pub fn attention(self, layer: usize) -> Self {
        self.0.want_attention(layer as u32);
        self
    }

    /// Stops after layer `layer` and applies the final norm and head there.
    #[must_use]
    pub fn exit_at(self, layer: usize) -> Self {
        self.0.exit_at(layer as u32);
        self
    }
}

/// What a forward pass returned. Asking for what was not requested traps.
pub struct ForwardPass(service::ForwardPass);

impl ForwardPass {
    /// Logits [B, T, vocabulary]; entry [b, t] speaks of token t + 1.
    pub fn logits(&self) -> Tensor {
        Tensor(self.0.logits())
    }

    /// Hidden states [B, T, hidden] after this layer.
    pub fn hidden(&self, layer: usize) -> Tensor {
        Tensor(self.0.hidden(layer as u32))
    }

    /// Attention weights [B, heads, T, T] of this layer.
    pub fn attention(&self, layer: usize) -> Tensor {
        Tensor(self.0.attention(layer as u32))
    }
}

/// A model of the run.
pub struct Model(service::LanguageModel);

impl Model {
    /// Opens a model by name: `policy` is the one in training, `reference` the one it started from, others are named in the recipe.
    ///
    /// # Errors
    ///
    /// Fails when the run has no such model.
    pub fn open(name: &str) -> Result<Self, Error> {
        host::result(service::LanguageModel::open(name)).map(Self)
    }

    /// Samples completions. Needs the grant `model.generate`.
    ///
    /// # Errors
    ///
    /// Fails without the grant, and when a prompt is too long for the model.
    pub fn generate(&self, prompts: &Prompts, sampling: &Sampling) -> Result<Generations, Error> {
        host::result(self.0.generate(&prompts.0.0, &sampling.to_host())).map(Generations)
    }

    /// Scores one completion per prompt. Needs the grant `model.score`.
    ///
    /// # Errors
    ///
    /// As [`generate`](Self::generate), and when the numbers of prompts and completions differ.
    pub fn score(&self, prompts: &Prompts, completions: &[String]) -> Result<Scores, Error> {
        host::result(self.0.score(&prompts.0.0, completions)).map(Scores)
    }

    /// Scores the next token: the log-probability of each candidate's first token after each prompt, prompt by prompt. Needs the grant `model.score`.
    ///
    /// # Errors
    ///
    /// As [`generate`](Self::generate).
    pub fn score_next(&self, prompts: &Prompts, candidates: &[String]) -> Result<Vec<f32>, Error> {
        host::result(self.0.score_next(&prompts.0.0, candidates))
    }

    /// Embeds texts: the mean over tokens of the last hidden state, one vector per text. Needs the grant `model.embed`.
    ///
    /// # Errors
    ///
    /// As [`generate`](Self::generate).
    pub fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Error> {
        let flat = host::result(self.0.embed(texts))?;
        let size = flat.len().checked_div(texts.len()).unwrap_or(0).max(1);
        Ok(flat.chunks(size).map(<[f32]>::to_vec).collect())
    }

    /// Runs a forward pass inside an `objective` call. Needs the grant `model.forward`.
    ///
    /// # Errors
    ///
    /// Fails without the grant, outside an `objective` call, and for unknown layers.
    pub fn forward(&self, request: &ForwardRequest) -> Result<ForwardPass, Error> {
        host::result(self.0.forward(&request.0)).map(ForwardPass)
    }

    /// The size of the hidden states.
    pub fn hidden_size(&self) -> usize {
        self.0.hidden_size() as usize
    }

    /// The number of layers.
    pub fn layers(&self) -> usize {
        self.0.layers() as usize
    }
}

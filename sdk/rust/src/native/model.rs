//! Language models of a pretend host.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::host::Examples;
use super::tensor::Tensor;
use crate::Error;

/// A prompt, as far as a pretend model cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// A row of the pool.
    Row {
        /// Its number.
        row: u32,
        /// The text of its last message.
        prompt: String,
        /// Its conversation as JSON.
        messages: String,
    },
    /// A user's message.
    User(String),
    /// A conversation as JSON.
    Messages(String),
    /// Text without the chat template.
    Raw(String),
}

impl Prompt {
    /// The text to be answered: that of the row, the message or the raw prompt; the JSON of a conversation.
    pub fn text(&self) -> &str {
        match self {
            Self::Row { prompt: text, .. } | Self::User(text) | Self::Messages(text) | Self::Raw(text) => text,
        }
    }
}

/// A language model of a pretend host.
pub trait LanguageModel {
    /// Samples completions, those of the first prompt first.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn generate(&self, prompts: &[Prompt], sampling: &crate::Sampling) -> Result<Vec<Generation>, Error>;

    /// The log-probabilities of the tokens of one completion per prompt.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn score(&self, prompts: &[Prompt], completions: &[String]) -> Result<Vec<Vec<f32>>, Error>;

    /// The texts of the tokens of a completion, in order: empty for one that stands for no text, such as its end token. None if the model does not tell.
    fn pieces(&self, completion: &str) -> Option<Vec<String>>;

    /// The log-probability of each candidate's first token after each prompt, prompt by prompt.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn score_next(&self, prompts: &[Prompt], candidates: &[String]) -> Result<Vec<f32>, Error>;

    /// One vector per text, one after the other.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn embed(&self, texts: &[String]) -> Result<Vec<f32>, Error>;

    /// A forward pass.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn forward(&self, request: &ForwardRequest) -> Result<ForwardPass, Error>;

    /// The size of the hidden states.
    fn hidden_size(&self) -> u32;

    /// The number of layers.
    fn layers(&self) -> u32;
}

/// One sampled completion.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// The text.
    pub text: String,
    /// Whether it ended by itself.
    pub is_finished: bool,
    /// The log-probability of each token.
    pub token_logprobs: Vec<f32>,
}

impl From<&str> for Generation {
    /// A finished completion with one token of log-probability -1.0 per word, and one for its end.
    fn from(text: &str) -> Self {
        let tokens = text.split_whitespace().count() + 1;
        Self { text: text.into(), is_finished: true, token_logprobs: vec![-1.0; tokens] }
    }
}

/// What a forward pass starts from and shall return.
pub struct ForwardRequest {
    /// Token ids or input embeddings.
    pub input: Tensor,
    /// 1.0 for real tokens.
    pub mask: Tensor,
    /// Whether logits are wanted.
    pub logits: Cell<bool>,
    /// After which layers hidden states are wanted.
    pub hidden: RefCell<Vec<u32>>,
    /// Of which layers attention weights are wanted.
    pub attention: RefCell<Vec<u32>>,
    /// After which layer the pass ends.
    pub exit_at: Cell<Option<u32>>,
}

impl ForwardRequest {
    pub(crate) fn from_tokens(tokens: &Tensor, mask: &Tensor) -> Self {
        Self {
            input: tokens.clone(),
            mask: mask.clone(),
            logits: Cell::new(false),
            hidden: RefCell::default(),
            attention: RefCell::default(),
            exit_at: Cell::new(None),
        }
    }

    pub(crate) fn from_embeddings(embeddings: &Tensor, mask: &Tensor) -> Self {
        Self::from_tokens(embeddings, mask)
    }

    pub(crate) fn want_logits(&self) {
        self.logits.set(true);
    }

    pub(crate) fn want_hidden(&self, layer: u32) {
        self.hidden.borrow_mut().push(layer);
    }

    pub(crate) fn want_attention(&self, layer: u32) {
        self.attention.borrow_mut().push(layer);
    }

    pub(crate) fn exit_at(&self, layer: u32) {
        self.exit_at.set(Some(layer));
    }
}

/// What a forward pass returned.
#[derive(Default)]
pub struct ForwardPass {
    /// Logits.
    pub logits: Option<Tensor>,
    /// Hidden states by layer.
    pub hidden: Vec<(u32, Tensor)>,
    /// Attention weights by layer.
    pub attention: Vec<(u32, Tensor)>,
}

impl ForwardPass {
    pub(crate) fn logits(&self) -> Tensor {
        self.logits.clone().expect("the logits were not requested, or the pretend model has none")
    }

    pub(crate) fn hidden(&self, layer: u32) -> Tensor {
        pick(&self.hidden, layer)
    }

    pub(crate) fn attention(&self, layer: u32) -> Tensor {
        pick(&self.attention, layer)
    }
}

fn pick(tensors: &[(u32, Tensor)], layer: u32) -> Tensor {
    let found = tensors.iter().find(|(its, _)| *its == layer);
    found.expect("the layer was not requested, or the pretend model has none").1.clone()
}

/// Prompts under construction.
pub(crate) struct Prompts(RefCell<Vec<Prompt>>);

impl Prompts {
    pub(crate) fn new() -> Self {
        Self(RefCell::default())
    }

    pub(crate) fn add_rows(&self, examples: &dyn Examples, rows: &[u32]) {
        let (prompts, messages) = (examples.prompts(), examples.messages());
        self.0.borrow_mut().extend(rows.iter().map(|&row| Prompt::Row {
            row,
            prompt: prompts[row as usize].clone(),
            messages: messages[row as usize].clone(),
        }));
    }

    pub(crate) fn add_users(&self, texts: &[String]) {
        self.0.borrow_mut().extend(texts.iter().cloned().map(Prompt::User));
    }

    pub(crate) fn add_messages(&self, conversations: &[String]) {
        self.0.borrow_mut().extend(conversations.iter().cloned().map(Prompt::Messages));
    }

    pub(crate) fn add_raw(&self, texts: &[String]) {
        self.0.borrow_mut().extend(texts.iter().cloned().map(Prompt::Raw));
    }
}

/// Sampling under construction.
pub(crate) struct Sampling(RefCell<crate::Sampling>);

impl Sampling {
    pub(crate) fn new() -> Self {
        Self(RefCell::default())
    }

    pub(crate) fn set_temperature(&self, value: f32) {
        self.0.borrow_mut().temperature = Some(value);
    }

    pub(crate) fn set_top_p(&self, value: f32) {
        self.0.borrow_mut().top_p = Some(value);
    }

    pub(crate) fn set_top_k(&self, value: u32) {
        self.0.borrow_mut().top_k = Some(value);
    }

    pub(crate) fn set_max_tokens(&self, value: u32) {
        self.0.borrow_mut().max_tokens = Some(value);
    }

    pub(crate) fn set_samples(&self, value: u32) {
        self.0.borrow_mut().samples = Some(value);
    }

    pub(crate) fn set_stop(&self, texts: &[String]) {
        self.0.borrow_mut().stop = texts.to_vec();
    }

    pub(crate) fn set_seed(&self, value: u64) {
        self.0.borrow_mut().seed = Some(value);
    }
}

/// Sampled completions.
pub(crate) struct Generations(Vec<Generation>);

impl Generations {
    pub(crate) fn texts(&self) -> Vec<String> {
        self.0.iter().map(|generation| generation.text.clone()).collect()
    }

    pub(crate) fn finished(&self) -> Vec<bool> {
        self.0.iter().map(|generation| generation.is_finished).collect()
    }

    pub(crate) fn lengths(&self) -> Vec<u32> {
        self.0.iter().map(|generation| generation.token_logprobs.len() as u32).collect()
    }

    pub(crate) fn token_logprobs(&self) -> Vec<f32> {
        self.0.iter().flat_map(|generation| generation.token_logprobs.clone()).collect()
    }
}

/// Scored completions: the log-probabilities of each one's tokens, and their texts.
pub(crate) struct Scores(Vec<(Vec<f32>, Option<Vec<String>>)>);

impl Scores {
    pub(crate) fn sums(&self) -> Vec<f64> {
        self.0.iter().map(|(logprobs, _)| logprobs.iter().map(|&logprob| f64::from(logprob)).sum()).collect()
    }

    pub(crate) fn lengths(&self) -> Vec<u32> {
        self.0.iter().map(|(logprobs, _)| logprobs.len() as u32).collect()
    }

    pub(crate) fn token_logprobs(&self) -> Vec<f32> {
        self.0.iter().flat_map(|(logprobs, _)| logprobs.clone()).collect()
    }

    pub(crate) fn starts(&self) -> Result<Vec<u32>, Error> {
        self.spans().map(|spans| spans.into_iter().map(|(start, _)| start).collect())
    }

    pub(crate) fn ends(&self) -> Result<Vec<u32>, Error> {
        self.spans().map(|spans| spans.into_iter().map(|(_, end)| end).collect())
    }

    fn spans(&self) -> Result<Vec<(u32, u32)>, Error> {
        let mut spans = Vec::new();
        for (logprobs, pieces) in &self.0 {
            let pieces = pieces.as_ref().ok_or_else(|| {
                Error::unsupported("the pretend model was not told how to cut completions into tokens")
            })?;
            assert_eq!(pieces.len(), logprobs.len(), "the pretend model cut a completion into {pieces:?}");
            spans.extend(super::spans_of(pieces));
        }
        Ok(spans)
    }
}

/// An opened model.
pub(crate) struct OpenModel(Rc<dyn LanguageModel>);

impl OpenModel {
    pub(crate) fn open(name: &str) -> Result<Self, Error> {
        super::host::host().open(name).map(Self)
    }

    pub(crate) fn generate(&self, prompts: &Prompts, sampling: &Sampling) -> Result<Generations, Error> {
        let (prompts, sampling) = (prompts.0.borrow(), sampling.0.borrow());
        let generations = self.0.generate(&prompts, &sampling)?;
        let expected = prompts.len() * sampling.samples.unwrap_or(1) as usize;
        assert_eq!(generations.len(), expected, "the pretend model gave a wrong number of completions");
        Ok(Generations(generations))
    }

    pub(crate) fn score(&self, prompts: &Prompts, completions: &[String]) -> Result<Scores, Error> {
        let prompts = prompts.0.borrow();
        if prompts.len() != completions.len() {
            return Err(Error::other(format!("{} completions for {} prompts", completions.len(), prompts.len())));
        }
        let scores = self.0.score(&prompts, completions)?;
        let pieces = completions.iter().map(|completion| self.0.pieces(completion));
        Ok(Scores(scores.into_iter().zip(pieces).collect()))
    }

    pub(crate) fn score_next(&self, prompts: &Prompts, candidates: &[String]) -> Result<Vec<f32>, Error> {
        self.0.score_next(&prompts.0.borrow(), candidates)
    }

    pub(crate) fn embed(&self, texts: &[String]) -> Result<Vec<f32>, Error> {
        self.0.embed(texts)
    }

    pub(crate) fn forward(&self, request: &ForwardRequest) -> Result<ForwardPass, Error> {
        self.0.forward(request)
    }

    pub(crate) fn hidden_size(&self) -> u32 {
        self.0.hidden_size()
    }

    pub(crate) fn layers(&self) -> u32 {
        self.0.layers()
    }
}

//! Prompts and completions as token ids, the same way for training, scoring and generation.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde_json::{Value, json};
use tunesmith_core::data::{RowText, Span};
use tunesmith_core::model::{Message, Prompt};

use crate::error::ModelError;
use crate::model::LanguageModel;
use crate::model::logprobs::Pair;
use crate::template::{ChatTemplate, RenderOptions};
use crate::tokenizer::TextTokenizer;

/// Stands for an answer when the template is asked how it ends one.
const PROBE: &str = "tunesmith";

/// The text that the tokens of a row were made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The prompt as the chat template writes it, then the completion.
    pub text: Arc<str>,
    /// The byte at which the completion starts.
    pub completion: usize,
    /// Whether the tokenizer adds its own beginning.
    pub is_whole: bool,
}

/// The tokenizer and the chat template of a model.
#[derive(Debug)]
pub struct Encoder {
    tokenizer: TextTokenizer,
    template: Option<ChatTemplate>,
    end: Option<u32>,
    anchor: Option<(u32, String)>,
    texts: Mutex<HashMap<u32, String>>,
    vocabulary: usize,
    drawable: OnceLock<Vec<bool>>,
}

impl Encoder {
    /// Takes tokenizer and template of a model.
    pub fn new(model: &LanguageModel) -> Self {
        let tokenizer = model.tokenizer.clone();
        let template = model.template.clone();
        let end = end_of_turn(&tokenizer, template.as_ref());
        let anchor = anchor(&tokenizer);
        let vocabulary = model.config().vocab_size;
        Self { tokenizer, template, end, anchor, texts: Mutex::default(), vocabulary, drawable: OnceLock::new() }
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// The token that ends an answer: the one that the chat template writes after it, else the first ending token of the model.
    pub fn end(&self) -> Option<u32> {
        self.end
    }

    /// All tokens that end an answer when they are generated.
    pub fn ends(&self) -> &[u32] {
        &self.tokenizer.special().eos
    }

    /// The tokens of a prompt; of a conversation with the opening of the assistant's turn.
    ///
    /// # Errors
    ///
    /// Fails when the template refuses the conversation, there is none for it, or the prompt gives no token.
    pub fn prompt(&self, prompt: &Prompt) -> Result<Vec<u32>, ModelError> {
        let (text, is_whole) = self.text(prompt)?;
        let tokens = self.encode_start(&text, is_whole)?;
        if tokens.is_empty() { Err(ModelError::request("a prompt gives no tokens")) } else { Ok(tokens) }
    }

    /// The tokens of a prompt and of its completion, the end token included.
    ///
    /// The prompt's tokens are those of [`Encoder::prompt`], so that training sees what generation starts from. The completion is tokenised in
    /// the prompt's context if that leaves the prompt's tokens as they are, else by itself.
    ///
    /// # Errors
    ///
    /// As [`Encoder::prompt`].
    pub fn pair(&self, prompt: &Prompt, completion: &str) -> Result<Pair, ModelError> {
        self.pair_of(&self.source(prompt, completion)?)
    }

    /// As [`Encoder::pair`], without the end token.
    ///
    /// # Errors
    ///
    /// As [`Encoder::prompt`].
    pub fn open_pair(&self, prompt: &Prompt, completion: &str) -> Result<Pair, ModelError> {
        self.open_pair_of(&self.source(prompt, completion)?)
    }

    /// As [`Encoder::pair`], of a text that is known.
    ///
    /// # Errors
    ///
    /// As [`Encoder::prompt`].
    pub fn pair_of(&self, source: &Source) -> Result<Pair, ModelError> {
        let mut pair = self.open_pair_of(source)?;
        pair.completion.extend(self.end);
        Ok(pair)
    }

    fn open_pair_of(&self, source: &Source) -> Result<Pair, ModelError> {
        let (text, completion) = source.text.split_at(source.completion);
        let prompt = self.encode_start(text, source.is_whole)?;
        if prompt.is_empty() {
            return Err(ModelError::request("a prompt gives no tokens"));
        }
        let whole = self.encode_start(&source.text, source.is_whole)?;
        let completion = match whole.strip_prefix(prompt.as_slice()) {
            Some(rest) => rest.to_vec(),
            None => self.tokenizer.encode(completion, false)?,
        };
        Ok(Pair { prompt, completion })
    }

    /// The text of a prompt and of its completion, as [`Encoder::pair`] tokenises them.
    ///
    /// # Errors
    ///
    /// As [`Encoder::prompt`].
    pub fn source(&self, prompt: &Prompt, completion: &str) -> Result<Source, ModelError> {
        let (text, is_whole) = self.text(prompt)?;
        Ok(Source { completion: text.len(), text: (text + completion).into(), is_whole })
    }

    /// Where the tokens of a row stand in its text, and the text.
    ///
    /// # Errors
    ///
    /// Fails when the tokens are not those of the text, up to where the row was cut.
    pub fn row_text(&self, source: &Source, tokens: &[u32]) -> Result<RowText, ModelError> {
        let (prompt, completion) = source.text.split_at(source.completion);
        let (first, first_spans) = self.encode_start_with_spans(prompt, source.is_whole)?;
        let (whole, whole_spans) = self.encode_start_with_spans(&source.text, source.is_whole)?;
        let completion_start = prompt.chars().count() as u32;
        let (mut ids, mut spans) = (whole, whole_spans);
        if !ids.starts_with(&first) {
            let (rest, rest_spans) = self.tokenizer.encode_with_spans(completion, false)?;
            let shifted = |span: Span| Span { start: completion_start + span.start, end: completion_start + span.end };
            ids = [first, rest].concat();
            spans = first_spans.into_iter().chain(rest_spans.into_iter().map(shifted)).collect();
        }
        let end = source.text.chars().count() as u32;
        ids.extend(self.end);
        spans.extend(self.end.map(|_| Span { start: end, end }));
        if !ids.starts_with(tokens) {
            return Err(ModelError::request("the tokens of a row are not those of its text"));
        }
        let is_cut = tokens.len() + usize::from(self.end.is_some()) < ids.len();
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

    /// Which ids may be drawn as candidates: those of plain text, and those that end an answer.
    pub fn drawable(&self) -> &[bool] {
        self.drawable.get_or_init(|| {
            let mut drawable = self.tokenizer.plain(self.vocabulary);
            for &end in self.ends() {
                if let Some(drawable) = drawable.get_mut(end as usize) {
                    *drawable = true;
                }
            }
            drawable
        })
    }

    /// The text of one token, as it reads after other text. Bytes that are no UTF-8 by themselves are replaced.
    pub fn token_text(&self, id: u32) -> String {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        texts.entry(id).or_insert_with(|| self.decode_one(id)).clone()
    }

    /// Some decoders drop a blank at the start of a text, so a token is decoded after another one.
    fn decode_one(&self, id: u32) -> String {
        if let Some((anchor, text)) = &self.anchor
            && let Ok(both) = self.tokenizer.decode(&[*anchor, id], false)
            && let Some(rest) = both.strip_prefix(text.as_str())
        {
            return rest.to_owned();
        }
        self.tokenizer.decode(&[id], false).unwrap_or_default()
    }

    /// The text to tokenise, and whether the tokenizer shall add its own beginning.
    fn text(&self, prompt: &Prompt) -> Result<(String, bool), ModelError> {
        match (prompt, &self.template) {
            (Prompt::Raw(text), _) => Ok((text.clone(), true)),
            (Prompt::Chat(messages), Some(template)) => {
                let messages: Vec<Value> = messages.iter().map(turn).collect();
                let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
                Ok((template.render(&messages, &options)?, false))
            }
            (Prompt::Chat(messages), None) => match messages.as_slice() {
                [only] => Ok((only.content.clone(), true)),
                _ => Err(ModelError::request(format!(
                    "a conversation of {} turns needs a chat template, and the model has none\nhint: add `chat_template.jinja` to the model's folder, or use single prompts",
                    messages.len()
                ))),
            },
        }
    }

    /// Token ids of a text that goes on: without an ending token that the tokenizer may add.
    fn encode_start(&self, text: &str, adds_special: bool) -> Result<Vec<u32>, ModelError> {
        let mut tokens = self.tokenizer.encode(text, adds_special)?;
        if self.adds_end(text, adds_special, &tokens)? {
            tokens.pop();
        }
        Ok(tokens)
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

    /// Whether the last of these tokens of a text is an ending one that the tokenizer added.
    fn adds_end(&self, text: &str, adds_special: bool, tokens: &[u32]) -> Result<bool, ModelError> {
        Ok(adds_special
            && tokens.last().is_some_and(|last| self.ends().contains(last))
            && self.tokenizer.encode(text, false)?.last() != tokens.last())
    }
}

fn turn(message: &Message) -> Value {
    json!({"role": message.role, "content": message.content})
}

/// The token that ends an answer, as the template writes it.
fn end_of_turn(tokenizer: &TextTokenizer, template: Option<&ChatTemplate>) -> Option<u32> {
    let ends = &tokenizer.special().eos;
    let messages = [turn(&Message::user(PROBE)), json!({"role": "assistant", "content": PROBE})];
    let written = template.and_then(|template| {
        let text = template.render(&messages, &RenderOptions::default()).ok()?;
        let (_, after) = text.rsplit_once(PROBE)?;
        let ids = tokenizer.encode(after, false).ok()?;
        ids.into_iter().find(|id| ends.contains(id))
    });
    written.or_else(|| ends.first().copied())
}

/// A token that reads as one plain letter, and that letter.
fn anchor(tokenizer: &TextTokenizer) -> Option<(u32, String)> {
    ["a", "A", "e", "0"].into_iter().find_map(|text| {
        let ids = tokenizer.encode(text, false).ok()?;
        match (ids.as_slice(), tokenizer.decode(&ids, false)) {
            ([id], Ok(decoded)) if decoded == text => Some((*id, decoded)),
            _ => None,
        }
    })
}

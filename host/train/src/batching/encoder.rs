//! Prompts and completions as token ids, the same way for training, scoring and generation.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use tunesmith_core::model::{Message, Prompt};

use crate::error::ModelError;
use crate::model::LanguageModel;
use crate::model::logprobs::Pair;
use crate::template::{ChatTemplate, RenderOptions};
use crate::tokenizer::TextTokenizer;

/// Stands for an answer when the template is asked how it ends one.
const PROBE: &str = "tunesmith";

/// The tokenizer and the chat template of a model.
#[derive(Debug)]
pub struct Encoder {
    tokenizer: TextTokenizer,
    template: Option<ChatTemplate>,
    end: Option<u32>,
    anchor: Option<(u32, String)>,
    texts: Mutex<HashMap<u32, String>>,
}

impl Encoder {
    /// Takes tokenizer and template of a model.
    pub fn new(model: &LanguageModel) -> Self {
        let tokenizer = model.tokenizer.clone();
        let template = model.template.clone();
        let end = end_of_turn(&tokenizer, template.as_ref());
        let anchor = anchor(&tokenizer);
        Self { tokenizer, template, end, anchor, texts: Mutex::default() }
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
        let mut pair = self.open_pair(prompt, completion)?;
        pair.completion.extend(self.end);
        Ok(pair)
    }

    /// As [`Encoder::pair`], without the end token.
    ///
    /// # Errors
    ///
    /// As [`Encoder::prompt`].
    pub fn open_pair(&self, prompt: &Prompt, completion: &str) -> Result<Pair, ModelError> {
        let (text, is_whole) = self.text(prompt)?;
        let prompt = self.encode_start(&text, is_whole)?;
        if prompt.is_empty() {
            return Err(ModelError::request("a prompt gives no tokens"));
        }
        let whole = self.encode_start(&format!("{text}{completion}"), is_whole)?;
        let completion = match whole.strip_prefix(prompt.as_slice()) {
            Some(rest) => rest.to_vec(),
            None => self.tokenizer.encode(completion, false)?,
        };
        Ok(Pair { prompt, completion })
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
        if adds_special
            && tokens.last().is_some_and(|last| self.ends().contains(last))
            && self.tokenizer.encode(text, false)?.last() != tokens.last()
        {
            tokens.pop();
        }
        Ok(tokens)
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

//! Prompts and completions as token ids, the same way for training, scoring and generation.

mod spans;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::{Value, json};
use tunesmith_core::data::Example;
use tunesmith_core::model::{Message, Prompt};
use tunesmith_core::recipe::{Loss, LossWord};

use crate::error::ModelError;
use crate::model::LanguageModel;
use crate::model::logprobs::Pair;
use crate::template::{ChatTemplate, RenderOptions};
use crate::tokenizer::TextTokenizer;

pub use spans::Source;

use super::turns::Turns;

/// Stands for an answer when the template is asked how it ends one.
const PROBE: &str = "tunesmith";

/// The tokenizer and the chat template of a model.
#[derive(Debug)]
pub struct Encoder {
    tokenizer: TextTokenizer,
    template: Option<ChatTemplate>,
    end: Option<u32>,
    /// The texts of the tokens that end an answer.
    end_texts: Vec<String>,
    anchor: Option<(u32, String)>,
    texts: Mutex<HashMap<u32, String>>,
    vocabulary: usize,
    drawable: OnceLock<Vec<bool>>,
    loss: Loss,
}

impl Encoder {
    /// Takes tokenizer and template of a model.
    pub fn new(model: &LanguageModel) -> Self {
        let vocabulary = model.config().vocab_size;
        Self { vocabulary, ..Self::of(model.tokenizer.clone(), model.template.clone()) }
    }

    /// Takes a tokenizer and the chat template that belongs to it.
    pub fn of(tokenizer: TextTokenizer, template: Option<ChatTemplate>) -> Self {
        let end = end_of_turn(&tokenizer, template.as_ref());
        let end_texts = tokenizer.special().eos.iter().filter_map(|id| tokenizer.decode(&[*id], false).ok());
        let end_texts = end_texts.filter(|text| !text.is_empty()).collect();
        let anchor = anchor(&tokenizer);
        let vocabulary = tokenizer.size();
        let (texts, drawable, loss) = (Mutex::default(), OnceLock::new(), Loss::default());
        Self { tokenizer, template, end, end_texts, anchor, texts, vocabulary, drawable, loss }
    }

    /// Trains on these tokens of a row.
    #[must_use]
    pub fn with_loss(self, loss: &Loss) -> Self {
        Self { loss: loss.clone(), ..self }
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
        Ok(self.pair_with_source(prompt, completion)?.0)
    }

    /// As [`Encoder::pair`], with the text that the tokens were made from.
    ///
    /// # Errors
    ///
    /// As [`Encoder::prompt`].
    pub fn pair_with_source(&self, prompt: &Prompt, completion: &str) -> Result<(Pair, Source), ModelError> {
        let (mut pair, source) = self.open_pair_with_source(prompt, completion)?;
        pair.completion.extend(self.end);
        Ok((pair, Source { is_ended: true, ..source }))
    }

    /// As [`Encoder::pair`], without the end token.
    ///
    /// # Errors
    ///
    /// As [`Encoder::prompt`].
    pub fn open_pair(&self, prompt: &Prompt, completion: &str) -> Result<Pair, ModelError> {
        Ok(self.open_pair_with_source(prompt, completion)?.0)
    }

    fn open_pair_with_source(&self, prompt: &Prompt, completion: &str) -> Result<(Pair, Source), ModelError> {
        let (mut text, is_whole) = self.text(prompt)?;
        let prompt = self.encode_start(&text, is_whole)?;
        if prompt.is_empty() {
            return Err(ModelError::request("a prompt gives no tokens"));
        }
        let start = text.len();
        text += completion;
        let whole = self.encode_start(&text, is_whole)?;
        let (completion, cuts) = match whole.strip_prefix(prompt.as_slice()) {
            Some(rest) => (rest.to_vec(), Vec::new()),
            None => (self.tokenizer.encode(completion, false)?, vec![start]),
        };
        let source = Source { text: text.into(), completion: start, is_whole, cuts, is_ended: false };
        Ok((Pair { prompt, completion }, source))
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

    /// The tokens of a row's prompt and of an answer to it, the end token included. An answer that is the row's own turn with tool calls is
    /// written by the chat template.
    ///
    /// # Errors
    ///
    /// As [`Encoder::prompt`], and when the template does not show where the turn stands.
    pub fn answer(&self, example: &Example, completion: &str) -> Result<Pair, ModelError> {
        Ok(self.answer_with_source(example, completion)?.0)
    }

    fn answer_with_source(&self, example: &Example, completion: &str) -> Result<(Pair, Source), ModelError> {
        if example.is_text {
            let source =
                Source { text: completion.into(), completion: 0, is_whole: true, cuts: Vec::new(), is_ended: true };
            return Ok((Pair { prompt: Vec::new(), completion: self.plain(completion)? }, source));
        }
        if own_reply(example, completion).is_none() {
            return self.pair_with_source(&example.conversation(), completion);
        }
        let said = self.said(example, completion, &|index, turns| index + 1 == turns)?;
        let start = said.parts.first().map_or(0, |part| part.start);
        let mut prompt = said.tokens;
        let completion = prompt.split_off(start);
        Ok((Pair { prompt, completion }, said.source))
    }

    /// A row with an answer as tokens. Of a group only the answers are trained on.
    ///
    /// # Errors
    ///
    /// As [`Encoder::answer`].
    pub(super) fn row(&self, example: &Example, completion: &str, is_of_group: bool) -> Result<Row, ModelError> {
        let loss = if is_of_group { &Loss::COMPLETION } else { &self.loss };
        if *loss == Loss::COMPLETION || example.is_text || self.template.is_none() {
            let (Pair { prompt, completion }, source) = self.answer_with_source(example, completion)?;
            let answers = !matches!(loss, Loss::Roles(roles) if !example.is_text && !roles.iter().any(|role| role == "assistant"));
            let asks = match loss {
                Loss::Word(word) => *word == LossWord::All,
                Loss::Roles(roles) => example.messages.last().is_some_and(|last| roles.contains(&last.role)),
            };
            let mask = prompt.iter().map(|_| asks).chain(completion.iter().map(|_| answers)).collect();
            return Ok(Row { tokens: [prompt, completion].concat(), mask, source });
        }
        let Said { source, tokens, parts } = self.conversation(example, completion)?;
        let is_trained = |place: usize| match &self.loss {
            Loss::Word(_) => true,
            Loss::Roles(_) => parts.iter().any(|part| part.contains(&place)),
        };
        let mask = (0..tokens.len()).map(is_trained).collect();
        Ok(Row { tokens, mask, source })
    }

    /// A conversation as its loss wants it: cut where turns that are trained on start and end.
    fn conversation(&self, example: &Example, completion: &str) -> Result<Said, ModelError> {
        match &self.loss {
            Loss::Word(_) => self.said(example, completion, &|_, _| false),
            Loss::Roles(roles) => {
                let all = said(example, completion);
                self.said(example, completion, &|index, _| roles.contains(&all[index].role))
            }
        }
    }

    /// Plain text with its beginning and its end.
    fn plain(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let mut tokens = self.encode_start(text, true)?;
        tokens.extend(self.end);
        Ok(tokens)
    }

    /// A whole conversation as the chat template writes it, and which tokens the turns say that `is_wanted` picks, given a turn's number and
    /// how many there are. What follows the last of them is left out.
    fn said(
        &self,
        example: &Example,
        completion: &str,
        is_wanted: &dyn Fn(usize, usize) -> bool,
    ) -> Result<Said, ModelError> {
        let Some(template) = &self.template else {
            return Err(ModelError::request(
                "a conversation with tool calls needs a chat template, and the model has none
hint: add `chat_template.jinja` to the model's folder",
            ));
        };
        let messages: Vec<Value> = said(example, completion).iter().map(turn).collect();
        let turns = Turns::render(template, &messages, example.tools.as_ref(), &self.end_texts)?;
        let wanted = (0..messages.len()).filter(|index| is_wanted(*index, messages.len()));
        let parts = wanted.map(|index| turns.part(index)).collect::<Result<Vec<_>, _>>()?;
        let end = parts.last().map_or(turns.text().len(), |part| part.end);
        let bounds: Vec<usize> = parts.iter().flat_map(|part| [part.start, part.end]).collect();
        let last = messages.len() - 1;
        let completion = match parts.last() {
            Some(part) if is_wanted(last, messages.len()) => part.start,
            Some(_) => end,
            // A template may hide where the answer starts from everybody who does not train on it.
            None => turns.part(last).map_or(end, |part| part.start),
        };
        let Bounded { tokens, places, cuts } = self.encode_with(&turns.text()[..end], &bounds)?;
        let parts = places.chunks(2).map(|bound| bound[0]..bound[1]).collect();
        let source = Source { text: turns.text()[..end].into(), completion, is_whole: false, cuts, is_ended: false };
        Ok(Said { source, tokens, parts })
    }

    /// Tokenises a text whose bounds count: where a token would reach over one of these bytes, in two parts, as a prompt and its completion are.
    pub(super) fn encode_with(&self, text: &str, bounds: &[usize]) -> Result<Bounded, ModelError> {
        let mut done: Vec<u32> = Vec::new();
        let mut start = 0;
        let mut rest = self.tokenizer.encode(text, false)?;
        let mut places = Vec::with_capacity(bounds.len());
        let mut cuts = Vec::new();
        for &bound in bounds {
            let before = self.tokenizer.encode(&text[start..bound], false)?;
            if rest.starts_with(&before) {
                places.push(done.len() + before.len());
            } else {
                done.extend(before);
                places.push(done.len());
                cuts.push(bound);
                start = bound;
                rest = self.tokenizer.encode(&text[start..], false)?;
            }
        }
        done.extend(rest);
        Ok(Bounded { tokens: done, places, cuts })
    }

    /// The text of one token, as it reads after other text. Bytes that are no UTF-8 by themselves are replaced.
    pub fn token_text(&self, id: u32) -> String {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        texts.entry(id).or_insert_with(|| self.decode_one(id)).clone()
    }

    /// The text of some tokens, as it reads after those before them.
    pub fn text_between(&self, tokens: &[u32], part: Range<usize>) -> String {
        let decode = |tokens: &[u32]| self.tokenizer.decode(tokens, false).unwrap_or_default();
        let (before, until) = (decode(&tokens[..part.start]), decode(&tokens[..part.end]));
        until.strip_prefix(&before).map_or_else(|| decode(&tokens[part]), str::to_owned)
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
            (Prompt::Chat(messages), Some(template)) => Ok((opened(template, messages, None)?, false)),
            (Prompt::Tools { messages, tools }, Some(template)) => {
                Ok((opened(template, messages, Some(tools))?, false))
            }
            (Prompt::Chat(messages) | Prompt::Tools { messages, .. }, None) => match messages.as_slice() {
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

    /// Whether the last of these tokens of a text is an ending one that the tokenizer added.
    fn adds_end(&self, text: &str, adds_special: bool, tokens: &[u32]) -> Result<bool, ModelError> {
        Ok(adds_special
            && tokens.last().is_some_and(|last| self.ends().contains(last))
            && self.tokenizer.encode(text, false)?.last() != tokens.last())
    }
}

/// A text with bounds, as tokens.
pub(super) struct Bounded {
    pub(super) tokens: Vec<u32>,
    /// How many tokens come before each bound.
    pub(super) places: Vec<usize>,
    /// The bounds where the text was cut.
    cuts: Vec<usize>,
}

/// A row as tokens, and which of them are trained on.
pub(super) struct Row {
    pub(super) tokens: Vec<u32>,
    pub(super) mask: Vec<bool>,
    /// What they are made from.
    pub(super) source: Source,
}

/// A conversation as tokens.
struct Said {
    /// What they are made from.
    source: Source,
    tokens: Vec<u32>,
    /// Which tokens each of the turns that were asked for says.
    parts: Vec<Range<usize>>,
}

/// The conversation with its answer.
fn said(example: &Example, completion: &str) -> Vec<Message> {
    let reply = own_reply(example, completion).cloned();
    let reply = reply.unwrap_or_else(|| Message::new("assistant", completion));
    example.messages.iter().cloned().chain([reply]).collect()
}

/// The row's own answer as a turn, if this is it and it is more than a text.
fn own_reply<'a>(example: &'a Example, completion: &str) -> Option<&'a Message> {
    example.reply.as_ref().filter(|_| example.completion.as_deref() == Some(completion))
}

fn opened(template: &ChatTemplate, messages: &[Message], tools: Option<&Value>) -> Result<String, ModelError> {
    let messages: Vec<Value> = messages.iter().map(turn).collect();
    let options = RenderOptions { add_generation_prompt: true, tools: tools.cloned(), ..RenderOptions::default() };
    template.render(&messages, &options)
}

fn turn(message: &Message) -> Value {
    match &message.whole {
        Some(whole) => Value::Object(whole.clone()),
        None => json!({"role": message.role, "content": message.content}),
    }
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

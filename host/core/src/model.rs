//! Language models as stages see them: generate, score, embed, forward.

use std::sync::Arc;

use serde::de::Error as _;
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::data::Span;
use crate::error::ServiceError;
use crate::tensors::TensorId;

/// One turn of a conversation. As JSON it is what stands in data: an object with `role`, `content`, and whatever else the turn has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user`, `assistant`, or what else the chat template knows.
    pub role: String,
    /// The text; empty if the turn has none because it calls tools.
    pub content: String,
    /// The whole turn as the data has it, if that is more than a role and a text: tool calls, the id of the call that it answers. The chat
    /// template is given this in place of the two.
    pub whole: Option<Map<String, Value>>,
}

impl Message {
    /// A turn that is no more than a role and a text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), whole: None }
    }

    /// A user's message.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new("user", content)
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(whole) = &self.whole {
            return whole.serialize(serializer);
        }
        let mut turn = serializer.serialize_struct("Message", 2)?;
        turn.serialize_field("role", &self.role)?;
        turn.serialize_field("content", &self.content)?;
        turn.end()
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let turn = Map::<String, Value>::deserialize(deserializer)?;
        let text = |name: &'static str| match turn.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            // A turn that calls tools may say nothing.
            None | Some(Value::Null) if name == "content" && turn.contains_key("tool_calls") => Ok(String::new()),
            None => Err(D::Error::missing_field(name)),
            Some(other) => Err(D::Error::custom(format!("`{name}` of a turn is {other}, not a text"))),
        };
        let (role, content) = (text("role")?, text("content")?);
        let is_more = turn.keys().any(|name| name != "role" && name != "content");
        Ok(Self { role, content, whole: is_more.then_some(turn) })
    }
}

/// What a model continues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prompt {
    /// A conversation: the chat template is applied, with the opening of the assistant's turn.
    Chat(Vec<Message>),
    /// As a conversation, with descriptions of the tools that it may call.
    Tools {
        /// The conversation.
        messages: Vec<Message>,
        /// What the chat template is given as `tools`.
        tools: Value,
    },
    /// Text as it is, without the chat template.
    Raw(String),
}

/// How to sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0.0 is greedy.
    pub temperature: f32,
    /// Keeps the most likely tokens that together have this probability; 1.0 keeps all.
    pub top_p: f32,
    /// Keeps this many most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// At most this many new tokens.
    pub max_tokens: u32,
    /// This many samples per prompt, at least 1.
    pub samples: u32,
    /// Ends a completion before any of these texts.
    pub stop: Vec<String>,
    /// The stream of random numbers. Sequence `i` of a call draws from `(seed, i)`, whatever its neighbours.
    pub seed: u64,
}

impl Sampling {
    /// Greedy, one sample of at most `max_tokens`.
    pub fn greedy(max_tokens: u32) -> Self {
        Self { temperature: 0.0, top_p: 1.0, top_k: 0, max_tokens, samples: 1, stop: Vec::new(), seed: 0 }
    }
}

/// Why a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finish {
    /// The model ended it.
    End,
    /// A stop text came.
    Stop,
    /// The length limit cut it.
    Length,
}

/// One sampled completion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// The text, without special tokens and without the stop text.
    pub text: String,
    /// The sampled tokens, the end token included if it came.
    pub tokens: Vec<u32>,
    /// The log-probability of each token at temperature 1.0 and without cuts, in nats.
    pub token_logprobs: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
}

/// How likely a given completion is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The log-probability of each token of the completion, its end token included, in nats.
    pub token_logprobs: Vec<f32>,
    /// Where each of these tokens stands in the completion; none from a model that does not tell.
    #[serde(default)]
    pub spans: Option<Vec<Span>>,
}

impl Score {
    /// The log-probability of the whole completion.
    pub fn sum(&self) -> f64 {
        self.token_logprobs.iter().map(|&logprob| f64::from(logprob)).sum()
    }
}

/// What a forward pass starts from and returns. Tensors live in the engine of the current `objective` call.
#[derive(Debug, Clone, PartialEq)]
pub struct ForwardRequest {
    /// Token ids, integers [B, T], or input embeddings, floats [B, T, hidden].
    pub input: ForwardInput,
    /// 1.0 for real tokens, 0.0 for padding, [B, T].
    pub mask: TensorId,
    /// Whether logits are wanted.
    pub logits: bool,
    /// After which layers hidden states are wanted; 0 is the embedding.
    pub hidden: Vec<usize>,
    /// Of which layers attention weights are wanted, from 1.
    pub attention: Vec<usize>,
    /// Stops after this layer and applies the final norm and head there.
    pub exit_at: Option<usize>,
}

/// What a forward pass starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardInput {
    /// Token ids, integers [B, T].
    Tokens(TensorId),
    /// Input embeddings, floats [B, T, hidden].
    Embeddings(TensorId),
}

/// What a forward pass returned, in the order of the request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ForwardPass {
    /// Logits [B, T, vocabulary]; entry [b, t] speaks of token t + 1.
    pub logits: Option<TensorId>,
    /// Hidden states [B, T, hidden] by layer.
    pub hidden: Vec<(usize, TensorId)>,
    /// Attention weights [B, heads, T, T] by layer.
    pub attention: Vec<(usize, TensorId)>,
}

/// A model of the run. Also the way in for other generators, such as a server.
pub trait LanguageModel: Send + Sync {
    /// Samples `sampling.samples` completions per prompt: those of the first prompt, then those of the second, and so on.
    ///
    /// # Errors
    ///
    /// Fails when a prompt is too long for the model or the chat template refuses it.
    fn generate(&self, prompts: &[Prompt], sampling: &Sampling) -> Result<Vec<Generation>, ServiceError>;

    /// Scores one completion per prompt, in order.
    ///
    /// # Errors
    ///
    /// As [`LanguageModel::generate`], and when the lengths differ.
    fn score(&self, prompts: &[Prompt], completions: &[String]) -> Result<Vec<Score>, ServiceError>;

    /// The log-probability of each candidate's first token after each prompt: prompt-major, `prompts.len() * candidates.len()` numbers.
    ///
    /// # Errors
    ///
    /// As [`LanguageModel::generate`], and when a candidate has no token.
    fn score_next(&self, prompts: &[Prompt], candidates: &[String]) -> Result<Vec<f32>, ServiceError>;

    /// The mean over tokens of the last hidden state, one vector per text.
    ///
    /// # Errors
    ///
    /// Fails when a text has no token or too many.
    fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, ServiceError>;

    /// A forward pass inside an `objective` call, with gradients for the policy.
    ///
    /// # Errors
    ///
    /// Fails outside an `objective` call, for unknown layers, and for shapes that do not fit.
    fn forward(&self, request: &ForwardRequest) -> Result<ForwardPass, ServiceError>;

    /// The size of the hidden states.
    fn hidden_size(&self) -> usize;

    /// The number of layers.
    fn layers(&self) -> usize;

    /// The number of new tokens that the recipe allows in one completion.
    fn max_tokens(&self) -> u32;
}

/// The models of the run, by name: `policy`, `reference`, and what the recipe names.
pub trait Models: Send + Sync {
    /// Opens a model.
    ///
    /// # Errors
    ///
    /// Fails when there is no model of this name; the text lists those there are.
    fn open(&self, name: &str) -> Result<Arc<dyn LanguageModel>, ServiceError>;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_turn_is_written_as_the_data_has_it() {
        let call = json!({"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "add"}}]});
        let answer = json!({"role": "tool", "content": "4", "tool_call_id": "1"});
        let turns = json!([{"role": "user", "content": "2 + 2?"}, call, answer]);
        let messages: Vec<Message> = serde_json::from_value(turns.clone()).expect("turns");
        assert_eq!(messages[0], Message::user("2 + 2?"));
        assert_eq!((messages[1].content.as_str(), messages[2].content.as_str()), ("", "4"));
        assert_eq!(serde_json::to_value(&messages).expect("JSON"), turns);
        for wrong in [json!({"role": "user"}), json!({"content": "a"}), json!({"role": 1, "content": "a"}), json!("a")]
        {
            assert!(serde_json::from_value::<Message>(wrong.clone()).is_err(), "{wrong}");
        }
    }
}

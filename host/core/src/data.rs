//! Rows and batches as plain data.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::ServiceError;
use crate::model::{Message, Prompt};

/// One row of the data.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// The position in the data, from 0. Stays the same over the run.
    pub id: u64,
    /// The conversation before the completion. Never empty; ends with the message to be answered.
    pub messages: Vec<Message>,
    /// The gold completion, if there is one.
    pub completion: Option<String>,
    /// All columns of the row, as in the data.
    pub columns: Map<String, Value>,
    /// Descriptions of the tools that turns may call, as in the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Value>,
    /// The gold completion as a turn, if it is more than a text because it calls tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Message>,
    /// Whether the row is plain text: the completion is all of it, the prompt is empty, and no chat template is applied.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_text: bool,
}

impl Example {
    /// What a model is to continue.
    pub fn conversation(&self) -> Prompt {
        match &self.tools {
            _ if self.is_text => Prompt::Raw(String::new()),
            Some(tools) => Prompt::Tools { messages: self.messages.clone(), tools: tools.clone() },
            None => Prompt::Chat(self.messages.clone()),
        }
    }

    /// The text of the last message.
    pub fn prompt(&self) -> &str {
        self.messages.last().map_or("", |message| &message.content)
    }

    /// A column as text: strings as they are, other values as JSON, none where there is no such column or it is null.
    pub fn column(&self, name: &str) -> Option<String> {
        match self.columns.get(name)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }
}

/// The names of all columns of these rows, in the order in which they first appear.
pub fn column_names<'a>(rows: impl Iterator<Item = &'a Example>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for row in rows {
        for name in row.columns.keys() {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    names
}

/// Some rows of the pool.
#[derive(Debug, Clone, Default)]
pub struct Examples {
    /// The rows.
    pub rows: Vec<Arc<Example>>,
    /// Which round of curating this is, from 0.
    pub round: u32,
}

/// A row that the trainer trains on.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingRow {
    /// The example that the row came from; its prompt and columns.
    pub example: Arc<Example>,
    /// What is trained on.
    pub target: Target,
    /// `gold`, `self`, `paraphrase`, `synthetic`, or the plugin's own word.
    pub provenance: String,
    /// Named numbers that the curating plugin noted.
    pub notes: Vec<(String, f64)>,
}

/// What a row is trained on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// One completion.
    Completion(String),
    /// Two completions, the first better than the second.
    Preference {
        /// The better one.
        chosen: String,
        /// The worse one.
        rejected: String,
    },
    /// Several completions that are trained on together.
    Group(Vec<Member>),
    /// Nothing yet: in online training the policy answers.
    Prompt,
}

impl Target {
    /// The completions and their roles, in the order in which they are trained on.
    pub fn members(&self) -> Vec<Member> {
        match self {
            Self::Completion(completion) => vec![Member::new("", completion.as_str())],
            Self::Preference { chosen, rejected } => {
                vec![Member::new(CHOSEN, chosen.as_str()), Member::new(REJECTED, rejected.as_str())]
            }
            Self::Group(members) => members.clone(),
            Self::Prompt => Vec::new(),
        }
    }
}

/// The role of the better completion of a preference.
pub const CHOSEN: &str = "chosen";
/// The role of a worse completion of a preference.
pub const REJECTED: &str = "rejected";
/// The role of a sampled completion.
pub const ROLLOUT: &str = "rollout";
/// The role of a gold completion among sampled ones.
pub const REFERENCE: &str = "reference";

/// A completion of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// What it is for: `chosen`, `rejected`, or another word; empty for an ordinary row.
    pub role: String,
    /// The completion.
    pub completion: String,
}

impl Member {
    /// A completion in this role.
    pub fn new(role: impl Into<String>, completion: impl Into<String>) -> Self {
        Self { role: role.into(), completion: completion.into() }
    }
}

/// One answer to be judged.
#[derive(Debug, Clone)]
pub struct Case {
    /// The example that is answered.
    pub example: Arc<Example>,
    /// The answer.
    pub answer: String,
    /// A second answer to compare with.
    pub rival: Option<String>,
}

/// Answers to be judged.
#[derive(Debug, Clone, Default)]
pub struct Cases {
    /// The cases.
    pub cases: Vec<Case>,
}

/// What a judge says of one case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Right, or better than its rival.
    Right,
    /// Wrong, or worse than its rival.
    Wrong,
    /// Partly right, 0.0 to 1.0.
    Partly(f32),
    /// The judge cannot tell. Never counted as right.
    Undecided(String),
}

impl Verdict {
    /// How right the answer is, 0.0 to 1.0; undecided counts 0.0.
    pub fn score(&self) -> f32 {
        match self {
            Self::Right => 1.0,
            Self::Partly(score) => *score,
            Self::Wrong | Self::Undecided(_) => 0.0,
        }
    }
}

/// Per-token numbers that the host computes only when they are asked for.
pub trait TokenLogprobs: Send + Sync {
    /// Log-probabilities, flat in the order of the rows, under `policy`, `old` or `reference`.
    ///
    /// # Errors
    ///
    /// Fails when there is no such model in this run.
    fn token_logprobs(&self, under: &str) -> Result<Vec<f32>, ServiceError>;

    /// Other numbers per token, flat: `value` is the value head's estimate.
    ///
    /// # Errors
    ///
    /// Fails when the run has no such numbers.
    fn token_numbers(&self, name: &str) -> Result<Vec<f32>, ServiceError> {
        Err(ServiceError::Unsupported(format!("this run has no numbers `{name}` per token")))
    }
}

/// The characters of a text that a token stands for. Counts Unicode scalar values from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The first one.
    pub start: u32,
    /// The one after the last; `start` if the token stands for no text.
    pub end: u32,
}

/// A row's text and where its tokens stand in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowText {
    /// What was tokenised: the prompt as the chat template writes it, then the completion. A row that was cut ends with its last token.
    pub text: String,
    /// The first character of the completion.
    pub completion_start: u32,
    /// One span per token.
    pub spans: Vec<Span>,
}

/// Texts that the host works out only when they are asked for.
pub trait RowTexts: Send + Sync {
    /// One text per row, in order.
    ///
    /// # Errors
    ///
    /// Fails when the host does not know the text of a row.
    fn row_texts(&self) -> Result<Arc<Vec<RowText>>, ServiceError>;
}

/// One sampled completion.
#[derive(Debug, Clone)]
pub struct Rollout {
    /// The example that is answered.
    pub example: Arc<Example>,
    /// The group: rollouts of one prompt share it; contiguous from 0.
    pub group: u32,
    /// The text, without special tokens.
    pub completion: String,
    /// The sampled tokens.
    pub tokens: Vec<u32>,
    /// Whether it ended by itself.
    pub is_finished: bool,
    /// Whether it was given, not sampled.
    pub is_off_policy: bool,
}

/// Completions sampled in one step.
#[derive(Clone)]
pub struct Rollouts {
    /// The rollouts.
    pub rollouts: Vec<Rollout>,
    /// Their log-probabilities, on demand.
    pub logprobs: Arc<dyn TokenLogprobs>,
    /// Each reward by itself; only in `credit`.
    pub rewards: Vec<NamedReward>,
    /// What the objective gets beside the advantages.
    pub attached: Arc<Attached>,
    /// The optimiser step, from 0.
    pub step: u32,
}

impl Rollouts {
    /// Rollouts without rewards.
    pub fn new(rollouts: Vec<Rollout>, logprobs: Arc<dyn TokenLogprobs>, step: u32) -> Self {
        Self { rollouts, logprobs, rewards: Vec::new(), attached: Arc::default(), step }
    }

    /// The number of sampled tokens over all rollouts.
    pub fn tokens(&self) -> usize {
        self.rollouts.iter().map(|rollout| rollout.tokens.len()).sum()
    }
}

/// What one reward said.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedReward {
    /// The plugin's name in the recipe; with a number where a plugin comes several times.
    pub name: String,
    /// The factor in the sum.
    pub weight: f32,
    /// One score per rollout, none where it does not apply.
    pub scores: Vec<Option<f32>>,
}

/// Numbers per sampled token that `credit` hands to the objective, by name.
#[derive(Debug, Default)]
pub struct Attached(Mutex<BTreeMap<String, Vec<f32>>>);

impl Attached {
    /// Keeps the numbers under this name. One per sampled token; the adapter has checked that.
    pub fn put(&self, name: &str, values: Vec<f32>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), values);
    }

    /// All of them.
    pub fn all(&self) -> BTreeMap<String, Vec<f32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Advantages of one step.
#[derive(Debug, Clone, PartialEq)]
pub enum Advantages {
    /// One per rollout.
    PerRollout(Vec<f32>),
    /// One per sampled token, flat.
    PerToken(Vec<f32>),
}

/// One row of a micro-batch, without padding.
#[derive(Debug, Clone)]
pub struct TokenRow {
    /// The example behind the row.
    pub example: Arc<Example>,
    /// All tokens, prompt and completion.
    pub tokens: Vec<u32>,
    /// Whether each token is trained on; the first never is.
    pub mask: Vec<bool>,
    /// The text of each token.
    pub texts: Vec<String>,
    /// What the row is for, as the contract's `roles`.
    pub role: String,
}

/// A micro-batch as text and numbers.
#[derive(Clone)]
pub struct TokenBatch {
    /// The rows.
    pub rows: Vec<TokenRow>,
    /// Their log-probabilities, on demand.
    pub logprobs: Arc<dyn TokenLogprobs>,
    /// Their texts, on demand.
    pub row_texts: Arc<dyn RowTexts>,
    /// The optimiser step, from 0.
    pub step: u32,
}

impl TokenBatch {
    /// The number of tokens over all rows.
    pub fn tokens(&self) -> usize {
        self.rows.iter().map(|row| row.tokens.len()).sum()
    }
}

/// One answered row of an evaluation set.
#[derive(Debug, Clone)]
pub struct Answered {
    /// The example.
    pub example: Arc<Example>,
    /// The model's answer.
    pub answer: String,
    /// Whether it ended by itself.
    pub is_finished: bool,
}

/// The model's answers to an evaluation set.
#[derive(Debug, Clone, Default)]
pub struct Evaluation {
    /// The set's name in the recipe.
    pub name: String,
    /// The answered rows.
    pub rows: Vec<Answered>,
    /// Numbers per row that the host computed, by the names that the WIT lists.
    pub statistics: Vec<(String, Vec<f64>)>,
}

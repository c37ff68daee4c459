//! `[data]`: which files, what their columns are called, and which tokens are trained on.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[data]`
///
/// A file is Parquet, JSON lines, or JSON lines packed with gzip; a path with `*`, `?` or `[..]` stands for all files that match, in the order
/// of their names.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Data {
    /// What to train on, relative to the recipe: a path, or a list of paths and of `{ path = "..", weight = 2.0 }`.
    pub train: Files,
    /// What to evaluate on: a path or a list of paths, or a table of names and such. These rows are held in memory.
    pub eval: Option<Eval>,
    /// The column with the prompt. Default `prompt`.
    pub prompt: Option<String>,
    /// The column with the gold completion. Default `completion`.
    pub completion: Option<String>,
    /// The column with a chat; its last assistant turn is the completion. Default `messages`.
    pub messages: Option<String>,
    /// The column with the tools that a chat's turns may call: a list, or its JSON text. Default `tools`. Given to the chat template.
    pub tools: Option<String>,
    /// The column with plain text, for rows that have neither prompt nor chat: all of it is trained on, without a chat template. Default `text`.
    pub text: Option<String>,
    /// The column with the better of two completions. Default `chosen`.
    pub chosen: Option<String>,
    /// The column with the worse of two completions. Default `rejected`. A row that has both is a preference: text, or a chat whose last turn is
    /// the completion.
    pub rejected: Option<String>,
    /// The column that says whether a row's completion is good (true or 1) or bad (false or 0), for objectives that take single labelled
    /// completions. No default: rows have no label unless the recipe names it.
    pub label: Option<String>,
    /// A system message put before every prompt.
    pub system: Option<String>,
    /// Which tokens are trained on: `completion` (default), `all`, or a list of roles such as `["assistant"]`.
    pub loss: Option<Loss>,
    /// Train on the first so many rows only, over all files.
    pub limit: Option<usize>,
    /// Evaluate on the first so many rows of each set only.
    pub eval_limit: Option<usize>,
}

/// `train = "a.jsonl"`, `train = ["a/*.parquet", { path = "b.jsonl.gz", weight = 2.0 }]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a path, or a list of paths and of tables such as `{ path = \"..\", weight = 2.0 }`"
)]
pub enum Files {
    /// One file, or all files that match.
    One(PathBuf),
    /// Several.
    Several(Vec<FileUse>),
}

/// One entry of a list of files.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum FileUse {
    /// With a weight of 1.
    Path(PathBuf),
    /// With a weight of its own.
    Weighted(WeightedFile),
}

/// `{ path = "..", weight = 2.0 }`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WeightedFile {
    /// One file, or all files that match.
    pub path: PathBuf,
    /// How often each row is drawn in one pass over the data: 2.0 is twice, 0.5 draws half of the rows, and the others in the next pass.
    /// Default 1.
    pub weight: Option<f64>,
}

/// `eval = "a.jsonl"` or `eval = { target = "a.jsonl", retained = "b.jsonl" }`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "expected a path, a list of paths, or a table of names and such")]
pub enum Eval {
    /// One set, called `eval`.
    One(EvalFiles),
    /// Named sets.
    Named(BTreeMap<String, EvalFiles>),
}

/// The files of an evaluation set.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "expected a path or a list of paths")]
pub enum EvalFiles {
    /// One file, or all files that match.
    One(PathBuf),
    /// Several.
    Several(Vec<PathBuf>),
}

/// Which tokens of a row are trained on. Preferences are always trained on their completions, plain text always as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected \"completion\", \"all\", or a list of roles such as `[\"assistant\"]`")]
pub enum Loss {
    /// `completion` or `all`.
    Word(LossWord),
    /// What turns of these roles say, each with the token that ends it; not what the template writes before it.
    Roles(Vec<String>),
}

impl Loss {
    /// Only what answers the conversation is trained on.
    pub const COMPLETION: Self = Self::Word(LossWord::Completion);
}

impl Default for Loss {
    fn default() -> Self {
        Self::COMPLETION
    }
}

/// `loss = "completion"` or `loss = "all"`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossWord {
    /// What answers the conversation, and the token that ends it.
    Completion,
    /// Every token but the first, which nothing predicts.
    All,
}

//! `[models.NAME]`: models beside the one that is trained, for plugins that ask them by name.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[models.NAME]`: a folder, or a model behind a server. Which of the two is decided by `path` and `server`; exactly one of them is written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NamedModel {
    /// A folder in Hugging Face form, relative to the recipe. The model is frozen and runs on the device of `[model]`.
    pub path: Option<PathBuf>,
    /// The address of an OpenAI-compatible server, such as `http://127.0.0.1:8080/v1`.
    pub server: Option<String>,
    /// The longest completion in tokens. Default: `generate.max-tokens`.
    pub max_tokens: Option<u32>,
    /// The name by which the server knows the model.
    pub model: Option<String>,
    /// The environment variable that holds the server's key. Default: no key is sent.
    pub key: Option<String>,
    /// At most this many requests are sent in one go of the run, retries included. Default: no limit.
    pub requests: Option<u64>,
    /// No request is sent once the server has counted so many tokens, of prompts and answers. Default: no limit.
    pub tokens: Option<u64>,
    /// How often a request is sent again after a failure that may pass. Default 4.
    pub retries: Option<u32>,
    /// Seconds until a request that has no answer counts as failed. Default 120.
    pub timeout: Option<u32>,
    /// Requests that are under way at once. Default 4.
    pub parallel: Option<u32>,
    /// Whether the server is asked for the log-probability of each token. Default false: completions come without.
    pub logprobs: Option<bool>,
    /// A file that keeps every answer, relative to the recipe: what it holds is not asked again. Default: none.
    pub tape: Option<PathBuf>,
    /// What happens to a request that the tape does not hold. Default `record`.
    pub mode: Option<TapeMode>,
}

/// What happens to a request that a tape does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TapeMode {
    /// It is sent, and the answer is added to the tape.
    #[default]
    Record,
    /// It is an error. Nothing is sent, and no server need be there.
    Replay,
}

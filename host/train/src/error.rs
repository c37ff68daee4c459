//! What can go wrong with a model folder, its tokenizer, its template, an adapter or a request to the model.

use std::io;
use std::path::PathBuf;

use crate::new_folder::NewFolderError;

/// Why a model could not be loaded, asked or saved.
///
/// Every text names the file and the field or tensor, and gives a `hint:` where one helps.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file is not JSON, or its values have the wrong types.
    #[error("`{}` is not the JSON expected here", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where parsing stopped.
        source: serde_json::Error,
    },
    /// A field of `config.json` is missing, has a bad value, or asks for something that is not supported.
    #[error("`{}`: field `{field}` {reason}\nhint: {hint}", path.display())]
    Config {
        /// The configuration file.
        path: PathBuf,
        /// The field, with dots for nesting.
        field: String,
        /// What is wrong with it.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// The model's architecture is not one that this build knows.
    #[error("`{}`: unknown `model_type` `{model_type}`\nhint: supported are {supported}", path.display())]
    UnknownArchitecture {
        /// The configuration file.
        path: PathBuf,
        /// What the file says.
        model_type: String,
        /// The known ones, comma-separated.
        supported: String,
    },
    /// The index names a shard that is not in the folder.
    #[error("shard `{shard}` named in `{}` is missing\nhint: download the model again; {present} of {total} shards are there", index.display())]
    MissingShard {
        /// The index file.
        index: PathBuf,
        /// The shard's file name.
        shard: String,
        /// Shards present.
        present: usize,
        /// Shards named.
        total: usize,
    },
    /// The index names a shard that is not a plain file name.
    #[error("`{}` names the shard `{shard}`, which is not a plain file name\nhint: shards must lie beside the index", index.display())]
    UnsafeShardName {
        /// The index file.
        index: PathBuf,
        /// The offending name.
        shard: String,
    },
    /// A weights file cannot be parsed: truncated, corrupt or not safetensors at all.
    #[error("`{}` is not a whole safetensors file: {reason}\nhint: the file may be truncated; compare its size with the source and fetch it again", path.display())]
    BrokenWeights {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// The weights lack tensors that the configuration asks for.
    #[error("`{}` lacks {} tensor(s), the first is `{}`\nhint: do the weights belong to this config.json?", folder.display(), names.len(), names.first().map_or("?", String::as_str))]
    MissingTensors {
        /// The model folder or adapter file.
        folder: PathBuf,
        /// Every missing name, in the model's order.
        names: Vec<String>,
    },
    /// The weights hold tensors that the configuration has no place for.
    #[error("`{}` holds {} unknown tensor(s), the first is `{}`\nhint: do the weights belong to this config.json?", folder.display(), names.len(), names.first().map_or("?", String::as_str))]
    UnknownTensors {
        /// The model folder or adapter file.
        folder: PathBuf,
        /// Every unknown name, sorted.
        names: Vec<String>,
    },
    /// A tensor has another shape than the configuration asks for.
    #[error("`{}`: tensor `{name}` has shape {found:?}, expected {expected:?}\nhint: do the weights belong to this config.json?", path.display())]
    WrongShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A tensor has an element type that is not supported.
    #[error("`{}`: tensor `{name}` has type `{dtype}`\nhint: supported are F32, F16 and BF16", path.display())]
    WrongType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The type in the file.
        dtype: String,
    },
    /// The tokenizer file is unusable.
    #[error("`{}`: {reason}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The tokenizer can produce ids that the model has no embedding for.
    #[error("`{}` reaches token id {id} (`{token}`), but the model's `vocab_size` is {vocab_size}\nhint: the tokenizer and the weights belong to different models", path.display())]
    VocabularyMismatch {
        /// The tokenizer file.
        path: PathBuf,
        /// The largest id of the tokenizer.
        id: u32,
        /// Its text.
        token: String,
        /// The model's vocabulary.
        vocab_size: usize,
    },
    /// The chat template is missing, cannot be parsed, or refused the conversation.
    #[error("chat template of `{}`: {reason}", path.display())]
    Template {
        /// The file that the template was read from.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An adapter does not fit the model, or its settings are not supported.
    #[error("adapter `{}`: {reason}\nhint: {hint}", path.display())]
    Adapter {
        /// The adapter's folder or file; the model's folder where no file is concerned.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// The output folder cannot be used; nothing was written.
    #[error("cannot write into `{}`: {fault}\nhint: name a folder that does not exist yet", path.display())]
    Output {
        /// The output folder.
        path: PathBuf,
        /// Why it cannot be used.
        fault: &'static str,
    },
    /// The caller asked the model for something impossible: no tokens, an id outside the vocabulary, too many positions.
    #[error("{0}")]
    Request(String),
}

impl From<NewFolderError> for ModelError {
    fn from(error: NewFolderError) -> Self {
        match error {
            NewFolderError::Refused { path, fault } => Self::Output { path, fault },
            NewFolderError::Io { path, source, .. } => Self::Write { path, source },
        }
    }
}

impl ModelError {
    /// Shorthand for [`ModelError::Request`].
    pub(crate) fn request(reason: impl Into<String>) -> Self {
        Self::Request(reason.into())
    }
}

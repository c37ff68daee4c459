//! Why a GGUF file could not be read or imported.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::ModelError;
use crate::new_folder::NewFolderError;

/// Why a GGUF file could not be read or imported. Every text names the file and the place in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// The operating system refused to read or write.
    #[error("cannot {action} `{}`", .path.display())]
    Io {
        /// What was tried, as a verb: `read`, `create`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The bytes do not follow the format: cut short, damaged or made to do harm.
    #[error("`{}` is broken at byte {offset}: {fault}\nhint: fetch the file again and compare its sha256 with the publisher's", .path.display())]
    Broken {
        /// The GGUF file.
        path: PathBuf,
        /// Where in the file, in bytes from its start.
        offset: u64,
        /// What is wrong there.
        fault: String,
    },
    /// A metadata key is missing, has the wrong type, or says something this importer does not know.
    #[error("`{}`: metadata key `{key}` {fault}", .path.display())]
    Metadata {
        /// The GGUF file.
        path: PathBuf,
        /// The key, escaped.
        key: String,
        /// What is wrong with it, with a hint where one helps.
        fault: String,
    },
    /// A tensor is missing, unknown, of another shape or of an unknown block format.
    #[error("`{}`: tensor `{tensor}` {fault}", .path.display())]
    Tensor {
        /// The GGUF file.
        path: PathBuf,
        /// The tensor's name in the file, escaped.
        tensor: String,
        /// What is wrong with it, with a hint where one helps.
        fault: String,
    },
    /// The output folder cannot be used; nothing was written.
    #[error("cannot import into `{}`: {fault}\nhint: name a folder that does not exist yet", .path.display())]
    Output {
        /// The output folder.
        path: PathBuf,
        /// Why it cannot be used.
        fault: &'static str,
    },
    /// A file of the new folder could not be written.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl From<NewFolderError> for GgufError {
    fn from(error: NewFolderError) -> Self {
        match error {
            NewFolderError::Refused { path, fault } => Self::Output { path, fault },
            NewFolderError::Io { action, path, source } => Self::Io { action, path, source },
        }
    }
}

impl GgufError {
    /// An error of the operating system while doing `action` to `path`.
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    /// A fault of the format at `offset`.
    pub(super) fn broken(path: &Path, offset: u64, fault: impl Into<String>) -> Self {
        Self::Broken { path: path.to_owned(), offset, fault: fault.into() }
    }

    /// A fault of one metadata key.
    pub(super) fn metadata(path: &Path, key: &str, fault: impl Into<String>) -> Self {
        Self::Metadata { path: path.to_owned(), key: shown(key), fault: fault.into() }
    }

    /// A fault of one tensor.
    pub(super) fn tensor(path: &Path, tensor: &str, fault: impl Into<String>) -> Self {
        Self::Tensor { path: path.to_owned(), tensor: shown(tensor), fault: fault.into() }
    }
}

/// Text of the file as it may reach a terminal: control characters escaped, at most 80 characters.
pub(super) fn shown(text: &str) -> String {
    let mut out: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        out.push_str("...");
    }
    out
}

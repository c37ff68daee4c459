//! Why a plugin declines.

use std::fmt;

/// Why a plugin, or a service of the host, gives no answer. The texts are for people; nobody may match on them.
///
/// Return one of these to decline. A panic is something else: it says that the plugin is broken, and ends the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The recipe's settings for this plugin cannot be used.
    BadSettings(String),
    /// The data, the model or the host lacks what is needed.
    Unsupported(String),
    /// Anything else.
    Other(String),
}

impl Error {
    /// The recipe's settings for this plugin cannot be used: `text` says which and why.
    pub fn bad_settings(text: impl Into<String>) -> Self {
        Self::BadSettings(text.into())
    }

    /// The data, the model or the host lacks what is needed: `text` says what.
    pub fn unsupported(text: impl Into<String>) -> Self {
        Self::Unsupported(text.into())
    }

    /// Anything else.
    pub fn other(text: impl Into<String>) -> Self {
        Self::Other(text.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadSettings(text) => write!(formatter, "bad settings: {text}"),
            Self::Unsupported(text) => write!(formatter, "unsupported: {text}"),
            Self::Other(text) => formatter.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

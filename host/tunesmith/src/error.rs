//! What went wrong, sorted by what has to be mended.

use std::error;
use std::fmt;
use std::path::{Path, PathBuf};

use tunesmith_core::recipe::RecipeError;

/// Why something could not be done.
///
/// The text names file, line and field as far as there are any and ends with a `hint:` line where one helps; deeper causes are in
/// [`source`](error::Error::source) and are not repeated in the text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The recipe cannot be read or asks for something impossible.
    #[error(transparent)]
    Recipe(Box<Fault>),
    /// A data file is missing, is not JSON lines, is empty, or lacks a column.
    #[error(transparent)]
    Data(Box<Fault>),
    /// A model folder, an adapter or a GGUF file is incomplete, broken or of an unknown kind.
    #[error(transparent)]
    Model(Box<Fault>),
    /// A plugin is no component, wants more than it is granted, or does not fit its stage or settings.
    #[error(transparent)]
    Plugin(Box<Fault>),
    /// The output folder is taken, or cannot be made.
    #[error(transparent)]
    Output(Box<Fault>),
    /// Everything was in order, but the work failed: a plugin trapped, the loss was not finite, the disk was full.
    #[error("{what}")]
    Run {
        /// What failed.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn error::Error + Send + Sync>,
    },
}

impl Error {
    /// Where and what to mend, unless the work itself failed.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Recipe(fault)
            | Self::Data(fault)
            | Self::Model(fault)
            | Self::Plugin(fault)
            | Self::Output(fault) => Some(fault),
            Self::Run { .. } => None,
        }
    }

    pub(crate) fn recipe(fault: Fault) -> Self {
        Self::Recipe(Box::new(fault))
    }

    pub(crate) fn data(fault: Fault) -> Self {
        Self::Data(Box::new(fault))
    }

    pub(crate) fn model(fault: Fault) -> Self {
        Self::Model(Box::new(fault))
    }

    pub(crate) fn plugin(fault: Fault) -> Self {
        Self::Plugin(Box::new(fault))
    }

    pub(crate) fn output(fault: Fault) -> Self {
        Self::Output(Box::new(fault))
    }

    pub(crate) fn run(what: impl Into<String>, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self::Run { what: what.into(), source: source.into() }
    }
}

/// Something that has to be mended before any work can be done, and where.
#[derive(Debug)]
pub struct Fault {
    /// The file: a recipe, or what was named on the command line.
    pub file: PathBuf,
    /// The line in it, from 1.
    pub line: Option<usize>,
    /// The key with its tables, such as `train.learning-rate`.
    pub field: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub hint: Option<String>,
    /// The cause, if the fault lies deeper: in a data file, a model folder, a plugin.
    pub cause: Option<Box<dyn error::Error + Send + Sync>>,
}

impl Fault {
    /// A fault in a file as a whole.
    pub(crate) fn of_file(file: &Path, what: impl Into<String>) -> Self {
        Self { file: file.into(), line: None, field: None, what: what.into(), hint: None, cause: None }
    }

    pub(crate) fn of_recipe(file: &Path, error: RecipeError) -> Self {
        let RecipeError { line, field, what, hint } = error;
        let field = Some(field).filter(|field| !field.is_empty());
        Self { file: file.into(), line, field, what, hint, cause: None }
    }

    pub(crate) fn because(mut self, cause: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(formatter, ":{line}")?;
        }
        if let Some(field) = &self.field {
            write!(formatter, ": `{field}`")?;
        }
        write!(formatter, ": {}", self.what)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(formatter, "\nhint: {hint}"))
    }
}

impl error::Error for Fault {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.cause.as_ref().map(|cause| &**cause as &(dyn error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_file_line_field_and_hint() {
        let fault = Fault {
            line: Some(3),
            field: Some("train.steps".into()),
            ..Fault::of_file(Path::new("a.toml"), "must be at least 1").hint("leave it out")
        };
        assert_eq!(fault.to_string(), "a.toml:3: `train.steps`: must be at least 1\nhint: leave it out");
    }
}

//! Training and evaluation data: JSON lines to [`Example`]s, checked row by row before any heavy work.
//!
//! A row is an object. Its prompt stands in the prompt column (text), or in the chat column as a list of `{"role", "content"}` turns;
//! where a row has both, the chat counts. The gold completion is the last assistant turn of the chat, or the completion column.
//! Every column travels on with the row, whatever its type.

mod error;
mod row;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};
use tunesmith_core::data::Example;
use tunesmith_core::digest;
use tunesmith_core::plan::{DataPlan, FilePlan};

pub use error::DataError;
use row::RowReader;

/// The rows of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// The rows, in the order of the file; at least one.
    pub examples: Vec<Arc<Example>>,
    /// The SHA-256 digest of the whole file, as lower-case hexadecimal text.
    pub digest: String,
}

/// Reads a file of JSON lines: the first `file.limit` rows of it, all columns. Empty lines are passed over.
///
/// # Errors
///
/// Fails at the first fault, with file, line and column: unreadable, not UTF-8, not JSON, no object, a column that is missing or of a wrong
/// type, an empty prompt or completion. Fails too when there is no row at all.
pub fn read(file: &FilePlan, plan: &DataPlan) -> Result<Dataset, DataError> {
    let path = &file.path;
    let bytes = fs::read(path).map_err(|source| DataError::Read { path: path.clone(), source })?;
    let reader = RowReader { path, plan };
    let limit = file.limit.unwrap_or(usize::MAX);
    let mut examples = Vec::new();
    for (number, line) in lines(&bytes) {
        if limit <= examples.len() {
            break;
        }
        let text = utf8(path, number, line)?;
        if text.trim().is_empty() {
            continue;
        }
        let columns = object(path, number, text)?;
        examples.push(Arc::new(reader.example(number, examples.len() as u64, columns)?));
    }
    if examples.is_empty() {
        return Err(DataError::Empty { path: path.clone(), is_limited: limit == 0 });
    }
    Ok(Dataset { examples, digest: digest::of(&bytes) })
}

/// The lines with their numbers from 1, without line ends and without a byte order mark.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    bytes.split(|byte| *byte == b'\n').enumerate().map(|(index, line)| (index + 1, line))
}

fn utf8<'a>(path: &Path, line: usize, bytes: &'a [u8]) -> Result<&'a str, DataError> {
    std::str::from_utf8(bytes).map_err(|error| DataError::Invalid {
        path: path.to_owned(),
        line,
        column: Some(error.valid_up_to() + 1),
        what: "is not UTF-8".into(),
        hint: "save the file as UTF-8, for example with `iconv -f latin1 -t utf-8`".into(),
    })
}

fn object(path: &Path, line: usize, text: &str) -> Result<Map<String, Value>, DataError> {
    let invalid = |column, what: String, hint: &str| DataError::Invalid {
        path: path.to_owned(),
        line,
        column,
        what,
        hint: hint.into(),
    };
    match serde_json::from_str(text) {
        Ok(Value::Object(columns)) => Ok(columns),
        Ok(other) => {
            let what = format!("is {}, not an object", row::kind(&other));
            Err(invalid(
                None,
                what,
                "each line is one JSON object, such as `{\"prompt\": \"..\", \"completion\": \"..\"}`",
            ))
        }
        Err(error) => {
            // serde_json counts lines too, but there is only one here.
            let text = error.to_string();
            let reason = text.split(" at line ").next().unwrap_or(&text);
            let what = format!("is not JSON: {reason}");
            Err(invalid(
                Some(error.column().max(1)),
                what,
                "each line is one whole JSON object; a pretty-printed file is not JSON lines",
            ))
        }
    }
}

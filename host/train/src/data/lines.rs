//! JSON lines: one object per line.

use std::io::{self, BufRead, Read};
use std::path::Path;

use serde_json::{Map, Value};

use super::source::Row;
use super::{DataError, Place, row};

/// The longest line that is read: a file without line ends must not fill the memory.
const LONGEST: u64 = 64 << 20;

/// Reads one line at a time. Empty lines are passed over.
pub(super) struct JsonLines<'a, R> {
    path: &'a Path,
    reader: R,
    line: Vec<u8>,
    /// Lines read.
    number: u64,
}

impl<'a, R: BufRead> JsonLines<'a, R> {
    pub(super) fn new(path: &'a Path, reader: R) -> Self {
        Self { path, reader, line: Vec::new(), number: 0 }
    }

    fn step(&mut self) -> Result<Option<Row>, DataError> {
        loop {
            self.line.clear();
            let read = self.reader.by_ref().take(LONGEST + 1).read_until(b'\n', &mut self.line);
            if read.map_err(|error| unreadable(self.path, error))? == 0 {
                return Ok(None);
            }
            self.number += 1;
            let place = Place { path: self.path.to_owned(), number: self.number, is_row: false };
            if LONGEST < self.line.len() as u64 {
                let hint = "each line is one JSON object; a JSON list is no JSON lines".into();
                let what = "the line is longer than 64 MiB".into();
                return Err(DataError::Invalid { place, column: None, what, hint });
            }
            let bytes = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
            let bytes = if self.number == 1 { bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes) } else { bytes };
            let text = utf8(&place, bytes)?;
            if !text.trim().is_empty() {
                let columns = object(&place, text)?;
                return Ok(Some((place, columns)));
            }
        }
    }
}

impl<R: BufRead> Iterator for JsonLines<'_, R> {
    type Item = Result<Row, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// A packed file may end too soon or be damaged; a plain one can only fail to be read.
fn unreadable(path: &Path, error: io::Error) -> DataError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => DataError::Damaged {
            path: path.to_owned(),
            what: format!("is damaged or ends too soon ({error})"),
            hint: "fetch it again; `gzip -t` checks it".into(),
        },
        _ => DataError::Read { path: path.to_owned(), source: error },
    }
}

fn utf8<'a>(place: &Place, bytes: &'a [u8]) -> Result<&'a str, DataError> {
    std::str::from_utf8(bytes).map_err(|error| DataError::Invalid {
        place: place.clone(),
        column: Some(error.valid_up_to() + 1),
        what: "is not UTF-8".into(),
        hint: "save the file as UTF-8, for example with `iconv -f latin1 -t utf-8`".into(),
    })
}

fn object(place: &Place, text: &str) -> Result<Map<String, Value>, DataError> {
    let invalid =
        |column, what: String, hint: &str| DataError::Invalid { place: place.clone(), column, what, hint: hint.into() };
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

//! Metadata of a GGUF file: typed values under unique keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::{GgufError, shown};

/// One metadata value. Integers of every width are kept as one signed and one unsigned kind.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// An unsigned integer of 8 to 64 bits.
    Unsigned(u64),
    /// A signed integer of 8 to 64 bits.
    Signed(i64),
    /// A number of 32 or 64 bits.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// UTF-8 text.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
    /// A list of integers, where all of them fit in 32 signed bits.
    Integers(Vec<i32>),
    /// A list of numbers of 32 bits.
    Floats(Vec<f32>),
    /// A list of another kind, which no importer here needs; only its length is kept.
    Other {
        /// Number of elements.
        len: u64,
    },
}

/// The metadata of one file.
#[derive(Debug, Clone)]
pub struct Metadata {
    path: PathBuf,
    values: BTreeMap<String, Value>,
}

impl Metadata {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), values: BTreeMap::new() }
    }

    /// Adds a value; false where the key was there already.
    pub(super) fn insert(&mut self, key: String, value: Value) -> bool {
        self.values.insert(key, value).is_none()
    }

    /// The value of `key`, if the file has it.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// All keys and values, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The text under `key`, or none where the file does not have it.
    ///
    /// # Errors
    ///
    /// Fails when the value has another type.
    pub fn text(&self, key: &str) -> Result<Option<&str>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.fault(key, "is not a text")),
        }
    }

    /// The truth value under `key`, or none where the file does not have it.
    ///
    /// # Errors
    ///
    /// Fails when the value has another type.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(self.fault(key, "is not true or false")),
        }
    }

    /// The integer under `key` (0..=4294967295), or none where the file does not have it.
    ///
    /// # Errors
    ///
    /// Fails when the value has another type or range.
    pub fn integer(&self, key: &str) -> Result<Option<u32>, GgufError> {
        let integer = match self.get(key) {
            None => return Ok(None),
            Some(Value::Unsigned(value)) => u32::try_from(*value).ok(),
            Some(Value::Signed(value)) => u32::try_from(*value).ok(),
            Some(_) => None,
        };
        match integer {
            Some(value) => Ok(Some(value)),
            None => Err(self.fault(key, "is not an integer from 0 to 4294967295")),
        }
    }

    /// The number under `key`, or none where the file does not have it.
    ///
    /// # Errors
    ///
    /// Fails when the value has another type or is not finite.
    pub fn number(&self, key: &str) -> Result<Option<f64>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Float(value)) if value.is_finite() => Ok(Some(*value)),
            Some(_) => Err(self.fault(key, "is not a finite number")),
        }
    }

    /// The list of texts under `key`.
    ///
    /// # Errors
    ///
    /// Fails when the key is missing or has another type.
    pub fn texts(&self, key: &str) -> Result<&[String], GgufError> {
        match self.get(key) {
            Some(Value::Texts(texts)) => Ok(texts),
            Some(_) => Err(self.fault(key, "is not a list of texts")),
            None => Err(self.fault(key, "is missing")),
        }
    }

    /// The list of integers under `key`, or none where the file does not have it.
    ///
    /// # Errors
    ///
    /// Fails when the value has another type.
    pub fn integers(&self, key: &str) -> Result<Option<&[i32]>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Integers(integers)) => Ok(Some(integers)),
            Some(_) => Err(self.fault(key, "is not a list of 32-bit integers")),
        }
    }

    /// The integer under `key`, which must be there.
    ///
    /// # Errors
    ///
    /// Fails when the key is missing or has another type or range.
    pub fn required_integer(&self, key: &str) -> Result<u32, GgufError> {
        self.integer(key)?.ok_or_else(|| self.fault(key, "is missing"))
    }

    /// An error that names the file and `key`.
    pub(super) fn fault(&self, key: &str, fault: impl Into<String>) -> GgufError {
        GgufError::metadata(&self.path, key, fault)
    }

    /// An error for a text under `key` that this importer does not know.
    pub(super) fn unknown(&self, key: &str, text: &str, known: &str) -> GgufError {
        self.fault(key, format!("is `{}`, which cannot be imported\nhint: known here: {known}", shown(text)))
    }
}

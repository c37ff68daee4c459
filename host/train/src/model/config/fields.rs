//! Typed access to the fields of a configuration, with errors that name file, field and remedy.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::ModelError;

/// One JSON object of a configuration file.
pub(super) struct Fields<'a> {
    path: &'a Path,
    prefix: String,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(path: &'a Path, map: &'a Map<String, Value>) -> Self {
        Self { path, prefix: String::new(), map }
    }

    pub(super) fn path(&self) -> &Path {
        self.path
    }

    /// The value of a field; `None` when it is missing or null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// Whether the field is written, be it as null.
    pub(super) fn is_written(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// The names of the fields that are not null.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.map.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name.as_str())
    }

    pub(super) fn error(&self, field: &str, reason: &str, hint: &str) -> ModelError {
        ModelError::Config {
            path: PathBuf::from(self.path),
            field: format!("{}{field}", self.prefix),
            reason: reason.to_owned(),
            hint: hint.to_owned(),
        }
    }

    pub(super) fn size(&self, name: &str) -> Result<usize, ModelError> {
        self.optional_size(name)?.ok_or_else(|| self.error(name, "is missing", "the model's shape depends on it"))
    }

    pub(super) fn optional_size(&self, name: &str) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_u64().and_then(|number| usize::try_from(number).ok()) {
            Some(number) if (1..=1 << 31).contains(&number) => Ok(Some(number)),
            _ => Err(self.error(name, &format!("is {value}"), "expected a whole number between 1 and 2^31")),
        }
    }

    /// A finite number above zero.
    pub(super) fn positive(&self, name: &str, default: Option<f64>) -> Result<f64, ModelError> {
        match (self.get(name), default) {
            (Some(value), _) => match value.as_f64() {
                Some(number) if number.is_finite() && 0.0 < number => Ok(number),
                _ => Err(self.error(name, &format!("is {value}"), "expected a number above 0")),
            },
            (None, Some(number)) => Ok(number),
            (None, None) => Err(self.error(name, "is missing", "expected a number above 0")),
        }
    }

    /// As [`Fields::positive`]; `None` when it is null, the default when it is missing.
    pub(super) fn nullable_positive(&self, name: &str, default: Option<f64>) -> Result<Option<f64>, ModelError> {
        match (self.get(name), self.is_written(name)) {
            (Some(_), _) => self.positive(name, None).map(Some),
            (None, true) => Ok(None),
            (None, false) => Ok(default),
        }
    }

    /// As [`Fields::optional_size`]; `None` when it is null, the default when it is missing.
    pub(super) fn nullable_size(&self, name: &str, default: Option<usize>) -> Result<Option<usize>, ModelError> {
        if self.is_written(name) { self.optional_size(name) } else { Ok(default) }
    }

    /// A list of finite numbers above zero.
    pub(super) fn positives(&self, name: &str) -> Result<Vec<f64>, ModelError> {
        let hint = "expected a list of numbers above 0";
        let Some(value) = self.get(name) else { return Err(self.error(name, "is missing", hint)) };
        value
            .as_array()
            .and_then(|values| values.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>())
            .filter(|values| values.iter().all(|number| number.is_finite() && 0.0 < *number))
            .ok_or_else(|| self.error(name, "is something else", hint))
    }

    pub(super) fn switch(&self, name: &str, default: bool) -> Result<bool, ModelError> {
        match self.get(name) {
            None => Ok(default),
            Some(Value::Bool(on)) => Ok(*on),
            Some(other) => Err(self.error(name, &format!("is {other}"), "expected true or false")),
        }
    }

    /// Token ids: none, one number, or a list of numbers. Some published models write -1 for none.
    pub(super) fn token_ids(&self, name: &str) -> Result<Vec<u32>, ModelError> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        if value.as_i64() == Some(-1) {
            return Ok(Vec::new());
        }
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        values
            .iter()
            .map(|value| value.as_u64().and_then(|id| u32::try_from(id).ok()))
            .collect::<Option<_>>()
            .ok_or_else(|| self.error(name, &format!("is {value}"), "expected a token id or a list of token ids"))
    }

    /// A nested object; `None` when it is missing or null.
    pub(super) fn object(&self, name: &str) -> Result<Option<Fields<'a>>, ModelError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(map)) => {
                Ok(Some(Fields { path: self.path, prefix: format!("{}{name}.", self.prefix), map }))
            }
            Some(other) => Err(self.error(name, &format!("is {other}"), "expected an object")),
        }
    }
}

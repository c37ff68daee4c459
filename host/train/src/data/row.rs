//! One row: from its columns to an [`Example`].

use std::path::Path;

use serde_json::{Map, Value};
use tunesmith_core::data::Example;
use tunesmith_core::model::Message;
use tunesmith_core::plan::DataPlan;

use super::error::DataError;

/// The words of chat columns that other tools write, for the hint.
const TURN: &str = "a chat is a list of objects such as `{\"role\": \"user\", \"content\": \"..\"}`";

/// Reads rows of one file.
pub(super) struct RowReader<'a> {
    pub(super) path: &'a Path,
    pub(super) plan: &'a DataPlan,
}

/// What kind of JSON value this is, with its article.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

impl RowReader<'_> {
    /// The example of a line.
    pub(super) fn example(&self, line: usize, id: u64, columns: Map<String, Value>) -> Result<Example, DataError> {
        let (mut messages, completion) = match present(&columns, &self.plan.messages) {
            Some(chat) => self.chat(line, &columns, chat)?,
            None => self.pair(line, &columns)?,
        };
        if messages.last().is_none_or(|message| message.content.trim().is_empty()) {
            return Err(self.invalid(line, "the prompt is empty", "remove the row, or give it a prompt"));
        }
        if completion.as_ref().is_some_and(String::is_empty) {
            return Err(self.invalid(
                line,
                "the completion is empty",
                "remove the row, or write null where there is no completion",
            ));
        }
        if let Some(system) = &self.plan.system {
            if messages[0].role == "system" {
                let hint = "remove `data.system` from the recipe, or the system turns from the data";
                return Err(self.invalid(line, "the chat has a system turn, and the recipe sets another", hint));
            }
            messages.insert(0, Message { role: "system".into(), content: system.clone() });
        }
        Ok(Example { id, messages, completion, columns })
    }

    /// A row with a prompt column and perhaps a completion column.
    fn pair(&self, line: usize, columns: &Map<String, Value>) -> Result<(Vec<Message>, Option<String>), DataError> {
        let name = &self.plan.prompt;
        let Some(prompt) = present(columns, name) else {
            let known: Vec<String> = columns.keys().map(|name| format!("`{name}`")).collect();
            let there = if known.is_empty() {
                "the row has no columns".into()
            } else {
                format!("there are {}", known.join(", "))
            };
            let what = format!("misses the column `{name}` (or a chat in `{}`); {there}", self.plan.messages);
            return Err(self.invalid(line, what, "name the column in the recipe: `[data]` `prompt = \"..\"`"));
        };
        let prompt = self.text(line, name, prompt)?;
        Ok((vec![Message::user(prompt)], self.completion(line, columns)?))
    }

    /// The completion column. A missing column is a fault only if the recipe speaks of it by another name than the usual one.
    fn completion(&self, line: usize, columns: &Map<String, Value>) -> Result<Option<String>, DataError> {
        let name = &self.plan.completion;
        match columns.get(name) {
            Some(Value::Null) => Ok(None),
            Some(value) => self.text(line, name, value).map(Some),
            None if name == "completion" => Ok(None),
            None => {
                let known: Vec<String> = columns.keys().map(|name| format!("`{name}`")).collect();
                let what = format!("misses the column `{name}`; there are {}", known.join(", "));
                Err(self.invalid(line, what, "name the column in the recipe: `[data]` `completion = \"..\"`"))
            }
        }
    }

    /// A row with a chat: the turns before the last assistant turn, and that turn.
    fn chat(
        &self,
        line: usize,
        columns: &Map<String, Value>,
        chat: &Value,
    ) -> Result<(Vec<Message>, Option<String>), DataError> {
        let name = &self.plan.messages;
        let Value::Array(turns) = chat else {
            return Err(self.invalid(line, format!("the column `{name}` is {}, not a list", kind(chat)), TURN));
        };
        let mut messages: Vec<Message> = Vec::with_capacity(turns.len());
        for (index, turn) in turns.iter().enumerate() {
            messages.push(self.turn(line, index, turn)?);
        }
        if messages.last().is_some_and(|last| last.role == "assistant") {
            let completion = messages.pop().map(|last| last.content);
            return Ok((messages, completion));
        }
        Ok((
            messages,
            self.completion(line, columns).or_else(|error| match columns.get(&self.plan.completion) {
                // A chat that ends with a question needs no gold completion.
                None => Ok(None),
                Some(_) => Err(error),
            })?,
        ))
    }

    fn turn(&self, line: usize, index: usize, turn: &Value) -> Result<Message, DataError> {
        let name = &self.plan.messages;
        let field = |field: &str| match turn.get(field) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(self.invalid(
                line,
                format!("`{field}` of turn {index} of `{name}` is {}, not text", kind(other)),
                TURN,
            )),
            None => Err(self.invalid(line, format!("turn {index} of `{name}` has no `{field}`"), TURN)),
        };
        if !turn.is_object() {
            return Err(self.invalid(line, format!("turn {index} of `{name}` is {}, not an object", kind(turn)), TURN));
        }
        Ok(Message { role: field("role")?, content: field("content")? })
    }

    fn text(&self, line: usize, name: &str, value: &Value) -> Result<String, DataError> {
        match value {
            Value::String(text) => Ok(text.clone()),
            other => {
                let what = format!("the column `{name}` is {}, not text", kind(other));
                Err(self.invalid(line, what, "write it in quotes, or name another column in the recipe's `[data]`"))
            }
        }
    }

    fn invalid(&self, line: usize, what: impl Into<String>, hint: &str) -> DataError {
        DataError::Invalid { path: self.path.to_owned(), line, column: None, what: what.into(), hint: hint.into() }
    }
}

/// A column that is there and not null.
fn present<'a>(columns: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    columns.get(name).filter(|value| !value.is_null())
}

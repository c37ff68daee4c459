//! One row: from its columns to an [`Example`].

use serde_json::{Map, Value};
use tunesmith_core::data::Example;
use tunesmith_core::model::Message;
use tunesmith_core::plan::DataPlan;

use super::{DataError, Place};

/// The words of chat columns that other tools write, for the hint.
const TURN: &str = "a chat is a list of objects such as `{\"role\": \"user\", \"content\": \"..\"}`";
const CALLS: &str = "tool calls are a list of objects such as `{\"type\": \"function\", \"function\": {\"name\": \"..\", \"arguments\": {}}}`";

/// Reads one row.
pub(super) struct RowReader<'a> {
    pub(super) place: &'a Place,
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

/// A conversation and what answers it.
#[derive(Default)]
struct Said {
    messages: Vec<Message>,
    completion: Option<String>,
    /// The completion as a turn, if it is more than a text.
    reply: Option<Message>,
}

impl RowReader<'_> {
    /// The example of a row.
    pub(super) fn example(&self, id: u64, columns: Map<String, Value>) -> Result<Example, DataError> {
        if let Some(text) = self.plain_text(&columns) {
            return self.text_example(id, text?, columns);
        }
        let Said { mut messages, completion, reply } = match present(&columns, &self.plan.messages) {
            Some(chat) => self.chat(&columns, chat)?,
            None => self.pair(&columns)?,
        };
        if messages.last().is_none_or(|message| message.content.trim().is_empty() && message.whole.is_none()) {
            return Err(self.invalid("the prompt is empty", "remove the row, or give it a prompt"));
        }
        if completion.as_ref().is_some_and(String::is_empty) {
            return Err(
                self.invalid("the completion is empty", "remove the row, or write null where there is no completion")
            );
        }
        if let Some(system) = &self.plan.system {
            if messages[0].role == "system" {
                let hint = "remove `data.system` from the recipe, or the system turns from the data";
                return Err(self.invalid("the chat has a system turn, and the recipe sets another", hint));
            }
            messages.insert(0, Message::new("system", system));
        }
        let tools = self.tools(&columns)?;
        Ok(Example { id, messages, completion, columns, tools, reply, is_text: false })
    }

    /// The plain text of a row that has neither chat nor prompt. If the recipe names a prompt column, rows have to have it.
    fn plain_text(&self, columns: &Map<String, Value>) -> Option<Result<String, DataError>> {
        let has_other =
            [&self.plan.messages, &self.plan.prompt].into_iter().any(|name| present(columns, name).is_some());
        let name = &self.plan.text;
        let is_usual = name == "text";
        if has_other || (is_usual && self.plan.prompt != "prompt") {
            return None;
        }
        present(columns, name).map(|text| self.text(name, text))
    }

    fn text_example(&self, id: u64, text: String, columns: Map<String, Value>) -> Result<Example, DataError> {
        if text.is_empty() {
            return Err(self.invalid("the text is empty", "remove the row"));
        }
        Ok(Example {
            id,
            messages: vec![Message::user("")],
            completion: Some(text),
            columns,
            is_text: true,
            ..Example::default()
        })
    }

    /// A row with a prompt column and perhaps a completion column.
    fn pair(&self, columns: &Map<String, Value>) -> Result<Said, DataError> {
        let name = &self.plan.prompt;
        let Some(prompt) = present(columns, name) else {
            let what =
                format!("misses the column `{name}` (or a chat in `{}`); {}", self.plan.messages, there(columns));
            let hint = "name the column in the recipe: `[data]` `prompt = \"..\"`, or for plain text `text = \"..\"`";
            return Err(self.invalid(what, hint));
        };
        let prompt = self.text(name, prompt)?;
        Ok(Said { messages: vec![Message::user(prompt)], completion: self.completion(columns)?, reply: None })
    }

    /// The completion column. A missing column is a fault only if the recipe speaks of it by another name than the usual one.
    fn completion(&self, columns: &Map<String, Value>) -> Result<Option<String>, DataError> {
        let name = &self.plan.completion;
        match columns.get(name) {
            Some(Value::Null) => Ok(None),
            Some(value) => self.text(name, value).map(Some),
            None if name == "completion" => Ok(None),
            None => {
                let what = format!("misses the column `{name}`; {}", there(columns));
                Err(self.invalid(what, "name the column in the recipe: `[data]` `completion = \"..\"`"))
            }
        }
    }

    /// A row with a chat: the turns before the last assistant turn, and that turn.
    fn chat(&self, columns: &Map<String, Value>, chat: &Value) -> Result<Said, DataError> {
        let name = &self.plan.messages;
        let Value::Array(turns) = chat else {
            return Err(self.invalid(format!("the column `{name}` is {}, not a list", kind(chat)), TURN));
        };
        let mut messages: Vec<Message> = Vec::with_capacity(turns.len());
        for (index, turn) in turns.iter().enumerate() {
            messages.push(self.turn(index, turn)?);
        }
        if messages.last().is_some_and(|last| last.role == "assistant")
            && let Some(last) = messages.pop()
        {
            let completion = Some(spoken(&last));
            return Ok(Said { messages, completion, reply: Some(last).filter(|last| last.whole.is_some()) });
        }
        let completion = self.completion(columns).or_else(|error| match columns.get(&self.plan.completion) {
            // A chat that ends with a question needs no gold completion.
            None => Ok(None),
            Some(_) => Err(error),
        })?;
        Ok(Said { messages, completion, reply: None })
    }

    /// A turn. Only one that calls tools may be without a text.
    fn turn(&self, index: usize, turn: &Value) -> Result<Message, DataError> {
        let name = &self.plan.messages;
        let Value::Object(fields) = turn else {
            return Err(self.invalid(format!("turn {index} of `{name}` is {}, not an object", kind(turn)), TURN));
        };
        let field = |field: &str| match fields.get(field) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => {
                Err(self.invalid(format!("`{field}` of turn {index} of `{name}` is {}, not text", kind(other)), TURN))
            }
            None => Err(self.invalid(format!("turn {index} of `{name}` has no `{field}`"), TURN)),
        };
        let calls = present(fields, "tool_calls");
        let is_call = |call: &Value| call.get("function").unwrap_or(call).get("name").is_some_and(Value::is_string);
        if let Some(calls) = calls
            && !calls.as_array().is_some_and(|calls| calls.iter().all(is_call))
        {
            return Err(
                self.invalid(format!("`tool_calls` of turn {index} of `{name}` is no list of calls with names"), CALLS)
            );
        }
        let role = field("role")?;
        let content = match (present(fields, "content"), calls) {
            (None, Some(_)) => String::new(),
            _ => field("content")?,
        };
        // Fields that are null say nothing: tables have every field in every row.
        let is_said = |name: &String, value: &Value| !value.is_null() || name == "content";
        let mut whole: Map<String, Value> = fields
            .iter()
            .filter(|(name, value)| is_said(name, value))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if calls.is_some() {
            whole.entry("content").or_insert(Value::Null);
        }
        let is_more = whole.keys().any(|name| name != "role" && name != "content");
        Ok(Message { role, content, whole: is_more.then_some(whole) })
    }

    /// The tools' column: a list, or JSON text of one.
    fn tools(&self, columns: &Map<String, Value>) -> Result<Option<Value>, DataError> {
        let name = &self.plan.tools;
        let Some(value) = present(columns, name) else { return Ok(None) };
        if name == "tools" && present(columns, &self.plan.messages).is_none() {
            // Of this name, but not of a chat: a column like any other.
            return Ok(None);
        }
        let parsed = match value {
            Value::String(text) if text.trim().is_empty() => return Ok(None),
            Value::String(text) => serde_json::from_str(text).ok(),
            other => Some(other.clone()),
        };
        match parsed {
            Some(Value::Array(tools)) if tools.is_empty() => Ok(None),
            Some(Value::Array(tools)) if tools.iter().all(Value::is_object) => Ok(Some(Value::Array(tools))),
            _ => Err(self.invalid(
                format!("the column `{name}` is no list of tools"),
                "tools are a list of objects, or the JSON text of one; name another column in the recipe: `[data]` `tools = \"..\"`",
            )),
        }
    }

    fn text(&self, name: &str, value: &Value) -> Result<String, DataError> {
        match value {
            Value::String(text) => Ok(text.clone()),
            other => {
                let what = format!("the column `{name}` is {}, not text", kind(other));
                Err(self.invalid(what, "write it in quotes, or name another column in the recipe's `[data]`"))
            }
        }
    }

    fn invalid(&self, what: impl Into<String>, hint: &str) -> DataError {
        DataError::Invalid { place: self.place.clone(), column: None, what: what.into(), hint: hint.into() }
    }
}

/// What a turn says as text: its content, or its tool calls as JSON.
fn spoken(turn: &Message) -> String {
    let calls = turn.whole.as_ref().and_then(|whole| whole.get("tool_calls"));
    match calls {
        Some(calls) if turn.content.is_empty() => calls.to_string(),
        _ => turn.content.clone(),
    }
}

/// The columns that there are, for messages.
fn there(columns: &Map<String, Value>) -> String {
    let known: Vec<String> = columns.keys().map(|name| format!("`{name}`")).collect();
    if known.is_empty() { "the row has no columns".into() } else { format!("there are {}", known.join(", ")) }
}

/// A column that is there and not null.
fn present<'a>(columns: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    columns.get(name).filter(|value| !value.is_null())
}

//! One row: from its columns to an [`Example`].

use serde_json::{Map, Value};
use tunesmith_core::data::{CHOSEN, Example, Member, REJECTED, Target};
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
        self.expect_preference(&columns)?;
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
        let preferred = self.preferred(columns)?;
        let Some(prompt) = present(columns, name) else {
            if let Some(said) = preferred.filter(|said| !said.messages.is_empty()) {
                return Ok(said);
            }
            let what =
                format!("misses the column `{name}` (or a chat in `{}`); {}", self.plan.messages, there(columns));
            let hint = "name the column in the recipe: `[data]` `prompt = \"..\"`, or for plain text `text = \"..\"`";
            return Err(self.invalid(what, hint));
        };
        let prompt = self.text(name, prompt)?;
        let completion = self.completion(columns)?.or(preferred.and_then(|said| said.completion));
        Ok(Said { messages: vec![Message::user(prompt)], completion, reply: None })
    }

    /// The better of two completions, if the row has two; of a chat, with the turns before it.
    fn preferred(&self, columns: &Map<String, Value>) -> Result<Option<Said>, DataError> {
        let (name, other) = (&self.plan.chosen, &self.plan.rejected);
        match (present(columns, name), present(columns, other)) {
            (Some(Value::String(text)), Some(_)) => {
                Ok(Some(Said { completion: Some(text.clone()), ..Said::default() }))
            }
            (Some(chat), Some(_)) => self.turns(name, chat).map(Some),
            _ => Ok(None),
        }
    }

    /// That the worse of two completions is one, and that a label is one.
    fn expect_preference(&self, columns: &Map<String, Value>) -> Result<(), DataError> {
        let name = &self.plan.rejected;
        if present(columns, &self.plan.chosen).is_some()
            && let Some(rejected) = present(columns, name)
            && completion_of(rejected).is_none_or(|text| text.is_empty())
        {
            let what = format!("the column `{name}` is {}, not a completion", kind(rejected));
            return Err(
                self.invalid(what, "a worse completion is text, or a chat that ends with a turn of the assistant")
            );
        }
        let Some(name) = &self.plan.label else { return Ok(()) };
        match columns.get(name).map(label_of) {
            Some(Some(_)) => Ok(()),
            Some(None) => {
                let what = format!("the column `{name}` is {}, not a label", kind(&columns[name]));
                Err(self.invalid(what, "a label is true or false, or 1 or 0"))
            }
            None => {
                let what = format!("misses the column `{name}`; {}", there(columns));
                Err(self.invalid(what, "name the column in the recipe: `[data]` `label = \"..\"`"))
            }
        }
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
        let said = self.turns(&self.plan.messages, chat)?;
        if said.completion.is_some() {
            return Ok(said);
        }
        let messages = said.messages;
        let completion = self.completion(columns).or_else(|error| match columns.get(&self.plan.completion) {
            // A chat that ends with a question needs no gold completion.
            None => Ok(None),
            Some(_) => Err(error),
        })?;
        let completion = match completion {
            Some(completion) => Some(completion),
            None => self.preferred(columns)?.and_then(|said| said.completion),
        };
        Ok(Said { messages, completion, reply: None })
    }

    /// The turns of a chat, and the last of them if the assistant says it.
    fn turns(&self, name: &str, chat: &Value) -> Result<Said, DataError> {
        let Value::Array(turns) = chat else {
            return Err(self.invalid(format!("the column `{name}` is {}, not a list", kind(chat)), TURN));
        };
        let mut messages: Vec<Message> = Vec::with_capacity(turns.len());
        for (index, turn) in turns.iter().enumerate() {
            messages.push(self.turn(name, index, turn)?);
        }
        if messages.last().is_some_and(|last| last.role == "assistant")
            && let Some(last) = messages.pop()
        {
            let completion = Some(spoken(&last));
            return Ok(Said { messages, completion, reply: Some(last).filter(|last| last.whole.is_some()) });
        }
        Ok(Said { messages, ..Said::default() })
    }

    /// A turn. Only one that calls tools may be without a text.
    fn turn(&self, name: &str, index: usize, turn: &Value) -> Result<Message, DataError> {
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

/// What a row of the data is trained on as it is; none if it has no completion.
pub(crate) fn target(plan: &DataPlan, example: &Example) -> Option<Target> {
    let completion = example.completion.clone()?;
    let columns = &example.columns;
    // Whoever names the better completion's column as that of the completion trains on it alone.
    let is_preference = present(columns, &plan.chosen).is_some() && plan.completion != plan.chosen;
    if is_preference && let Some(rejected) = present(columns, &plan.rejected).and_then(completion_of) {
        return Some(Target::Preference { chosen: completion, rejected });
    }
    match plan.label.as_ref().and_then(|name| columns.get(name)).and_then(label_of) {
        Some(true) => Some(Target::Group(vec![Member::new(CHOSEN, completion)])),
        Some(false) => Some(Target::Group(vec![Member::new(REJECTED, completion)])),
        None => Some(Target::Completion(completion)),
    }
}

/// A completion: text, or what the assistant says in the last turn of a chat.
fn completion_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(turns) => {
            let last = turns.last().filter(|last| last.get("role").is_some_and(|role| role == "assistant"))?;
            last.get("content")?.as_str().map(Into::into)
        }
        _ => None,
    }
}

fn label_of(value: &Value) -> Option<bool> {
    // Tables of numbers have 1.0 and 0.0 for labels.
    let number = || match value.as_f64()? {
        1.0 => Some(true),
        0.0 => Some(false),
        _ => None,
    };
    value.as_bool().or_else(number)
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

//! Chat templates: the model's own Jinja program turns a conversation into the text that the model was trained on.
//!
//! The conventions are those of transformers. A template comes with a model and may be hostile: it cannot reach anything, its
//! steps and its memory are limited by fuel, its recursion by depth.

use std::fs;
use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value as JinjaValue};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, context};
use serde_json::{Map, Value};

use crate::error::ModelError;
use crate::tokenizer::{SpecialTokens, optional_object};

mod python_json;

/// Steps (and units of 64 bytes) that one conversation may take. A chat of a hundred messages takes about ten thousand.
const FUEL: u64 = 2_000_000;
const RECURSION: usize = 100;

/// The chat template of a model folder.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: String,
    path: PathBuf,
    special: SpecialTokens,
}

/// What a conversation is rendered for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RenderOptions {
    /// End with the opening of the assistant's turn.
    pub add_generation_prompt: bool,
    /// Tool descriptions, if the template knows tools.
    pub tools: Option<Value>,
    /// Further variables of the template, for example `enable_thinking`.
    pub variables: Map<String, Value>,
}

impl ChatTemplate {
    /// Reads `chat_template.jinja`, or `chat_template` in `tokenizer_config.json`; `None` when the folder has neither.
    ///
    /// # Errors
    ///
    /// Fails when a file cannot be read or the template is not valid Jinja.
    pub fn load(folder: &Path, special: &SpecialTokens) -> Result<Option<Self>, ModelError> {
        let path = folder.join("chat_template.jinja");
        if path.exists() {
            let source = fs::read_to_string(&path).map_err(|source| ModelError::Read { path: path.clone(), source })?;
            return Self::parse(&source, path, special.clone()).map(Some);
        }
        let path = folder.join("tokenizer_config.json");
        let source = match optional_object(&path)?.get("chat_template") {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(source)) => source.clone(),
            Some(Value::Array(named)) => default_template(named, &path)?,
            Some(_) => {
                let reason = "`chat_template` is neither a text nor a list of named templates".to_owned();
                return Err(ModelError::Template { path, reason });
            }
        };
        Self::parse(&source, path, special.clone()).map(Some)
    }

    /// Takes a template's text; `path` is for messages.
    ///
    /// # Errors
    ///
    /// Fails when the template is not valid Jinja.
    pub fn parse(source: &str, path: PathBuf, special: SpecialTokens) -> Result<Self, ModelError> {
        let template = Self { source: without_generation_marks(source), path, special };
        match environment().template_from_str(&template.source) {
            Ok(_) => Ok(template),
            Err(error) => Err(template.failed(&error)),
        }
    }

    /// The text of a conversation: `messages` is a list of objects with `role` and `content`.
    ///
    /// # Errors
    ///
    /// Fails when the template refuses the conversation, uses something that does not exist here, or does not come to an end.
    pub fn render(&self, messages: &[Value], options: &RenderOptions) -> Result<String, ModelError> {
        let mut variables = options.variables.clone();
        for (role, text) in &self.special.texts {
            variables.entry(role.clone()).or_insert_with(|| Value::from(text.as_str()));
        }
        let context = context! {
            messages => JinjaValue::from(Serde(messages)),
            add_generation_prompt => options.add_generation_prompt,
            tools => options.tools.as_ref().map_or(JinjaValue::from(()), |tools| JinjaValue::from(Serde(tools))),
            documents => JinjaValue::from(()),
            ..JinjaValue::from(Serde(&variables))
        };
        environment()
            .template_from_str(&self.source)
            .and_then(|template| template.render(context))
            .map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &Error) -> ModelError {
        let line = error.line().map(|line| format!(" (line {line})")).unwrap_or_default();
        let mut reason = match error.detail() {
            Some(detail) if error.kind() == ErrorKind::InvalidOperation => format!("{detail}{line}"),
            Some(detail) => format!("{}: {detail}{line}", error.kind()),
            None => format!("{}{line}", error.kind()),
        };
        if reason.contains("strftime_now") {
            reason.push_str("\nhint: the template asks for today's date, which would make runs differ; put a date into the conversation or the template");
        }
        if error.kind() == ErrorKind::OutOfFuel {
            reason.push_str("\nhint: the template does not come to an end on this conversation");
        }
        ModelError::Template { path: self.path.clone(), reason }
    }
}

/// Jinja as transformers sets it up. There is no loader, so nothing can be included.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the default delimiters are valid"));
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_filter("tojson", to_json);
    environment
}

#[expect(clippy::needless_pass_by_value, reason = "minijinja hands arguments over by value")]
fn to_json(value: &JinjaValue, arguments: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = arguments.get("indent")?;
    let sort_keys: Option<bool> = arguments.get("sort_keys")?;
    let ensure_ascii: Option<bool> = arguments.get("ensure_ascii")?;
    let separators: Option<Vec<String>> = arguments.get("separators")?;
    arguments.assert_all_used()?;
    let value = serde_json::to_value(value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, "cannot be written as JSON").with_source(error))?;
    let style = python_json::Style {
        // A hostile indent must not fill the memory.
        indent: indent.map(|indent| indent.min(16)),
        sort_keys: sort_keys.unwrap_or(false),
        ensure_ascii: ensure_ascii.unwrap_or(false),
        separators: separators.and_then(|separators| <[String; 2]>::try_from(separators).ok()),
    };
    Ok(python_json::dump(&value, &style))
}

/// `{% generation %}` only marks the assistant's tokens for transformers' masks; it prints what it encloses.
fn without_generation_marks(source: &str) -> String {
    let mut rest = source;
    let mut plain = String::with_capacity(source.len());
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else { break };
        let end = start + length + 2;
        let name = rest[start + 2..end - 2].trim_matches(['-', '+', ' ', '\t', '\n', '\r']);
        plain.push_str(&rest[..start]);
        match name {
            // A comment keeps the whitespace control of the tag.
            "generation" | "endgeneration" => {
                plain.push_str(&rest[start..end].replace("{%", "{#").replace("%}", "#}"));
            }
            _ => plain.push_str(&rest[start..end]),
        }
        rest = &rest[end..];
    }
    plain.push_str(rest);
    plain
}

fn default_template(named: &[Value], path: &Path) -> Result<String, ModelError> {
    named
        .iter()
        .find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))
        .and_then(|entry| entry.get("template")?.as_str())
        .map(str::to_owned)
        .ok_or_else(|| ModelError::Template {
            path: path.to_owned(),
            reason: "`chat_template` is a list without an entry named `default`".to_owned(),
        })
}

#[cfg(test)]
mod tests;

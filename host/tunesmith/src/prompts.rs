//! Prompts from a file of JSON lines.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use tunesmith_core::model::{Message, Prompt};

use crate::error::{Error, Fault};

/// One line of a prompts file. Other columns are passed over.
#[derive(Deserialize)]
struct Line {
    prompt: Option<String>,
    messages: Option<Vec<Message>>,
}

/// How the lines of a prompts file become prompts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PromptOptions {
    /// Whether texts are continued as they are, without the model's chat template.
    pub is_raw: bool,
    /// A system message before every conversation that has none.
    pub system: Option<String>,
}

impl PromptOptions {
    /// The prompt for one text.
    pub fn prompt(&self, text: &str) -> Prompt {
        if self.is_raw { Prompt::Raw(text.into()) } else { self.chat(vec![Message::user(text)]) }
    }

    fn chat(&self, mut messages: Vec<Message>) -> Prompt {
        let has_system = messages.first().is_some_and(|message| message.role == "system");
        if let Some(system) = self.system.as_ref().filter(|_| !has_system) {
            messages.insert(0, Message::new("system", system));
        }
        Prompt::Chat(messages)
    }
}

/// Reads prompts from JSON lines, each with a `prompt` (text) or `messages` (a list of role and content). Empty lines are passed over.
///
/// # Errors
///
/// Fails with [`Error::Data`] when the file cannot be read, is not UTF-8, has no prompt, or a line has neither column.
pub fn read_prompts(file: &Path, options: &PromptOptions) -> Result<Vec<Prompt>, Error> {
    let bytes =
        fs::read(file).map_err(|error| Error::data(Fault::of_file(file, "cannot read the prompts").because(error)))?;
    let at = |index: usize, field: Option<&str>, what: String| {
        let place = Fault { line: Some(index + 1), field: field.map(Into::into), ..Fault::of_file(file, what) };
        place.hint("each line is a JSON object such as {\"prompt\": \"How far is the moon?\"}")
    };
    let mut prompts = Vec::new();
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let text = str::from_utf8(line).map_err(|_| Error::data(at(index, None, "the line is not UTF-8".into())))?;
        // A byte order mark is no part of the first line.
        let text = if index == 0 { text.trim_start_matches('\u{feff}') } else { text };
        if text.trim().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(text).map_err(|error| {
            Error::data(at(index, None, "the line is not the JSON expected here".into()).because(error))
        })?;
        prompts.push(match line {
            Line { prompt: Some(text), messages: None } => options.prompt(&text),
            Line { prompt: None, messages: Some(messages) } if options.is_raw || messages.is_empty() => {
                let what = if options.is_raw { "has no meaning without the chat template" } else { "is empty" };
                return Err(Error::data(at(index, Some("messages"), what.into())));
            }
            Line { prompt: None, messages: Some(messages) } => options.chat(messages),
            Line { prompt: None, messages: None } => {
                return Err(Error::data(at(index, Some("prompt"), "is missing".into())));
            }
            Line { prompt: Some(_), messages: Some(_) } => {
                return Err(Error::data(at(
                    index,
                    Some("messages"),
                    "stands beside `prompt`; one of them is enough".into(),
                )));
            }
        });
    }
    if prompts.is_empty() {
        return Err(Error::data(at(0, None, "the file has no prompt".into())));
    }
    Ok(prompts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &[u8], options: &PromptOptions) -> Result<Vec<Prompt>, String> {
        let file = std::env::temp_dir().join(format!("tunesmith-prompts-{}-{name}.jsonl", std::process::id()));
        fs::write(&file, text).expect("a file can be written");
        let result = read_prompts(&file, options).map_err(|error| error.to_string());
        fs::remove_file(&file).expect("the file can be removed");
        result
    }

    #[track_caller]
    fn check(name: &str, text: &[u8], expected: &str) {
        let error = read(name, text, &PromptOptions::default()).expect_err("the file is wrong");
        assert!(error.contains(expected), "`{error}` does not say `{expected}`");
    }

    #[test]
    fn prompts_and_chats_may_be_mixed() {
        let text = b"\xef\xbb\xbf{\"prompt\": \"a\"}\n\n{\"messages\": [{\"role\": \"user\", \"content\": \"b\"}], \"id\": 7}\n";
        let options = PromptOptions { is_raw: false, system: Some("s".into()) };
        let prompts = read("mixed", text, &options).expect("two prompts");
        let system = Message::new("system", "s");
        assert_eq!(prompts[1], Prompt::Chat(vec![system, Message::user("b")]));
        assert_eq!(prompts.len(), 2);
    }

    #[test]
    fn a_bad_line_is_named() {
        check("json", b"{\"prompt\": \"a\"}\n{\"prompt\"\n", ".jsonl:2: the line is not the JSON expected here");
        check("utf8", b"{\"prompt\": \"a\"}\n\xff\n", ".jsonl:2: the line is not UTF-8");
        check("column", b"{\"question\": \"a\"}\n", ".jsonl:1: `prompt`: is missing");
        check("both", b"{\"prompt\": \"a\", \"messages\": []}\n", "`messages`: stands beside `prompt`");
        check("empty", b"\n\n", "the file has no prompt");
    }
}

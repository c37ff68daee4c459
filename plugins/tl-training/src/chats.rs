//! Which turns of a chat are targets: those whose call did not fail.

use serde_json::Value;

/// How failed calls are told.
#[derive(Debug, Clone)]
pub struct Failures {
    /// Roles of results, in lower case.
    results: Vec<String>,
    /// What is in the result of a failed call, with letters, digits and Chinese characters only.
    patterns: Vec<String>,
    /// The key of an error.
    key: String,
}

/// Whether a turn is a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is trained on.
    Target,
    /// Its call failed.
    Failed,
    /// What follows is no result.
    Unanswered,
    /// It has no text: its calls are fields, which no completion can hold.
    Wordless,
    /// Nothing is before it.
    First,
}

impl Failures {
    /// From settings.
    pub fn new(results: &[String], patterns: &[String], key: &str) -> Self {
        Self {
            results: results.iter().map(|role| role.to_lowercase()).collect(),
            patterns: patterns.iter().map(|pattern| bare(pattern)).filter(|pattern| !pattern.is_empty()).collect(),
            key: key.to_lowercase(),
        }
    }

    /// The assistant's turns of a chat, by position, and what becomes of each.
    pub fn turns(&self, chat: &[Value]) -> Vec<(usize, Fate)> {
        let is_assistant = |turn: &&(usize, &Value)| turn.1["role"] == "assistant";
        let own = chat.iter().enumerate().collect::<Vec<_>>();
        own.iter().filter(is_assistant).map(|&(at, turn)| (at, self.fate(at, turn, chat.get(at + 1)))).collect()
    }

    fn fate(&self, at: usize, turn: &Value, next: Option<&Value>) -> Fate {
        let role = next.and_then(|next| next["role"].as_str()).map(str::to_lowercase);
        if at == 0 {
            Fate::First
        } else if text(turn).trim().is_empty() {
            Fate::Wordless
        } else if next.is_some_and(|_| role.is_none_or(|role| !self.results.contains(&role))) {
            Fate::Unanswered
        } else if next.is_some_and(|next| self.is_error(text(next))) {
            Fate::Failed
        } else {
            Fate::Target
        }
    }

    /// Whether a result tells of an error.
    pub fn is_error(&self, result: &str) -> bool {
        let bare = bare(result);
        self.patterns.iter().any(|pattern| bare.contains(pattern)) || self.has_key(&result.to_lowercase())
    }

    /// Whether the key stands in quotes before a colon and a value that says something.
    fn has_key(&self, result: &str) -> bool {
        if self.key.is_empty() {
            return false;
        }
        ['"', '\''].into_iter().any(|quote| {
            let key = format!("{quote}{}{quote}", self.key);
            result.match_indices(&key).any(|(at, _)| {
                let value = result[at + key.len()..].trim_start().strip_prefix(':').map(str::trim_start);
                value.is_some_and(|value| {
                    !["\"\"", "''", "null", "none", "false", "[]", "{}"].iter().any(|it| value.starts_with(it))
                })
            })
        })
    }
}

/// The text of a turn.
pub fn text(turn: &Value) -> &str {
    turn["content"].as_str().unwrap_or_default()
}

/// Lower-case letters of ASCII, digits and Chinese characters.
fn bare(text: &str) -> String {
    let is_kept = |it: &char| it.is_ascii_alphanumeric() || ('\u{4e00}'..='\u{9fff}').contains(it);
    text.to_lowercase().chars().filter(is_kept).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn failures() -> Failures {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Failures::new(&list(&["Tool"]), &list(&["400 Client Error", "\u{9519}\u{8bef}", "--"]), "Error")
    }

    #[test]
    fn errors_are_found_by_letters_and_digits() {
        for result in [
            "400 client error: bad request",
            "HTTP-400 (client_error)",
            "\u{51fa}\u{73b0} \u{9519}\u{8bef}!",
            r#"{"error": "no such city"}"#,
            r#"{"Error":{"code":1}}"#,
            "{'error' : 'x', 'response': ''}",
            r#"{"error": "", "detail": {"error": 3}}"#,
        ] {
            assert!(failures().is_error(result), "{result}");
        }
        for result in [
            "14 degrees",
            "",
            "40 client errors",
            r#"{"error": "", "response": "14"}"#,
            r#"{"error": null}"#,
            "{'error': None}",
            "the error was small",
            "\"error\" is a word",
        ] {
            assert!(!failures().is_error(result), "{result}");
        }
    }

    #[test]
    fn without_a_key_only_patterns_count() {
        let failures = Failures::new(&[], &[], "");
        assert!(!failures.is_error(r#"{"error": "x", "": "y"}"#));
    }

    #[test]
    fn each_turn_has_its_fate() {
        let turn = |role: &str, content: &str| json!({"role": role, "content": content});
        let chat = [
            turn("assistant", "Hello."),
            turn("user", "Weather?"),
            turn("assistant", "find(city='Rom')"),
            turn("tool", r#"{"error": "no such city"}"#),
            turn("assistant", "find(city='Rome')"),
            turn("TOOL", "14 degrees"),
            turn("assistant", ""),
            turn("tool", "x"),
            turn("assistant", "Which day?"),
            turn("user", "Today."),
            turn("assistant", "It is 14 degrees."),
        ];
        let expected = [
            (0, Fate::First),
            (2, Fate::Failed),
            (4, Fate::Target),
            (6, Fate::Wordless),
            (8, Fate::Unanswered),
            (10, Fate::Target),
        ];
        assert_eq!(failures().turns(&chat), expected);
        assert_eq!(failures().turns(&chat[..4]), expected[..2]);
    }
}

//! Dialogues: as the data has them, as a request shows them, as a training set takes them.

use serde_json::{Value, json};

use crate::reading::strategy_of;

/// What one side said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Whether the user said it.
    pub is_user: bool,
    /// The strategy's number, of a supporter who names one.
    pub strategy: Option<usize>,
    /// The text, without the strategy.
    pub text: String,
}

/// A supporter's turn and what the user replied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The strategy's number.
    pub strategy: usize,
    /// What the supporter said.
    pub said: String,
    /// None where the user ended the dialogue.
    pub reply: Option<String>,
}

impl Message {
    /// A message of the user.
    pub fn user(text: impl Into<String>) -> Self {
        Self { is_user: true, strategy: None, text: text.into() }
    }

    fn supporter(text: &str, names: &[String]) -> Self {
        match strategy_of(text, names) {
            Some((strategy, said)) => Self { is_user: false, strategy: Some(strategy), text: said.into() },
            None => Self { is_user: false, strategy: None, text: text.into() },
        }
    }
}

impl Turn {
    /// Whether the dialogue ended with it.
    pub fn is_end(&self) -> bool {
        self.reply.is_none()
    }

    /// Its one or two messages.
    pub fn messages(&self) -> Vec<Message> {
        let said = Message { is_user: false, strategy: Some(self.strategy), text: self.said.clone() };
        std::iter::once(said).chain(self.reply.clone().map(Message::user)).collect()
    }
}

/// A dialogue of the data, parted into what the search starts from and its real continuation: the longest run of supporter turns up to
/// the completion that all name their strategy, each after a message of the user. None where the user does not have the last word before the search.
pub fn parted(conversation: &str, completion: Option<&str>, names: &[String]) -> Option<(Vec<Message>, Vec<Turn>)> {
    let turns: Vec<Value> = serde_json::from_str(conversation).ok()?;
    let mut start = Vec::new();
    for turn in &turns {
        let text = turn["content"].as_str()?;
        match turn["role"].as_str()? {
            "user" => start.push(Message::user(text)),
            "assistant" => start.push(Message::supporter(text, names)),
            _ => {}
        }
    }
    start.last().filter(|last| last.is_user)?;
    let mut path = Vec::new();
    let mut next = completion.map(|text| (Message::supporter(text, names), None));
    while let Some((Message { strategy: Some(strategy), text, .. }, reply)) = next {
        path.insert(0, Turn { strategy, said: text, reply });
        next = match &start[..] {
            [.., before, said, reply] if before.is_user && said.strategy.is_some() && reply.is_user => {
                let (said, reply) = (said.clone(), reply.text.clone());
                start.truncate(start.len() - 2);
                Some((said, Some(reply)))
            }
            _ => None,
        };
    }
    Some((start, path))
}

/// A dialogue as text, a line per message; strategies are named if wanted.
pub fn shown(messages: &[Message], names: &[String], is_named: bool) -> String {
    let line = |message: &Message| match message.strategy.filter(|_| is_named) {
        _ if message.is_user => format!("User: {}", message.text),
        Some(strategy) => format!("Supporter ({}): {}", names[strategy], message.text),
        None => format!("Supporter: {}", message.text),
    };
    messages.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A supporter's turn as it is trained on.
pub fn written(strategy: usize, said: &str, names: &[String]) -> String {
    format!("({}) {said}", names[strategy])
}

/// A dialogue as a conversation of the training set, under a system message.
pub fn conversation(system: &str, messages: &[Message], names: &[String]) -> String {
    let chat = |message: &Message| match message.strategy {
        _ if message.is_user => json!({ "role": "user", "content": message.text }),
        Some(strategy) => json!({ "role": "assistant", "content": written(strategy, &message.text, names) }),
        None => json!({ "role": "assistant", "content": message.text }),
    };
    let system = (!system.is_empty()).then(|| json!({ "role": "system", "content": system }));
    Value::Array(system.into_iter().chain(messages.iter().map(chat)).collect()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        ["Ask", "Comfort"].map(String::from).to_vec()
    }

    fn chat(first: &str) -> String {
        json!([
            { "role": "system", "content": "s" },
            { "role": "user", "content": "u1" },
            { "role": "assistant", "content": first },
            { "role": "user", "content": "u2" },
            { "role": "assistant", "content": "(comfort) c" },
            { "role": "user", "content": "u3" },
        ])
        .to_string()
    }

    #[test]
    fn a_dialogue_whose_turns_name_strategies_is_a_path() {
        let (start, path) = parted(&chat("(Ask) a"), Some("(Ask) e"), &names()).expect("the user is last");
        assert_eq!(start, [Message::user("u1")]);
        let turn = |strategy, said: &str, reply: Option<&str>| Turn {
            strategy,
            said: said.into(),
            reply: reply.map(String::from),
        };
        assert_eq!(path, [turn(0, "a", Some("u2")), turn(1, "c", Some("u3")), turn(0, "e", None)]);
    }

    #[test]
    fn the_path_ends_at_a_turn_without_a_strategy() {
        let (start, path) = parted(&chat("a"), Some("(Ask) e"), &names()).expect("the user is last");
        assert_eq!((start.len(), path.len()), (3, 2));
        for completion in [None, Some("e")] {
            let (start, path) = parted(&chat("(Ask) a"), completion, &names()).expect("the user is last");
            assert_eq!((start.len(), path.len()), (5, 0));
        }
        assert_eq!(parted(r#"[{"role":"assistant","content":"a"}]"#, None, &names()), None);
        assert_eq!(parted("[]", None, &names()), None);
    }

    #[test]
    fn dialogues_are_shown_and_written() {
        let (start, _) = parted(&chat("(Ask) a"), None, &names()).expect("the user is last");
        assert_eq!(shown(&start[..3], &names(), true), "User: u1\nSupporter (Ask): a\nUser: u2");
        assert_eq!(shown(&start[..3], &names(), false), "User: u1\nSupporter: a\nUser: u2");
        let expected = r#"[{"role":"system","content":"S"},{"role":"user","content":"u1"},{"role":"assistant","content":"(Ask) a"}]"#;
        assert_eq!(conversation("S", &start[..2], &names()), expected);
    }
}

//! A turn that calls a tool: `name(key="value", ...)`.

use std::ops::Range;

/// A call as it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The tool's name.
    pub name: String,
    /// Where the name stands, in characters of the text.
    pub at: Range<usize>,
    /// The arguments in their order.
    pub arguments: Vec<Argument>,
}

/// An argument of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Argument {
    /// The parameter's name.
    pub name: String,
    /// The value: of a quoted one what stands between the quotes, of others their text.
    pub value: String,
    /// Where the value stands, quotes included.
    pub at: Range<usize>,
}

impl Call {
    /// Reads a text that is one call and blanks around it; none if it is anything else. Arguments have names, each at most once.
    pub fn parse(text: &str) -> Option<Self> {
        let mut reader = Reader { text: text.chars().collect(), at: 0 };
        reader.blanks();
        let start = reader.at;
        let name = reader.name()?;
        let at = start..reader.at;
        reader.expect('(')?;
        let mut arguments: Vec<Argument> = Vec::new();
        loop {
            reader.blanks();
            if reader.expect(')').is_some() {
                break;
            }
            if !arguments.is_empty() {
                reader.expect(',')?;
                reader.blanks();
                // Python allows a comma behind the last argument.
                if reader.expect(')').is_some() {
                    break;
                }
            }
            let argument = reader.argument()?;
            if arguments.iter().any(|other| other.name == argument.name) {
                return None;
            }
            arguments.push(argument);
        }
        reader.blanks();
        (reader.at == reader.text.len()).then_some(Self { name, at, arguments })
    }

    /// The value of a parameter.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.arguments.iter().find(|argument| argument.name == name).map(|argument| argument.value.as_str())
    }
}

struct Reader {
    text: Vec<char>,
    at: usize,
}

impl Reader {
    fn next(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn expect(&mut self, character: char) -> Option<()> {
        let is_there = self.next() == Some(character);
        self.at += usize::from(is_there);
        is_there.then_some(())
    }

    fn blanks(&mut self) {
        while self.next().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    /// Letters, digits and what names of tools have between them.
    fn name(&mut self) -> Option<String> {
        let start = self.at;
        while self.next().is_some_and(|it| it.is_alphanumeric() || matches!(it, '_' | '.' | '-')) {
            self.at += 1;
        }
        let name: String = self.text[start..self.at].iter().collect();
        if name.is_empty() { None } else { Some(name) }
    }

    fn argument(&mut self) -> Option<Argument> {
        let name = self.name()?;
        self.blanks();
        self.expect('=')?;
        self.blanks();
        let start = self.at;
        let value = self.value()?;
        Some(Argument { name, value, at: start..self.at })
    }

    /// A quoted text alone, or anything up to a comma or bracket that belongs to the call.
    fn value(&mut self) -> Option<String> {
        let start = self.at;
        if let Some(quote) = self.next().filter(|it| matches!(it, '\'' | '"')) {
            let inside = self.quoted(quote)?;
            let end = self.at;
            self.blanks();
            if matches!(self.next(), Some(',' | ')')) {
                self.at = end;
                return Some(inside);
            }
        }
        let mut open = Vec::new();
        while let Some(character) = self.next() {
            match character {
                '\'' | '"' => {
                    self.quoted(character)?;
                    continue;
                }
                '(' => open.push(')'),
                '[' => open.push(']'),
                '{' => open.push('}'),
                ',' | ')' if open.is_empty() => break,
                ')' | ']' | '}' if open.pop() != Some(character) => return None,
                _ => {}
            }
            self.at += 1;
        }
        while start < self.at && self.text[self.at - 1].is_whitespace() {
            self.at -= 1;
        }
        let value: String = self.text[start..self.at].iter().collect();
        if value.is_empty() { None } else { Some(value) }
    }

    /// What stands between quotes, without the backslashes before quotes and backslashes.
    fn quoted(&mut self, quote: char) -> Option<String> {
        self.expect(quote)?;
        let mut inside = String::new();
        loop {
            let character = self.next()?;
            self.at += 1;
            if character == quote {
                return Some(inside);
            }
            match self.next() {
                Some(next) if character == '\\' && matches!(next, '\\' | '\'' | '"') => {
                    inside.push(next);
                    self.at += 1;
                }
                _ => inside.push(character),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, name: &str, arguments: &[(&str, &str)]) {
        let call = Call::parse(text).unwrap_or_else(|| panic!("{text:?} is a call"));
        let found: Vec<(&str, &str)> = call.arguments.iter().map(|it| (it.name.as_str(), it.value.as_str())).collect();
        assert_eq!((call.name.as_str(), &found[..]), (name, arguments));
        let characters: Vec<char> = text.chars().collect();
        let slice = |at: &Range<usize>| characters[at.clone()].iter().collect::<String>();
        assert_eq!(slice(&call.at), name);
        for argument in &call.arguments {
            let said = slice(&argument.at);
            assert!(said.contains(&argument.value) || said.contains('\\'), "{said} is not {}", argument.value);
        }
    }

    #[test]
    fn calls_are_read() {
        check("now()", "now", &[]);
        check(" get_weather( city = 'Paris' , day=\"two\") \n", "get_weather", &[("city", "Paris"), ("day", "two")]);
        check("f(a=1, b=None, c=-2.5e3,)", "f", &[("a", "1"), ("b", "None"), ("c", "-2.5e3")]);
        check(
            "f(a='x, y)', b=[1, (2, 3)], c={'k': 'v)'})",
            "f",
            &[("a", "x, y)"), ("b", "[1, (2, 3)]"), ("c", "{'k': 'v)'}")],
        );
        check(r"f(a='it\'s', b='\\', c='\n')", "f", &[("a", "it's"), ("b", "\\"), ("c", "\\n")]);
        check("f(a='')", "f", &[("a", "")]);
        check("f(a='x' + 'y')", "f", &[("a", "'x' + 'y'")]);
        check("api.v2-find(q='\u{e9}t\u{e9}')", "api.v2-find", &[("q", "\u{e9}t\u{e9}")]);
    }

    #[test]
    fn other_texts_are_no_calls() {
        for text in [
            "",
            "It is sunny.",
            "f",
            "f(",
            "f(a=1",
            "f(a='x)",
            "f(1)",
            "f(a=)",
            "f(a=1 b=2)x",
            "f(a=1, a=2)",
            "f(a=1)) ",
            "f(a=[1)",
            "f(a=1) Done.",
            "f(,)",
            "(a=1)",
            "I call f(a=1)",
            "f (a=1)",
        ] {
            assert_eq!(Call::parse(text), None, "{text:?}");
        }
    }
}

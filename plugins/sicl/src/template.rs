//! How a row is shown: text with places for its columns.

/// A template, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(String),
}

impl Template {
    /// Takes a text apart: `{name}` is a place, other braces are text.
    pub fn parse(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            plain.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            let name = after.split_once('}').map(|(name, _)| name).filter(|name| is_name(name));
            if let Some(name) = name {
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(Part::Field(name.to_owned()));
                rest = &after[name.len() + 1..];
            } else {
                plain.push('{');
                rest = after;
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Self { parts }
    }

    /// The names of all places.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The text with every place filled.
    ///
    /// # Errors
    ///
    /// Fails with the name of a place that `value` has nothing for.
    pub fn fill<'a>(&'a self, value: impl Fn(&str) -> Option<&'a str>) -> Result<String, &'a str> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Field(name) => text.push_str(value(name).ok_or(name.as_str())?),
            }
        }
        Ok(text)
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '-' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_once_and_other_braces_stay() {
        let template = Template::parse("{{a}} {} {b c} {b-1}{");
        assert_eq!(template.fields().collect::<Vec<_>>(), ["a", "b-1"]);
        let value = |name: &str| match name {
            "a" => Some("{b-1}"),
            "b-1" => Some("x"),
            _ => None,
        };
        assert_eq!(template.fill(value), Ok("{{b-1}} {} {b c} x{".to_owned()));
        assert_eq!(template.fill(|name| (name == "a").then_some("y")), Err("b-1"));
    }

    #[test]
    fn a_text_without_places_stays() {
        for text in ["", "plain", "{", "}{"] {
            let template = Template::parse(text);
            assert_eq!((template.fill(|_| None), template.fields().count()), (Ok(text.to_owned()), 0));
        }
    }
}

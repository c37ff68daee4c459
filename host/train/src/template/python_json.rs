//! JSON text exactly as Python's `json.dumps` writes it; models were trained on tool descriptions in that form.

use std::fmt::Write;

use serde_json::Value;

/// The arguments of `json.dumps`.
#[derive(Default)]
pub(super) struct Style {
    /// Spaces per level; one line if `None`.
    pub(super) indent: Option<usize>,
    pub(super) sort_keys: bool,
    /// Write everything beyond ASCII as `\uXXXX`.
    pub(super) ensure_ascii: bool,
    /// Between items, and between key and value.
    pub(super) separators: Option<[String; 2]>,
}

pub(super) fn dump(value: &Value, style: &Style) -> String {
    let mut text = String::new();
    write_value(&mut text, value, style, 0);
    text
}

fn write_value(text: &mut String, value: &Value, style: &Style, depth: usize) {
    match value {
        Value::Array(values) => write_items(text, ['[', ']'], values.iter(), style, depth, |text, value| {
            write_value(text, value, style, depth + 1);
        }),
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            if style.sort_keys {
                entries.sort_by_key(|(key, _)| *key);
            }
            let colon = style.separators.as_ref().map_or(": ", |[_, colon]| colon);
            write_items(text, ['{', '}'], entries.into_iter(), style, depth, |text, (key, value)| {
                write_string(text, key, style.ensure_ascii);
                text.push_str(colon);
                write_value(text, value, style, depth + 1);
            });
        }
        Value::String(string) => write_string(text, string, style.ensure_ascii),
        other => text.push_str(&other.to_string()),
    }
}

fn write_items<T>(
    text: &mut String,
    [open, close]: [char; 2],
    items: impl ExactSizeIterator<Item = T>,
    style: &Style,
    depth: usize,
    mut write: impl FnMut(&mut String, T),
) {
    text.push(open);
    let is_empty = items.len() == 0;
    let comma = match (&style.separators, style.indent) {
        (Some([comma, _]), _) => comma,
        (None, Some(_)) => ",",
        (None, None) => ", ",
    };
    let line_break = |text: &mut String, depth: usize| {
        if let (Some(indent), false) = (style.indent, is_empty) {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent * depth));
        }
    };
    for (index, item) in items.enumerate() {
        if 0 < index {
            text.push_str(comma);
        }
        line_break(text, depth + 1);
        write(text, item);
    }
    line_break(text, depth);
    text.push(close);
}

fn write_string(text: &mut String, string: &str, ensure_ascii: bool) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            control if control < ' ' => write_unit(text, control as u16),
            other if ensure_ascii && !other.is_ascii() => {
                let mut units = [0; 2];
                for unit in other.encode_utf16(&mut units) {
                    write_unit(text, *unit);
                }
            }
            other => text.push(other),
        }
    }
    text.push('"');
}

fn write_unit(text: &mut String, unit: u16) {
    // Writing to a string cannot fail.
    let _ = write!(text, "\\u{unit:04x}");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_equals_that_of_python() {
        // json.dumps({"b": [1, 2.5, None], "a": "é\n"}, ensure_ascii=False), and further arguments below.
        let value = json!({"b": [1, 2.5, null], "a": "é\n", "c": {}});
        let plain = dump(&value, &Style::default());
        assert_eq!(plain, r#"{"b": [1, 2.5, null], "a": "é\n", "c": {}}"#);
        let style = Style { indent: Some(2), sort_keys: true, ensure_ascii: true, separators: None };
        let expected = "{\n  \"a\": \"\\u00e9\\n\",\n  \"b\": [\n    1,\n    2.5,\n    null\n  ],\n  \"c\": {}\n}";
        assert_eq!(dump(&value, &style), expected);
        let style = Style { separators: Some([",".to_owned(), ":".to_owned()]), ..Style::default() };
        assert_eq!(dump(&json!({"a": [1, 2]}), &style), r#"{"a":[1,2]}"#);
    }
}

//! The responses to a prompt, from wherever the data keeps them.

use serde_json::Value;
use tunesmith_sdk::{Error, Examples};

/// The source of the gold completion.
pub const GOLD: &str = "gold";

/// A response to a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The text, byte for byte as in the data.
    pub text: String,
    /// Who gave this text, the first one first.
    pub sources: Vec<String>,
    /// Whether it is not the whole response.
    pub is_truncated: bool,
}

/// Where responses stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Whether the gold completion is one.
    pub has_gold: bool,
    /// Columns with one text each.
    pub columns: Vec<String>,
    /// A column with a list.
    pub list: Option<String>,
}

impl Places {
    /// The responses of every row, in the order gold completion, columns, list; empty ones are left out.
    ///
    /// # Errors
    ///
    /// Fails at a list that is none.
    pub fn responses(&self, pool: &Examples<'_>) -> Result<Vec<Vec<Candidate>>, Error> {
        let mut rows = vec![Vec::new(); pool.len()];
        if self.has_gold {
            put(&mut rows, pool.completions(), GOLD);
        }
        for column in &self.columns {
            put(&mut rows, pool.column(column), column);
        }
        if let Some(column) = &self.list {
            let ids = pool.ids();
            for ((row, cell), id) in rows.iter_mut().zip(pool.column(column)).zip(ids) {
                let Some(cell) = cell else { continue };
                row.extend(listed(&cell, column).map_err(|fault| {
                    Error::unsupported(format!(
                        "the column `{column}` of row {id} (counted from 0) {fault}; a list of responses is such as \
                         [\"..\", {{\"text\": \"..\", \"source\": \"..\"}}]"
                    ))
                })?);
            }
        }
        for row in &mut rows {
            row.retain(|candidate| !candidate.text.trim().is_empty());
        }
        Ok(rows)
    }

    /// The columns that no row of the pool has.
    pub fn missing(&self, pool: &Examples<'_>) -> Vec<&str> {
        let known = pool.columns();
        let named = self.columns.iter().chain(&self.list);
        named.filter(|name| !known.contains(name)).map(String::as_str).collect()
    }
}

fn put(rows: &mut [Vec<Candidate>], texts: Vec<Option<String>>, source: &str) {
    for (row, text) in rows.iter_mut().zip(texts) {
        row.extend(text.map(|text| Candidate { text, sources: vec![source.into()], is_truncated: false }));
    }
}

/// The responses of a list, written as JSON.
///
/// # Errors
///
/// Says what is wrong with the text.
pub fn listed(cell: &str, column: &str) -> Result<Vec<Candidate>, String> {
    match serde_json::from_str(cell) {
        Ok(Value::Array(entries)) => {
            let candidate =
                |(at, entry)| candidate(entry, column).map_err(|fault| format!("has an entry {at} {fault}"));
            entries.into_iter().enumerate().map(candidate).collect()
        }
        _ => Err("is no list".into()),
    }
}

fn candidate(entry: Value, column: &str) -> Result<Candidate, String> {
    let mut fields = match entry {
        Value::String(text) => return Ok(Candidate { text, sources: vec![column.into()], is_truncated: false }),
        Value::Object(fields) => fields,
        _ => return Err("that is neither text nor an object".into()),
    };
    let Some(Value::String(text)) = fields.remove("text") else { return Err("without a text in `text`".into()) };
    let source = match fields.remove("source") {
        None | Some(Value::Null) => column.to_owned(),
        Some(Value::String(source)) => source,
        Some(_) => return Err("whose `source` is no text".into()),
    };
    let is_truncated = match fields.remove("truncated") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(is_truncated)) => is_truncated,
        Some(_) => return Err("whose `truncated` is neither true nor false".into()),
    };
    Ok(Candidate { text, sources: vec![source], is_truncated })
}

/// The candidates without repetitions, and how many there were. Texts that differ in blanks at their ends only are one; the first stays.
pub fn distinct(candidates: Vec<Candidate>) -> (Vec<Candidate>, usize) {
    let all = candidates.len();
    let mut kept: Vec<Candidate> = Vec::with_capacity(all);
    for candidate in candidates {
        match kept.iter_mut().find(|its| its.text.trim() == candidate.text.trim()) {
            Some(first) => first.sources.extend(candidate.sources),
            None => kept.push(candidate),
        }
    }
    let repeated = all - kept.len();
    (kept, repeated)
}

/// The first `longest` characters of a text, and whether that is less than all; 0 is no limit.
pub fn shortened(text: &str, longest: usize) -> (&str, bool) {
    match text.char_indices().nth(longest) {
        Some((end, _)) if longest != 0 => (&text[..end], true),
        _ => (text, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(text: &str, source: &str) -> Candidate {
        Candidate { text: text.into(), sources: vec![source.into()], is_truncated: false }
    }

    #[test]
    fn a_list_holds_texts_and_objects() {
        let cell =
            r#"["a", {"text": "b", "source": "m", "score": 3}, {"text": "c", "truncated": true, "source": null}]"#;
        let cut = Candidate { is_truncated: true, ..candidate("c", "list") };
        assert_eq!(listed(cell, "list"), Ok(vec![candidate("a", "list"), candidate("b", "m"), cut]));
        assert_eq!(listed("[]", "list"), Ok(vec![]));
    }

    #[track_caller]
    fn check(cell: &str, expected: &str) {
        let fault = listed(cell, "list").expect_err("it is no list of responses");
        assert!(fault.contains(expected), "`{fault}` does not say `{expected}`");
    }

    #[test]
    fn what_is_no_list_of_responses_is_told_apart() {
        check("plain text", "no list");
        check("{\"text\": \"a\"}", "no list");
        check("[\"a\", 3]", "entry 1 that is neither text nor an object");
        check("[{\"source\": \"m\"}]", "entry 0 without a text");
        check("[{\"text\": 1}]", "entry 0 without a text");
        check("[{\"text\": \"a\", \"source\": 1}]", "`source` is no text");
        check("[{\"text\": \"a\", \"truncated\": \"no\"}]", "`truncated` is neither");
    }

    #[test]
    fn repetitions_keep_all_their_sources() {
        let (kept, repeated) = distinct(vec![candidate("a", "gold"), candidate("b", "m"), candidate(" a\n", "n")]);
        assert_eq!(repeated, 1);
        assert_eq!(kept[0], Candidate { sources: vec!["gold".into(), "n".into()], ..candidate("a", "gold") });
        assert_eq!(kept[1], candidate("b", "m"));
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(shortened("äöü", 2), ("äö", true));
        assert_eq!(shortened("äöü", 3), ("äöü", false));
        assert_eq!(shortened("äöü", 0), ("äöü", false));
    }
}

//! Rows, demonstrations, and the prompts that are made of both.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tunesmith_sdk::Error;

use crate::draw::{Retrieval, draw, stream};
use crate::template::Template;

/// The place in templates, and the field of demonstrations, that is the row's prompt.
const PROMPT: &str = "prompt";
/// The field of a demonstration that is its label.
const LABEL: &str = "label";

/// A row or a demonstration: the texts that templates show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Texts by the names of places.
    pub fields: BTreeMap<String, String>,
    /// Its class, if known.
    pub label: Option<usize>,
}

impl Shown {
    /// The prompt; empty if there is none.
    pub fn prompt(&self) -> &str {
        self.fields.get(PROMPT).map_or("", String::as_str)
    }
}

/// How prompts are made.
#[derive(Debug, Clone, PartialEq)]
pub struct Style {
    /// The words of the classes.
    pub labels: Vec<String>,
    /// At least one.
    pub templates: Vec<Template>,
    /// Between a demonstration and its label.
    pub joiner: String,
    /// After each demonstration.
    pub separator: String,
    /// Demonstrations per prompt.
    pub count: usize,
    /// How they are drawn.
    pub retrieval: Retrieval,
    /// Before every prompt; may be empty.
    pub system: String,
}

impl Style {
    /// The class of a label's text, if it is one.
    pub fn class(&self, text: &str) -> Option<usize> {
        let text = text.trim();
        self.labels.iter().position(|label| label.trim() == text)
    }

    /// The names of the columns that templates show, the prompt aside.
    pub fn columns(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.templates.iter().flat_map(Template::fields).collect();
        names.sort_unstable();
        names.dedup();
        names.retain(|name| *name != PROMPT);
        names
    }

    /// Rows as templates show them, from their prompts, their columns in the order of [`Style::columns`], and the texts of their labels.
    pub fn rows(
        &self,
        prompts: Vec<String>,
        columns: Vec<Vec<Option<String>>>,
        labels: &[Option<String>],
    ) -> Vec<Shown> {
        let mut rows: Vec<Shown> = prompts
            .into_iter()
            .zip(labels)
            .map(|(prompt, label)| Shown {
                fields: [(PROMPT.to_owned(), prompt)].into(),
                label: label.as_ref().and_then(|label| self.class(label)),
            })
            .collect();
        for (name, column) in self.columns().into_iter().zip(columns) {
            for (row, value) in rows.iter_mut().zip(column) {
                row.fields.extend(value.map(|value| (name.to_owned(), value)));
            }
        }
        rows
    }

    /// Reads a demonstration; `place` says where it stands.
    ///
    /// # Errors
    ///
    /// Fails unless it has one of the labels and what every template shows.
    pub fn demonstration(&self, object: &Map<String, Value>, place: &str) -> Result<Shown, String> {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let fields: BTreeMap<String, String> = object.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        let Some(label) = fields.get(LABEL) else { return Err(format!("{place} has no `{LABEL}`")) };
        let Some(class) = self.class(label) else {
            return Err(format!("{place} has the label `{label}`, none of {}", self.labels.join(", ")));
        };
        let shown = Shown { fields, label: Some(class) };
        for template in &self.templates {
            show(template, &shown).map_err(|name| format!("{place} has no `{name}`, which a template shows"))?;
        }
        Ok(shown)
    }

    /// A prompt of a template: demonstrations with their labels, then the row.
    ///
    /// # Errors
    ///
    /// Fails with the name of what the row lacks.
    pub fn prompt(&self, template: &Template, demonstrations: &[&Shown], row: &Shown) -> Result<String, Error> {
        let lacks = |name: &str| {
            Error::unsupported(format!("the row `{}` has no column `{name}`, which a template shows", row.prompt()))
        };
        let mut text = String::new();
        for demonstration in demonstrations {
            text.push_str(&show(template, demonstration).map_err(lacks)?);
            text.push_str(&self.joiner);
            text.push_str(demonstration.label.and_then(|class| self.labels.get(class)).map_or("", String::as_str));
            text.push_str(&self.separator);
        }
        text.push_str(&show(template, row).map_err(lacks)?);
        Ok(text)
    }

    /// The demonstrations of one draw for a row, out of a pool. One that shows the row's own prompt is never drawn.
    pub fn drawn<'a>(&self, pool: &'a [Shown], row: &Shown, stream: u64) -> Vec<&'a Shown> {
        let labels: Vec<usize> = pool.iter().map(|shown| shown.label.unwrap_or(usize::MAX)).collect();
        let allowed = |place: usize| pool[place].label.is_some() && pool[place].prompt() != row.prompt();
        draw(stream, &labels, allowed, self.count, self.retrieval).into_iter().map(|place| &pool[place]).collect()
    }

    /// All prompts of a row at test time: template by template, draw by draw.
    ///
    /// # Errors
    ///
    /// Fails when there is nothing to draw from, or the row lacks what a template shows.
    pub fn variants(&self, row: &Shown, pool: &[Shown], draws: usize, seed: u64) -> Result<Vec<String>, Error> {
        let draws = if self.count == 0 { 1 } else { draws };
        let mut prompts = Vec::with_capacity(self.templates.len() * draws);
        for template in &self.templates {
            for number in 0..draws {
                let shown = self.drawn(pool, row, stream(seed, row.prompt(), number));
                if shown.is_empty() && self.count != 0 {
                    let what = format!(
                        "there is no demonstration for the row `{}`: set `demonstrations`, `demonstrations-column`, or `count = 0`",
                        row.prompt()
                    );
                    return Err(Error::unsupported(what));
                }
                prompts.push(self.prompt(template, &shown, row)?);
            }
        }
        Ok(prompts)
    }
}

/// A template filled with what is shown; fails with the name of what is missing.
fn show<'a>(template: &'a Template, shown: &'a Shown) -> Result<String, &'a str> {
    template.fill(|name| shown.fields.get(name).map(String::as_str))
}

//! Finds the answer in a text, and says whether two answers agree.

mod choice;
mod number;
mod text;

use serde::Deserialize;

use self::number::Number;
use crate::math::Rational;

/// What an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A number.
    Number,
    /// A short text.
    Text,
    /// The letter of a choice.
    Choice,
}

/// Which of several answers counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Take {
    /// The last.
    Last,
    /// The first.
    First,
}

impl Take {
    fn of<T>(self, found: Vec<T>) -> Option<T> {
        let mut found = found.into_iter();
        match self {
            Self::Last => found.next_back(),
            Self::First => found.next(),
        }
    }
}

/// An answer that was found.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Number(Number),
    Text(String),
    Choice(char),
}

/// How answers are found and compared.
pub(crate) struct Extractor {
    pub(crate) kind: Kind,
    /// What comes right before an answer; empty if nothing does.
    pub(crate) marker: String,
    /// Whether a model's text without the marker has no answer.
    pub(crate) is_strict: bool,
    pub(crate) take: Take,
    pub(crate) tolerance: Rational,
    pub(crate) choices: String,
    pub(crate) folds_case: bool,
    pub(crate) strips_punctuation: bool,
}

impl Extractor {
    /// The answer in a model's text.
    pub(crate) fn in_answer(&self, text: &str) -> Option<Answer> {
        self.after_marker(text).or_else(|| if self.is_strict { None } else { self.anywhere(text) })
    }

    /// The answer in a gold completion, which needs no marker.
    pub(crate) fn in_gold(&self, text: &str) -> Option<Answer> {
        self.after_marker(text).or_else(|| self.anywhere(text))
    }

    /// The answer in a cell of the data: a text is the whole cell, unless the marker says otherwise.
    pub(crate) fn in_cell(&self, cell: &str) -> Option<Answer> {
        self.after_marker(cell).or_else(|| match self.kind {
            Kind::Text => self.text(cell),
            Kind::Number | Kind::Choice => self.anywhere(cell),
        })
    }

    /// The answer between a marker and the next: after the last marker, or the first, that has one.
    fn after_marker(&self, text: &str) -> Option<Answer> {
        if self.marker.is_empty() {
            return None;
        }
        let mut rests = text::after_each(text, &self.marker);
        if self.take == Take::Last {
            rests.reverse();
        }
        rests.into_iter().find_map(|rest| match self.kind {
            Kind::Number => number::numbers(rest).into_iter().next().map(Answer::Number),
            Kind::Text => self.text(rest.lines().find(|line| !line.trim().is_empty())?),
            Kind::Choice => choice::choices(rest, &self.choices).into_iter().next().map(Answer::Choice),
        })
    }

    /// The answer in a text without a marker.
    fn anywhere(&self, text: &str) -> Option<Answer> {
        match self.kind {
            Kind::Number => self.take.of(number::numbers(text)).map(Answer::Number),
            Kind::Text => self.text(self.take.of(text.lines().filter(|line| !line.trim().is_empty()).collect())?),
            Kind::Choice => self.take.of(choice::choices(text, &self.choices)).map(Answer::Choice),
        }
    }

    fn text(&self, text: &str) -> Option<Answer> {
        Some(text::plain(text, self.folds_case, self.strips_punctuation))
            .filter(|text| !text.is_empty())
            .map(Answer::Text)
    }

    /// Whether an answer is the gold one.
    pub(crate) fn agree(&self, answer: &Answer, gold: &Answer) -> bool {
        match (answer, gold) {
            (Answer::Number(answer), Answer::Number(gold)) => answer.agrees(gold, &self.tolerance),
            (Answer::Text(answer), Answer::Text(gold)) => answer == gold,
            (Answer::Choice(answer), Answer::Choice(gold)) => answer == gold,
            _ => false,
        }
    }
}

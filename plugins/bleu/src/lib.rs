//! BLEU and ROUGE-L: how much of the reference a text says, in its words, as a reward in 0.0 to 1.0 and as a measure.

pub mod math;
pub mod tokens;

use serde::Deserialize;
use tunesmith_sdk::{Error, Evaluation, Measure, Plugin, Reward, Rollouts, log};

use math::{Bleu, Counts, Smoothing, rouge_l};
use tokens::{words_13a, words_rouge};

/// Why a row is not scored.
const NO_REFERENCE: &str = "no reference in the column or the gold completion";

/// The settings, as `plugin.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    metric: Metric,
    column: String,
    smoothing: Kind,
    value: f64,
    order: usize,
    effective_order: bool,
    lowercase: bool,
}

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Sentence BLEU.
    Bleu,
    /// F1 of the longest common subsequence of words.
    RougeL,
}

/// What BLEU does with orders without a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Adds to both counts.
    AddK,
    /// Halves again for each.
    Exp,
    /// Counts a little.
    Floor,
    /// Makes the score 0.
    None,
}

/// The plugin.
pub struct Overlap {
    metric: Metric,
    column: String,
    bleu: Bleu,
    folds_case: bool,
}

impl Plugin for Overlap {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        let value = |usual: f64| if settings.value == 0.0 { usual } else { settings.value };
        let smoothing = match settings.smoothing {
            Kind::AddK => Smoothing::AddK(value(1.0)),
            Kind::Exp => Smoothing::Exp,
            Kind::Floor => Smoothing::Floor(value(0.1)),
            Kind::None => Smoothing::None,
        };
        let bleu = Bleu { smoothing, order: settings.order, is_effective: settings.effective_order };
        Ok(Self { metric: settings.metric, column: settings.column, bleu, folds_case: settings.lowercase })
    }
}

impl Overlap {
    /// The reference of each row: its cell, else its gold completion.
    fn references(
        &self,
        cells: impl Fn(&str) -> Vec<Option<String>>,
        golds: Vec<Option<String>>,
    ) -> Vec<Option<String>> {
        if self.column.is_empty() {
            return golds;
        }
        cells(&self.column).into_iter().zip(golds).map(|(cell, gold)| cell.or(gold)).collect()
    }

    fn counts(&self, text: &str, reference: &str) -> Counts {
        let words = |text: &str| if self.folds_case { words_13a(&text.to_lowercase()) } else { words_13a(text) };
        Counts::of(&words(text), &words(reference), self.bleu.order)
    }

    fn score(&self, text: &str, reference: &str) -> f64 {
        match self.metric {
            Metric::Bleu => self.bleu.score(&self.counts(text, reference)),
            Metric::RougeL => rouge_l(&words_rouge(text), &words_rouge(reference)),
        }
    }
}

impl Reward for Overlap {
    fn reward(&self, rollouts: &Rollouts) -> Result<Vec<Option<f32>>, Error> {
        let references = self.references(|name| rollouts.column(name), rollouts.references());
        let completions = rollouts.completions();
        let score = |(row, (text, reference)): (usize, (&String, Option<String>))| {
            let reference = reference.or_else(|| {
                log::skip(row, NO_REFERENCE);
                None
            })?;
            Some(self.score(text, &reference) as f32)
        };
        let scores: Vec<Option<f32>> = completions.iter().zip(references).enumerate().map(score).collect();
        let applied = scores.iter().flatten().count();
        if applied > 0 {
            let zeros = scores.iter().flatten().filter(|score| **score == 0.0).count();
            log::metric("zero-share", zeros as f64 / applied as f64);
        }
        Ok(scores)
    }
}

impl Measure for Overlap {
    fn measure(&self, evaluation: &Evaluation) -> Result<Vec<(String, f64)>, Error> {
        let references = self.references(|name| evaluation.column(name), evaluation.references());
        let (mut scores, mut corpus) = (Vec::new(), Counts::none(self.bleu.order));
        for (row, (text, reference)) in evaluation.answers().iter().zip(references).enumerate() {
            let Some(reference) = reference else {
                log::skip(row, NO_REFERENCE);
                continue;
            };
            scores.push(self.score(text, &reference));
            corpus.add(&self.counts(text, &reference));
        }
        if scores.is_empty() {
            return Err(Error::unsupported(format!(
                "{NO_REFERENCE} of any row of `{}`; is `column` right?",
                evaluation.name()
            )));
        }
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        Ok(match self.metric {
            Metric::Bleu => {
                // As corpora are scored everywhere, whatever single sentences need.
                let usual = Bleu { smoothing: Smoothing::Exp, is_effective: false, ..self.bleu };
                vec![("sentence-bleu".to_owned(), mean), ("corpus-bleu".to_owned(), usual.score(&corpus))]
            }
            Metric::RougeL => vec![("rouge-l".to_owned(), mean)],
        })
    }
}

tunesmith_sdk::export!(Overlap: reward, measure);

#[cfg(test)]
mod tests;

//! FGRPR: a number is rewarded by how near it is to the gold one, so that there is something to learn long before any is right.

pub mod form;
pub mod math;

use serde::Deserialize;
use tunesmith_sdk::{Error, Evaluation, Measure, Plugin, Reward, Rollouts, log};

use form::Form;
use math::{Accuracy, errors};

/// Why a row is not scored.
const NO_GOLD: &str = "no gold number in the column or the gold completion";

/// The settings, as `plugin.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    accuracy: Kind,
    threshold: f64,
    bonus: f64,
    format: f64,
    column: String,
    think_open: String,
    think_close: String,
    answer_open: String,
    answer_close: String,
}

/// What nearness is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The bonus less the relative error.
    Fuzzy,
    /// The gold number or nothing.
    Binary,
}

/// The plugin.
pub struct Fgrpr {
    accuracy: Accuracy,
    format: f64,
    column: String,
    form: Form,
}

impl Plugin for Fgrpr {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        let form = Form {
            think: (settings.think_open, settings.think_close),
            answer: (settings.answer_open, settings.answer_close),
        };
        for (name, (open, close)) in [("think", &form.think), ("answer", &form.answer)] {
            if open.is_empty() != close.is_empty() {
                return Err(Error::bad_settings(format!(
                    "of `{name}-open` and `{name}-close` one is empty, the other is not"
                )));
            }
        }
        let accuracy = match settings.accuracy {
            Kind::Fuzzy => Accuracy::Fuzzy { bonus: settings.bonus, threshold: settings.threshold },
            Kind::Binary => Accuracy::Binary,
        };
        Ok(Self { accuracy, format: settings.format, column: settings.column, form })
    }
}

impl Fgrpr {
    /// The gold number of each row: of its cell, else of its gold completion.
    fn golds(&self, cells: Vec<Option<String>>, references: Vec<Option<String>>) -> Vec<Option<f64>> {
        let is_count = |gold: &f64| gold.is_finite() && 0.0 <= *gold;
        let of = |(cell, reference): (Option<String>, Option<String>)| {
            let cell = cell.and_then(|cell| cell.trim().parse().ok());
            cell.or_else(|| self.form.number(&reference?)).filter(is_count)
        };
        cells.into_iter().zip(references).map(of).collect()
    }

    /// What an answer says. One that was cut and has no tags may lack its last digits.
    fn prediction(&self, answer: &str, is_finished: bool) -> Option<f64> {
        let is_whole = is_finished || !self.form.answer.1.is_empty();
        if is_whole { self.form.number(answer) } else { None }
    }
}

impl Reward for Fgrpr {
    fn reward(&self, rollouts: &Rollouts) -> Result<Vec<Option<f32>>, Error> {
        let golds = self.golds(rollouts.column(&self.column), rollouts.references());
        let (mut accuracies, mut formats) = (Vec::new(), Vec::new());
        let rewards = rollouts.completions().into_iter().zip(rollouts.finished()).zip(golds).enumerate();
        let reward = |(row, ((text, is_finished), gold)): (usize, ((String, bool), Option<f64>))| {
            let Some(gold) = gold else {
                log::skip(row, NO_GOLD);
                return None;
            };
            let accuracy = self.accuracy.reward(self.prediction(&text, is_finished), gold);
            let format = f64::from(u8::from(is_finished && self.form.holds(&text)));
            accuracies.push(accuracy);
            formats.push(format);
            Some((accuracy + self.format * format) as f32)
        };
        let rewards = rewards.map(reward).collect();
        if let Some(accuracy) = mean(&accuracies) {
            log::metric("accuracy", accuracy);
        }
        if let Some(format) = mean(&formats) {
            log::metric("format", format);
        }
        Ok(rewards)
    }
}

impl Measure for Fgrpr {
    fn measure(&self, evaluation: &Evaluation) -> Result<Vec<(String, f64)>, Error> {
        let golds = self.golds(evaluation.column(&self.column), evaluation.references());
        let answers = evaluation.answers();
        let (mut pairs, mut exact, mut answered, mut formats) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (row, ((text, is_finished), gold)) in answers.iter().zip(evaluation.finished()).zip(golds).enumerate() {
            let Some(gold) = gold else {
                log::skip(row, NO_GOLD);
                continue;
            };
            let prediction = self.prediction(text, is_finished);
            pairs.extend(prediction.map(|prediction| (prediction, gold)));
            exact.push(f64::from(u8::from(prediction == Some(gold))));
            answered.push(f64::from(u8::from(prediction.is_some())));
            formats.push(f64::from(u8::from(is_finished && self.form.holds(text))));
        }
        if exact.is_empty() {
            return Err(Error::unsupported(format!(
                "{NO_GOLD} of any row of `{}`; is `column` right?",
                evaluation.name()
            )));
        }
        let errors = errors(&pairs);
        let metrics = [
            ("mae", errors.map(|errors| errors.absolute)),
            ("rmse", errors.map(|errors| errors.squared)),
            ("exact", mean(&exact)),
            ("answered", mean(&answered)),
            ("format", mean(&formats)),
        ];
        Ok(metrics.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
    }
}

/// None of nothing.
fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

tunesmith_sdk::export!(Fgrpr: reward, measure);

#[cfg(test)]
mod tests;

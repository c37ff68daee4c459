//! Judges, rewards and measures answers by extracting them and comparing them with the gold ones.

mod extract;
mod math;

use serde::Deserialize;
use tunesmith_sdk::{Cases, Error, Evaluation, Judge, Measure, Plugin, Reward, Rollouts, Verdict, log};

use crate::extract::{Answer, Extractor};
use crate::math::Rational;

pub use crate::extract::{Kind, Take};

/// Why a case cannot be judged.
const NO_GOLD: &str = "no gold answer in the column or the gold completion";

/// The settings, as in `plugin.toml`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// What an answer is.
    pub kind: Kind,
    /// The column with the gold answer.
    pub column: String,
    /// What comes right before an answer; may be empty.
    pub marker: String,
    /// Whether a model's text without the marker has no answer.
    pub strict: bool,
    /// Which of several answers counts.
    pub take: Take,
    /// How far a number may be from the gold one.
    pub tolerance: f64,
    /// The characters of the choices.
    pub choices: String,
    /// Whether case is ignored in texts.
    pub fold_case: bool,
    /// Whether punctuation is ignored in texts.
    pub strip_punctuation: bool,
}

/// Extracts and compares answers.
pub struct AnswerMatch {
    column: String,
    extractor: Extractor,
}

impl Plugin for AnswerMatch {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        let tolerance =
            Rational::from_decimal(&settings.tolerance.to_string()).filter(|_| 0.0 <= settings.tolerance).ok_or_else(
                || Error::bad_settings(format!("`tolerance` is {}, not finite and at least 0.0", settings.tolerance)),
            )?;
        if settings.kind == Kind::Choice && !settings.choices.chars().all(char::is_alphanumeric) {
            return Err(Error::bad_settings(format!(
                "`choices` is `{}`, not letters and digits only",
                settings.choices
            )));
        }
        if settings.strict && settings.marker.trim().is_empty() {
            return Err(Error::bad_settings("`strict` needs a `marker`"));
        }
        let extractor = Extractor {
            kind: settings.kind,
            marker: settings.marker.trim().to_owned(),
            is_strict: settings.strict,
            take: settings.take,
            tolerance,
            choices: settings.choices,
            folds_case: settings.fold_case,
            strips_punctuation: settings.strip_punctuation,
        };
        Ok(Self { column: settings.column, extractor })
    }
}

/// Whether an answer is the gold one: none if there is no gold answer, false if there is none to compare with it.
fn is_right(extractor: &Extractor, answer: Option<&Answer>, gold: Option<&Answer>) -> Option<bool> {
    let gold = gold?;
    Some(answer.is_some_and(|answer| extractor.agree(answer, gold)))
}

impl AnswerMatch {
    /// The gold answer of each row: from its cell if that has one, else from its gold completion.
    fn golds(&self, cells: Vec<Option<String>>, references: Vec<Option<String>>) -> Vec<Option<Answer>> {
        let gold = |(cell, reference): (Option<String>, Option<String>)| {
            let from_cell = cell.and_then(|cell| self.extractor.in_cell(&cell));
            from_cell.or_else(|| reference.and_then(|reference| self.extractor.in_gold(&reference)))
        };
        cells.into_iter().zip(references).map(gold).collect()
    }

    /// What to say of an answer, and of its rival if there is one.
    fn verdict(&self, answer: &str, rival: Option<&str>, gold: Option<&Answer>) -> Verdict {
        let is_right = |text: &str| is_right(&self.extractor, self.extractor.in_answer(text).as_ref(), gold);
        match (is_right(answer), rival.and_then(is_right)) {
            (None, _) => Verdict::undecided(NO_GOLD),
            (Some(true), Some(true)) => Verdict::undecided("both answers are right"),
            (Some(false), Some(false)) => Verdict::undecided("both answers are wrong"),
            (Some(is_right), _) => Verdict::from(is_right),
        }
    }
}

impl Judge for AnswerMatch {
    fn judge(&self, cases: &Cases) -> Result<Vec<Verdict>, Error> {
        let golds = self.golds(cases.column(&self.column), cases.references());
        let answers = cases.answers().into_iter().zip(cases.rivals());
        let verdict = |((answer, rival), gold): ((String, Option<String>), &Option<Answer>)| {
            self.verdict(&answer, rival.as_deref(), gold.as_ref())
        };
        Ok(answers.zip(&golds).map(verdict).collect())
    }
}

impl Reward for AnswerMatch {
    /// 1.0 for a right answer, 0.0 for a wrong one and for none; does not apply without a gold answer.
    fn reward(&self, rollouts: &Rollouts) -> Result<Vec<Option<f32>>, Error> {
        let golds = self.golds(rollouts.column(&self.column), rollouts.references());
        let completions = rollouts.completions();
        let answers = completions.iter().map(|text| self.extractor.in_answer(text));
        let score = |(answer, gold): (Option<Answer>, &Option<Answer>)| {
            is_right(&self.extractor, answer.as_ref(), gold.as_ref()).map(|is_right| f32::from(u8::from(is_right)))
        };
        Ok(answers.zip(&golds).map(score).collect())
    }
}

impl Measure for AnswerMatch {
    fn measure(&self, evaluation: &Evaluation) -> Result<Vec<(String, f64)>, Error> {
        if evaluation.is_empty() {
            return Err(Error::unsupported(format!("the evaluation set `{}` is empty", evaluation.name())));
        }
        let golds = self.golds(evaluation.column(&self.column), evaluation.references());
        let answers: Vec<_> = evaluation.answers().iter().map(|text| self.extractor.in_answer(text)).collect();
        let pairs = answers.iter().zip(&golds);
        let are_right: Vec<_> =
            pairs.map(|(answer, gold)| is_right(&self.extractor, answer.as_ref(), gold.as_ref())).collect();
        let judged: Vec<bool> = are_right.iter().flatten().copied().collect();
        let Some(accuracy) = share(&judged) else {
            return Err(Error::unsupported(format!(
                "{NO_GOLD} of any row of `{}`; is `column` right?",
                evaluation.name()
            )));
        };
        for (row, _) in are_right.iter().enumerate().filter(|(_, is_right)| is_right.is_none()) {
            log::skip(row, NO_GOLD);
        }
        let are_answered: Vec<bool> = answers.iter().map(Option::is_some).collect();
        let shares = [
            ("accuracy", Some(accuracy)),
            ("answered", share(&are_answered)),
            ("finished", share(&evaluation.finished())),
        ];
        let means =
            ["kl", "answer-tokens"].map(|name| (name, evaluation.statistic(name).and_then(|values| mean(&values))));
        let metrics = shares.into_iter().chain(means);
        Ok(metrics.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
    }
}

/// The share of those that hold; none of nothing.
fn share(claims: &[bool]) -> Option<f64> {
    mean(&claims.iter().map(|&holds| f64::from(u8::from(holds))).collect::<Vec<_>>())
}

/// The mean; none of nothing.
fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

tunesmith_sdk::export!(AnswerMatch: judge, reward, measure);

#[cfg(test)]
mod tests;

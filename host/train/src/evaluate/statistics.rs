//! The built-in measure: what the statistics say without knowing what a right answer is.

use std::sync::Arc;

use tunesmith_core::call::Call;
use tunesmith_core::data::Evaluation;
use tunesmith_core::error::CallError;
use tunesmith_core::stage::{Measure, checked_measure};

use crate::objective::BUILT_IN;

/// Gives `exact-match` (answers that are the gold completion, surrounding blanks aside), `reference-nll` (nats per token of the gold completions,
/// over all tokens), `answer-tokens` (mean length), `finished` (share of answers that ended by themselves) and `kl` (mean over rows), each only if
/// there is something to take it from. Of preferences `preference-margin` (mean over rows of how much more the better completion gained against the
/// reference than the worse, in nats), `preference-accuracy` (share of rows in which it gained more) and `likelihood-accuracy` (share of rows in which
/// the better completion is the likelier one).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics;

impl Measure for Statistics {
    fn measure(&self, evaluation: Arc<Evaluation>, _: &mut Call) -> Result<Vec<(String, f64)>, CallError> {
        let mut metrics = Vec::new();
        let mut add = |name: &str, value: Option<f64>| {
            metrics.extend(value.map(|value| (name.to_owned(), value)));
        };
        add("exact-match", exact_match(&evaluation));
        let tokens = total(&evaluation, "reference-tokens").filter(|tokens| *tokens > 0.0);
        let logprob = total(&evaluation, "reference-logprob");
        add("reference-nll", tokens.zip(logprob).map(|(tokens, logprob)| -logprob / tokens));
        add("answer-tokens", mean(&evaluation, "answer-tokens"));
        let finished = evaluation.rows.iter().filter(|row| row.is_finished).count();
        add("finished", share(finished, evaluation.rows.len()));
        add("kl", mean(&evaluation, "kl"));
        let margins = margins(&evaluation, "");
        let gains = margins.as_ref().zip(self::margins(&evaluation, "base-"));
        if let Some((margins, base)) = gains {
            let gains: Vec<f64> = margins.iter().zip(base).map(|(now, before)| now - before).collect();
            let rows = gains.len();
            let above = |values: &[f64]| share(values.iter().filter(|value| 0.0 < **value).count(), rows);
            add("preference-margin", (rows > 0).then(|| gains.iter().sum::<f64>() / rows as f64));
            add("preference-accuracy", above(&gains));
            add("likelihood-accuracy", above(margins));
        }
        checked_measure(BUILT_IN, metrics)
    }
}

/// How much likelier the better completion of each row is than the worse, in nats.
fn margins(evaluation: &Evaluation, model: &str) -> Option<Vec<f64>> {
    let of = |role: &str| {
        let name = format!("{model}{role}-logprob");
        evaluation.statistics.iter().find(|(other, _)| *other == name).map(|(_, values)| values)
    };
    Some(of("chosen")?.iter().zip(of("rejected")?).map(|(chosen, rejected)| chosen - rejected).collect())
}

fn exact_match(evaluation: &Evaluation) -> Option<f64> {
    let with_gold =
        evaluation.rows.iter().filter_map(|row| Some((row.answer.trim(), row.example.completion.as_ref()?.trim())));
    let (rows, right) =
        with_gold.fold((0, 0), |(rows, right), (answer, gold)| (rows + 1, right + usize::from(answer == gold)));
    share(right, rows)
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn total(evaluation: &Evaluation, name: &str) -> Option<f64> {
    let (_, values) = evaluation.statistics.iter().find(|(other, _)| other == name)?;
    Some(values.iter().sum())
}

fn mean(evaluation: &Evaluation, name: &str) -> Option<f64> {
    let (_, values) = evaluation.statistics.iter().find(|(other, _)| other == name)?;
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

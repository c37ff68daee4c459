//! Asking the policy: one call for all prompts of all rows.

use serde_json::json;
use tunesmith_sdk::{Error, Model, Prompts};

use crate::Calibration;
use crate::math::{calibrate, softmax};
use crate::prompts::Style;

/// The model that answers: the one in training.
const POLICY: &str = "policy";

/// The classes' probabilities under each row's prompts: by row, by prompt. Every row has as many prompts.
///
/// # Errors
///
/// Fails when the model does, and when it cannot tell two labels apart by their first tokens.
pub(crate) fn probabilities(
    style: &Style,
    prompts: &[Vec<String>],
    calibration: Calibration,
) -> Result<Vec<Vec<Vec<f64>>>, Error> {
    let texts = prompts.concat();
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    let asked = match style.system.as_str() {
        "" => Prompts::new().users(&texts),
        system => Prompts::new().messages(&texts.iter().map(|text| conversation(system, text)).collect::<Vec<_>>()),
    };
    let classes = style.labels.len();
    let flat = Model::open(POLICY)?.score_next(&asked, &style.labels)?;
    let scores: Vec<&[f32]> = flat.chunks(classes).collect();
    if let Some((one, other)) = twins(&scores, classes) {
        let [one, other] = [one, other].map(|class| &style.labels[class]);
        let what = format!("the labels `{one}` and `{other}` begin with the same token: choose other words");
        return Err(Error::unsupported(what));
    }
    let variants = prompts[0].len();
    let mut rows: Vec<Vec<Vec<f64>>> = Vec::with_capacity(prompts.len());
    let wide = |score: &&[f32]| score.iter().map(|value| f64::from(*value)).collect();
    rows.extend(scores.chunks(variants).map(|row| row.iter().map(wide).collect()));
    if calibration == Calibration::Batch {
        for variant in 0..variants {
            let mut column: Vec<Vec<f64>> = rows.iter().map(|row| row[variant].clone()).collect();
            calibrate(&mut column);
            rows.iter_mut().zip(column).for_each(|(row, scores)| row[variant] = scores);
        }
    }
    Ok(rows.into_iter().map(|row| row.iter().map(|scores| softmax(scores)).collect()).collect())
}

/// A prompt after a system message.
fn conversation(system: &str, prompt: &str) -> String {
    json!([{ "role": "system", "content": system }, { "role": "user", "content": prompt }]).to_string()
}

/// Two classes whose scores are the same after every prompt, bit for bit: their words begin with one token.
fn twins(scores: &[&[f32]], classes: usize) -> Option<(usize, usize)> {
    let same = |one: usize, other: usize| scores.iter().all(|score| score[one].to_bits() == score[other].to_bits());
    (0..classes)
        .flat_map(|one| (one + 1..classes).map(move |other| (one, other)))
        .find(|(one, other)| same(*one, *other))
}

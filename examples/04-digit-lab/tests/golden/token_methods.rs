//! FAIT and OTR through the real host: their arms, and first losses against numbers worked out from the model's own log-probabilities.

use anyhow::{Context as _, ensure};
use digit_lab::lab::Arm;
use digit_lab::{fait, otr};
use serde_json::{Value, json};
use tunesmith_core::model::{Message, Prompt};
use tunesmith_core::plan::GeneratePlan;
use tunesmith_train::model::LanguageModel;
use tunesmith_train::{device, service};

use super::{check, mixed, run_on};

/// How far a loss may be from the one worked out here, relative to it: float32 sums in another order.
const TOLERANCE: f64 = 1e-4;

#[test]
fn one_token_rollouts_and_their_controls_start_as_they_did() {
    // The arms with a high learning rate differ in nothing else.
    otr::arms().iter().filter(|arm| !arm.name.ends_with("high")).for_each(check);
}

#[test]
fn weights_on_differences_start_as_they_did() {
    // With as few steps as here, an arm with twice the steps is the one without.
    fait::arms().iter().filter(|arm| !arm.name.ends_with("2x")).for_each(check);
}

/// The log-probabilities of the completion's characters and its end, under the mixed base.
fn logprobs(completion: &str) -> anyhow::Result<Vec<f64>> {
    let model = LanguageModel::load(&mixed(), &device::open("cpu")?)?;
    let model = service::open(&model, &GeneratePlan { max_tokens: 12, batch: 1, chunk: 1 });
    let scores = model.score(&[Prompt::Chat(vec![Message::user("34+12")])], &[completion.to_owned()])?;
    Ok(scores[0].token_logprobs.iter().map(|logprob| f64::from(*logprob)).collect())
}

fn row(completion: &str, wrong: &Value) -> Value {
    json!({ "prompt": "34+12", "completion": completion, "wrong": wrong })
}

/// The loss of the first step of the only row.
fn loss(recipe: &'static str, settings: &[(&str, &str)], row: &Value) -> anyhow::Result<f64> {
    let stage = if recipe == "otr" { "objective" } else { "weigh" };
    let set = settings.iter().map(|(key, value)| (format!("{stage}.settings.{key}"), (*value).to_owned())).collect();
    let arm = Arm { name: recipe.into(), recipe, set };
    let folder = tempfile::tempdir()?;
    let outcome = run_on(&arm, std::slice::from_ref(row), folder.path())?;
    outcome.losses.first().copied().context("there is a step")
}

#[track_caller]
fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() <= TOLERANCE * expected.abs(), "{found}, not {expected}");
}

/// `sum w (-l) / sum w`.
fn weighted(logprobs: &[f64], weight: impl Fn(usize) -> f64) -> f64 {
    let (sum, total) = logprobs
        .iter()
        .enumerate()
        .fold((0.0, 0.0), |(sum, total), (at, logprob)| (sum - weight(at) * logprob, total + weight(at)));
    sum / total
}

#[test]
fn fait_weighs_the_character_that_differs() -> anyhow::Result<()> {
    let (right, wrong) = ("qqq:460", "qqq:470");
    let logprobs = logprobs(right)?;
    // The fifth character after the style.
    let at_five = |weight: f64| move |at: usize| if at == 5 { weight } else { 1.0 };
    let row = row(right, &json!(wrong));
    near(loss("fait", &[("dynamic", "false"), ("lambda", "0.0")], &row)?, weighted(&logprobs, |_| 1.0));
    near(loss("fait", &[("dynamic", "false"), ("lambda", "2.0")], &row)?, weighted(&logprobs, at_five(3.0)));
    // The line is the whole answer, without its end.
    let line = weighted(&logprobs, |at| if at == 7 { 1.0 } else { 1.0 + 2.0 * if at == 5 { 1.0 } else { 0.5 } });
    let shares = [("line-share", "0.5"), ("token-share", "0.5")];
    near(loss("fait", &[&shares[..], &[("dynamic", "false"), ("lambda", "2.0")]].concat(), &row)?, line);
    Ok(())
}

#[test]
fn fait_asks_the_policy_how_likely_the_wrong_answer_is() -> anyhow::Result<()> {
    let (right, wrong) = ("qqq:460", ["qqq:470", "qqq:461"]);
    let own = logprobs(right)?;
    let others = [logprobs(wrong[0])?[5], logprobs(wrong[1])?[6]];
    let gap = f64::midpoint(-own[5], -own[6]) - f64::midpoint(-others[0], -others[1]);
    let emphasis = 4.0 / (1.0 + (-gap / 0.5).exp());
    let expected = weighted(&own, |at| if at == 5 || at == 6 { 1.0 + emphasis } else { 1.0 });
    near(loss("fait", &[("tau", "0.5")], &row(right, &json!(wrong)))?, expected);
    // Without a variant it is plain fine-tuning.
    near(loss("fait", &[], &row(right, &Value::Null))?, weighted(&own, |_| 1.0));
    Ok(())
}

#[test]
fn the_limit_of_otr_without_a_negative_term_is_dft() -> anyhow::Result<()> {
    let answer = "qqq:460";
    let logprobs = logprobs(answer)?;
    let expected = -logprobs.iter().map(|logprob| logprob.exp() * logprob).sum::<f64>() / logprobs.len() as f64;
    let settings = [("draws", "0"), ("beta", "0.0"), ("temperature", "1.0")];
    near(loss("otr", &settings, &row(answer, &Value::Null))?, expected);
    Ok(())
}

#[test]
fn draws_of_otr_approach_its_limit() -> anyhow::Result<()> {
    let row = row("qqq:460", &Value::Null);
    let (limit, drawn) = (loss("otr", &[("draws", "0")], &row)?, loss("otr", &[("draws", "4096")], &row)?);
    // A draw's loss varies by less than 0.9 nats here, and there are eight places of 4096 draws: four standard errors.
    ensure!((limit - drawn).abs() < 0.02, "{drawn} with draws, {limit} in the limit");
    ensure!((limit - drawn).abs() > 0.0, "draws are no limit");
    Ok(())
}

//! AFT and SICL through the real host: their arms, and what they answer.

use std::fs;

use anyhow::{Context as _, ensure};
use digit_lab::lab::{Arm, Outcome};
use digit_lab::{drafts, ensemble};
use serde_json::Value;
use tunesmith_core::model::{LanguageModel, Message, Prompt, Sampling};
use tunesmith_core::plan::GeneratePlan;
use tunesmith_train::{device, model, service};

use super::{check, mixed, run};

#[test]
fn aggregations_and_their_control_start_as_they_did() {
    drafts::arms().iter().for_each(check);
}

#[test]
fn ensembles_and_their_control_start_as_they_did() {
    ensemble::arms().iter().for_each(check);
}

fn arm(recipe: &'static str, settings: &[(&str, &str)]) -> Arm {
    let set = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Arm { name: recipe.into(), recipe, set }
}

/// Prompts and answers of the measurement before training.
fn answers(outcome: &Outcome) -> anyhow::Result<Vec<(String, String)>> {
    let text = fs::read_to_string(outcome.summary.folder.join("samples.jsonl"))?;
    let mut answers = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line)?;
        let text = |name: &str| line[name].as_str().map(str::to_owned).context("it is text");
        if line["step"] == 0 {
            answers.push((text("prompt")?, text("answer")?));
        }
    }
    Ok(answers)
}

/// What the trace says of the answering calls before training.
fn calls(outcome: &Outcome) -> anyhow::Result<Vec<Value>> {
    let text = fs::read_to_string(outcome.summary.folder.join("trace.jsonl"))?;
    let lines = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let measured = lines.iter().map(|line| &line["record"]).find(|record| record["event"] == "measure");
    let calls = measured.and_then(|record| record["calls"].as_array()).context("it was measured")?;
    Ok(calls.iter().filter(|call| call["stage"] == "answer").cloned().collect())
}

fn open() -> anyhow::Result<std::sync::Arc<dyn LanguageModel>> {
    let model = model::LanguageModel::load(&mixed(), &device::open("cpu")?)?;
    Ok(service::open(&model, &GeneratePlan { max_tokens: 8, batch: 64, chunk: 1 }))
}

fn user(text: String) -> Prompt {
    Prompt::Chat(vec![Message::user(text)])
}

#[test]
fn no_rounds_of_drafts_answer_as_the_model_alone() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let found = answers(&run(&arm("aft", &[]), &mixed(), folder.path())?)?;
    ensure!(found.len() == 8, "{} answers", found.len());
    let prompts: Vec<Prompt> = found.iter().map(|(prompt, _)| user(prompt.clone())).collect();
    let plain = open()?.generate(&prompts, &Sampling::greedy(8))?;
    assert_eq!(
        found.into_iter().map(|(_, answer)| answer).collect::<Vec<_>>(),
        plain.into_iter().map(|it| it.text).collect::<Vec<_>>()
    );
    Ok(())
}

/// One round over the drafts of the data is one greedy answer to the request that shows them.
#[test]
fn an_aggregation_is_the_models_answer_to_prompt_and_drafts() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let given =
        [("answer.settings.rounds", "1"), ("answer.settings.proposals-column", "drafts"), ("answer.chunk", "3")];
    let outcome = run(&arm("aft", &given), &mixed(), folder.path())?;
    let found = answers(&outcome)?;
    let data = fs::read_to_string(digit_lab::lab::data(folder.path(), "drafts-held-out"))?;
    let mut requests = Vec::new();
    for line in data.lines() {
        let row: Value = serde_json::from_str(line)?;
        let shown: Vec<String> = serde_json::from_value(row["drafts"].clone())?;
        let prompt = row["prompt"].as_str().context("it is text")?;
        requests.push(user(format!("{}:{prompt}", shown.join(":"))));
    }
    let expected = open()?.generate(&requests, &Sampling::greedy(8))?;
    for ((_, answer), expected) in found.iter().zip(&expected) {
        assert_eq!(*answer, expected.text);
    }
    let calls = calls(&outcome)?;
    ensure!(calls.len() == 3, "eight rows in chunks of three: {} calls", calls.len());
    ensure!(calls.iter().all(|call| call["plugin"] == "aft" && call["report"]["fuel"].as_u64() > Some(0)), "{calls:?}");
    Ok(())
}

#[test]
fn sampled_rounds_repeat_with_the_seed_and_differ_with_another() -> anyhow::Result<()> {
    let answered = |seed: &str| -> anyhow::Result<_> {
        let folder = tempfile::tempdir()?;
        let rounds = [("answer.settings.rounds", "2"), ("answer.settings.final-temperature", "1.0"), ("seed", seed)];
        answers(&run(&arm("aft", &rounds), &mixed(), folder.path())?)
    };
    let (one, same, other) = (answered("3")?, answered("3")?, answered("4")?);
    assert_eq!(one, same);
    assert_ne!(one, other);
    Ok(())
}

/// A single variant without demonstrations is the likeliest label after the prompt, and the measured numbers follow from the same scores.
#[test]
fn a_single_variant_answers_with_the_likeliest_label() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut settings = Vec::new();
    for table in ["answer", "measure"] {
        settings.push((format!("{table}.settings.templates"), "[\"p{prompt}\"]"));
        settings.push((format!("{table}.settings.count"), "0"));
    }
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let outcome = run(&arm("sicl", &settings), &mixed(), folder.path())?;
    let found = answers(&outcome)?;
    let labels = ["a", "b", "c"].map(String::from);
    let prompts: Vec<Prompt> = found.iter().map(|(prompt, _)| user(format!("p{prompt}"))).collect();
    let scores = open()?.score_next(&prompts, &labels)?;
    let (mut nll, mut right) = (0.0, 0.0);
    let data = fs::read_to_string(digit_lab::lab::data(folder.path(), "classes-held-out"))?;
    for (((_, answer), scores), line) in found.iter().zip(scores.chunks(3)).zip(data.lines()) {
        let row: Value = serde_json::from_str(line)?;
        let best = (0..3).max_by(|one, other| scores[*one].total_cmp(&scores[*other])).context("three labels")?;
        assert_eq!(*answer, labels[best]);
        let gold = labels.iter().position(|label| row["completion"] == label.as_str()).context("a label")?;
        let sum: f64 = scores.iter().map(|score| f64::from(*score).exp()).sum();
        nll += sum.ln() - f64::from(scores[gold]);
        right += f64::from(u8::from(best == gold));
    }
    let measured = |name: &str| outcome.before("classes-held-out", name).context("it was measured");
    for (name, expected) in [("nll", nll / 8.0), ("accuracy", right / 8.0), ("exact-match", right / 8.0)] {
        let found = measured(name)?;
        ensure!((found - expected).abs() < 1e-5, "{name} is {found}, not {expected}");
    }
    ensure!((measured("ece-max")? - measured("ece-single")?).abs() < 1e-12, "an ensemble of one");
    Ok(())
}

#[test]
fn an_ensembles_answers_are_what_its_measure_calls_accurate() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let outcome = run(&arm("sicl", &[("answer.chunk", "3")]), &mixed(), folder.path())?;
    let before = |name: &str| outcome.before("classes-held-out", name).context("it was measured");
    ensure!((before("accuracy")? - before("exact-match")?).abs() < 1e-12, "{:?}", outcome.summary.sets);
    ensure!(before("accuracy-mean").is_ok() && before("disagreement").is_ok(), "{:?}", outcome.summary.sets);
    assert_eq!(calls(&outcome)?.len(), 3);
    Ok(())
}

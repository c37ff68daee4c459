//! Prompts and answers in both languages: from the data, or from a model that translates.

use serde::Deserialize;
use serde_json::json;
use tunesmith_sdk::{Error, Examples, Model, Prompts, Sampling, TrainingSet};

use crate::math::fault;
use crate::template::fill;
use crate::{REJECTED, SOURCE, TARGET};

/// What becomes of a pair of languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Records {
    /// A preference in each direction: the method.
    Preferences,
    /// An ordinary row in each language: the control.
    Answers,
}

/// Who translates, and how it is asked.
#[derive(Debug, Clone)]
pub struct Translator {
    /// The name of the model in the run.
    pub model: String,
    /// The request, with a place for the text.
    pub prompt: String,
    /// At most this many tokens; 0 leaves it to the recipe.
    pub max_tokens: u32,
}

/// A row in both languages.
pub struct Pair {
    row: usize,
    /// Prompt and answer in the source language.
    source: [String; 2],
    /// The same in the target language, or why it is not there.
    target: Result<[String; 2], &'static str>,
}

/// The rows of the pool in both languages; what has no translation is translated, in one call.
///
/// # Errors
///
/// Fails when the translator does.
pub fn collect(
    pool: &Examples,
    prompts: Vec<Option<String>>,
    answers: Vec<Option<String>>,
    translator: Option<&Translator>,
) -> Result<Vec<Pair>, Error> {
    let sources: Vec<[String; 2]> = pool
        .prompts()
        .into_iter()
        .zip(pool.completions())
        .map(|(prompt, answer)| [prompt, answer.unwrap_or_default()])
        .collect();
    let mut cells: Vec<[Result<String, &'static str>; 2]> = prompts
        .into_iter()
        .zip(answers)
        .map(|(prompt, answer)| [prompt, answer].map(|text| text.ok_or("no translation")))
        .collect();
    if let Some(translator) = translator {
        let mut open = Vec::new();
        for (cells, source) in cells.iter_mut().zip(&sources) {
            let is_whole = source.iter().all(|text| !text.is_empty());
            open.extend(cells.iter_mut().zip(source).filter(|(cell, _)| is_whole && cell.is_err()));
        }
        translator.translate(open)?;
    }
    let pair = |(row, (source, [prompt, answer])): (usize, (_, [Result<String, &'static str>; 2]))| {
        let target = prompt.and_then(|prompt| Ok([prompt, answer?]));
        Pair { row, source, target }
    };
    Ok(sources.into_iter().zip(cells).enumerate().map(pair).collect())
}

impl Translator {
    /// Fills places with translations of the texts beside them.
    fn translate(&self, open: Vec<(&mut Result<String, &'static str>, &String)>) -> Result<(), Error> {
        if open.is_empty() {
            return Ok(());
        }
        let requests: Vec<String> = open.iter().map(|(_, text)| fill(&self.prompt, &[("{text}", text)])).collect();
        let sampling = Sampling { max_tokens: (0 < self.max_tokens).then_some(self.max_tokens), ..Sampling::greedy() };
        let written = Model::open(&self.model)?.generate(&Prompts::new().users(&requests), &sampling)?;
        for (((place, _), text), is_finished) in open.into_iter().zip(written.texts()).zip(written.finished()) {
            *place = if is_finished {
                Ok(text.trim().to_owned())
            } else {
                Err("the translation was cut at the length limit")
            };
        }
        Ok(())
    }
}

impl Pair {
    /// Tells the training set; whether the row was taken.
    pub fn tell(&self, chosen: &TrainingSet, records: Records) -> bool {
        let [prompt, answer] = self.source.each_ref().map(String::as_str);
        let target = match &self.target {
            Ok(target) => target.each_ref().map(String::as_str),
            Err(why) => {
                chosen.omit(self.row, why);
                return false;
            }
        };
        if let Some(why) = fault([prompt, answer], target) {
            chosen.omit(self.row, why);
            return false;
        }
        let asked = json!([{ "role": "user", "content": target[0] }]).to_string();
        match records {
            Records::Preferences => {
                chosen.group(self.row, &[(SOURCE, answer), (REJECTED, target[1])], SOURCE);
                chosen.add_group(&asked, &[(TARGET, target[1]), (REJECTED, answer)], TARGET, Some(self.row));
            }
            Records::Answers => {
                chosen.keep(self.row, SOURCE);
                chosen.add_group(&asked, &[("", target[1])], TARGET, Some(self.row));
            }
        }
        true
    }
}

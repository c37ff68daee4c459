//! Learning from documents: the model writes questions and answers while it reads, trains on answering without the document, and prefers what it
//! wrote with the document to what it says without.

pub mod math;
#[path = "../../grape/src/template.rs"]
pub mod template;

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::json;
use tunesmith_sdk::{Curate, Error, Examples, Model, Plugin, Prompts, Sampling, TrainingSet, log};

use math::{Pair, is_same, parse, support};
use template::fill;

/// The model that reads and answers.
const POLICY: &str = "policy";
/// Where the document is put into the template.
const DOCUMENT: &str = "{document}";

/// The settings, as `plugin.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    stage: Stage,
    document_column: String,
    longest: usize,
    template: String,
    question_mark: String,
    answer_mark: String,
    samples: usize,
    temperature: f32,
    closed_temperature: f32,
    max_tokens: u32,
    support: f64,
    document_records: bool,
}

/// Which half of the method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Answers written with the document are trained on without it.
    OpenBook,
    /// They are preferred to answers given without it.
    ClosedBook,
}

/// The plugin.
pub struct Autonomous(Settings);

impl Plugin for Autonomous {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        if !settings.template.contains(DOCUMENT) {
            return Err(Error::bad_settings(format!("`template` lacks `{DOCUMENT}`")));
        }
        if settings.stage == Stage::ClosedBook && settings.document_records {
            return Err(Error::bad_settings(
                "`document-records` are ordinary rows, and `closed-book` makes preferences",
            ));
        }
        Ok(Self(settings))
    }
}

/// A document, what was asked about it, and what was written.
struct Read {
    row: usize,
    request: String,
    text: String,
    pairs: Vec<Pair>,
}

impl Curate for Autonomous {
    fn curate(&self, pool: &Examples, chosen: &TrainingSet) -> Result<(), Error> {
        let read = self.read(pool, chosen)?;
        match self.0.stage {
            Stage::OpenBook => self.open_book(&read, chosen),
            Stage::ClosedBook => self.closed_book(&read, chosen)?,
        }
        let asked: HashSet<usize> = read.iter().map(|read| read.row).collect();
        let mut asked: Vec<usize> = asked.into_iter().collect();
        asked.sort_unstable();
        for row in asked {
            let count: usize = read.iter().filter(|read| read.row == row).map(|read| read.pairs.len()).sum();
            chosen.note(row, "questions", count as f64);
            chosen.omit(row, if count == 0 { "no question was written" } else { "read for its questions" });
        }
        Ok(())
    }
}

impl Autonomous {
    fn sampling(&self, temperature: f32, samples: usize) -> Sampling {
        let max_tokens = (0 < self.0.max_tokens).then_some(self.0.max_tokens);
        Sampling { max_tokens, ..Sampling::at(temperature, samples as u32) }
    }

    /// The documents that are not left out.
    fn documents(&self, pool: &Examples, chosen: &TrainingSet) -> Vec<(usize, String)> {
        let texts = match self.0.document_column.as_str() {
            "" => pool.prompts().into_iter().map(Some).collect(),
            name => pool.column(name),
        };
        let mut documents = Vec::new();
        for (row, text) in texts.into_iter().enumerate() {
            match text.filter(|text| !text.trim().is_empty()) {
                None => chosen.omit(row, "no document"),
                Some(text) if 0 < self.0.longest && self.0.longest < text.chars().count() => {
                    chosen.omit(row, "the document is too long");
                }
                Some(text) => documents.push((row, text)),
            }
        }
        documents
    }

    /// Lets the policy write questions and answers about all documents, in one call, and reads them.
    fn read(&self, pool: &Examples, chosen: &TrainingSet) -> Result<Vec<Read>, Error> {
        let documents = self.documents(pool, chosen);
        if documents.is_empty() {
            return Ok(Vec::new());
        }
        let requests: Vec<String> =
            documents.iter().map(|(_, text)| fill(&self.0.template, &[(DOCUMENT, text)])).collect();
        let sampling = self.sampling(self.0.temperature, self.0.samples);
        let written = Model::open(POLICY)?.generate(&Prompts::new().users(&requests), &sampling)?;
        let asked = documents.iter().zip(&requests).flat_map(|asked| std::iter::repeat_n(asked, self.0.samples));
        let (mut seen, mut read, mut parts) = (HashSet::new(), Vec::new(), 0_usize);
        for ((((row, document), request), text), is_finished) in asked.zip(written.texts()).zip(written.finished()) {
            let mut found = parse(&text, &self.0.question_mark, &self.0.answer_mark);
            if !is_finished && found.pop().is_some() {
                log::skip(*row, "the answer was cut at the length limit");
                parts += 1;
            }
            parts += found.len();
            let mut pairs = Vec::new();
            for pair in found {
                let fault = match &pair {
                    None => Some("a question or its answer is missing"),
                    Some(pair) if support(&pair.answer, document) < self.0.support => {
                        Some("the answer is not in the document")
                    }
                    Some(pair) if !seen.insert(pair.question.to_lowercase()) => Some("the question was asked before"),
                    Some(_) => None,
                };
                match fault {
                    Some(why) => log::skip(*row, why),
                    None => pairs.extend(pair),
                }
            }
            read.push(Read { row: *row, request: request.clone(), text: text.trim().to_owned(), pairs });
        }
        if 0 < parts {
            let kept: usize = read.iter().map(|read| read.pairs.len()).sum();
            log::metric("kept-share", kept as f64 / parts as f64);
        }
        Ok(read)
    }

    /// Questions with their open-book answers; with `document-records` also what was written, document in view.
    fn open_book(&self, read: &[Read], chosen: &TrainingSet) {
        for Read { row, request, text, pairs } in read {
            for Pair { question, answer } in pairs {
                chosen.add(question, answer, "open-book", Some(*row));
            }
            if self.0.document_records && !pairs.is_empty() {
                chosen.add(request, text, "document", Some(*row));
            }
        }
    }

    /// Preferences for the open-book answers, where the closed-book ones differ.
    fn closed_book(&self, read: &[Read], chosen: &TrainingSet) -> Result<(), Error> {
        let pairs: Vec<(usize, &Pair)> =
            read.iter().flat_map(|read| read.pairs.iter().map(move |pair| (read.row, pair))).collect();
        if pairs.is_empty() {
            return Ok(());
        }
        let questions: Vec<String> = pairs.iter().map(|(_, pair)| pair.question.clone()).collect();
        let sampling = self.sampling(self.0.closed_temperature, 1);
        let answers = Model::open(POLICY)?.generate(&Prompts::new().users(&questions), &sampling)?.texts();
        let mut known = 0_usize;
        for ((row, pair), closed) in pairs.iter().zip(&answers) {
            if closed.trim().is_empty() {
                log::skip(*row, "the closed-book answer is empty");
            } else if is_same(&pair.answer, closed) {
                known += 1;
                log::skip(*row, "the closed-book answer is the same");
            } else {
                let members = [("chosen", pair.answer.as_str()), ("rejected", closed.as_str())];
                let conversation = json!([{ "role": "user", "content": pair.question }]).to_string();
                chosen.add_group(&conversation, &members, "closed-book", Some(*row));
            }
        }
        log::metric("known-share", known as f64 / pairs.len() as f64);
        Ok(())
    }
}

tunesmith_sdk::export!(Autonomous: curate);

#[cfg(test)]
mod tests;

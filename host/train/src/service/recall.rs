//! What models answered a curating plugin, on disk until its chunk is decided: a run that is stopped inside a chunk asks no model twice.
//!
//! A plugin is a function of its input, its memory and these answers; so a chunk that was begun is begun again, and gets the answers it had.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tunesmith_core::digest;
use tunesmith_core::error::ServiceError;
use tunesmith_core::model::{ForwardPass, ForwardRequest, Generation, LanguageModel, Models, Prompt, Sampling, Score};

use crate::run::RunError;

/// The answers in `progress/answers.jsonl`, by the digest of what was asked.
pub(crate) struct Recall {
    path: PathBuf,
    kept: Mutex<Kept>,
}

struct Kept {
    file: File,
    answers: BTreeMap<String, String>,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    /// The digest of what was asked.
    key: String,
    /// The digest of the answer.
    digest: String,
    /// The answer as JSON.
    answer: String,
}

impl Recall {
    /// Opens the file with the answers that a stopped run has left in it, as far as they are whole.
    pub(crate) fn open(path: &Path) -> Result<Self, RunError> {
        let bytes = fs::read(path).unwrap_or_default();
        let mut answers = BTreeMap::new();
        let mut whole = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match serde_json::from_slice::<Line>(line) {
                Ok(line) if line.digest == digest::of(line.answer.as_bytes()) => answers.insert(line.key, line.answer),
                _ => break,
            };
            whole += line.len() as u64;
        }
        let open = || {
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            file.set_len(whole).map(|()| file)
        };
        let file = open().map_err(RunError::io(path))?;
        Ok(Self { path: path.to_owned(), kept: Mutex::new(Kept { file, answers }) })
    }

    /// Forgets everything: the chunk is decided.
    pub(crate) fn clear(&self) -> Result<(), RunError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.answers.clear();
        kept.file.set_len(0).map_err(RunError::io(&self.path))
    }

    /// The answer to this question: the one that is kept, or a new one that is kept from now on.
    fn answer<T: Serialize + DeserializeOwned + PartialEq>(
        &self,
        question: &impl Serialize,
        ask: impl FnOnce() -> Result<T, ServiceError>,
    ) -> Result<T, ServiceError> {
        let key = digest::of(&serde_json::to_vec(question).expect("questions have text keys"));
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = kept.answers.get(&key).and_then(|text| serde_json::from_str(text).ok()) {
            return Ok(answer);
        }
        let answer = ask()?;
        let text = serde_json::to_string(&answer).map_err(|error| ServiceError::Failed(error.to_string()))?;
        // JSON has no infinities; such an answer is asked for again.
        if serde_json::from_str::<T>(&text).is_ok_and(|read| read == answer) {
            kept.keep(key, text).map_err(|error| ServiceError::Failed(format!("{}: {error}", self.path.display())))?;
        }
        Ok(answer)
    }
}

impl Kept {
    fn keep(&mut self, key: String, answer: String) -> std::io::Result<()> {
        let line = Line { digest: digest::of(answer.as_bytes()), key, answer };
        let mut text = serde_json::to_string(&line)?;
        text.push('\n');
        self.file.write_all(text.as_bytes())?;
        self.answers.insert(line.key, line.answer);
        Ok(())
    }
}

/// Models whose answers are kept.
pub(super) struct RecallingModels {
    pub(super) models: Arc<dyn Models>,
    pub(super) recall: Arc<Recall>,
}

impl Models for RecallingModels {
    fn open(&self, name: &str) -> Result<Arc<dyn LanguageModel>, ServiceError> {
        let model = self.models.open(name)?;
        Ok(Arc::new(RecallingModel { name: name.to_owned(), model, recall: Arc::clone(&self.recall) }))
    }
}

struct RecallingModel {
    name: String,
    model: Arc<dyn LanguageModel>,
    recall: Arc<Recall>,
}

impl LanguageModel for RecallingModel {
    fn generate(&self, prompts: &[Prompt], sampling: &Sampling) -> Result<Vec<Generation>, ServiceError> {
        self.recall.answer(&(&self.name, "generate", prompts, sampling), || self.model.generate(prompts, sampling))
    }

    fn score(&self, prompts: &[Prompt], completions: &[String]) -> Result<Vec<Score>, ServiceError> {
        self.recall.answer(&(&self.name, "score", prompts, completions), || self.model.score(prompts, completions))
    }

    fn score_next(&self, prompts: &[Prompt], candidates: &[String]) -> Result<Vec<f32>, ServiceError> {
        let question = (&self.name, "score-next", prompts, candidates);
        self.recall.answer(&question, || self.model.score_next(prompts, candidates))
    }

    fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, ServiceError> {
        self.recall.answer(&(&self.name, "embed", texts), || self.model.embed(texts))
    }

    fn forward(&self, request: &ForwardRequest) -> Result<ForwardPass, ServiceError> {
        self.model.forward(request)
    }

    fn hidden_size(&self) -> usize {
        self.model.hidden_size()
    }

    fn layers(&self) -> usize {
        self.model.layers()
    }

    fn max_tokens(&self) -> u32 {
        self.model.max_tokens()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_not_asked_again_and_damage_is_not_kept() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("answers.jsonl");
        let ask = |recall: &Recall, question: &str, fresh: f32| {
            recall.answer(&question, || Ok(fresh)).expect("it answers").to_bits()
        };
        let recall = Recall::open(&path).expect("it opens");
        let third = 1.0_f32 / 3.0;
        assert_eq!(ask(&recall, "a", third), third.to_bits());
        assert_eq!(ask(&recall, "b", f32::INFINITY), f32::INFINITY.to_bits());
        assert_eq!(ask(&recall, "b", 2.0), 2.0_f32.to_bits(), "an infinity is not kept");
        drop(recall);

        let again = Recall::open(&path).expect("it opens");
        assert_eq!(ask(&again, "a", 9.0), third.to_bits());
        drop(again);
        let text = fs::read_to_string(&path).expect("it is there");
        let (first, _) = text.split_once('\n').expect("two lines");
        fs::write(&path, text.replace("\"2.0\"", "\"3.0\"")).expect("writable");
        let damaged = Recall::open(&path).expect("it opens");
        assert_eq!(ask(&damaged, "b", 4.0), 4.0_f32.to_bits());
        assert!(fs::read_to_string(&path).expect("it is there").starts_with(first));
        damaged.clear().expect("it clears");
        assert_eq!(ask(&damaged, "a", 5.0), 5.0_f32.to_bits());
    }
}

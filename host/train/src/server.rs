//! A model behind an OpenAI-compatible server, such as llama.cpp or vLLM, as a [`LanguageModel`] for stages.
//!
//! Requests go out several at once; answers come in the order of the prompts. What a tape holds is not asked. A request is the same again
//! exactly if its path and its body are: neither the server's address nor the key belong to it.

mod budget;
mod client;
mod key;
mod lanes;
mod questions;
mod tape;
#[cfg(test)]
mod tests;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tunesmith_core::digest;
use tunesmith_core::error::ServiceError;
use tunesmith_core::model::{ForwardPass, ForwardRequest, Generation, LanguageModel, Prompt, Sampling, Score};
use tunesmith_core::plan::ServerPlan;
use tunesmith_core::recipe::TapeMode;

use client::{Client, Failure};
pub use key::{Key, KeyError};
use questions::{Asked, Question};
use tape::Tape;
pub use tape::TapeError;

/// Texts of one request for embeddings.
const TEXTS_OF_A_REQUEST: usize = 32;

/// A model behind a server.
#[derive(Debug)]
pub struct ServerModel {
    name: String,
    plan: ServerPlan,
    max_tokens: u32,
    client: Client,
    tape: Option<Tape>,
}

impl ServerModel {
    /// The model that the recipe calls `name`. The server is not asked for anything yet, and the tape is read but not written.
    ///
    /// # Errors
    ///
    /// Fails when the tape cannot be read or is damaged.
    pub fn open(name: &str, plan: &ServerPlan, max_tokens: u32, key: Option<Key>) -> Result<Self, TapeError> {
        let tape = plan.tape.as_ref().map(|path| Tape::open(path, plan.mode)).transpose()?;
        Ok(Self { name: name.into(), plan: plan.clone(), max_tokens, client: Client::new(plan, key), tape })
    }

    /// All samples of one prompt. Some servers give several in one answer, some one at a time, and some refuse to be asked for several.
    fn samples(&self, prompt: &Prompt, sampling: &Sampling, first: u64) -> Result<Vec<Generation>, ServiceError> {
        let wanted = sampling.samples.max(1) as usize;
        let is_greedy = sampling.temperature == 0.0;
        let mut most = if is_greedy { 1 } else { wanted };
        let mut made: Vec<Generation> = Vec::with_capacity(wanted);
        while made.len() < wanted {
            let count = most.min(wanted - made.len());
            let asked = Asked {
                model: &self.plan.model,
                sampling,
                max_tokens: sampling.max_tokens.min(self.max_tokens),
                seed: (!is_greedy).then(|| stream(sampling.seed, first + made.len() as u64)),
                count,
                logprobs: self.plan.logprobs,
            };
            let mut answers: Vec<Generation> = self.answer(&asked.question(prompt), |it| asked.read(prompt, it))?;
            if is_greedy {
                answers = answers.into_iter().take(1).cycle().take(wanted).collect();
            }
            match (answers.is_empty(), count) {
                (true, 1) => return Err(self.failed("gave an answer without a completion")),
                (true, _) => most = 1,
                (false, _) => made.extend(answers.into_iter().take(wanted - made.len())),
            }
        }
        Ok(made)
    }

    /// The answer to a question: the one on the tape, or a new one, which is on the tape from now on.
    fn answer<T: Serialize + DeserializeOwned>(
        &self,
        question: &Question,
        read: impl Fn(&Value) -> Result<Vec<T>, String>,
    ) -> Result<Vec<T>, ServiceError> {
        let on_tape = |error: TapeError| self.failed(&error.told());
        if let Some(known) = self.tape.as_ref().map(|tape| tape.find(question)).transpose().map_err(on_tape)?.flatten()
        {
            return Ok(known);
        }
        if let Some(tape) = self.tape.as_ref().filter(|_| self.plan.mode == TapeMode::Replay) {
            return Err(self.failed(&format!(
                "was asked something that its tape `{}` does not hold (request {}); hint: the recipe, the data or a plugin have \
                 changed since the tape was recorded; set `mode = \"record\"` and ask the server for what is missing",
                tape.path().display(),
                question.hash(),
            )));
        }
        let answers = match self.client.ask(question, &read) {
            Ok(answers) => answers,
            // A server that takes one completion per request says so in this way; it is an answer like another.
            Err(Failure::Refused { status: 400 | 422, .. }) if question.count() > 1 => Vec::new(),
            Err(failure) => return Err(self.failed(&failure.to_string())),
        };
        match &self.tape {
            None => Ok(answers),
            Some(tape) => tape.keep(question, &answers).map_err(on_tape),
        }
    }

    fn failed(&self, what: &str) -> ServiceError {
        ServiceError::Failed(format!("model `{}` {what}", self.name))
    }

    fn cannot(&self, verb: &str) -> ServiceError {
        ServiceError::Unsupported(format!(
            "model `{}` is behind a server and cannot {verb}; hint: name a model in a folder by `path`",
            self.name
        ))
    }
}

/// Whether this build speaks the protocol of this address: `https` is an option at build time.
pub fn can_speak_to(server: &str) -> bool {
    cfg!(feature = "https") || !server.starts_with("https://")
}

/// The seed of a sequence, as servers take it.
fn stream(seed: u64, sequence: u64) -> u32 {
    let parts = [b"tunesmith server sampling".as_slice(), &seed.to_le_bytes(), &sequence.to_le_bytes()];
    (digest::seed_of(parts) >> 33) as u32
}

impl LanguageModel for ServerModel {
    fn generate(&self, prompts: &[Prompt], sampling: &Sampling) -> Result<Vec<Generation>, ServiceError> {
        let samples = u64::from(sampling.samples.max(1));
        let ask = |at: usize| self.samples(&prompts[at], sampling, at as u64 * samples);
        lanes::in_order(self.plan.parallel, prompts.len(), ask).map(|answers| answers.concat())
    }

    fn score(&self, _: &[Prompt], _: &[String]) -> Result<Vec<Score>, ServiceError> {
        Err(self.cannot("score given completions"))
    }

    fn score_next(&self, _: &[Prompt], _: &[String]) -> Result<Vec<f32>, ServiceError> {
        Err(self.cannot("score given candidates"))
    }

    fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, ServiceError> {
        let parts: Vec<&[String]> = texts.chunks(TEXTS_OF_A_REQUEST).collect();
        let ask = |at: usize| {
            let question = questions::embeddings(&self.plan.model, parts[at]);
            self.answer(&question, |answer| questions::read_embeddings(answer, parts[at].len()))
        };
        let vectors: Vec<Vec<f32>> = lanes::in_order(self.plan.parallel, parts.len(), ask)?.concat();
        let size = vectors.first().map_or(0, Vec::len);
        if vectors.iter().any(|vector| vector.len() != size) {
            return Err(self.failed("gave embeddings of different sizes"));
        }
        Ok(vectors)
    }

    fn forward(&self, _: &ForwardRequest) -> Result<ForwardPass, ServiceError> {
        Err(self.cannot("do a forward pass"))
    }

    /// Not known: 0.
    fn hidden_size(&self) -> usize {
        0
    }

    /// Not known: 0.
    fn layers(&self) -> usize {
        0
    }

    fn max_tokens(&self) -> u32 {
        self.max_tokens
    }
}

//! What a trained model does at temperature 1, and how likely given answers are to it: greedy accuracy hides most effects.

use std::path::Path;
use std::sync::Arc;

use tunesmith_core::model::{LanguageModel, Message, Prompt, Sampling};
use tunesmith_core::plan::GeneratePlan;
use tunesmith_train::{device, model, service};

use crate::task::Row;

/// A model folder, opened.
pub struct Probe {
    model: Arc<dyn LanguageModel>,
    /// Tokens of the longest answer.
    longest: u32,
}

/// How likely given answers are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likelihood {
    /// Negative log-likelihood per token in nats, over all tokens.
    pub nll: f64,
    /// The mean probability of a token.
    pub mean_p: f64,
}

impl Probe {
    /// Opens a model folder on the CPU.
    ///
    /// # Errors
    ///
    /// Fails when the folder cannot be used.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        Self::open_for(folder, 12)
    }

    /// As [`Probe::open`], for answers of at most so many tokens.
    ///
    /// # Errors
    ///
    /// As [`Probe::open`].
    pub fn open_for(folder: &Path, longest: u32) -> anyhow::Result<Self> {
        let model = model::LanguageModel::load(folder, &device::open("cpu")?)?;
        Ok(Self { model: service::open(&model, &GeneratePlan { max_tokens: longest, batch: 64, chunk: 1 }), longest })
    }

    /// The share of samples that equal the completion, in 0.0 to 1.0: `samples` per row at temperature 1.
    ///
    /// # Errors
    ///
    /// Fails when the model refuses a prompt.
    pub fn sampled_accuracy(&self, rows: &[Row], samples: u32) -> anyhow::Result<f64> {
        let sampling = Sampling { temperature: 1.0, samples, seed: crate::lab::SEED, ..Sampling::greedy(self.longest) };
        let answers = self.model.generate(&prompts(rows), &sampling)?;
        let golds = rows.iter().flat_map(|row| std::iter::repeat_n(&row.completion, samples as usize));
        let right = answers.iter().zip(golds).filter(|(answer, gold)| answer.text == **gold).count();
        Ok(right as f64 / answers.len().max(1) as f64)
    }

    /// `samples` answers to each prompt at this temperature: those of the first row, then those of the second.
    ///
    /// # Errors
    ///
    /// Fails when the model refuses a prompt.
    pub fn samples(&self, rows: &[Row], temperature: f32, samples: u32) -> anyhow::Result<Vec<String>> {
        let sampling = Sampling { temperature, samples, seed: crate::lab::SEED, ..Sampling::greedy(self.longest) };
        let answers = self.model.generate(&prompts(rows), &sampling)?;
        Ok(answers.into_iter().map(|answer| answer.text).collect())
    }

    /// The share of samples whose digits behind the colon are those of the completion, whatever their style: `samples` per row at temperature 1.
    ///
    /// # Errors
    ///
    /// Fails when the model refuses a prompt.
    pub fn digits(&self, rows: &[Row], samples: u32) -> anyhow::Result<f64> {
        let answers = self.samples(rows, 1.0, samples)?;
        let golds = rows.iter().flat_map(|row| std::iter::repeat_n(&row.completion, samples as usize));
        let digits = |text: &str| text.split_once(':').map(|(_, digits)| digits.to_owned());
        let is_right =
            |(answer, gold): &(&String, &String)| digits(answer).is_some_and(|own| Some(own) == digits(gold));
        Ok(answers.iter().zip(golds).filter(is_right).count() as f64 / answers.len().max(1) as f64)
    }

    /// The most likely answer to each prompt.
    ///
    /// # Errors
    ///
    /// Fails when the model refuses a prompt.
    pub fn answers(&self, rows: &[Row]) -> anyhow::Result<Vec<String>> {
        let answers = self.model.generate(&prompts(rows), &Sampling::greedy(self.longest))?;
        Ok(answers.into_iter().map(|answer| answer.text).collect())
    }

    /// How likely the completions are, end tokens included.
    ///
    /// # Errors
    ///
    /// Fails when the model refuses a prompt.
    pub fn likelihood(&self, rows: &[Row]) -> anyhow::Result<Likelihood> {
        let completions: Vec<String> = rows.iter().map(|row| row.completion.clone()).collect();
        let scores = self.model.score(&prompts(rows), &completions)?;
        let logprobs: Vec<f64> =
            scores.iter().flat_map(|score| &score.token_logprobs).map(|&logprob| logprob.into()).collect();
        let tokens = logprobs.len().max(1) as f64;
        Ok(Likelihood {
            nll: -logprobs.iter().sum::<f64>() / tokens,
            mean_p: logprobs.iter().map(|logprob| logprob.exp()).sum::<f64>() / tokens,
        })
    }
}

fn prompts(rows: &[Row]) -> Vec<Prompt> {
    rows.iter().map(|row| Prompt::Chat(vec![Message::user(row.prompt.as_str())])).collect()
}

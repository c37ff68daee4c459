//! A decoder with its tokenizer as a [`LanguageModel`] for stages.

use std::sync::Arc;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};
use tunesmith_core::error::ServiceError;
use tunesmith_core::model::{
    Finish, ForwardInput, ForwardPass, ForwardRequest, Generation, LanguageModel, Prompt, Sampling, Score,
};
use tunesmith_core::plan::GeneratePlan;
use tunesmith_core::tensors::TensorError;

use super::with_causes;
use crate::batching::{Encoder, Source};
use crate::error::ModelError;
use crate::generate::{self, Generator};
use crate::model::logprobs::Pair;
use crate::model::{Decoder, Forward, TokenBatch};
use crate::tensor_values;
use crate::tensors::BurnTensors;

/// A model of the run.
pub(super) struct HostModel {
    pub(super) encoder: Arc<Encoder>,
    /// Without autodiff.
    pub(super) decoder: Decoder,
    /// Only inside an `objective` call.
    pub(super) forwarding: Option<Forwarding>,
    pub(super) plan: GeneratePlan,
}

/// Where forward passes of an `objective` call happen.
pub(super) struct Forwarding {
    /// The policy with autodiff, or the reference without.
    pub(super) decoder: Decoder,
    pub(super) engine: Arc<BurnTensors>,
}

impl LanguageModel for HostModel {
    fn generate(&self, prompts: &[Prompt], sampling: &Sampling) -> Result<Vec<Generation>, ServiceError> {
        let samples = u64::from(sampling.samples.max(1));
        let mut numbered = Vec::new();
        for prompt in prompts {
            let ids = self.encoder.prompt(prompt).map_err(failed)?;
            for _ in 0..samples {
                numbered.push(generate::Prompt { ids: ids.clone(), stream: numbered.len() as u64 });
            }
        }
        let settings = self.sampling(sampling);
        let generator = Generator::new(&self.decoder, self.encoder.tokenizer());
        let answers = generator.generate(&numbered, &settings, &mut |_| {}).map_err(failed)?;
        Ok(answers.into_iter().map(generation).collect())
    }

    fn score(&self, prompts: &[Prompt], completions: &[String]) -> Result<Vec<Score>, ServiceError> {
        if prompts.len() != completions.len() {
            let what = format!("{} completions for {} prompts", completions.len(), prompts.len());
            return Err(ServiceError::Failed(what));
        }
        let texts = prompts.iter().zip(completions);
        let pairs = texts.map(|(prompt, completion)| self.encoder.pair_with_source(prompt, completion));
        let (pairs, sources): (Vec<Pair>, Vec<Source>) = pairs.collect::<Result<_, _>>().map_err(failed)?;
        let logprobs = self.decoder.score(&pairs, self.batch()).map_err(failed)?;
        let mut scores = Vec::with_capacity(logprobs.len());
        for ((pair, source), token_logprobs) in pairs.iter().zip(&sources).zip(logprobs) {
            // Whoever asks for spans that are not there is told; a score needs none.
            let spans = self.encoder.completion_spans(pair, source).ok();
            scores.push(Score { token_logprobs, spans });
        }
        Ok(scores)
    }

    fn score_next(&self, prompts: &[Prompt], candidates: &[String]) -> Result<Vec<f32>, ServiceError> {
        let mut scores = Vec::with_capacity(prompts.len() * candidates.len());
        for prompts in prompts.chunks(self.batch()) {
            let ids = prompts.iter().map(|prompt| self.encoder.prompt(prompt)).collect::<Result<Vec<_>, _>>();
            let next = self.next_logprobs(&ids.map_err(failed)?).map_err(failed)?;
            for (prompt, logprobs) in prompts.iter().zip(next.chunks(self.decoder.config().vocab_size)) {
                for candidate in candidates {
                    let pair = self.encoder.open_pair(prompt, candidate).map_err(failed)?;
                    let first = pair.completion.first().ok_or_else(|| {
                        ServiceError::Failed(format!("the candidate `{}` has no token", candidate.escape_debug()))
                    })?;
                    scores.push(logprobs[*first as usize]);
                }
            }
        }
        Ok(scores)
    }

    fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, ServiceError> {
        let mut vectors = Vec::with_capacity(texts.len());
        for texts in texts.chunks(self.batch()) {
            let raw = texts.iter().map(|text| self.encoder.prompt(&Prompt::Raw(text.clone())));
            let ids = raw.collect::<Result<Vec<_>, _>>().map_err(failed)?;
            vectors.extend(self.means(&ids).map_err(failed)?);
        }
        Ok(vectors)
    }

    fn forward(&self, request: &ForwardRequest) -> Result<ForwardPass, ServiceError> {
        let Some(Forwarding { decoder, engine }) = &self.forwarding else {
            let what = "a forward pass is possible only inside an `objective` call";
            return Err(ServiceError::Unsupported(what.into()));
        };
        let want = wanted(request)?;
        let mask = engine.float::<2>(request.mask).map_err(misused)?;
        let [rows, width] = mask.dims();
        let layout = |ids: &[u32]| masked_layout(width, ids, &tensor_values(mask.clone()));
        let output = match request.input {
            ForwardInput::Tokens(id) => {
                let tokens = engine.int::<2>(id).map_err(misused)?;
                if tokens.dims() != [rows, width] {
                    let what = format!("tokens have shape {:?}, the mask has {:?}", tokens.dims(), [rows, width]);
                    return Err(ServiceError::Failed(what));
                }
                decoder.forward(&layout(&ids(tokens)?)?, &want)
            }
            ForwardInput::Embeddings(id) => {
                let embeddings = engine.float::<3>(id).map_err(misused)?;
                decoder.forward_embeddings(embeddings, &layout(&vec![0; rows * width])?, &want)
            }
        };
        let output = output.map_err(failed)?;
        Ok(ForwardPass {
            logits: output.logits.map(|logits| engine.insert_float(logits)),
            hidden: request
                .hidden
                .iter()
                .copied()
                .zip(output.hidden.into_iter().map(|it| engine.insert_float(it)))
                .collect(),
            attention: request
                .attention
                .iter()
                .copied()
                .zip(output.attention.into_iter().map(|it| engine.insert_float(it)))
                .collect(),
        })
    }

    fn hidden_size(&self) -> usize {
        self.decoder.config().hidden_size
    }

    fn layers(&self) -> usize {
        self.decoder.config().layers
    }

    fn max_tokens(&self) -> u32 {
        self.plan.max_tokens
    }
}

impl HostModel {
    fn batch(&self) -> usize {
        self.plan.batch.max(1) as usize
    }

    fn sampling(&self, sampling: &Sampling) -> generate::Sampling {
        generate::Sampling {
            temperature: f64::from(sampling.temperature),
            top_k: sampling.top_k as usize,
            // 0.0 keeps the most likely token alone.
            top_p: f64::from(sampling.top_p).max(f64::MIN_POSITIVE),
            max_new_tokens: sampling.max_tokens.min(self.plan.max_tokens) as usize,
            stop: sampling.stop.clone(),
            eos: self.encoder.ends().to_vec(),
            seed: sampling.seed,
            batch: self.batch(),
        }
    }

    /// Log-probabilities of all tokens after each prompt: prompt-major.
    fn next_logprobs(&self, prompts: &[Vec<u32>]) -> Result<Vec<f32>, ModelError> {
        let layout = TokenBatch::right_padded(prompts)?;
        let hidden = self.decoder.hidden(&layout)?;
        let [rows, width, size] = hidden.dims();
        let last =
            prompts.iter().enumerate().map(|(row, ids)| (row * width + ids.len() - 1) as i32).collect::<Vec<_>>();
        let last = Tensor::<1, Int>::from_data(TensorData::new(last, [rows]), &hidden.device());
        let hidden = hidden.reshape([rows * width, size]).select(0, last).unsqueeze_dim(0);
        Ok(tensor_values(log_softmax(self.decoder.head(hidden), 2)))
    }

    /// The mean of the last hidden states of each text.
    fn means(&self, texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, ModelError> {
        let layout = TokenBatch::right_padded(texts)?;
        let size = self.hidden_size();
        let hidden = tensor_values(self.decoder.hidden(&layout)?);
        let mean = |(ids, row): (&Vec<u32>, &[f32])| {
            let mut sums = vec![0.0_f64; size];
            for state in row.chunks(size).take(ids.len()) {
                sums.iter_mut().zip(state).for_each(|(sum, value)| *sum += f64::from(*value));
            }
            sums.into_iter().map(|sum| (sum / ids.len() as f64) as f32).collect()
        };
        Ok(texts.iter().zip(hidden.chunks(layout.width() * size)).map(mean).collect())
    }
}

/// The request in the decoder's words: it counts attention maps from 0.
fn wanted(request: &ForwardRequest) -> Result<Forward, ServiceError> {
    let below = |layer: &usize| {
        layer.checked_sub(1).ok_or_else(|| ServiceError::Failed("attention layers are counted from 1".into()))
    };
    Ok(Forward {
        logits: request.logits,
        hidden_layers: request.hidden.clone(),
        attention_layers: request.attention.iter().map(below).collect::<Result<_, _>>()?,
        exit_after: request.exit_at,
    })
}

/// The rectangle of a guest: every row has its real tokens in one run.
fn masked_layout(width: usize, ids: &[u32], mask: &[f32]) -> Result<TokenBatch, ServiceError> {
    let is_real = |value: &f32| match value.to_bits() {
        // 0.0 and -0.0.
        0 | 0x8000_0000 => Ok(false),
        0x3f80_0000 => Ok(true),
        _ => Err(ServiceError::Failed(format!("a mask has only 0.0 and 1.0, not {value}"))),
    };
    let is_real = mask.iter().map(is_real).collect::<Result<Vec<bool>, _>>()?;
    TokenBatch::masked(width, ids, &is_real).map_err(failed)
}

fn ids(tokens: Tensor<2, Int>) -> Result<Vec<u32>, ServiceError> {
    let values = tokens.into_data().convert::<i32>().try_into_vec::<i32>();
    let values = values.map_err(|error| ServiceError::Failed(format!("the device gave other elements: {error:?}")))?;
    let id = |id: i32| u32::try_from(id).map_err(|_| ServiceError::Failed(format!("{id} is no token")));
    values.into_iter().map(id).collect()
}

fn generation(answer: generate::Generation) -> Generation {
    let finish = match answer.finish {
        generate::Finish::Eos => Finish::End,
        generate::Finish::Stop => Finish::Stop,
        generate::Finish::Length => Finish::Length,
    };
    Generation { text: answer.text, tokens: answer.ids, token_logprobs: answer.logprobs, finish }
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to `map_err`")]
fn failed(error: ModelError) -> ServiceError {
    ServiceError::Failed(with_causes(&error))
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to `map_err`")]
fn misused(error: TensorError) -> ServiceError {
    ServiceError::Failed(error.to_string())
}

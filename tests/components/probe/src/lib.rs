//! Objectives that make their own forward passes, and such with parameters of their own. Written as a plugin's author would, with the SDK.
#![allow(missing_docs, reason = "the settings are described in plugin.toml")]

use serde::Deserialize;
use tunesmith_sdk::{
    Batch, Error, ForwardPass, ForwardRequest, Model, Objective, Plugin, Tensor, TokenBatch, Weigh, log,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    task: Task,
    layer: usize,
    #[expect(dead_code, reason = "the manifest's shape uses it")]
    prompt: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Task {
    /// The negative log-likelihood of the batch's own log-probabilities.
    Port,
    /// The same from the logits of a forward pass.
    Nll,
    /// The same, where the forward pass starts from the embeddings that another one gave.
    FromEmbeddings,
    /// The same after `layer`.
    Exit,
    /// The same from the reference: a loss without a gradient.
    Reference,
    /// A smooth function of the hidden states of `layer`.
    Hidden,
    /// Logs the hidden states of `layer`, then as `nll`.
    ShowHidden,
    /// Logs the attention weights of `layer`, then as `nll`.
    ShowAttention,
    /// Logs the logits after `layer`, then as `nll`.
    ShowExit,
    /// The negative log-likelihood behind a soft prompt.
    Prompt,
    /// The negative log-likelihood where the soft prompt alone is the input: one row of embeddings.
    Embedded,
    /// The squared error of a value head on frozen hidden states, against the column `score`.
    Value,
    /// Asks for a parameter that the manifest does not declare.
    Undeclared,
}

pub struct Probe(Settings);

impl Plugin for Probe {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        Ok(Self(settings))
    }
}

impl Weigh for Probe {
    /// Tries a forward pass where there is none.
    fn weigh(&self, _: &TokenBatch) -> Result<Vec<f32>, Error> {
        let tokens = Tensor::from_ints(&[1, 2], &[1, 2]);
        let request = ForwardRequest::from_tokens(&tokens, &Tensor::full(1.0, &[1, 2])).logits();
        let _ = Model::open("policy")?.forward(&request)?.logits();
        Err(Error::other("a forward pass was made outside an objective"))
    }
}

impl Objective for Probe {
    fn objective(&self, batch: &Batch) -> Result<Tensor, Error> {
        let layer = self.0.layer;
        let policy = Model::open("policy")?;
        let request = from_tokens(batch);
        match self.0.task {
            Task::Port => {
                let logprobs = batch.token_logprobs("policy")?;
                Ok(-(logprobs * batch.weights()).sum() / batch.total_weight() as f32)
            }
            Task::Nll => Ok(nll(batch, &policy.forward(&request.logits())?.logits())),
            Task::FromEmbeddings => {
                let embeddings = policy.forward(&request.hidden(0))?.hidden(0);
                Ok(nll(batch, &forward_from(&policy, &embeddings)?.logits()))
            }
            Task::Exit => Ok(nll(batch, &policy.forward(&request.exit_at(layer).logits())?.logits())),
            Task::Reference => Ok(nll(batch, &Model::open("reference")?.forward(&request.logits())?.logits())),
            Task::Hidden => {
                let hidden = policy.forward(&request.hidden(layer))?.hidden(layer);
                Ok((hidden.tanh() * batch.weights().reshape(&with_one(&batch.tokens()))).sum())
            }
            Task::ShowHidden => {
                let pass = policy.forward(&request.hidden(layer).logits())?;
                show(&pass.hidden(layer));
                Ok(nll(batch, &pass.logits()))
            }
            Task::ShowAttention => {
                let pass = policy.forward(&request.attention(layer).logits())?;
                show(&pass.attention(layer));
                Ok(nll(batch, &pass.logits()))
            }
            Task::ShowExit => {
                let logits = policy.forward(&request.exit_at(layer).logits())?.logits();
                show(&logits);
                Ok(nll(batch, &logits))
            }
            Task::Prompt => behind_prompt(batch, &policy),
            Task::Embedded => {
                let prompt = batch.parameter("prompt")?;
                let embeddings = prompt.reshape(&[vec![1], prompt.shape()].concat());
                Ok(nll(batch, &forward_from(&policy, &embeddings)?.logits()))
            }
            Task::Value => value(batch, &policy),
            Task::Undeclared => batch.parameter("haed"),
        }
    }
}

/// A pass over the batch. Padding stands at the end, where nothing looks at it.
fn from_tokens(batch: &Batch) -> ForwardRequest {
    let tokens = batch.tokens();
    ForwardRequest::from_tokens(&tokens, &Tensor::full(1.0, &tokens.shape()))
}

fn forward_from(policy: &Model, embeddings: &Tensor) -> Result<ForwardPass, Error> {
    let mask = Tensor::full(1.0, &embeddings.shape()[..2]);
    policy.forward(&ForwardRequest::from_embeddings(embeddings, &mask).logits())
}

/// The negative log-likelihood of the step's trained tokens, from logits [B, T, vocabulary].
fn nll(batch: &Batch, logits: &Tensor) -> Tensor {
    let tokens = batch.tokens();
    let [rows, width] = tokens.shape()[..] else { return logits.sum() };
    let next = tokens.slice(1, 1, width).reshape(&[rows, width - 1, 1]);
    let logprobs = logits.slice(1, 0, width - 1).log_softmax(2).gather(2, &next).reshape(&[rows, width - 1]);
    -(logprobs * batch.weights().slice(1, 1, width)).sum() / batch.total_weight() as f32
}

/// The shape with one dimension of size 1 more.
fn with_one(tensor: &Tensor) -> Vec<usize> {
    [tensor.shape(), vec![1]].concat()
}

fn behind_prompt(batch: &Batch, policy: &Model) -> Result<Tensor, Error> {
    let embeddings = policy.forward(&from_tokens(batch).hidden(0))?.hidden(0);
    let [rows, width, hidden] = embeddings.shape()[..] else {
        return Err(Error::other("the embeddings have no rank 3"));
    };
    let prompt = batch.parameter("prompt")?;
    let length = prompt.shape()[0];
    let prompt = prompt.reshape(&[1, length, hidden]).expand(&[rows, length, hidden]);
    let logits = forward_from(policy, &Tensor::concat(&[&prompt, &embeddings], 1))?.logits();
    Ok(nll(batch, &logits.slice(1, length, length + width)))
}

fn value(batch: &Batch, policy: &Model) -> Result<Tensor, Error> {
    let layer = policy.layers();
    let hidden = policy.forward(&from_tokens(batch).hidden(layer))?.hidden(layer).detach();
    let mask = batch.mask().reshape(&with_one(&batch.mask()));
    let mean = (hidden * &mask).sum_dim(1) / mask.sum_dim(1);
    let [rows, _, size] = mean.shape()[..] else { return Err(Error::other("the hidden states have no rank 3")) };
    let value =
        mean.reshape(&[rows, size]).matmul(&batch.parameter("head")?).reshape(&[rows]) + batch.parameter("bias")?;
    let fault = value - batch.numbers("score")?;
    Ok((&fault * &fault).sum() / batch.total_rows() as f32)
}

/// Logs every element, so that a test can see it to the last bit.
fn show(tensor: &Tensor) {
    log::info(&format!("{:?}", tensor.shape()));
    for line in tensor.read().chunks(32) {
        log::info(&line.iter().map(|value| value.to_bits().to_string()).collect::<Vec<_>>().join(" "));
    }
}

tunesmith_sdk::export!(Probe: weigh, objective);

//! `model`: prompts, sampling, generation, scores, embeddings and forward passes.

use std::sync::Arc;

use tunesmith_core::data::Span;
use tunesmith_core::error::ServiceError;
use tunesmith_core::model::{self as core, Finish, ForwardInput, LanguageModel, Message, Prompt};
use wasmtime::component::Resource;

use crate::grants::Grant;
use crate::wasm::fault::Cause;
use crate::wasm::v0_1::bindings::tunesmith::method::{model, types};
use crate::wasm::v0_1::call::{CallState, refusal, row};
use crate::wasm::v0_1::desk::Handle;
use crate::wasm::v0_1::views::{Examples, ForwardPass, ForwardRequest, Generations, Model, Prompts, Sampling, Scores};

/// Samples per prompt, stop texts, layers asked for: more is a mistake.
const MAX_SAMPLES: u32 = 65_536;
const MAX_STOPS: usize = 64;
const MAX_LAYERS: usize = 1_024;

type Answer<T> = wasmtime::Result<Result<T, types::Error>>;

/// The turns of a conversation in JSON, at least one.
pub(super) fn conversation_of(text: &str) -> wasmtime::Result<Vec<Message>> {
    let fault = |what: String| wasmtime::Error::from(Cause::Misuse(format!("a conversation {what}")));
    let messages: Vec<Message> =
        serde_json::from_str(text).map_err(|error| fault(format!("is no list of messages: {error}")))?;
    if messages.is_empty() { Err(fault("is empty".into())) } else { Ok(messages) }
}

impl model::Host for CallState {}

impl model::HostPrompts for CallState {
    fn new(&mut self) -> wasmtime::Result<Resource<Prompts>> {
        self.push(Prompts(Arc::default()))
    }

    fn add_rows(
        &mut self,
        prompts: Resource<Prompts>,
        examples: Resource<Examples>,
        rows: Vec<u32>,
    ) -> wasmtime::Result<()> {
        let pool = self.table.get(&examples)?.0.clone();
        for number in rows {
            let example = &pool.rows[row(number, pool.rows.len())?];
            // A row number of four bytes can stand for a conversation of any length: it counts as what it becomes.
            self.add_prompt(&prompts, example.conversation())?;
        }
        Ok(())
    }

    fn add_users(&mut self, prompts: Resource<Prompts>, texts: Vec<String>) -> wasmtime::Result<()> {
        texts.into_iter().try_for_each(|text| self.add_prompt(&prompts, Prompt::Chat(vec![Message::user(text)])))
    }

    fn add_messages(&mut self, prompts: Resource<Prompts>, conversations: Vec<String>) -> wasmtime::Result<()> {
        for (at, text) in conversations.iter().enumerate() {
            let messages = conversation_of(text).map_err(|error| error.context(format!("conversation {at}")))?;
            self.add_prompt(&prompts, Prompt::Chat(messages))?;
        }
        Ok(())
    }

    fn add_raw(&mut self, prompts: Resource<Prompts>, texts: Vec<String>) -> wasmtime::Result<()> {
        texts.into_iter().try_for_each(|text| self.add_prompt(&prompts, Prompt::Raw(text)))
    }

    fn drop(&mut self, prompts: Resource<Prompts>) -> wasmtime::Result<()> {
        self.table.delete(prompts)?;
        Ok(())
    }
}

impl model::HostSampling for CallState {
    fn new(&mut self) -> wasmtime::Result<Resource<Sampling>> {
        self.push(Sampling { sampling: core::Sampling::greedy(u32::MAX), seed: None })
    }

    fn set_temperature(&mut self, sampling: Resource<Sampling>, value: f32) -> wasmtime::Result<()> {
        expect(value.is_finite() && 0.0 <= value, || format!("set-temperature: {value} is not at least 0.0"))?;
        self.table.get_mut(&sampling)?.sampling.temperature = value;
        Ok(())
    }

    fn set_top_p(&mut self, sampling: Resource<Sampling>, value: f32) -> wasmtime::Result<()> {
        expect((0.0..=1.0).contains(&value), || format!("set-top-p: {value} is not in 0.0 to 1.0"))?;
        self.table.get_mut(&sampling)?.sampling.top_p = value;
        Ok(())
    }

    fn set_top_k(&mut self, sampling: Resource<Sampling>, value: u32) -> wasmtime::Result<()> {
        self.table.get_mut(&sampling)?.sampling.top_k = value;
        Ok(())
    }

    fn set_max_tokens(&mut self, sampling: Resource<Sampling>, value: u32) -> wasmtime::Result<()> {
        expect(0 < value, || "set-max-tokens: 0 tokens are no completion".into())?;
        self.table.get_mut(&sampling)?.sampling.max_tokens = value;
        Ok(())
    }

    fn set_samples(&mut self, sampling: Resource<Sampling>, value: u32) -> wasmtime::Result<()> {
        expect((1..=MAX_SAMPLES).contains(&value), || format!("set-samples: {value} is not in 1 to {MAX_SAMPLES}"))?;
        self.table.get_mut(&sampling)?.sampling.samples = value;
        Ok(())
    }

    fn set_stop(&mut self, sampling: Resource<Sampling>, texts: Vec<String>) -> wasmtime::Result<()> {
        expect(texts.len() <= MAX_STOPS, || format!("set-stop: {} texts are more than {MAX_STOPS}", texts.len()))?;
        expect(texts.iter().all(|text| !text.is_empty()), || "set-stop: an empty text would stop everything".into())?;
        self.hold(texts.iter().map(String::len).sum())?;
        self.table.get_mut(&sampling)?.sampling.stop = texts;
        Ok(())
    }

    fn set_seed(&mut self, sampling: Resource<Sampling>, value: u64) -> wasmtime::Result<()> {
        self.table.get_mut(&sampling)?.seed = Some(value);
        Ok(())
    }

    fn drop(&mut self, sampling: Resource<Sampling>) -> wasmtime::Result<()> {
        self.table.delete(sampling)?;
        Ok(())
    }
}

impl model::HostGenerations for CallState {
    fn texts(&mut self, generations: Resource<Generations>) -> wasmtime::Result<Vec<String>> {
        Ok(self.table.get(&generations)?.0.iter().map(|generation| generation.text.clone()).collect())
    }

    fn finished(&mut self, generations: Resource<Generations>) -> wasmtime::Result<Vec<bool>> {
        Ok(self.table.get(&generations)?.0.iter().map(|generation| generation.finish != Finish::Length).collect())
    }

    fn lengths(&mut self, generations: Resource<Generations>) -> wasmtime::Result<Vec<u32>> {
        Ok(self.table.get(&generations)?.0.iter().map(|generation| generation.tokens.len() as u32).collect())
    }

    fn token_logprobs(&mut self, generations: Resource<Generations>) -> wasmtime::Result<Vec<f32>> {
        let generations = &self.table.get(&generations)?.0;
        Ok(generations.iter().flat_map(|generation| generation.token_logprobs.iter().copied()).collect())
    }

    fn drop(&mut self, generations: Resource<Generations>) -> wasmtime::Result<()> {
        self.table.delete(generations)?;
        Ok(())
    }
}

impl model::HostScores for CallState {
    fn sums(&mut self, scores: Resource<Scores>) -> wasmtime::Result<Vec<f64>> {
        Ok(self.table.get(&scores)?.0.iter().map(core::Score::sum).collect())
    }

    fn lengths(&mut self, scores: Resource<Scores>) -> wasmtime::Result<Vec<u32>> {
        Ok(self.table.get(&scores)?.0.iter().map(|score| score.token_logprobs.len() as u32).collect())
    }

    fn token_logprobs(&mut self, scores: Resource<Scores>) -> wasmtime::Result<Vec<f32>> {
        Ok(self.table.get(&scores)?.0.iter().flat_map(|score| score.token_logprobs.iter().copied()).collect())
    }

    fn starts(&mut self, scores: Resource<Scores>) -> Answer<Vec<u32>> {
        Ok(spans(&self.table.get(&scores)?.0, |span| span.start))
    }

    fn ends(&mut self, scores: Resource<Scores>) -> Answer<Vec<u32>> {
        Ok(spans(&self.table.get(&scores)?.0, |span| span.end))
    }

    fn drop(&mut self, scores: Resource<Scores>) -> wasmtime::Result<()> {
        self.table.delete(scores)?;
        Ok(())
    }
}

impl model::HostForwardRequest for CallState {
    fn from_tokens(
        &mut self,
        tokens: Resource<Handle>,
        mask: Resource<Handle>,
    ) -> wasmtime::Result<Resource<ForwardRequest>> {
        self.request(&tokens, &mask, ForwardInput::Tokens)
    }

    fn from_embeddings(
        &mut self,
        embeddings: Resource<Handle>,
        mask: Resource<Handle>,
    ) -> wasmtime::Result<Resource<ForwardRequest>> {
        self.request(&embeddings, &mask, ForwardInput::Embeddings)
    }

    fn want_logits(&mut self, request: Resource<ForwardRequest>) -> wasmtime::Result<()> {
        self.table.get_mut(&request)?.request.logits = true;
        Ok(())
    }

    fn want_hidden(&mut self, request: Resource<ForwardRequest>, layer: u32) -> wasmtime::Result<()> {
        let hidden = &mut self.table.get_mut(&request)?.request.hidden;
        expect(hidden.len() < MAX_LAYERS, || format!("want-hidden: more than {MAX_LAYERS} layers"))?;
        hidden.push(layer as usize);
        Ok(())
    }

    fn want_attention(&mut self, request: Resource<ForwardRequest>, layer: u32) -> wasmtime::Result<()> {
        let attention = &mut self.table.get_mut(&request)?.request.attention;
        expect(attention.len() < MAX_LAYERS, || format!("want-attention: more than {MAX_LAYERS} layers"))?;
        attention.push(layer as usize);
        Ok(())
    }

    fn exit_at(&mut self, request: Resource<ForwardRequest>, layer: u32) -> wasmtime::Result<()> {
        self.table.get_mut(&request)?.request.exit_at = Some(layer as usize);
        Ok(())
    }

    fn drop(&mut self, request: Resource<ForwardRequest>) -> wasmtime::Result<()> {
        let request = self.table.delete(request)?;
        self.let_go(request.kept)
    }
}

impl model::HostForwardPass for CallState {
    fn logits(&mut self, pass: Resource<ForwardPass>) -> wasmtime::Result<Resource<Handle>> {
        let logits = self.table.get(&pass)?.logits.as_ref().map(Handle::id);
        self.share_requested(logits, || "forward-pass.logits were not requested".into())
    }

    fn hidden(&mut self, pass: Resource<ForwardPass>, layer: u32) -> wasmtime::Result<Resource<Handle>> {
        let found =
            self.table.get(&pass)?.hidden.iter().find(|(known, _)| *known == layer).map(|(_, handle)| handle.id());
        self.share_requested(found, || format!("forward-pass.hidden of layer {layer} was not requested"))
    }

    fn attention(&mut self, pass: Resource<ForwardPass>, layer: u32) -> wasmtime::Result<Resource<Handle>> {
        let attention = &self.table.get(&pass)?.attention;
        let found = attention.iter().find(|(known, _)| *known == layer).map(|(_, handle)| handle.id());
        self.share_requested(found, || format!("forward-pass.attention of layer {layer} was not requested"))
    }

    fn drop(&mut self, pass: Resource<ForwardPass>) -> wasmtime::Result<()> {
        let pass = self.table.delete(pass)?;
        let layers = pass.hidden.into_iter().chain(pass.attention).map(|(_, handle)| handle);
        self.let_go(pass.logits.into_iter().chain(layers))
    }
}

impl model::HostLanguageModel for CallState {
    fn open(&mut self, name: String) -> Answer<Resource<Model>> {
        let Some(models) = self.services.models.clone() else {
            return Ok(Err(refusal(&ServiceError::Unsupported("there are no models in this call".into()))));
        };
        Ok(match self.serve(|| models.open(&name))? {
            Ok(model) => Ok(self.push(Model(model))?),
            Err(error) => Err(refusal(&error)),
        })
    }

    fn generate(
        &mut self,
        model: Resource<Model>,
        prompts: Resource<Prompts>,
        sampling: Resource<Sampling>,
    ) -> Answer<Resource<Generations>> {
        self.expect(Grant::ModelGenerate)?;
        let stream = self.stream("sampling", self.samplings);
        self.samplings += 1;
        let model = self.model(&model)?;
        let chosen = self.table.get(&sampling)?;
        let mut sampling = chosen.sampling.clone();
        sampling.seed = chosen.seed.unwrap_or(stream);
        sampling.max_tokens = sampling.max_tokens.min(model.max_tokens());
        let prompts = self.prompts(&prompts)?;
        let sequences = (prompts.len() as u64).saturating_mul(u64::from(sampling.samples));
        self.ask_sequences(sequences)?;
        Ok(match self.serve(|| model.generate(&prompts, &sampling))? {
            Ok(generations) => {
                expect_count("generate", generations.len() as u64, sequences)?;
                self.hold(
                    generations.iter().map(|generation| generation.text.len() + 8 * generation.tokens.len()).sum(),
                )?;
                Ok(self.push(Generations(generations))?)
            }
            Err(error) => Err(refusal(&error)),
        })
    }

    fn score(
        &mut self,
        model: Resource<Model>,
        prompts: Resource<Prompts>,
        completions: Vec<String>,
    ) -> Answer<Resource<Scores>> {
        self.expect(Grant::ModelScore)?;
        let (model, prompts) = (self.model(&model)?, self.prompts(&prompts)?);
        expect(prompts.len() == completions.len(), || {
            format!("score: {} prompts and {} completions", prompts.len(), completions.len())
        })?;
        self.ask_sequences(prompts.len() as u64)?;
        Ok(match self.serve(|| model.score(&prompts, &completions))? {
            Ok(scores) => {
                expect_count("score", scores.len() as u64, prompts.len() as u64)?;
                self.hold(scores.iter().map(|score| 12 * score.token_logprobs.len()).sum())?;
                Ok(self.push(Scores(scores))?)
            }
            Err(error) => Err(refusal(&error)),
        })
    }

    fn score_next(
        &mut self,
        model: Resource<Model>,
        prompts: Resource<Prompts>,
        candidates: Vec<String>,
    ) -> Answer<Vec<f32>> {
        self.expect(Grant::ModelScore)?;
        let (model, prompts) = (self.model(&model)?, self.prompts(&prompts)?);
        let wanted = (prompts.len() as u64).saturating_mul(candidates.len() as u64);
        self.ask_sequences(wanted.max(prompts.len() as u64))?;
        Ok(self.serve(|| model.score_next(&prompts, &candidates))?.map_err(|error| refusal(&error)))
    }

    fn embed(&mut self, model: Resource<Model>, texts: Vec<String>) -> Answer<Vec<f32>> {
        self.expect(Grant::ModelEmbed)?;
        let model = self.model(&model)?;
        self.ask_sequences(texts.len() as u64)?;
        Ok(self.serve(|| model.embed(&texts))?.map(|vectors| vectors.concat()).map_err(|error| refusal(&error)))
    }

    fn forward(&mut self, model: Resource<Model>, request: Resource<ForwardRequest>) -> Answer<Resource<ForwardPass>> {
        self.expect(Grant::ModelForward)?;
        let model = self.model(&model)?;
        let request = self.table.get(&request)?.request.clone();
        Ok(match self.serve(|| model.forward(&request))? {
            Ok(pass) => {
                let pass = self.adopt_pass(pass)?;
                Ok(self.push(pass)?)
            }
            Err(error) => Err(refusal(&error)),
        })
    }

    fn hidden_size(&mut self, model: Resource<Model>) -> wasmtime::Result<u32> {
        Ok(self.model(&model)?.hidden_size() as u32)
    }

    fn layers(&mut self, model: Resource<Model>) -> wasmtime::Result<u32> {
        Ok(self.model(&model)?.layers() as u32)
    }

    fn drop(&mut self, model: Resource<Model>) -> wasmtime::Result<()> {
        self.table.delete(model)?;
        Ok(())
    }
}

impl CallState {
    fn add_prompt(&mut self, prompts: &Resource<Prompts>, prompt: Prompt) -> wasmtime::Result<()> {
        self.hold(match &prompt {
            Prompt::Chat(messages) => messages.iter().map(message_size).sum(),
            Prompt::Tools { messages, tools } => messages.iter().map(message_size).sum::<usize>() + json_size(tools),
            Prompt::Raw(text) => text.len(),
        })?;
        Arc::make_mut(&mut self.table.get_mut(prompts)?.0).push(prompt);
        Ok(())
    }

    fn model(&self, model: &Resource<Model>) -> wasmtime::Result<Arc<dyn LanguageModel>> {
        Ok(self.table.get(model)?.0.clone())
    }

    fn prompts(&self, prompts: &Resource<Prompts>) -> wasmtime::Result<Arc<Vec<Prompt>>> {
        Ok(self.table.get(prompts)?.0.clone())
    }

    fn request(
        &mut self,
        input: &Resource<Handle>,
        mask: &Resource<Handle>,
        kind: impl FnOnce(tunesmith_core::tensors::TensorId) -> ForwardInput,
    ) -> wasmtime::Result<Resource<ForwardRequest>> {
        self.expect(Grant::ModelForward)?;
        let kept = vec![self.keep_shared(input)?, self.keep_shared(mask)?];
        let request = core::ForwardRequest {
            input: kind(kept[0].id()),
            mask: kept[1].id(),
            logits: false,
            hidden: Vec::new(),
            attention: Vec::new(),
            exit_at: None,
        };
        self.push(ForwardRequest { request, kept })
    }

    fn adopt_pass(&mut self, pass: core::ForwardPass) -> wasmtime::Result<ForwardPass> {
        // Everything is adopted before the first failure is told, so that nothing is left behind.
        let logits = pass.logits.map(|id| self.keep(id));
        let hidden: Vec<_> = pass.hidden.into_iter().map(|(layer, id)| (layer as u32, self.keep(id))).collect();
        let attention: Vec<_> = pass.attention.into_iter().map(|(layer, id)| (layer as u32, self.keep(id))).collect();
        let all = |layers: Vec<(u32, wasmtime::Result<Handle>)>| {
            layers.into_iter().map(|(layer, handle)| Ok((layer, handle?))).collect::<wasmtime::Result<Vec<_>>>()
        };
        Ok(ForwardPass { logits: logits.transpose()?, hidden: all(hidden)?, attention: all(attention)? })
    }

    fn share_requested(
        &mut self,
        id: Option<tunesmith_core::tensors::TensorId>,
        missing: impl FnOnce() -> String,
    ) -> wasmtime::Result<Resource<Handle>> {
        match id {
            Some(id) => self.share(id),
            None => Err(Cause::Misuse(missing()).into()),
        }
    }
}

/// One number of the span of each token, flat.
fn spans(scores: &[core::Score], pick: impl Fn(&Span) -> u32) -> Result<Vec<u32>, types::Error> {
    let of = |score: &core::Score| {
        let spans = score.spans.as_ref().filter(|spans| spans.len() == score.token_logprobs.len());
        spans.map(|spans| spans.iter().map(&pick).collect::<Vec<_>>())
    };
    let spans: Option<Vec<Vec<u32>>> = scores.iter().map(of).collect();
    spans.map(|spans| spans.concat()).ok_or_else(|| {
        refusal(&ServiceError::Unsupported("the model does not tell where its tokens stand in a completion".into()))
    })
}

fn message_size(message: &Message) -> usize {
    message.role.len() + message.content.len() + message.whole.as_ref().map_or(0, json_size) + 48
}

fn json_size(value: &impl serde::Serialize) -> usize {
    serde_json::to_string(value).map_or(0, |text| text.len())
}

fn expect(is_fine: bool, what: impl FnOnce() -> String) -> wasmtime::Result<()> {
    if is_fine { Ok(()) } else { Err(Cause::Misuse(what()).into()) }
}

/// A model that answers too little or too much would shift all rows of a plugin.
fn expect_count(what: &str, got: u64, wanted: u64) -> wasmtime::Result<()> {
    let is_right = got == wanted;
    if is_right {
        Ok(())
    } else {
        Err(Cause::Host(format!("the model gave {got} answers to {wanted} in `{what}`")).into())
    }
}

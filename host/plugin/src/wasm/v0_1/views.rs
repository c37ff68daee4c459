//! What stands behind the resources that a plugin sees: shared data of the host, and what the plugin builds.
#![allow(unreachable_pub, reason = "generated code re-exports these")]

use std::sync::Arc;

use tunesmith_core::data::{self, Example};
use tunesmith_core::model::{self, LanguageModel};
use tunesmith_core::stage::{self, Curated};

use super::desk::Handle;
use crate::wasm::fault::Cause;

/// `data.examples`.
pub struct Examples(pub(crate) Arc<data::Examples>);

/// `data.training-set`.
pub struct TrainingSet {
    pub(crate) rows: usize,
    pub(crate) curated: Curated,
}

/// `answers.cases`.
pub struct Cases(pub(crate) Arc<data::Cases>);

/// `answers.rollouts`.
pub struct Rollouts(pub(crate) Arc<data::Rollouts>);

/// `answers.evaluation`.
pub struct Evaluation(pub(crate) Arc<data::Evaluation>);

/// `batches.token-batch`.
pub struct TokenBatch(pub(crate) Arc<data::TokenBatch>);

/// `batches.batch`.
pub struct Batch(pub(crate) Arc<dyn stage::Batch>);

/// `model.prompts`.
pub struct Prompts(pub(crate) Arc<Vec<model::Prompt>>);

/// `model.sampling`: what the plugin set; the model and the call fill in the rest.
pub struct Sampling {
    pub(crate) sampling: model::Sampling,
    pub(crate) seed: Option<u64>,
}

/// `model.generations`.
pub struct Generations(pub(crate) Vec<model::Generation>);

/// `model.scores`.
pub struct Scores(pub(crate) Vec<model::Score>);

/// `model.forward-request`. It shares its tensors, so that a plugin may drop its own handles before the pass runs.
pub struct ForwardRequest {
    pub(crate) request: model::ForwardRequest,
    pub(crate) kept: Vec<Handle>,
}

/// `model.forward-pass`.
pub struct ForwardPass {
    pub(crate) logits: Option<Handle>,
    pub(crate) hidden: Vec<(u32, Handle)>,
    pub(crate) attention: Vec<(u32, Handle)>,
}

/// `model.language-model`.
pub struct Model(pub(crate) Arc<dyn LanguageModel>);

/// `parameters.parameter-set`.
pub struct ParameterSet(pub(crate) Arc<dyn stage::Parameters>);

/// `cache.cache-block`.
pub struct CacheBlock(pub(crate) Arc<dyn stage::CacheBlock>);

/// Columns and texts that every list of examples offers.
pub(crate) struct Table<'a>(pub(crate) Vec<&'a Example>);

impl Table<'_> {
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.0.iter().map(|example| example.id).collect()
    }

    pub(crate) fn prompts(&self) -> Vec<String> {
        self.0.iter().map(|example| example.prompt().to_owned()).collect()
    }

    pub(crate) fn completions(&self) -> Vec<Option<String>> {
        self.0.iter().map(|example| example.completion.clone()).collect()
    }

    /// The conversation before each completion, as JSON.
    pub(crate) fn messages(&self) -> wasmtime::Result<Vec<String>> {
        let failed = |error: serde_json::Error| Cause::Host(format!("a conversation has no JSON form: {error}"));
        self.0.iter().map(|example| Ok(serde_json::to_string(&example.messages).map_err(failed)?)).collect()
    }

    pub(crate) fn columns(&self) -> Vec<String> {
        data::column_names(self.0.iter().copied())
    }

    pub(crate) fn column(&self, name: &str) -> Vec<Option<String>> {
        self.0.iter().map(|example| example.column(name)).collect()
    }
}

impl Examples {
    pub(crate) fn table(&self) -> Table<'_> {
        Table(self.0.rows.iter().map(AsRef::as_ref).collect())
    }
}

impl Cases {
    pub(crate) fn table(&self) -> Table<'_> {
        Table(self.0.cases.iter().map(|case| case.example.as_ref()).collect())
    }
}

impl Rollouts {
    pub(crate) fn table(&self) -> Table<'_> {
        Table(self.0.rollouts.iter().map(|rollout| rollout.example.as_ref()).collect())
    }
}

impl Evaluation {
    pub(crate) fn table(&self) -> Table<'_> {
        Table(self.0.rows.iter().map(|row| row.example.as_ref()).collect())
    }
}

impl TokenBatch {
    pub(crate) fn table(&self) -> Table<'_> {
        Table(self.0.rows.iter().map(|row| row.example.as_ref()).collect())
    }
}

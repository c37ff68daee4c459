//! What the host does for stages that ask: models, the recipe's judge, and a log of every call.

pub(crate) mod calls;
pub(crate) mod digests;
mod judging;
mod language;
pub(crate) mod recall;

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use burn::module::Module;
use tunesmith_core::call::Services;
use tunesmith_core::error::ServiceError;
use tunesmith_core::model::{LanguageModel, Models};
use tunesmith_core::plan::GeneratePlan;
use tunesmith_core::set::Named;
use tunesmith_core::stage::Judge;

use crate::batch::PolicyPair;
use crate::batching::Encoder;
use crate::model;
use crate::tensors::BurnTensors;

pub(crate) use calls::Caller;
use judging::JudgeService;
use language::{Forwarding, HostModel};
use recall::{Recall, RecallingModels};

/// The models that the recipe names beside the one that is trained.
pub type NamedModels = BTreeMap<String, Arc<dyn LanguageModel>>;

/// A model in its folder as stages and commands see it.
pub fn open(model: &model::LanguageModel, plan: &GeneratePlan) -> Arc<dyn LanguageModel> {
    let encoder = Arc::new(Encoder::new(model));
    Arc::new(HostModel { encoder, decoder: model.decoder.valid(), forwarding: None, plan: plan.clone() })
}

/// The services of an `objective` call outside a run: the models of the pair, with forward passes in `engine`, and no judge.
pub fn of_objective(
    model: &model::LanguageModel,
    plan: &GeneratePlan,
    models: &PolicyPair,
    engine: &Arc<BurnTensors>,
) -> Services {
    let encoder = Arc::new(Encoder::new(model));
    Host {
        encoder,
        plan: plan.clone(),
        caller: Arc::new(Caller::new(0, Vec::new())),
        judge: None,
        named: Arc::default(),
    }
    .services_in(models, engine)
}

/// Makes the services of a call.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) encoder: Arc<Encoder>,
    pub(crate) plan: GeneratePlan,
    pub(crate) caller: Arc<Caller>,
    pub(crate) judge: Option<Named<dyn Judge>>,
    pub(crate) named: Arc<NamedModels>,
}

impl Host {
    /// For a stage that works on text: models as they are now, and the judge.
    pub(crate) fn services(&self, models: &PolicyPair) -> Services {
        self.with_models(Arc::new(self.models(models, None)))
    }

    /// As [`Host::services`], for a curating stage: what the models answer is kept.
    pub(crate) fn recalling_services(&self, models: &PolicyPair, recall: &Arc<Recall>) -> Services {
        let models = Arc::new(self.models(models, None));
        self.with_models(Arc::new(RecallingModels { models, recall: Arc::clone(recall) }))
    }

    /// For an objective: also forward passes in the engine of its batch.
    pub(crate) fn services_in(&self, models: &PolicyPair, engine: &Arc<BurnTensors>) -> Services {
        self.with_models(Arc::new(self.models(models, Some(engine))))
    }

    fn with_models(&self, models: Arc<dyn Models>) -> Services {
        let judging = self.judge.as_ref().map(|judge| {
            let service =
                JudgeService { judge: judge.clone(), caller: Arc::clone(&self.caller), models: Arc::clone(&models) };
            Arc::new(service) as _
        });
        Services { models: Some(models), judging, store: Some(Arc::clone(self.caller.store())) }
    }

    fn models(&self, models: &PolicyPair, engine: Option<&Arc<BurnTensors>>) -> RunModels {
        let model = |decoder: &model::Decoder| {
            let forwarding = engine.map(|engine| Forwarding { decoder: decoder.clone(), engine: Arc::clone(engine) });
            let decoder = decoder.valid();
            Arc::new(HostModel { encoder: Arc::clone(&self.encoder), decoder, forwarding, plan: self.plan.clone() })
        };
        let (policy, reference) = (model(&models.policy), model(&models.reference));
        RunModels { policy, reference, named: Arc::clone(&self.named) }
    }
}

/// The models of a run by name.
struct RunModels {
    policy: Arc<HostModel>,
    reference: Arc<HostModel>,
    named: Arc<NamedModels>,
}

impl Models for RunModels {
    fn open(&self, name: &str) -> Result<Arc<dyn LanguageModel>, ServiceError> {
        match name {
            "policy" => Ok(Arc::clone(&self.policy) as _),
            "reference" => Ok(Arc::clone(&self.reference) as _),
            other => self.named.get(other).cloned().ok_or_else(|| {
                let names = ["policy", "reference"].into_iter().chain(self.named.keys().map(String::as_str));
                let names: Vec<String> = names.map(|name| format!("`{}`", name.escape_debug())).collect();
                let there = names.join(", ");
                ServiceError::Unsupported(format!("there is no model `{}`; there are {there}", other.escape_debug()))
            }),
        }
    }
}

/// An error with its causes in one line, for those who get a text only.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

//! One adapter per stage: it hands the data to the component, and its answer to the contract check, once.

mod answer;
mod credit;
mod curate;
mod edit;
mod judge;
mod measure;
mod objective;
mod retain;
mod reward;
mod weigh;

use std::sync::Arc;

use tunesmith_core::stage::{Answer, Credit, Curate, Edit, Judge, Measure, Objective, Retain, Reward, Stage, Weigh};

use super::WasmPlugin;

/// The stages of a plugin, as trait objects.
#[derive(Default)]
pub(crate) struct Adapters {
    pub(crate) curate: Option<Arc<dyn Curate>>,
    pub(crate) judge: Option<Arc<dyn Judge>>,
    pub(crate) reward: Option<Arc<dyn Reward>>,
    pub(crate) credit: Option<Arc<dyn Credit>>,
    pub(crate) weigh: Option<Arc<dyn Weigh>>,
    pub(crate) objective: Option<Arc<dyn Objective>>,
    pub(crate) edit: Option<Arc<dyn Edit>>,
    pub(crate) measure: Option<Arc<dyn Measure>>,
    pub(crate) answer: Option<Arc<dyn Answer>>,
    pub(crate) retain: Option<Arc<dyn Retain>>,
}

impl Adapters {
    /// Adapters for the stages that the plugin exports. Fails when an exported function has another type than the contract's.
    pub(crate) fn new(plugin: &Arc<WasmPlugin>, stages: &[Stage]) -> wasmtime::Result<Self> {
        let mut adapters = Self::default();
        for stage in stages {
            match stage {
                Stage::Curate => adapters.curate = Some(curate::adapter(plugin)?),
                Stage::Judge => adapters.judge = Some(judge::adapter(plugin)?),
                Stage::Reward => adapters.reward = Some(reward::adapter(plugin)?),
                Stage::Credit => adapters.credit = Some(credit::adapter(plugin)?),
                Stage::Weigh => adapters.weigh = Some(weigh::adapter(plugin)?),
                Stage::Objective => adapters.objective = Some(objective::adapter(plugin)?),
                Stage::Edit => adapters.edit = Some(edit::adapter(plugin)?),
                Stage::Measure => adapters.measure = Some(measure::adapter(plugin)?),
                Stage::Answer => adapters.answer = Some(answer::adapter(plugin)?),
                Stage::Retain => adapters.retain = Some(retain::adapter(plugin)?),
            }
        }
        Ok(adapters)
    }
}

//! The plugin set of a run: who takes which stage.

use std::sync::Arc;

use crate::extra::ExtraParameter;
use crate::memory::Memory;
use crate::recipe::Ramp;
use crate::stage::{Answer, Credit, Curate, Judge, Measure, Objective, Reward, Weigh};

/// A stage's implementation and the name that reports and traces call it by.
pub struct Named<S: ?Sized> {
    /// The plugin's name in the recipe, or `built-in`.
    pub name: String,
    /// The factor of a reward in the sum; 1 elsewhere.
    pub weight: f64,
    /// How the factor of a reward changes, if it does.
    pub ramp: Option<Ramp>,
    /// The implementation.
    pub stage: Arc<S>,
}

impl<S: ?Sized> Named<S> {
    /// A stage under a name, with factor 1.
    pub fn new(name: impl Into<String>, stage: Arc<S>) -> Self {
        Self { name: name.into(), weight: 1.0, ramp: None, stage }
    }
}

impl<S: ?Sized> Clone for Named<S> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), weight: self.weight, ramp: self.ramp, stage: Arc::clone(&self.stage) }
    }
}

impl<S: ?Sized> Named<S> {
    /// The factor at an optimiser step, from 0.
    pub fn weight_at(&self, step: u32) -> f64 {
        self.ramp.map_or(self.weight, |ramp| ramp.at(step))
    }
}

/// Who takes which stage. A stage that nobody takes is absent, or the trainer's built-in.
#[derive(Clone, Default)]
pub struct Stages {
    /// What do we train on? Absent: the data as it is.
    pub curate: Option<Named<dyn Curate>>,
    /// Is this answer right?
    pub judge: Option<Named<dyn Judge>>,
    /// How good is this rollout? None: no rollouts are made.
    pub rewards: Vec<Named<dyn Reward>>,
    /// How is reward spread?
    pub credit: Option<Named<dyn Credit>>,
    /// How much does each token count? Absent: 1.0.
    pub weigh: Option<Named<dyn Weigh>>,
    /// What is minimised? Absent: the negative log-likelihood, token mean.
    pub objective: Option<Named<dyn Objective>>,
    /// What the objective's plugin trains beside the model.
    pub parameters: Vec<ExtraParameter>,
    /// How good is the model?
    pub measure: Option<Named<dyn Measure>>,
    /// How does the model respond at test time? Absent: greedily.
    pub answer: Option<Named<dyn Answer>>,
    /// What plugins keep between their calls. Names are unique and the same in every run of a plan.
    pub memories: Vec<Named<dyn Memory>>,
}

/// Something that happened in a run, for people who watch it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A piece of long work begins: its name, and how many units it has, if known.
    Begin {
        /// Such as `curate`, `train`, `measure target`.
        work: &'a str,
        /// How many units.
        total: Option<u64>,
    },
    /// Some units of it are done.
    Advance {
        /// How many more units.
        units: u64,
        /// A short word on it, such as `loss 1.234  812 tokens/s`.
        note: &'a str,
    },
    /// It is done.
    Finish,
    /// A plugin logged a line.
    Line {
        /// The plugin's name.
        plugin: &'a str,
        /// Its line.
        line: &'a crate::call::LogLine,
    },
    /// Something that people should know: a row too long, a checkpoint written.
    Note(&'a str),
}

/// Watches a run. Called on the thread of the run, often; must be quick.
pub trait Observer {
    /// Something happened.
    fn event(&mut self, event: Event<'_>);
}

/// Watches nothing.
impl Observer for () {
    fn event(&mut self, _: Event<'_>) {}
}

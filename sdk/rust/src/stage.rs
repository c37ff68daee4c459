//! The stages: one trait each. A plugin implements those that it names in [`export!`](crate::export).
//!
//! Every method takes the whole batch and answers in its order. `Err` declines; a panic says that the plugin is broken.

use crate::{
    Advantages, Batch, CacheBlock, Cases, Error, Evaluation, Examples, ParameterSet, Plugin, Rollouts, Tensor,
    TokenBatch, TrainingSet, Verdict,
};

/// What do we train on?
pub trait Curate: Plugin {
    /// Decides about every row of `pool` by telling `chosen`.
    ///
    /// Called before training, once per chunk of the pool, and again every round if the recipe says so.
    ///
    /// # Errors
    ///
    /// Declines when the settings, the data or a service do not allow a decision.
    fn curate(&self, pool: &Examples, chosen: &TrainingSet) -> Result<(), Error>;
}

/// Is this answer right?
pub trait Judge: Plugin {
    /// Returns one verdict per case, in order. Called whenever the host, or another plugin, has answers.
    ///
    /// # Errors
    ///
    /// Declines when no case can be judged; for single cases there is [`Verdict::Undecided`].
    fn judge(&self, cases: &Cases) -> Result<Vec<Verdict>, Error>;
}

/// How good is this rollout?
pub trait Reward: Plugin {
    /// Returns one finite score per rollout, in order; higher is better; none where this reward does not apply. Called once or several times per
    /// online step, each time with whole groups.
    ///
    /// # Errors
    ///
    /// Declines when no rollout can be scored.
    fn reward(&self, rollouts: &Rollouts) -> Result<Vec<Option<f32>>, Error>;
}

/// How is reward spread over rollouts and tokens?
pub trait Credit: Plugin {
    /// Turns rewards (one per rollout, none where no reward applied) into advantages. Called once per online step.
    ///
    /// # Errors
    ///
    /// Declines when the settings do not fit the rollouts.
    fn credit(&self, rollouts: &Rollouts, rewards: &[Option<f32>]) -> Result<Advantages, Error>;
}

/// How much does each token count?
pub trait Weigh: Plugin {
    /// Returns one finite weight, at least 0.0, per token of the batch, flat. Called once per micro-batch.
    ///
    /// Weights of tokens that are not trained on are ignored.
    ///
    /// # Errors
    ///
    /// Declines when the data lack what the weights depend on.
    fn weigh(&self, batch: &TokenBatch) -> Result<Vec<f32>, Error>;
}

/// What is minimised?
pub trait Objective: Plugin {
    /// Returns the loss of this micro-batch: one finite element that depends on the policy. Called once per micro-batch; the host adds those of a step.
    ///
    /// # Errors
    ///
    /// Declines when the run lacks what the loss is made of.
    fn objective(&self, batch: &Batch) -> Result<Tensor, Error>;
}

/// How do parameters change outside gradient descent?
pub trait Edit: Plugin {
    /// Edits parameters. Called before training, every so many steps, or after training, as the recipe says.
    ///
    /// # Errors
    ///
    /// Declines when the model lacks what is edited.
    fn edit(&self, parameters: &ParameterSet) -> Result<(), Error>;
}

/// How good is the model?
pub trait Measure: Plugin {
    /// Returns named, finite metrics, such as `accuracy` in 0.0 to 1.0. Names are unique, of lower-case letters, digits and hyphens.
    /// Called once per evaluation set.
    ///
    /// # Errors
    ///
    /// Declines when the set cannot be measured.
    fn measure(&self, evaluation: &Evaluation) -> Result<Vec<(String, f64)>, Error>;
}

/// How does the model respond at test time?
pub trait Answer: Plugin {
    /// Returns one answer per row, in order. Called in evaluation and serving. Rows have no gold completion: there is none at test time.
    ///
    /// # Errors
    ///
    /// Declines when a model or a judge gives nothing to answer with.
    fn answer(&self, examples: &Examples) -> Result<Vec<String>, Error>;
}

/// Which cache entries stay?
pub trait Retain: Plugin {
    /// Returns one score per cache entry, float [kv-heads, length]; the host keeps the highest. Called per layer when a sequence outgrows its budget.
    ///
    /// # Errors
    ///
    /// Declines when the block cannot be scored.
    fn retain(&self, block: &CacheBlock) -> Result<Tensor, Error>;
}

/// Memory between calls, exported as `state`. A plugin without it starts every call afresh.
///
/// Stage methods take `&self`: keep what changes in a [`Cell`](std::cell::Cell) or [`RefCell`](std::cell::RefCell).
pub trait Remember: Plugin {
    /// Returns everything that the next call needs. Called after each stage call; the blob is hashed into the trace and kept in checkpoints.
    fn save(&self) -> Vec<u8>;

    /// Takes back what [`save`](Self::save) returned. Called before each stage call but the first, right after [`Plugin::new`].
    ///
    /// # Errors
    ///
    /// Declines when the blob is not one that `save` returned.
    fn restore(&mut self, blob: &[u8]) -> Result<(), Error>;
}

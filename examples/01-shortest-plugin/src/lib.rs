//! The shortest plugin: minimises 1 - p of each token in place of -log p.

use tunesmith_sdk::{Batch, Error, NoSettings, Objective, Plugin, Tensor};

/// Minimises 1 - p.
pub struct OneMinusP;

impl Plugin for OneMinusP {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self, Error> {
        Ok(Self)
    }
}

impl Objective for OneMinusP {
    fn objective(&self, batch: &Batch) -> Result<Tensor, Error> {
        let p = batch.token_logprobs("policy")?.exp();
        Ok(((1.0 - p) * batch.weights()).sum() / batch.total_weight() as f32)
    }
}

tunesmith_sdk::export!(OneMinusP: objective);

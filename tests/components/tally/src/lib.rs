//! A plugin whose decisions depend on everything that a resumed run has to restore: its own state, the number of the call, the model.

use std::cell::Cell;

use tunesmith_sdk::{
    Curate, Error, Examples, Model, NoSettings, Plugin, Prompts, Remember, Sampling, TokenBatch, TrainingSet, Weigh,
    random,
};

/// The plugin.
pub struct Tally {
    /// A mixture of all numbers that the plugin drew so far, and of how much it saw.
    seen: Cell<u64>,
}

impl Plugin for Tally {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self, Error> {
        Ok(Self { seen: Cell::new(1) })
    }
}

impl Tally {
    /// Adds to the tally; gives a number in 0 to 7 that depends on all of it.
    fn saw(&self, things: usize) -> u64 {
        let mixed = self.seen.get().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ random::integers(1)[0];
        self.seen.set(mixed.wrapping_add(things as u64));
        mixed >> 61
    }
}

impl Curate for Tally {
    /// Keeps, replaces by a sampled answer, or adds, as the tally has it.
    fn curate(&self, pool: &Examples, chosen: &TrainingSet) -> Result<(), Error> {
        let rows: Vec<usize> = (0..pool.len()).collect();
        let prompts = Prompts::new().rows(pool, &rows);
        let answers = Model::open("policy")?.generate(&prompts, &Sampling::at(1.0, 1))?.texts();
        for (row, answer) in answers.iter().enumerate() {
            match self.saw(answer.len()) {
                0..=2 if !answer.is_empty() => chosen.replace(row, answer, "self"),
                3 => chosen.omit(row, "the tally says so"),
                _ => chosen.keep(row, "gold"),
            }
            chosen.note(row, "tally", (self.seen.get() >> 11) as f64 / 3.0);
        }
        Ok(())
    }
}

impl Weigh for Tally {
    /// Weighs all tokens of a batch by one number that follows from the tally.
    fn weigh(&self, batch: &TokenBatch) -> Result<Vec<f32>, Error> {
        let tokens = batch.tokens().len();
        Ok(vec![1.0 + self.saw(tokens) as f32 / 8.0; tokens])
    }
}

impl Remember for Tally {
    fn save(&self) -> Vec<u8> {
        self.seen.get().to_le_bytes().to_vec()
    }

    fn restore(&mut self, blob: &[u8]) -> Result<(), Error> {
        let bytes = blob.try_into().map_err(|_| Error::Other("the tally is broken".into()))?;
        self.seen.set(u64::from_le_bytes(bytes));
        Ok(())
    }
}

tunesmith_sdk::export!(Tally: curate, weigh, state);

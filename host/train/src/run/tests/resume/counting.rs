//! A plugin whose answers depend on how often it was called.

use std::sync::{Arc, Mutex};

use tunesmith_core::call::Call;
use tunesmith_core::data::{Examples, TokenBatch};
use tunesmith_core::error::CallError;
use tunesmith_core::memory::Memory;
use tunesmith_core::model::{Prompt, Sampling};
use tunesmith_core::set::{Named, Stages};
use tunesmith_core::stage::{Answer, Choice, Curate, Curated, Weigh};

/// Three stages with one memory: how many calls there were, which decides what they answer.
#[derive(Default)]
pub(super) struct Counting {
    pub(super) calls: Mutex<u64>,
    /// The models' answers, to see whether they were asked.
    pub(super) asked: Mutex<u64>,
}

impl Counting {
    pub(super) fn call(&self, call: &Call) -> u64 {
        let mut calls = self.calls.lock().expect("no panic");
        *calls += 1;
        10 * *calls + call.number
    }
}

impl Curate for Counting {
    fn curate(&self, pool: Arc<Examples>, call: &mut Call) -> Result<Curated, CallError> {
        let policy = call.services.models.as_ref().expect("models").open("policy").expect("a policy");
        let prompts: Vec<Prompt> = pool.rows.iter().map(|row| Prompt::Chat(row.messages.clone())).collect();
        let sampling = Sampling { temperature: 1.0, seed: call.seed + call.number, ..Sampling::greedy(4) };
        let answers = policy.generate(&prompts, &sampling).expect("it generates");
        *self.asked.lock().expect("no panic") += 1;
        let number = self.call(call);
        let mut curated = Curated::default();
        for (row, answer) in answers.into_iter().enumerate() {
            let completion = format!("{}{number}", answer.text);
            curated.choices.push(Choice::Replace { row, completion, provenance: "self".into() });
            curated.notes.push((row, "third".into(), number as f64 / 3.0));
        }
        curated.choices.push(Choice::Add {
            prompt: "new".into(),
            completion: "n".into(),
            provenance: "synthetic".into(),
            like: Some(0),
        });
        Ok(curated)
    }
}

impl Weigh for Counting {
    fn weigh(&self, batch: Arc<TokenBatch>, call: &mut Call) -> Result<Vec<f32>, CallError> {
        Ok(vec![1.0 + (self.call(call) % 7) as f32; batch.tokens()])
    }
}

impl Answer for Counting {
    fn answer(&self, examples: Arc<Examples>, call: &mut Call) -> Result<Vec<String>, CallError> {
        let number = self.call(call);
        Ok(examples.rows.iter().map(|row| format!("{}{number}", row.prompt())).collect())
    }
}

impl Memory for Counting {
    fn save(&self) -> Option<Arc<Vec<u8>>> {
        let calls = *self.calls.lock().expect("no panic");
        (calls > 0).then(|| Arc::new(calls.to_le_bytes().to_vec()))
    }

    fn restore(&self, blob: Option<Vec<u8>>) {
        let calls = blob.map_or(0, |blob| u64::from_le_bytes(blob.try_into().expect("it was saved")));
        *self.calls.lock().expect("no panic") = calls;
    }
}

pub(super) fn stages(counting: &Arc<Counting>) -> Stages {
    Stages {
        curate: Some(Named::new("t", Arc::clone(counting) as _)),
        weigh: Some(Named::new("t", Arc::clone(counting) as _)),
        answer: Some(Named::new("t", Arc::clone(counting) as _)),
        memories: vec![Named::new("t", Arc::clone(counting) as _)],
        ..Stages::default()
    }
}

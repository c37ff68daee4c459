//! The shortest plugin: a judge that wants the gold completion, word for word.

use tunesmith_sdk::{Cases, Error, Judge, NoSettings, Plugin, Verdict};

/// Compares texts.
struct Exact;

impl Plugin for Exact {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self, Error> {
        Ok(Self)
    }
}

impl Judge for Exact {
    fn judge(&self, cases: &Cases) -> Result<Vec<Verdict>, Error> {
        let pairs = cases.answers().into_iter().zip(cases.references());
        Ok(pairs.map(|(answer, gold)| Verdict::from(gold == Some(answer))).collect())
    }
}

tunesmith_sdk::export!(Exact: judge);

//! Digests of what goes into stages and of what comes out.
//!
//! Floats count by their bits, examples by their JSON text. Nothing here depends on addresses, times or the order of hash maps.

use tunesmith_core::data::{
    Advantages, CHOSEN, Cases, Evaluation, Example, Examples, REJECTED, Rollouts, TokenBatch, TrainingRow, Verdict,
};
use tunesmith_core::digest::{self, PartsDigest};
use tunesmith_core::stage::{Choice, Curated};

use crate::batch::Totals;
use crate::batching::MicroBatch;

/// Parts of one digest.
#[derive(Default)]
struct Parts(Vec<Vec<u8>>);

impl Parts {
    fn text(&mut self, text: &str) {
        self.0.push(text.as_bytes().to_vec());
    }

    fn number(&mut self, number: u64) {
        self.0.push(number.to_le_bytes().to_vec());
    }

    fn optional(&mut self, text: Option<&str>) {
        self.number(u64::from(text.is_some()));
        self.text(text.unwrap_or_default());
    }

    fn json(&mut self, value: &impl serde::Serialize) {
        self.0.push(serde_json::to_vec(value).expect("plain data with text keys"));
    }

    fn floats(&mut self, values: &[f32]) {
        self.0.push(values.iter().flat_map(|value| value.to_bits().to_le_bytes()).collect());
    }

    fn example(&mut self, example: &Example) {
        self.json(example);
    }

    fn digest(self) -> String {
        digest::of_parts(self.0.iter().map(Vec::as_slice))
    }
}

pub(crate) fn of_examples(examples: &Examples) -> String {
    let mut parts = Parts::default();
    parts.number(u64::from(examples.round));
    for row in &examples.rows {
        parts.example(row);
    }
    parts.digest()
}

pub(crate) fn of_curated(curated: &Curated) -> String {
    let mut parts = Parts::default();
    for choice in &curated.choices {
        let (word, row, texts): (&str, Option<usize>, Vec<&str>) = match choice {
            Choice::Keep { row, provenance } => ("keep", Some(*row), vec![provenance]),
            Choice::Replace { row, completion, provenance } => ("replace", Some(*row), vec![completion, provenance]),
            Choice::Add { prompt, completion, provenance, like } => {
                ("add", *like, vec![prompt, completion, provenance])
            }
            Choice::Prefer { row, chosen, rejected, provenance } => {
                ("prefer", Some(*row), vec![chosen, rejected, provenance])
            }
            Choice::Drop { row, why } => ("drop", Some(*row), vec![why]),
            Choice::Group { row, members, provenance } => {
                parts.json(members);
                ("group", Some(*row), vec![provenance])
            }
            Choice::AddGroup { messages, members, provenance, like } => {
                parts.json(messages);
                parts.json(members);
                ("add-group", *like, vec![provenance])
            }
        };
        parts.text(word);
        parts.number(row.map_or(u64::MAX, |row| row as u64));
        for text in texts {
            parts.text(text);
        }
    }
    for (row, name, value) in &curated.notes {
        parts.number(*row as u64);
        parts.text(name);
        parts.number(value.to_bits());
    }
    parts.digest()
}

/// The digest of a training set, row by row.
#[derive(Debug, Default)]
pub(crate) struct TrainingSetDigest(PartsDigest);

impl TrainingSetDigest {
    pub(crate) fn add(&mut self, row: &TrainingRow) {
        let mut parts = Parts::default();
        parts.example(&row.example);
        parts.json(&row.target);
        parts.text(&row.provenance);
        for (name, value) in &row.notes {
            parts.text(name);
            parts.number(value.to_bits());
        }
        parts.0.iter().for_each(|part| self.0.add(part));
    }

    pub(crate) fn finish(self) -> String {
        self.0.finish()
    }
}

pub(crate) fn of_cases(cases: &Cases) -> String {
    let mut parts = Parts::default();
    for case in &cases.cases {
        parts.example(&case.example);
        parts.text(&case.answer);
        parts.optional(case.rival.as_deref());
    }
    parts.digest()
}

pub(crate) fn of_verdicts(verdicts: &[Verdict]) -> String {
    let mut parts = Parts::default();
    for verdict in verdicts {
        match verdict {
            Verdict::Right => parts.text("right"),
            Verdict::Wrong => parts.text("wrong"),
            Verdict::Partly(score) => parts.floats(&[*score]),
            Verdict::Undecided(why) => parts.optional(Some(why)),
        }
    }
    parts.digest()
}

pub(crate) fn of_token_batch(batch: &TokenBatch) -> String {
    let mut parts = Parts::default();
    parts.number(u64::from(batch.step));
    for row in &batch.rows {
        parts.example(&row.example);
        parts.0.push(row.tokens.iter().flat_map(|token| token.to_le_bytes()).collect());
        parts.0.push(row.mask.iter().map(|is_trained| u8::from(*is_trained)).collect());
        if !row.role.is_empty() {
            parts.text(&row.role);
        }
    }
    parts.digest()
}

pub(crate) fn of_floats(values: &[f32]) -> String {
    let mut parts = Parts::default();
    parts.floats(values);
    parts.digest()
}

/// Of what an objective is handed beside the models: tokens, masks, weights, groups, columns and the sums of the step.
pub(crate) fn of_batch(micro: &MicroBatch, weights: &[f32], totals: &Totals) -> String {
    let mut parts = Parts::default();
    parts.number(u64::from(totals.step));
    parts.number(totals.weight.to_bits());
    parts.number(totals.rows as u64);
    parts.number(totals.micro_batches as u64);
    for (row, group) in micro.rows.iter().zip(&micro.groups) {
        parts.example(&row.example);
        parts.0.push(row.tokens.iter().flat_map(|token| token.to_le_bytes()).collect());
        parts.0.push(row.mask.iter().map(|is_trained| u8::from(*is_trained)).collect());
        parts.number(u64::from(group.unsigned_abs()));
        match row.role.as_str() {
            REJECTED => parts.number(0),
            CHOSEN => parts.number(1),
            "" => parts.number(2),
            role => parts.text(role),
        }
        if let Some(sampled) = &row.sampled {
            parts.floats(&sampled.advantages);
            parts.floats(sampled.old.as_deref().unwrap_or_default());
            parts.number(u64::from(sampled.is_off_policy));
            for (name, values) in &sampled.numbers {
                parts.text(name);
                parts.floats(values);
            }
        }
    }
    parts.floats(weights);
    parts.digest()
}

/// Of rollouts, as rewards and credit see them.
pub(crate) fn of_rollouts(rollouts: &Rollouts) -> String {
    let mut parts = Parts::default();
    parts.number(u64::from(rollouts.step));
    for rollout in &rollouts.rollouts {
        parts.example(&rollout.example);
        parts.number(u64::from(rollout.group));
        parts.text(&rollout.completion);
        parts.0.push(rollout.tokens.iter().flat_map(|token| token.to_le_bytes()).collect());
        parts.number(u64::from(rollout.is_finished) | u64::from(rollout.is_off_policy) << 1);
    }
    for reward in &rollouts.rewards {
        parts.text(&reward.name);
        parts.floats(&[reward.weight]);
        parts.text(&of_scores(&reward.scores));
    }
    parts.digest()
}

pub(crate) fn of_scores(scores: &[Option<f32>]) -> String {
    let mut parts = Parts::default();
    for score in scores {
        parts.number(score.map_or(u64::MAX, |score| u64::from(score.to_bits())));
    }
    parts.digest()
}

/// Of what `credit` said, and of what it attached.
pub(crate) fn of_advantages(advantages: &Advantages, rollouts: &Rollouts) -> String {
    let mut parts = Parts::default();
    match advantages {
        Advantages::PerRollout(values) => {
            parts.text("per-rollout");
            parts.floats(values);
        }
        Advantages::PerToken(values) => {
            parts.text("per-token");
            parts.floats(values);
        }
    }
    for (name, values) in rollouts.attached.all() {
        parts.text(&name);
        parts.floats(&values);
    }
    parts.digest()
}

pub(crate) fn of_evaluation(evaluation: &Evaluation) -> String {
    let mut parts = Parts::default();
    parts.text(&evaluation.name);
    for row in &evaluation.rows {
        parts.example(&row.example);
        parts.text(&row.answer);
        parts.number(u64::from(row.is_finished));
    }
    for (name, values) in &evaluation.statistics {
        parts.text(name);
        for value in values {
            parts.number(value.to_bits());
        }
    }
    parts.digest()
}

pub(crate) fn of_texts(texts: &[String]) -> String {
    let mut parts = Parts::default();
    for text in texts {
        parts.text(text);
    }
    parts.digest()
}

pub(crate) fn of_metrics(metrics: &[(String, f64)]) -> String {
    let mut parts = Parts::default();
    for (name, value) in metrics {
        parts.text(name);
        parts.number(value.to_bits());
    }
    parts.digest()
}

//! GRPO's experiment: additions by the mixed base, which is right about one in sixteen samples; right answers are rewarded, not shown.

use std::path::Path;

use anyhow::Context as _;

use crate::lab::{self, Arm, Outcome};
use crate::probe::Probe;
use crate::table::number;
use crate::task;

/// Samples per row behind the accuracy at temperature 1.
const SAMPLES: u32 = 4;
/// Steps behind the first and the last mean of rewards.
const ENDS: usize = 20;

/// GRPO, GRPO with two updates on each batch of rollouts, and GRPO with a KL penalty; plain fine-tuning on the same prompts' gold answers is `otr-sft`.
pub fn arms() -> Vec<Arm> {
    let arm = |name: &str, set: &[(&str, &str)]| {
        let set = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Arm { name: name.into(), recipe: "grpo", set }
    };
    vec![
        arm("grpo", &[]),
        arm("grpo-2", &[("rollout.updates", "2")]),
        arm("grpo-kl", &[("objective.settings.beta", "0.04")]),
    ]
}

/// The table of the experiment; the base's own numbers first. `reward` is the mean over the first and over the last steps' rollouts.
///
/// # Errors
///
/// Fails when data or models cannot be read.
pub fn rows(runs: &Path, base: &Path, outcomes: &[Outcome]) -> anyhow::Result<Vec<Vec<String>>> {
    let held_out = task::read(&lab::data(runs, "own-style-task"))?;
    let head =
        ["arm", "task", "sampled", "retained", "kl task", "kl retained", "first reward", "last reward", "zero spread"];
    let mut rows = vec![head.map(String::from).to_vec()];
    // A right answer in another style is right: only what follows the colon counts.
    let sampled = |folder: &Path| Ok::<_, anyhow::Error>(Some(Probe::open(folder)?.digits(&held_out, SAMPLES)?));
    if let Some(first) = outcomes.first() {
        let before = |set: &str| number(first.before(set, "accuracy"));
        rows.push(vec![
            "base".into(),
            before("task"),
            number(sampled(base)?),
            before("retained"),
            "0".into(),
            "0".into(),
        ]);
    }
    for outcome in outcomes {
        let after = |set: &str, metric: &str| number(outcome.after(set, metric));
        let mut row = vec![outcome.name.clone(), after("task", "accuracy"), number(sampled(outcome.model())?)];
        row.extend([after("retained", "accuracy"), after("task", "kl"), after("retained", "kl")]);
        let rewards = outcome.rollouts("reward");
        let mean = |values: &[f64]| number(Some(values.iter().sum::<f64>() / values.len().max(1) as f64));
        row.push(mean(rewards.get(..ENDS).context("there are steps")?));
        row.push(mean(&rewards[rewards.len() - ENDS..]));
        row.push(mean(&outcome.rollouts("zero-spread")));
        rows.push(row);
    }
    Ok(rows)
}

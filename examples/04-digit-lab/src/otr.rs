//! OTR's experiment: additions whose answers are in a style that the mixed base writes half of the time (`q`), and often wrong.

use std::path::Path;

use crate::grape::final_loss;
use crate::lab::{self, Arm, Outcome, SEED, Scale};
use crate::probe::Probe;
use crate::table::number;
use crate::task::{self, Tasks};

/// Samples per row behind the accuracy at temperature 1.
const SAMPLES: u32 = 4;
/// The second learning rate, at which every arm fits the targets.
const HIGH: &str = "1e-3";

/// Plain fine-tuning, DFT (the limit of OTR without a negative term at temperature 1), OTR, and OTR without its negative term, at two learning rates.
pub fn arms() -> Vec<Arm> {
    let methods: [(&str, &[(&str, &str)]); 4] = [
        ("otr-sft", &[("objective", "{ plugin = \"nll\" }")]),
        ("otr-dft", &[("objective.settings", "{ draws = 0, beta = 0.0, temperature = 1.0 }")]),
        ("otr", &[]),
        ("otr-beta-0", &[("objective.settings.beta", "0.0")]),
    ];
    let arm = |name: String, set: Vec<(&str, &str)>| {
        let set = set.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Arm { name, recipe: "otr", set }
    };
    let low = methods.iter().map(|(name, set)| arm((*name).to_owned(), set.to_vec()));
    let high = methods.iter().map(|(name, set)| {
        arm(format!("{name}-high"), set.iter().copied().chain([("train.learning-rate", HIGH)]).collect())
    });
    low.chain(high).collect()
}

/// Writes additions with answers in style `q`, to train on and held out.
///
/// # Errors
///
/// Fails when a file cannot be written.
pub fn prepare(runs: &Path, scale: Scale) -> anyhow::Result<()> {
    for (name, count, is_held_out) in [("own-style", scale.train, false), ("own-style-task", scale.eval, true)] {
        let mut tasks = Tasks::new(SEED, name);
        let rows = (0..count).map(|_| task::in_style('q', tasks.addition(is_held_out)));
        task::write(&lab::data(runs, name), rows)?;
    }
    Ok(())
}

/// The table of the experiment; the base's own numbers first.
///
/// # Errors
///
/// Fails when data or models cannot be read.
pub fn rows(runs: &Path, base: &Path, outcomes: &[Outcome]) -> anyhow::Result<Vec<Vec<String>>> {
    let (train, held_out) = (lab::data(runs, "own-style"), lab::data(runs, "own-style-task"));
    let (train, held_out) = (task::read(&train)?, task::read(&held_out)?);
    let head = ["arm", "target nll", "task", "sampled", "task nll", "retained", "kl task", "kl retained", "loss"];
    let mut rows = vec![head.map(String::from).to_vec()];
    let probed = |folder: &Path| -> anyhow::Result<[String; 3]> {
        let probe = Probe::open(folder)?;
        let nll = |rows| Ok::<_, anyhow::Error>(probe.likelihood(rows)?.nll);
        Ok([nll(&train)?, probe.sampled_accuracy(&held_out, SAMPLES)?, nll(&held_out)?]
            .map(|value| number(Some(value))))
    };
    if let Some(first) = outcomes.first() {
        let [target, sampled, nll] = probed(base)?;
        let before = |set: &str| number(first.before(set, "accuracy"));
        rows.push(vec![
            "base".into(),
            target,
            before("task"),
            sampled,
            nll,
            before("retained"),
            "0".into(),
            "0".into(),
        ]);
    }
    for outcome in outcomes {
        let [target, sampled, nll] = probed(outcome.model())?;
        let after = |set: &str, metric: &str| number(outcome.after(set, metric));
        let mut row = vec![outcome.name.clone(), target, after("task", "accuracy"), sampled, nll];
        row.extend([after("retained", "accuracy"), after("task", "kl"), after("retained", "kl")]);
        row.push(number(Some(final_loss(outcome))));
        rows.push(row);
    }
    Ok(rows)
}

/// Whether the signature shows at each learning rate: OTR forgets less than plain fine-tuning and drifts less from the base.
pub fn claims(outcomes: &[Outcome]) -> Vec<String> {
    let find = |name: &str| outcomes.iter().find(|outcome| outcome.name == name);
    let mut claims = Vec::new();
    for end in ["", "-high"] {
        let (Some(plain), Some(own)) = (find(&format!("otr-sft{end}")), find(&format!("otr{end}"))) else { continue };
        for (set, metric, is_better) in
            [("retained", "accuracy", f64::ge as fn(&f64, &f64) -> bool), ("retained", "kl", f64::lt)]
        {
            if let (Some(found), Some(other)) = (own.after(set, metric), plain.after(set, metric)) {
                let verdict = if is_better(&found, &other) { "holds" } else { "does not hold" };
                claims.push(format!(
                    "otr{end}: {set} {metric} no worse than plain fine-tuning ({found:.3}, {other:.3}): {verdict}"
                ));
            }
        }
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_in_a_style_that_the_base_writes() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        prepare(folder.path(), Scale { base: 1, train: 20, eval: 10 })?;
        let rows = task::read(&lab::data(folder.path(), "own-style"))?;
        assert!(rows.len() == 20 && rows.iter().all(|row| row.completion.starts_with("qqq:")), "{rows:?}");
        Ok(())
    }
}

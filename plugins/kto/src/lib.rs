//! KTO: completions that are labelled good are raised, those labelled bad are lowered, without pairs.

pub mod math;

use serde::Deserialize;
use tunesmith_sdk::{Batch, Curate, Error, Examples, Objective, Plugin, Tensor, TrainingSet, log};

use math::Loss;

/// The role of a good completion.
const CHOSEN: &str = "chosen";
/// That of a bad one.
const REJECTED: &str = "rejected";
/// That of another row's completion, which tells how far the policy is from the reference.
const MISMATCHED: &str = "mismatched";

/// The settings, as `plugin.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    loss: Loss,
    beta: f32,
    desirable_weight: f32,
    undesirable_weight: f32,
    label: String,
}

/// The plugin.
pub struct Kto(Settings);

impl Plugin for Kto {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        Ok(Self(settings))
    }
}

/// The role that a label gives.
fn role(label: &str) -> Option<&'static str> {
    match label.trim() {
        "true" | "1" | "1.0" => Some(CHOSEN),
        "false" | "0" | "0.0" => Some(REJECTED),
        _ => None,
    }
}

impl Curate for Kto {
    fn curate(&self, pool: &Examples, chosen: &TrainingSet) -> Result<(), Error> {
        let name = &self.0.label;
        let (completions, labels) = (pool.completions(), pool.column(name));
        if !pool.is_empty() && labels.iter().all(Option::is_none) {
            let what = format!("no row has a column `{name}`; name the column that says whether a completion is good");
            return Err(Error::unsupported(what));
        }
        let mut rows = Vec::new();
        for (row, (completion, label)) in completions.iter().zip(&labels).enumerate() {
            match (completion, label.as_deref().and_then(role)) {
                (Some(completion), Some(role)) => rows.push((row, role, completion.as_str())),
                (None, _) => chosen.omit(row, "no completion"),
                (_, None) => chosen.omit(row, "the label is neither true nor false"),
            }
        }
        let is_alone = rows.len() == 1;
        for (place, &(row, role, completion)) in rows.iter().enumerate() {
            // The completion of the row before, of the last for the first, as TRL rotates them.
            let (_, _, other) = rows[(place + rows.len() - 1) % rows.len()];
            match self.0.loss {
                Loss::ApoZeroUnpaired => chosen.group(row, &[(role, completion)], "gold"),
                Loss::Kto if is_alone => chosen.omit(row, "no other completion in the chunk"),
                Loss::Kto => chosen.group(row, &[(role, completion), (MISMATCHED, other)], "gold"),
            }
        }
        let good = rows.iter().filter(|(_, role, _)| *role == CHOSEN).count();
        log::metric("good", good as f64);
        log::metric("bad", (rows.len() - good) as f64);
        Ok(())
    }
}

/// What the rows of a batch are for.
#[derive(Debug, Default, PartialEq)]
struct Rows {
    /// Labelled rows.
    labelled: Vec<i32>,
    /// 1.0 for good ones, -1.0 for bad ones.
    signs: Vec<f32>,
    /// The share of each in its group.
    shares: Vec<f32>,
    /// Completions of other rows.
    mismatched: Vec<i32>,
}

impl Rows {
    fn new(numbers: &[i32], roles: &[String]) -> Result<Self, Error> {
        let hint = "take `kto` in `[curate]` too, or name the column `label` of the data in `[data]`";
        let mut found = Self::default();
        let rows: Vec<usize> = (0..numbers.len()).collect();
        for group in rows.chunk_by(|one, other| numbers[*one] == numbers[*other]) {
            let before = found.labelled.len();
            for &row in group {
                match roles[row].as_str() {
                    MISMATCHED => found.mismatched.push(row as i32),
                    role @ (CHOSEN | REJECTED) => {
                        found.labelled.push(row as i32);
                        found.signs.push(if role == CHOSEN { 1.0 } else { -1.0 });
                    }
                    other => {
                        let what = format!("row {row} of the batch has the role `{other}`, not a label; {hint}");
                        return Err(Error::unsupported(what));
                    }
                }
            }
            let count = found.labelled.len() - before;
            if count == 0 {
                let number = numbers[group[0]];
                return Err(Error::unsupported(format!("group {number} of the batch has no labelled row; {hint}")));
            }
            found.shares.extend((0..count).map(|_| 1.0 / count as f32));
        }
        Ok(found)
    }
}

impl Objective for Kto {
    fn objective(&self, batch: &Batch) -> Result<Tensor, Error> {
        let Settings { loss, beta, desirable_weight, undesirable_weight, .. } = self.0;
        let rows = Rows::new(&batch.groups().read_ints(), &batch.roles())?;
        let (policy, reference) = (batch.token_logprobs("policy")?, batch.token_logprobs("reference")?);
        let ratios = (policy - reference).sum_dim(1).reshape(&[batch.rows()]);
        let of = |rows: &[i32]| ratios.index_select(0, &Tensor::from_ints(rows, &[rows.len()]));
        let distance = match loss {
            Loss::ApoZeroUnpaired => 0.0,
            Loss::Kto if rows.mismatched.is_empty() => {
                let what = "no row of the batch has the role `mismatched`, from which `kto` tells the distance to the reference; take `kto` in `[curate]` too, or `loss = \"apo-zero-unpaired\"`";
                return Err(Error::unsupported(what));
            }
            Loss::Kto => math::distance(&of(&rows.mismatched).detach().read()),
        };
        let count = rows.labelled.len();
        let ratios = of(&rows.labelled);
        let weight = |sign: f32| if sign < 0.0 { undesirable_weight } else { desirable_weight };
        let weights: Vec<f32> =
            rows.signs.iter().zip(&rows.shares).map(|(sign, share)| weight(*sign) * share).collect();
        let costs = math::costs(&ratios, &Tensor::from_floats(&rows.signs, &[count]), distance, beta);
        log::metric("kl", f64::from(distance));
        report(&(ratios.detach() * beta).read(), &rows.signs);
        Ok((costs * Tensor::from_floats(&weights, &[count])).sum() / batch.total_groups().max(1) as f32)
    }
}

/// Mean rewards of good and of bad completions.
fn report(rewards: &[f32], signs: &[f32]) {
    let mean = |is_good: bool| {
        let own = rewards.iter().zip(signs).filter(|(_, sign)| (0.0 < **sign) == is_good);
        let own = own.map(|(reward, _)| f64::from(*reward));
        let own: Vec<f64> = own.collect();
        (!own.is_empty()).then(|| own.iter().sum::<f64>() / own.len() as f64)
    };
    let (chosen, rejected) = (mean(true), mean(false));
    if let Some(chosen) = chosen {
        log::metric("reward-chosen", chosen);
    }
    if let Some(rejected) = rejected {
        log::metric("reward-rejected", rejected);
    }
    if let (Some(chosen), Some(rejected)) = (chosen, rejected) {
        log::metric("reward-margin", chosen - rejected);
    }
}

tunesmith_sdk::export!(Kto: curate, objective);

#[cfg(test)]
mod tests;

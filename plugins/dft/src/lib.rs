//! Discriminative fine-tuning: gold answers are raised against answers that the starting model samples, without rewards or preferences.

pub mod math;

use serde::Deserialize;
use serde_json::Value;
use tunesmith_sdk::{
    Batch, Curate, Error, Examples, Model, Objective, Plugin, Prompts, Sampling, Tensor, TrainingSet, log, store,
};

/// The role of the gold answer in its group.
const GOLD: &str = "gold";
/// The role of a sampled one.
const NEGATIVE: &str = "negative";
/// The name of the moving average in the store.
const AVERAGE: &str = "u";

/// The settings, as `plugin.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    score: Score,
    tau: f64,
    gamma: f64,
    clamp: f64,
    negatives: usize,
    epochs: usize,
    temperature: f32,
    top_k: u32,
    max_tokens: u32,
    system: String,
    equal: Equal,
}

/// What an answer is scored by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// The sum of its log-probabilities, against the starting model.
    Sum,
    /// Their mean.
    Mean,
}

/// What happens to a negative that equals the gold answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Equal {
    /// It is left out.
    Drop,
    /// It stays.
    Keep,
}

/// The plugin.
pub struct Dft(Settings);

impl Plugin for Dft {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        Ok(Self(settings))
    }
}

impl Curate for Dft {
    fn curate(&self, pool: &Examples, chosen: &TrainingSet) -> Result<(), Error> {
        let Settings { negatives, epochs, temperature, top_k, max_tokens, equal, .. } = self.0;
        let golds = pool.completions();
        let rows: Vec<usize> = (0..golds.len()).filter(|row| golds[*row].is_some()).collect();
        for row in (0..golds.len()).filter(|row| golds[*row].is_none()) {
            chosen.omit(row, "no gold completion");
        }
        let each = negatives * epochs;
        let sampling =
            Sampling { top_k: Some(top_k), max_tokens: Some(max_tokens), ..Sampling::at(temperature, each as u32) };
        let samples = Model::open("policy")?.generate(&self.prompts(pool, &rows)?, &sampling)?.texts();
        let (mut equals, mut empty) = (0_u32, 0_u32);
        for (&row, samples) in rows.iter().zip(samples.chunks(each)) {
            let gold = golds[row].as_deref().unwrap_or_default();
            for block in samples.chunks(negatives) {
                let mut members = vec![(GOLD, gold)];
                for sample in block {
                    equals += u32::from(sample == gold);
                    empty += u32::from(sample.is_empty());
                    if !sample.is_empty() && (equal == Equal::Keep || sample != gold) {
                        members.push((NEGATIVE, sample));
                    }
                }
                chosen.group(row, &members, GOLD);
            }
        }
        if !samples.is_empty() {
            let share = |count: u32| f64::from(count) / samples.len() as f64;
            log::metric("equal-share", share(equals));
            log::metric("empty-share", share(empty));
        }
        Ok(())
    }
}

impl Dft {
    /// The conversations of these rows, with the system message that negatives are sampled under.
    fn prompts(&self, pool: &Examples, rows: &[usize]) -> Result<Prompts, Error> {
        if self.0.system.is_empty() {
            return Ok(Prompts::new().rows(pool, rows));
        }
        let messages = pool.messages();
        let changed = |row: &usize| -> Result<String, Error> {
            let broken = |_| Error::other(format!("the conversation of row {row} is no list of messages"));
            let turns: Vec<Value> = serde_json::from_str(&messages[*row]).map_err(broken)?;
            let system = serde_json::json!({ "role": "system", "content": self.0.system });
            let others = turns.into_iter().filter(|turn| turn["role"] != "system");
            Ok(Value::Array(std::iter::once(system).chain(others).collect()).to_string())
        };
        Ok(Prompts::new().messages(&rows.iter().map(changed).collect::<Result<Vec<_>, _>>()?))
    }
}

/// A group of a batch: the row of its gold answer and those of its negatives.
struct Group {
    gold: usize,
    negatives: Vec<usize>,
}

impl Objective for Dft {
    fn objective(&self, batch: &Batch) -> Result<Tensor, Error> {
        let Settings { score, tau, gamma, clamp, .. } = self.0;
        let rows = batch.rows();
        let sums = batch.token_logprobs("policy")?.sum_dim(1).reshape(&[rows]);
        let scores = match score {
            Score::Sum => sums,
            Score::Mean => sums / batch.mask().sum_dim(1).reshape(&[rows]).maximum(&Tensor::full(1.0, &[1])),
        };
        let now = scores.detach().read();
        let start = match score {
            Score::Sum => batch.token_logprobs("reference")?.sum_dim(1).reshape(&[rows]).read(),
            Score::Mean => vec![0.0; rows],
        };
        let groups = groups(&batch.groups().read_ints(), &batch.roles())?;
        let ids: Vec<u64> = groups.iter().map(|group| batch.ids()[group.gold]).collect();
        let averages = store::read(AVERAGE, &ids);
        let mut factors = vec![0.0_f32; rows];
        let (mut moved, mut margins, mut probabilities) = (Vec::new(), Vec::new(), Vec::new());
        for (group, average) in groups.iter().zip(averages) {
            factors[group.gold] = -1.0;
            let d: Vec<f64> =
                group.negatives.iter().map(|&row| f64::from(now[row]) / tau - f64::from(start[row])).collect();
            let average = average.unwrap_or(0.0);
            if d.is_empty() {
                moved.push(average);
                continue;
            }
            let u = math::moved(average, gamma, &d);
            for (&row, weight) in group.negatives.iter().zip(math::weights(&d, u, clamp)) {
                factors[row] = (weight / d.len() as f64) as f32;
            }
            moved.push(u);
            let mean = group.negatives.iter().map(|&row| f64::from(now[row])).sum::<f64>() / d.len() as f64;
            margins.push(f64::from(now[group.gold]) - mean);
            // log P_d up to the size of the sample space: the gold score against the estimate of the partition function.
            probabilities.push(f64::from(now[group.gold]) / tau - u);
        }
        store::write(AVERAGE, &ids, &moved);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        if !margins.is_empty() {
            log::metric("margin", mean(&margins));
            log::metric("log-p-d", mean(&probabilities));
        }
        log::metric("without-negatives", (groups.len() - margins.len()) as f64);
        Ok((scores * Tensor::from_floats(&factors, &[rows])).sum() / batch.total_groups().max(1) as f32)
    }
}

/// The groups of a batch, in their order.
fn groups(numbers: &[i32], roles: &[String]) -> Result<Vec<Group>, Error> {
    let mut found: Vec<(i32, Option<usize>, Vec<usize>)> = Vec::new();
    for (row, (&number, role)) in numbers.iter().zip(roles).enumerate() {
        if found.last().is_none_or(|(last, _, _)| *last != number) {
            found.push((number, None, Vec::new()));
        }
        let Some((_, gold, negatives)) = found.last_mut() else { continue };
        match role.as_str() {
            GOLD if gold.is_none() => *gold = Some(row),
            NEGATIVE => negatives.push(row),
            other => {
                return Err(Error::unsupported(format!(
                    "row {row} of the batch has the role `{other}`; take `dft` in `[curate]` too, which groups a gold answer with sampled ones"
                )));
            }
        }
    }
    let group = |(number, gold, negatives): (i32, Option<usize>, Vec<usize>)| match gold {
        Some(gold) => Ok(Group { gold, negatives }),
        None => Err(Error::unsupported(format!("group {number} of the batch has no gold answer"))),
    };
    found.into_iter().map(group).collect()
}

tunesmith_sdk::export!(Dft: curate, objective);

#[cfg(test)]
mod tests;

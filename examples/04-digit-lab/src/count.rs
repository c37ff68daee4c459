//! FGRPR's experiment: a number is to be read and written by a base that learned answers up to 15 off; its samples are rewarded by nearness.

use std::path::Path;

use crate::lab::{self, Arm, Outcome, SEED, Scale};
use crate::probe::Probe;
use crate::table::number;
use crate::task::{self, Row};
use tunesmith_train::random::Random;

/// The least number that is asked for, and how many there are.
const NUMBERS: (u64, u64) = (20, 65);
/// How far the base's targets are off, at most.
const OFF: u64 = 15;
/// Samples per row at temperature 1.
const SAMPLES: u32 = 8;
/// Groups per step, as in `recipes/fgrpr.toml`.
const GROUPS: f64 = 16.0;

/// The graded and the binary reward, and plain fine-tuning on the gold numbers.
pub fn arms() -> Vec<Arm> {
    let arm = |name: &str, recipe, set: &[(&str, &str)]| {
        let set = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Arm { name: name.into(), recipe, set }
    };
    vec![
        arm("fgrpr-fuzzy", "fgrpr", &[]),
        arm("fgrpr-binary", "fgrpr", &[("reward.0.settings.accuracy", "binary")]),
        arm("fgrpr-sft", "fgrpr-sft", &[]),
    ]
}

/// Writes numbers with targets that are off for the base, with their own for the arms, and every number once to measure.
///
/// # Errors
///
/// Fails when a file cannot be written.
pub fn prepare(runs: &Path, scale: Scale) -> anyhow::Result<()> {
    let (least, count) = NUMBERS;
    let mut random = Random::named(SEED, "counts");
    // The bias of the remainder is below 2^-56 here.
    let mut below = |limit: u64| random.bits() % limit;
    let off = (0..scale.base).map(|_| (least + below(count), below(2 * OFF + 1)));
    let off: Vec<Row> = off.map(|(asked, more)| row(asked, asked + more - OFF)).collect();
    let gold: Vec<u64> = (0..scale.train).map(|_| least + below(count)).collect();
    task::write(&lab::data(runs, "counts-off"), off.into_iter())?;
    task::write(&lab::data(runs, "counts"), gold.into_iter().map(|asked| row(asked, asked)))?;
    task::write(&lab::data(runs, "counts-held-out"), (least..least + count).map(|asked| row(asked, asked)))
}

/// `C47` asks for 47.
fn row(asked: u64, answer: u64) -> Row {
    Row { prompt: format!("C{asked}"), completion: answer.to_string() }
}

/// The table of the experiment; the base's own numbers first.
///
/// # Errors
///
/// Fails when data or models cannot be read.
pub fn rows(runs: &Path, base: &Path, outcomes: &[Outcome]) -> anyhow::Result<Vec<Vec<String>>> {
    let held_out = task::read(&lab::data(runs, "counts-held-out"))?;
    let head = ["arm", "greedy mae", "mae", "exact", "no number", "zero spread"];
    let mut rows = vec![head.map(String::from).to_vec()];
    let mut add = |name: &str, greedy: Option<f64>, folder: &Path, zero_spread: Option<f64>| -> anyhow::Result<()> {
        let sampled = sampled(&Probe::open(folder)?, &held_out)?;
        rows.push(
            [vec![name.to_owned(), number(greedy)], sampled.map(number).into(), vec![number(zero_spread)]].concat(),
        );
        Ok(())
    };
    if let Some(first) = outcomes.first() {
        add("base", first.before("held-out", "mae"), base, None)?;
    }
    for outcome in outcomes {
        let steps = outcome.rollouts("zero-spread");
        let zero_spread = steps.iter().sum::<f64>() / (steps.len() as f64 * GROUPS);
        let zero_spread = if steps.is_empty() { None } else { Some(zero_spread) };
        add(&outcome.name, outcome.after("held-out", "mae"), outcome.model(), zero_spread)?;
    }
    Ok(rows)
}

/// Of answers at temperature 1: the mean error of those that are numbers, the share of gold numbers, and the share without a number.
fn sampled(probe: &Probe, held_out: &[Row]) -> anyhow::Result<[Option<f64>; 3]> {
    let answers = probe.samples(held_out, 1.0, SAMPLES)?;
    let golds = held_out.iter().flat_map(|row| std::iter::repeat_n(row.completion.as_str(), SAMPLES as usize));
    let read = |text: &str| text.parse::<u32>().ok().map(f64::from);
    let errors: Vec<f64> =
        answers.iter().zip(golds).filter_map(|(answer, gold)| Some((read(answer)? - read(gold)?).abs())).collect();
    let (said, all) = (errors.len() as f64, answers.len().max(1) as f64);
    let right = errors.iter().filter(|error| **error == 0.0).count() as f64;
    let mean = if errors.is_empty() { None } else { Some(errors.iter().sum::<f64>() / said) };
    Ok([mean, Some(right / all), Some(1.0 - said / all)])
}

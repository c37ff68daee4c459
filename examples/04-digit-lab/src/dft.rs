//! DFT's experiment: additions by a base that is often right and never sure, against answers that it samples itself.

use std::path::Path;

use crate::lab::{self, Arm, Outcome, SEED, Scale};
use crate::probe::Probe;
use crate::table::number;
use crate::task::{self, Row, Tasks};

/// Samples per row behind the accuracy at temperature 1, and behind the negatives that arms are probed with.
const SAMPLES: u32 = 4;
/// The temperature at which the base's answers are sampled.
const TEMPERATURE: f32 = 0.7;
/// Rows that an arm trains on, at most.
const ROWS: usize = 400;

/// Plain fine-tuning with as many steps and with as many sequences, DFT, DFT with the negatives that equal the gold answer (as the paper has it), and DFT2.
pub fn arms() -> Vec<Arm> {
    let arm = |name: &str, recipe, set: &[(&str, &str)]| {
        let set = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Arm { name: name.into(), recipe, set }
    };
    vec![
        arm("dft-sft", "dft-sft", &[]),
        arm("dft-sft-5x", "dft-sft", &[("train.steps", "1500")]),
        arm("dft", "dft", &[]),
        arm("dft-equal", "dft", &[("curate.settings.equal", "keep")]),
        arm("dft2", "dft", &[("objective.settings", "{ score = \"mean\", tau = 0.3, gamma = 0.9 }")]),
    ]
}

/// Writes additions to train on.
///
/// # Errors
///
/// Fails when the file cannot be written.
pub fn prepare(runs: &Path, scale: Scale) -> anyhow::Result<()> {
    let mut tasks = Tasks::new(SEED, "sums-small");
    let rows = (0..scale.train.min(ROWS)).map(|_| tasks.addition(false));
    task::write(&lab::data(runs, "sums-small"), rows)
}

/// The table of the experiment; the base's own numbers first. `negatives` is the log-probability per token of wrong answers that the base samples
/// for held-out prompts, `margin` how much likelier per token the gold answers are.
///
/// # Errors
///
/// Fails when data or models cannot be read.
pub fn rows(runs: &Path, base: &Path, outcomes: &[Outcome]) -> anyhow::Result<Vec<Vec<String>>> {
    let held_out = task::read(&lab::data(runs, "held-out"))?;
    let (golds, wrong) = negatives(&Probe::open(base)?, &held_out)?;
    let head = ["arm", "greedy", "sampled", "gold", "negatives", "margin"];
    let mut rows = vec![head.map(String::from).to_vec()];
    let mut add = |name: &str, greedy: Option<f64>, folder: &Path| -> anyhow::Result<()> {
        let probe = Probe::open(folder)?;
        let (gold, negatives) = (-probe.likelihood(&golds)?.nll, -probe.likelihood(&wrong)?.nll);
        let sampled = probe.sampled_accuracy(&held_out, SAMPLES)?;
        let numbers = [Some(sampled), Some(gold), Some(negatives), Some(gold - negatives)].map(number);
        rows.push([vec![name.to_owned(), number(greedy)], numbers.to_vec()].concat());
        Ok(())
    };
    if let Some(first) = outcomes.first() {
        add("base", first.before("held-out", "accuracy"), base)?;
    }
    for outcome in outcomes {
        add(&outcome.name, outcome.after("held-out", "accuracy"), outcome.model())?;
    }
    Ok(rows)
}

/// Held-out rows with a wrong answer of the base, and the same rows with their gold answers.
fn negatives(base: &Probe, held_out: &[Row]) -> anyhow::Result<(Vec<Row>, Vec<Row>)> {
    let answers = base.samples(held_out, TEMPERATURE, SAMPLES)?;
    let asked = held_out.iter().flat_map(|row| std::iter::repeat_n(row, SAMPLES as usize));
    let pairs = asked.zip(answers).filter(|(row, answer)| *answer != row.completion && !answer.is_empty());
    Ok(pairs.map(|(row, answer)| (row.clone(), Row { prompt: row.prompt.clone(), completion: answer })).unzip())
}

//! SELM's experiment: additions with a right and a wrong answer given, in three phases that answer anew, with more and less optimism.

use std::collections::HashSet;
use std::path::Path;

use serde_json::json;

use crate::lab::{self, Arm, Outcome, SEED, Scale};
use crate::probe::Probe;
use crate::table::number;
use crate::task::{self, Row, Tasks};

/// Samples per row behind the accuracy at temperature 1, and behind the count of distinct answers.
const SAMPLES: u32 = 8;
/// Rows that an arm trains on, at most.
const ROWS: usize = 480;

/// Iterated DPO, and two strengths of optimism.
pub fn arms() -> Vec<Arm> {
    let arm = |name: &str, alpha: &str| Arm {
        name: name.into(),
        recipe: "selm",
        set: vec![("objective.settings.alpha".into(), alpha.into())],
    };
    vec![arm("selm-alpha-0", "0.0"), arm("selm-alpha-0.03", "0.03"), arm("selm-alpha-0.3", "0.3")]
}

/// Writes additions, each with its right answer and one that is wrong in a digit or more.
///
/// # Errors
///
/// Fails when the file cannot be written.
pub fn prepare(runs: &Path, scale: Scale) -> anyhow::Result<()> {
    let mut tasks = Tasks::new(SEED, "preferences");
    let rows = (0..scale.train.min(ROWS)).map(|_| {
        let row = tasks.addition(false);
        let rejected = loop {
            let wrong = tasks.noisy(row.clone()).completion;
            if wrong != row.completion {
                break wrong;
            }
        };
        json!({ "prompt": row.prompt, "chosen": row.completion, "rejected": rejected, "answer": row.completion })
    });
    task::write_lines(&lab::data(runs, "preferences"), rows)
}

/// The table of the experiment; the base's own numbers first. `own` is the log-probability per token of the base's greedy answers to held-out prompts,
/// `distinct` how many different answers samples of a prompt hold.
///
/// # Errors
///
/// Fails when data or models cannot be read.
pub fn rows(runs: &Path, base: &Path, outcomes: &[Outcome]) -> anyhow::Result<Vec<Vec<String>>> {
    let held_out = task::read(&lab::data(runs, "held-out"))?;
    let greedy = Probe::open(base)?.answers(&held_out)?;
    let own: Vec<Row> = held_out
        .iter()
        .zip(greedy)
        .filter(|(_, answer)| !answer.is_empty())
        .map(|(row, completion)| Row { prompt: row.prompt.clone(), completion })
        .collect();
    let mut rows = vec![["arm", "greedy", "sampled", "own", "distinct"].map(String::from).to_vec()];
    let mut add = |name: &str, greedy: Option<f64>, folder: &Path| -> anyhow::Result<()> {
        let probe = Probe::open(folder)?;
        let answers = probe.samples(&held_out, 1.0, SAMPLES)?;
        let distinct =
            answers.chunks(SAMPLES as usize).map(|texts| texts.iter().collect::<HashSet<_>>().len()).sum::<usize>();
        let distinct = distinct as f64 / held_out.len().max(1) as f64;
        let sampled = probe.sampled_accuracy(&held_out, SAMPLES)?;
        let numbers = [greedy, Some(sampled), Some(-probe.likelihood(&own)?.nll), Some(distinct)];
        rows.push([vec![name.to_owned()], numbers.map(number).to_vec()].concat());
        Ok(())
    };
    // What the last phase begins with is no longer the base.
    add("base", None, base)?;
    for outcome in outcomes {
        add(&outcome.name, outcome.after("held-out", "accuracy"), outcome.model())?;
    }
    Ok(rows)
}

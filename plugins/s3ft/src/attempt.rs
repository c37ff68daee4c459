//! Asking the model for answers and the judge for verdicts, one call each for all rows. `plugins/ssr` compiles this same file.

use tunesmith_sdk::{Error, Examples, Model, Prompts, Sampling, TrainingSet, Verdict, judging};

use crate::math::{Source, is_accepted, is_usable};

/// The model that answers: the one that training starts from, fixed for the whole build.
const START: &str = "reference";

/// How answers are sampled and when they are accepted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// 0.0 is greedy.
    pub temperature: f32,
    /// At most this many new tokens; 0 leaves it to the recipe.
    pub max_tokens: u32,
    /// The least score that counts as accepted, greater than 0.0.
    pub accept_at: f32,
    /// Whether an answer that was cut is rejected without asking the judge.
    pub unfinished_is_wrong: bool,
}

/// A row's target, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The row in the pool.
    pub row: usize,
    /// The text to be trained on.
    pub text: String,
    /// Where it comes from.
    pub source: Source,
}

/// The rows that have a gold completion, with it as their target. The others are left out.
pub fn gold_targets(pool: &Examples, chosen: &TrainingSet) -> Vec<Target> {
    let mut targets = Vec::new();
    for (row, gold) in pool.completions().into_iter().enumerate() {
        match gold {
            Some(text) => targets.push(Target { row, text, source: Source::Gold }),
            None => chosen.omit(row, "no gold completion"),
        }
    }
    targets
}

/// One answer per prompt, `prompts[i]` being asked for row `rows[i]`; none where it was empty, cut or not accepted.
///
/// # Errors
///
/// Fails when the model or the judge does.
pub fn attempt(pool: &Examples, rows: &[usize], prompts: &Prompts, rules: Rules) -> Result<Vec<Option<String>>, Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let sampling = Sampling {
        temperature: Some(rules.temperature),
        max_tokens: (0 < rules.max_tokens).then_some(rules.max_tokens),
        ..Sampling::greedy()
    };
    let answers = Model::open(START)?.generate(prompts, &sampling)?;
    let mut texts: Vec<Option<String>> = answers
        .texts()
        .into_iter()
        .zip(answers.finished())
        .map(|(text, is_finished)| is_usable(&text, is_finished, rules.unfinished_is_wrong).then_some(text))
        .collect();
    let (asked, candidates): (Vec<usize>, Vec<String>) =
        texts.iter().enumerate().filter_map(|(at, text)| text.clone().map(|text| (at, text))).unzip();
    if asked.is_empty() {
        return Ok(texts);
    }
    let asked_rows: Vec<usize> = asked.iter().map(|&at| rows[at]).collect();
    let verdicts = judging::judge(pool, &asked_rows, &candidates)?;
    for (at, verdict) in asked.into_iter().zip(verdicts) {
        if !is_accepted(score(&verdict), rules.accept_at) {
            texts[at] = None;
        }
    }
    Ok(texts)
}

/// Tells the training set. A gold target is kept as it is, so that a set of nothing else equals the data.
pub fn choose(chosen: &TrainingSet, targets: &[Target]) {
    for target in targets {
        let provenance = target.source.provenance();
        match target.source {
            Source::Gold => chosen.keep(target.row, provenance),
            Source::Own | Source::Paraphrase => chosen.replace(target.row, &target.text, provenance),
        }
    }
}

/// How right an answer is, 0.0 to 1.0; what a judge cannot tell is wrong.
fn score(verdict: &Verdict) -> f32 {
    match verdict {
        Verdict::Right => 1.0,
        Verdict::Partly(score) => *score,
        Verdict::Wrong | Verdict::Undecided(_) => 0.0,
    }
}

//! All ten stages, written against `wit/` alone: the contract is the WIT, not the SDK.
// Export names of components are no names for a native linker, so there is nothing here for other targets.
#![cfg(target_arch = "wasm32")]
#![allow(unsafe_code, missing_docs, clippy::pedantic, reason = "the generated bindings need it")]

wit_bindgen::generate!({
    inline: "
        package tests:bare;

        world bare {
            include tunesmith:method/curate-plugin@0.1.2;
            include tunesmith:method/judge-plugin@0.1.2;
            include tunesmith:method/reward-plugin@0.1.2;
            include tunesmith:method/credit-plugin@0.1.2;
            include tunesmith:method/weigh-plugin@0.1.2;
            include tunesmith:method/objective-plugin@0.1.2;
            include tunesmith:method/edit-plugin@0.1.2;
            include tunesmith:method/measure-plugin@0.1.2;
            include tunesmith:method/answer-plugin@0.1.2;
            include tunesmith:method/retain-plugin@0.1.2;
        }
    ",
    path: "../../../wit",
    world: "tests:bare/bare",
    features: ["edit", "answer", "retain"],
    generate_all,
});

use exports::tunesmith::method::credit::Advantages;
use exports::tunesmith::method::{answer, credit, curate, edit, judge, measure, objective, retain, reward, weigh};
use tunesmith::method::answers::{Cases, Evaluation, Rollouts, Verdict};
use tunesmith::method::batches::{Batch, TokenBatch};
use tunesmith::method::cache::CacheBlock;
use tunesmith::method::data::{Examples, TrainingSet};
use tunesmith::method::model::{LanguageModel, Prompts, Sampling};
use tunesmith::method::parameters::ParameterSet;
use tunesmith::method::tensors::Tensor;
use tunesmith::method::types::Error;
use tunesmith::method::{judging, log, random, settings, store};

struct Bare;

export!(Bare);

/// The text after `"key":` in a flat JSON object, up to the next comma or brace.
fn setting(key: &str) -> String {
    let json = settings::json();
    let after = json.split(&format!("\"{key}\":")).nth(1).unwrap_or_default();
    after.split([',', '}']).next().unwrap_or_default().trim_matches('"').to_owned()
}

impl curate::Guest for Bare {
    /// Samples every row twice; keeps what the judge finds right, prefers right over wrong, and drops the rest.
    fn curate(pool: &Examples, chosen: &TrainingSet) -> Result<(), Error> {
        let provenance = setting("provenance");
        if provenance == "grouped" {
            return grouped(pool, chosen);
        }
        let rows: Vec<u32> = (0..pool.len()).collect();
        let prompts = Prompts::new();
        prompts.add_rows(pool, &rows);
        let sampling = Sampling::new();
        sampling.set_samples(2);
        sampling.set_temperature(0.5);
        let policy = LanguageModel::open("policy")?;
        let texts = policy.generate(&prompts, &sampling)?.texts();
        let twice: Vec<u32> = rows.iter().flat_map(|&row| [row, row]).collect();
        let verdicts = judging::judge(pool, &twice, &texts)?;
        let completions = pool.completions();
        for &row in &rows {
            let at = row as usize;
            let is_right = |sample: usize| matches!(verdicts[2 * at + sample], Verdict::Right);
            let text = |sample: usize| texts[2 * at + sample].as_str();
            match (is_right(0), is_right(1)) {
                (true, true) => chosen.replace(row, text(0), "self"),
                (true, false) => chosen.prefer(row, text(0), text(1), "self"),
                (false, true) => chosen.prefer(row, text(1), text(0), "self"),
                (false, false) if completions[at].is_some() => chosen.keep(row, &provenance),
                (false, false) => {
                    log::skip(row, "nothing right");
                    chosen.omit(row, "nothing right");
                }
            }
            chosen.note(row, "length", text(0).len() as f64);
        }
        if let Some(prompt) = pool.prompts().first() {
            chosen.add(&format!("{prompt} Again:"), "yes", "synthetic", Some(0));
        }
        log::metric("rows", f64::from(pool.len()));
        log::write(log::Level::Info, &format!("round {}", pool.round()));
        Ok(())
    }
}

/// Groups each row's prompt with the number of times that it was seen.
fn grouped(pool: &Examples, chosen: &TrainingSet) -> Result<(), Error> {
    let ids = pool.ids();
    let seen: Vec<f64> = store::read("seen", &ids).into_iter().map(|seen| seen.unwrap_or(0.0) + 1.0).collect();
    store::write("seen", &ids, &seen);
    let roles = ["gold".to_owned(), "negative".to_owned()];
    for (row, (prompt, seen)) in pool.prompts().into_iter().zip(&seen).enumerate() {
        chosen.group(row as u32, &roles, &[prompt, format!("seen {seen}")], "grouped");
    }
    let conversation = r#"[{"role":"system","content":"be brief"},{"role":"user","content":"new"}]"#;
    chosen.add_group(conversation, &[String::new()], &["yes".to_owned()], "synthetic", Some(0));
    Ok(())
}

impl judge::Guest for Bare {
    /// Right if equal to the reference, partly right if it contains it.
    fn judge(cases: &Cases) -> Result<Vec<Verdict>, Error> {
        let partly = setting("partly").parse().map_err(|_| Error::BadSettings("`partly` is no number".into()))?;
        let verdict = |(answer, reference): (String, Option<String>)| match reference {
            None => Verdict::Undecided("no reference".into()),
            Some(reference) if answer == reference => Verdict::Right,
            Some(reference) if answer.contains(&reference) => Verdict::Partly(partly),
            Some(_) => Verdict::Wrong,
        };
        Ok(cases.answers().into_iter().zip(cases.references()).map(verdict).collect())
    }
}

impl reward::Guest for Bare {
    /// The share of the completion's tokens in 10, none if it was cut.
    fn reward(rollouts: &Rollouts) -> Result<Vec<Option<f32>>, Error> {
        if rollouts.columns().iter().any(|name| name == "judged") {
            let verdicts = judging::judge_rollouts(rollouts)?;
            let score = |verdict: Verdict| Some(if matches!(verdict, Verdict::Right) { 1.0 } else { -1.0 });
            return Ok(verdicts.into_iter().map(score).collect());
        }
        let score = |(length, is_finished): (u32, bool)| is_finished.then_some(length as f32 / 10.0);
        Ok(rollouts.lengths().into_iter().zip(rollouts.finished()).map(score).collect())
    }
}

impl credit::Guest for Bare {
    /// Rewards less the mean of their group; per token if the column `per-token` is there.
    fn credit(rollouts: &Rollouts, rewards: Vec<Option<f32>>) -> Result<Advantages, Error> {
        if rollouts.columns().iter().any(|name| name == "attach") {
            return attached(rollouts);
        }
        let groups = rollouts.groups();
        let mean = |group: u32| {
            let scores: Vec<f32> = groups
                .iter()
                .zip(&rewards)
                .filter(|(other, _)| **other == group)
                .filter_map(|(_, score)| *score)
                .collect();
            scores.iter().sum::<f32>() / scores.len().max(1) as f32
        };
        let advantages: Vec<f32> =
            groups.iter().zip(&rewards).map(|(&group, score)| score.map_or(0.0, |score| score - mean(group))).collect();
        if rollouts.columns().iter().any(|name| name == "per-token") {
            let lengths = rollouts.lengths();
            let flat =
                advantages.iter().zip(lengths).flat_map(|(&value, length)| vec![value; length as usize]).collect();
            return Ok(Advantages::PerToken(flat));
        }
        Ok(Advantages::PerRollout(advantages))
    }
}

/// Gives the objective numbers from 0 up, says what it sees, and credits the first reward by itself.
fn attached(rollouts: &Rollouts) -> Result<Advantages, Error> {
    let tokens: u32 = rollouts.lengths().iter().sum();
    let numbers: Vec<f32> = (0..tokens).map(|number| number as f32).collect();
    rollouts.attach("count", &numbers)?;
    let names = rollouts.reward_names();
    let (weights, given) = (rollouts.reward_weights(), rollouts.off_policy());
    log::write(log::Level::Info, &format!("{names:?} {weights:?} {given:?} {}", rollouts.messages()[0]));
    let scores = rollouts.rewards(&names[0])?;
    Ok(Advantages::PerRollout(scores.into_iter().map(|score| score.unwrap_or(-1.0)).collect()))
}

impl weigh::Guest for Bare {
    /// The probability of each token; with the column `rival`, the share of its completion's characters that the token stands for.
    fn weigh(batch: &TokenBatch) -> Result<Vec<f32>, Error> {
        if batch.columns().iter().any(|name| name == "rival") {
            return shares(batch);
        }
        Ok(batch.token_logprobs("policy")?.into_iter().map(f32::exp).collect())
    }
}

/// Says the row's texts and where the rival's tokens stand in it.
fn shares(batch: &TokenBatch) -> Result<Vec<f32>, Error> {
    let (texts, firsts) = (batch.row_texts()?, batch.completion_starts()?);
    let rivals: Vec<String> = batch.column("rival").into_iter().flatten().collect();
    let prompts = Prompts::new();
    prompts.add_messages(&batch.messages());
    let scores = LanguageModel::open("policy")?.score(&prompts, &rivals)?;
    log::write(log::Level::Info, &format!("{texts:?} {firsts:?} {:?} {:?}", scores.starts()?, scores.ends()?));
    let (starts, ends, offsets) = (batch.starts()?, batch.ends()?, batch.offsets());
    let mut weights = Vec::new();
    for (row, range) in offsets.windows(2).enumerate() {
        let length = texts[row].chars().count() as u32 - firsts[row];
        for token in range[0] as usize..range[1] as usize {
            let own = ends[token].saturating_sub(starts[token].max(firsts[row]));
            weights.push(own as f32 / length.max(1) as f32);
        }
    }
    Ok(weights)
}

impl objective::Guest for Bare {
    /// The weighted mean of the negative log-likelihood: `-(logprobs * weights).sum() / total-weight`. With the setting `draws` the mean is over
    /// so many candidates of each token.
    fn objective(batch: &Batch) -> Result<Tensor, Error> {
        let draws: u32 = setting("draws").parse().map_err(|_| Error::BadSettings("`draws` is no number".into()))?;
        if setting("online") == "true" {
            return online(batch);
        }
        let logprobs = if draws == 0 {
            batch.token_logprobs("policy")?
        } else {
            let samples = batch.samples(draws, 2.0)?;
            log::write(log::Level::Info, &format!("{:?} of {}", samples.read_ints(), batch.vocabulary()));
            batch.candidate_logprobs("policy", &samples)?.mean_dim(2).reshape(&batch.weights().shape())
        };
        let total = batch.total_weight() as f32;
        Ok(logprobs.mul(&batch.weights()).sum().neg().mul_scalar(1.0 / total))
    }
}

/// The sum of everything that online training adds to a batch; says the rest.
fn online(batch: &Batch) -> Result<Tensor, Error> {
    let (ids, roles) = (batch.ids(), batch.roles());
    let facts = (batch.temperature(), batch.total_groups(), batch.off_policy().read());
    log::write(log::Level::Info, &format!("{ids:?} {roles:?} {facts:?} {:?}", batch.hidden_states()?.shape()));
    let parts = [
        batch.token_logprobs_at("policy", batch.temperature())?,
        batch.token_entropies(3.0)?,
        batch.token_collisions()?,
        batch.token_numbers("returns")?,
    ];
    Ok(parts.iter().skip(1).fold(parts[0].sum(), |sum, part| sum.add(&part.sum())))
}

impl edit::Guest for Bare {
    /// Halves the way from the base to the policy, parameter by parameter.
    fn edit(parameters: &ParameterSet) -> Result<(), Error> {
        for name in parameters.names() {
            let (now, base) = (parameters.get(&name)?, parameters.get_from("base", &name)?);
            parameters.set(&name, &base.add(&now.sub(&base).mul_scalar(0.5)))?;
        }
        Ok(())
    }
}

impl measure::Guest for Bare {
    /// Accuracy by equality, the mean log-probability if the host has it, and whether random numbers are there.
    fn measure(evaluation: &Evaluation) -> Result<Vec<(String, f64)>, Error> {
        let rows = evaluation.len() as f64;
        let right = evaluation
            .answers()
            .into_iter()
            .zip(evaluation.references())
            .filter(|(answer, reference)| reference.as_ref() == Some(answer));
        let mut metrics = vec![("accuracy".to_owned(), right.count() as f64 / rows)];
        if let Some(logprobs) = evaluation.statistic("answer-logprob") {
            metrics.push(("logprob".to_owned(), logprobs.iter().sum::<f64>() / rows));
        }
        metrics.push(("random".to_owned(), f64::from(random::uniforms(1)[0])));
        metrics.push(("integer".to_owned(), (random::integers(1)[0] >> 11) as f64));
        Ok(metrics)
    }
}

impl answer::Guest for Bare {
    /// Scores what the policy says against silence, and answers with what is more likely.
    fn answer(examples: &Examples) -> Result<Vec<String>, Error> {
        let policy = LanguageModel::open("policy")?;
        let prompts = Prompts::new();
        prompts.add_messages(&examples.messages());
        let texts = policy.generate(&prompts, &Sampling::new())?.texts();
        let sums = policy.score(&prompts, &texts)?.sums();
        let next = policy.score_next(&prompts, &["yes".to_owned()])?;
        let width = policy.embed(&texts)?.len() / texts.len().max(1);
        if width != policy.hidden_size() as usize {
            return Err(Error::Other(format!("embeddings of width {width}")));
        }
        let choose =
            |((text, sum), next): ((String, f64), f32)| if f64::from(next) < sum { text } else { "yes".to_owned() };
        Ok(texts.into_iter().zip(sums).zip(next).map(choose).collect())
    }
}

impl retain::Guest for Bare {
    /// The squared norm of each key.
    fn retain(block: &CacheBlock) -> Result<Tensor, Error> {
        let keys = block.keys();
        let shape = keys.shape();
        Ok(keys.mul(&keys).sum_dim(2).reshape(&shape[..2]))
    }
}

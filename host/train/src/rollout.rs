//! Online training: the policy answers prompts in groups, rewards are added up, and credit is spread over the sampled tokens.

mod credit;
mod logprobs;
mod record;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::module::Module;
use tunesmith_core::data::{Advantages, NamedReward, REFERENCE, ROLLOUT, Rollout, Rollouts};
use tunesmith_core::digest;
use tunesmith_core::error::CallError;
use tunesmith_core::plan::RolloutPlan;
use tunesmith_core::recipe::Unfinished;
use tunesmith_core::stage::{Credit, Stage};
use tunesmith_core::trace::RolloutRecord;

use crate::batching::{EncodedRow, EncodedTarget, MicroBatch, Sampled};
use crate::generate::{self, Finish, Generator};
use crate::objective::BUILT_IN;
use crate::run::{RunError, Training};
use crate::service::calls::{Callee, Planned};
use crate::service::digests;

use credit::GroupNormalised;
use logprobs::RolloutLogprobs;
pub(crate) use record::RolloutLine;

/// Rollouts that one reward call gets: whole groups, so many rollouts or a few more.
const ROLLOUTS_OF_A_CALL: usize = 256;

/// What one sampling of the policy gave, for one optimiser step or several.
pub(crate) struct Round {
    micro_batches: Vec<Arc<MicroBatch>>,
    /// Steps that are still to be made on it.
    updates_left: u32,
}

/// Completions of a step as sequences: group by group, and in the micro-batches in which they are trained on.
pub(crate) struct Sampling {
    rollouts: Rollouts,
    /// The sequence of each rollout.
    rows: Vec<EncodedRow>,
    logprobs: Arc<RolloutLogprobs>,
    /// Rollouts of each micro-batch.
    sizes: Vec<usize>,
}

impl Training<'_> {
    /// The micro-batches of the rollouts that were sampled in an earlier step, if one more is to be made on them.
    pub(crate) fn next_update(&mut self) -> Option<Vec<Arc<MicroBatch>>> {
        let round = self.round.as_mut().filter(|round| round.updates_left > 0)?;
        round.updates_left -= 1;
        Some(round.micro_batches.clone())
    }

    /// Whether the next step samples anew, so that a run can go on from here with what a checkpoint holds.
    pub(crate) fn is_between_rounds(&self) -> bool {
        self.round.as_ref().is_none_or(|round| round.updates_left == 0)
    }

    /// Lets the policy answer the prompts of a step: a group of completions for each.
    pub(crate) fn generate(&self, plan: &RolloutPlan, prompts: &[Arc<MicroBatch>]) -> Result<Sampling, RunError> {
        let size = plan.group_size as usize;
        let sampled = size - usize::from(plan.references);
        let asked: Vec<&Arc<EncodedRow>> = prompts.iter().flat_map(|micro| &micro.rows).collect();
        let stream = |(stream, row): (usize, &&Arc<EncodedRow>)| generate::Prompt {
            ids: row.tokens.clone(),
            stream: stream as u64,
        };
        let wanted: Vec<&Arc<EncodedRow>> = asked.iter().flat_map(|row| std::iter::repeat_n(*row, sampled)).collect();
        let wanted: Vec<generate::Prompt> = wanted.iter().enumerate().map(stream).collect();
        let policy = self.models.policy.valid();
        let generator = Generator::new(&policy, self.host.encoder.tokenizer());
        let mut answers = generator.generate(&wanted, &self.sampling(plan), &mut |_| {})?.into_iter();
        let (mut rollouts, mut rows) = (Vec::new(), Vec::new());
        for (group, prompt) in asked.iter().enumerate() {
            for answer in answers.by_ref().take(sampled) {
                let is_finished = answer.finish != Finish::Length;
                rows.push(sampled_row(prompt, &answer.ids, is_finished || plan.unfinished == Unfinished::Train));
                rollouts.push(Rollout {
                    example: Arc::clone(&prompt.example),
                    group: group as u32,
                    completion: answer.text,
                    tokens: answer.ids,
                    is_finished,
                    is_off_policy: false,
                });
            }
            if plan.references {
                let (rollout, row) = self.reference(prompt, group)?;
                rollouts.push(rollout);
                rows.push(row);
            }
        }
        let sizes: Vec<usize> = prompts.iter().map(|micro| micro.rows.len() * size).collect();
        let lengths = rollouts.iter().map(|rollout| rollout.tokens.len()).collect();
        let logprobs = RolloutLogprobs::new(self, plan.temperature, (&rows, lengths), &sizes)?;
        let logprobs = Arc::new(logprobs);
        let rollouts = Rollouts::new(rollouts, Arc::clone(&logprobs) as _, self.step);
        Ok(Sampling { rollouts, rows, logprobs, sizes })
    }

    /// The gold completion of a prompt, as a member of its group.
    fn reference(&self, prompt: &EncodedRow, group: usize) -> Result<(Rollout, EncodedRow), RunError> {
        let example = &prompt.example;
        let missing = || RunError::Row {
            set: self.plan.data.train.name.clone(),
            id: example.id,
            what: "has no completion to be a reference in its group".into(),
            hint: "remove the row, or set `rollout.references = false`".into(),
        };
        let completion = example.completion.as_ref().ok_or_else(missing)?;
        let pair = self.host.encoder.answer(example, completion)?;
        let mut row = sampled_row(prompt, &pair.completion, true);
        row.tokens = [pair.prompt.as_slice(), &pair.completion].concat();
        row.mask = pair.prompt.iter().map(|_| false).chain(pair.completion.iter().map(|_| true)).collect();
        row.role = REFERENCE.into();
        let rollout = Rollout {
            example: Arc::clone(example),
            group: group as u32,
            completion: completion.clone(),
            tokens: pair.completion,
            is_finished: true,
            is_off_policy: true,
        };
        Ok((rollout, row))
    }

    fn sampling(&self, plan: &RolloutPlan) -> generate::Sampling {
        let seed = digest::seed_of([
            b"tunesmith rollouts".as_slice(),
            &self.plan.seed.to_le_bytes(),
            &self.step.to_le_bytes(),
        ]);
        generate::Sampling {
            temperature: f64::from(plan.temperature),
            top_k: plan.top_k as usize,
            top_p: f64::from(plan.top_p),
            max_new_tokens: plan.max_tokens as usize,
            stop: plan.stop.clone(),
            eos: self.host.encoder.ends().to_vec(),
            seed,
            batch: self.host.plan.batch.max(1) as usize,
        }
    }

    /// Asks every reward, whole groups at a time, on all cores; then adds them up. What comes out does not depend on the number of cores.
    pub(crate) fn reward(&self, sampling: &mut Sampling) -> Result<Vec<Option<f32>>, CallError> {
        let parts = parts(&sampling.rollouts.rollouts);
        let part = |range: &std::ops::Range<usize>| {
            let rollouts = sampling.rollouts.rollouts[range.clone()].to_vec();
            let logprobs = sampling.logprobs.part(range.clone());
            Arc::new(Rollouts::new(rollouts, Arc::new(logprobs), self.step))
        };
        let parts: Vec<Arc<Rollouts>> = parts.iter().map(part).collect();
        let mut lanes = Vec::new();
        for reward in &self.stages.rewards {
            let calls = parts.iter().map(|rollouts| {
                let callee = Callee {
                    stage: Stage::Reward,
                    plugin: &reward.name,
                    input: digests::of_rollouts(rollouts),
                    services: self.host.services(&self.models),
                };
                let (stage, rollouts) = (&reward.stage, Arc::clone(rollouts));
                Planned::new(
                    callee,
                    |scores: &Vec<Option<f32>>| digests::of_scores(scores),
                    move |call| stage.reward(rollouts, call),
                )
            });
            if reward.stage.is_sequential() {
                lanes.push(calls.collect());
            } else {
                lanes.extend(calls.map(|call| vec![call]));
            }
        }
        let mut scores = self.host.caller.call_all(lanes)?.into_iter();
        for reward in &self.stages.rewards {
            let scores = scores.by_ref().take(parts.len()).flatten().collect();
            let weight = reward.weight_at(self.step) as f32;
            sampling.rollouts.rewards.push(NamedReward { name: reward.name.clone(), weight, scores });
        }
        Ok(totals(&sampling.rollouts))
    }

    /// One advantage per sampled token, flat: what the plugin says, or rewards normalised within their groups.
    pub(crate) fn credit(&self, sampling: &Sampling, rewards: &[Option<f32>]) -> Result<Vec<f32>, CallError> {
        let (name, stage): (&str, &dyn Credit) = match &self.stages.credit {
            Some(credit) => (&credit.name, &*credit.stage),
            None => (BUILT_IN, &GroupNormalised),
        };
        let rollouts = Arc::new(sampling.rollouts.clone());
        let callee = Callee {
            stage: Stage::Credit,
            plugin: name,
            input: digests::of_rollouts(&rollouts),
            services: self.host.services(&self.models),
        };
        let advantages = self.host.caller.call(
            callee,
            |advantages: &Advantages| digests::of_advantages(advantages, &rollouts),
            |call| stage.credit(Arc::clone(&rollouts), rewards, call),
        )?;
        Ok(match advantages {
            Advantages::PerToken(values) => values,
            Advantages::PerRollout(values) => {
                let each = rollouts.rollouts.iter().zip(values);
                each.flat_map(|(rollout, value)| std::iter::repeat_n(value, rollout.tokens.len())).collect()
            }
        })
    }

    /// Puts advantages and what goes with them beside the tokens, and keeps the round for the steps that are made on it.
    pub(crate) fn hold(
        &mut self,
        plan: &RolloutPlan,
        sampling: Sampling,
        (rewards, advantages): (&[Option<f32>], &[f32]),
    ) -> Result<Vec<Arc<MicroBatch>>, RunError> {
        let lengths: Vec<usize> = sampling.rollouts.rollouts.iter().map(|rollout| rollout.tokens.len()).collect();
        let mut numbers = sampling.rollouts.attached.all();
        if self.extra.has(logprobs::VALUE) {
            numbers.insert(logprobs::VALUE.into(), sampling.logprobs.values()?);
        }
        // The policy is the one that sampled until it is updated for the first time.
        let old = (plan.updates > 1).then(|| sampling.logprobs.old()).transpose()?;
        let record = record::numbers(&sampling.rollouts, rewards, advantages);
        self.sampled = Some(RolloutRecord { digest: digests::of_rollouts(&sampling.rollouts), numbers: record });
        self.lines = record::lines(&sampling.rollouts, rewards, advantages);
        let Sampling { rollouts, rows, sizes, .. } = sampling;
        let mut place = 0;
        let mut rows = rows.into_iter().zip(&rollouts.rollouts).zip(lengths).map(|((mut row, rollout), length)| {
            let prompt = row.tokens.len() - length;
            let own = |flat: &[f32]| [&vec![0.0; prompt], &flat[place..place + length]].concat();
            row.sampled = Some(Sampled {
                advantages: own(advantages),
                old: old.as_deref().map(own),
                numbers: numbers.iter().map(|(name, flat)| (name.clone(), own(flat))).collect(),
                is_off_policy: rollout.is_off_policy,
            });
            place += length;
            (rollout.group, Arc::new(row))
        });
        let micro_batches = sizes.into_iter().map(|size| {
            let mut groups: BTreeMap<u32, EncodedTarget> = BTreeMap::new();
            for (group, row) in rows.by_ref().take(size) {
                groups.entry(group).or_insert_with(|| EncodedTarget { rows: Vec::new(), truncated: 0 }).rows.push(row);
            }
            Arc::new(MicroBatch::new(groups.values()))
        });
        let micro_batches: Vec<Arc<MicroBatch>> = micro_batches.collect();
        self.round = Some(Round { micro_batches: micro_batches.clone(), updates_left: plan.updates - 1 });
        Ok(micro_batches)
    }
}

/// A prompt with a completion. `is_trained` is false for completions whose tokens are not trained on.
fn sampled_row(prompt: &EncodedRow, ids: &[u32], is_trained: bool) -> EncodedRow {
    EncodedRow {
        example: Arc::clone(&prompt.example),
        tokens: [prompt.tokens.as_slice(), ids].concat(),
        mask: prompt.tokens.iter().map(|_| false).chain(ids.iter().map(|_| is_trained)).collect(),
        role: ROLLOUT.into(),
        sampled: None,
        source: None,
    }
}

/// Rollouts in whole groups, so many to a part that a call is worth its while. A function of the rollouts alone.
fn parts(rollouts: &[Rollout]) -> Vec<std::ops::Range<usize>> {
    let mut parts = Vec::new();
    let mut start = 0;
    for at in 1..=rollouts.len() {
        let is_end = at == rollouts.len();
        let is_new_group = !is_end && rollouts[at].group != rollouts[at - 1].group;
        if is_end || (is_new_group && ROLLOUTS_OF_A_CALL <= at - start) {
            parts.push(start..at);
            start = at;
        }
    }
    parts
}

/// The sum of the rewards that apply, each with its factor; none where none applies.
fn totals(rollouts: &Rollouts) -> Vec<Option<f32>> {
    let total = |at: usize| {
        let given = rollouts.rewards.iter().filter_map(|reward| Some(reward.weight * reward.scores[at]?));
        given.reduce(|sum, more| sum + more)
    };
    (0..rollouts.rollouts.len()).map(total).collect()
}

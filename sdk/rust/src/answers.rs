//! Answers to be judged, scored or measured.

use crate::Error;
use crate::host;

/// Answers to be judged. Cases are numbered from 0 in the order of every list.
#[derive(Clone, Copy)]
pub struct Cases<'a>(&'a host::Cases);

impl<'a> Cases<'a> {
    #[doc(hidden)]
    pub fn from_host(cases: &'a host::Cases) -> Self {
        Self(cases)
    }

    /// How many cases there are.
    pub fn len(&self) -> usize {
        self.0.len() as usize
    }

    /// Whether there are no cases.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The prompt that each answer answers.
    pub fn prompts(&self) -> Vec<String> {
        self.0.prompts()
    }

    /// The answer to be judged, without special tokens.
    pub fn answers(&self) -> Vec<String> {
        self.0.answers()
    }

    /// The gold completion, if the data has one.
    pub fn references(&self) -> Vec<Option<String>> {
        self.0.references()
    }

    /// A second answer that the first is to be compared with. If there is one, [`Verdict::Right`] means that the first is better.
    pub fn rivals(&self) -> Vec<Option<String>> {
        self.0.rivals()
    }

    /// The names of all columns, in the data's order.
    pub fn columns(&self) -> Vec<String> {
        self.0.columns()
    }

    /// One column of every case's example, as [`Examples::column`](crate::Examples::column).
    pub fn column(&self, name: &str) -> Vec<Option<String>> {
        self.0.column(name)
    }
}

/// What a judge says of one case.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The answer is right, or better than its rival.
    Right,
    /// The answer is wrong, or worse than its rival.
    Wrong,
    /// The answer is partly right: 0.0 is wrong, 1.0 is right.
    Partly(f32),
    /// The judge cannot tell, for this reason. Never counted as right; counted by its text, so keep it free of numbers.
    Undecided(String),
}

impl Verdict {
    /// The judge cannot tell, for this reason.
    pub fn undecided(why: impl Into<String>) -> Self {
        Self::Undecided(why.into())
    }

    /// Whether the answer is right without reserve.
    pub fn is_right(&self) -> bool {
        *self == Self::Right
    }
}

impl From<bool> for Verdict {
    fn from(is_right: bool) -> Self {
        if is_right { Self::Right } else { Self::Wrong }
    }
}

/// Advantages: how much better than expected each rollout, or each of its tokens, was. Finite.
#[derive(Debug, Clone, PartialEq)]
pub enum Advantages {
    /// One number per rollout: all its tokens share it.
    PerRollout(Vec<f32>),
    /// One number per sampled token, flat in the order of the rollouts.
    PerToken(Vec<f32>),
}

/// Completions that the policy sampled in this step. Rollouts are numbered from 0 in the order of every list.
#[derive(Clone, Copy)]
pub struct Rollouts<'a>(pub(crate) &'a host::Rollouts);

impl<'a> Rollouts<'a> {
    #[doc(hidden)]
    pub fn from_host(rollouts: &'a host::Rollouts) -> Self {
        Self(rollouts)
    }

    /// How many rollouts there are.
    pub fn len(&self) -> usize {
        self.0.len() as usize
    }

    /// Whether there are no rollouts.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id of the example that each rollout answers.
    pub fn ids(&self) -> Vec<u64> {
        self.0.ids()
    }

    /// The group of each rollout: rollouts of one prompt share a number. Groups count from 0 and are contiguous.
    pub fn groups(&self) -> Vec<u32> {
        self.0.groups()
    }

    /// The prompt of each rollout.
    pub fn prompts(&self) -> Vec<String> {
        self.0.prompts()
    }

    /// The whole conversation before each rollout as JSON: what [`Prompts::messages`](crate::Prompts::messages) takes.
    pub fn messages(&self) -> Vec<String> {
        self.0.messages()
    }

    /// Whether each completion was given, not sampled: the gold completion that the recipe adds to each group.
    pub fn off_policy(&self) -> Vec<bool> {
        self.0.off_policy()
    }

    /// The names of the recipe's rewards, in its order. Only in `credit`; empty elsewhere.
    pub fn reward_names(&self) -> Vec<String> {
        self.0.reward_names()
    }

    /// The factor of each reward in the sum at this step, in the order of [`reward_names`](Self::reward_names).
    pub fn reward_weights(&self) -> Vec<f32> {
        self.0.reward_weights()
    }

    /// One reward by itself, without its factor: one entry per rollout, none where it does not apply. Only in `credit`.
    ///
    /// # Errors
    ///
    /// Fails when there is no reward of this name.
    pub fn rewards(&self, name: &str) -> Result<Vec<Option<f32>>, Error> {
        host::result(self.0.rewards(name))
    }

    /// Gives the objective a named number per sampled token, flat in the order of the rollouts, finite: what
    /// [`Batch::token_numbers`](crate::Batch::token_numbers) reads. Only in `credit`. Another length, and numbers that are not finite, trap.
    ///
    /// # Errors
    ///
    /// Fails outside `credit`.
    pub fn attach(&self, name: &str, values: &[f32]) -> Result<(), Error> {
        host::result(self.0.attach(name, values))
    }

    /// The sampled text, without special tokens.
    pub fn completions(&self) -> Vec<String> {
        self.0.completions()
    }

    /// Whether each rollout ended by itself; false if it was cut at the length limit.
    pub fn finished(&self) -> Vec<bool> {
        self.0.finished()
    }

    /// The number of sampled tokens of each rollout.
    pub fn lengths(&self) -> Vec<u32> {
        self.0.lengths()
    }

    /// The gold completion of each rollout's example, if the data has one.
    pub fn references(&self) -> Vec<Option<String>> {
        self.0.references()
    }

    /// The names of all columns, in the data's order.
    pub fn columns(&self) -> Vec<String> {
        self.0.columns()
    }

    /// One column of every rollout's example, as [`Examples::column`](crate::Examples::column).
    pub fn column(&self, name: &str) -> Vec<Option<String>> {
        self.0.column(name)
    }

    /// Log-probabilities of all sampled tokens in nats, flat in the order of the rollouts, under `policy`, `old` or `reference`, at the
    /// temperature at which they were sampled. While rewards and advantages are made, `policy` and `old` are the same.
    ///
    /// # Errors
    ///
    /// Fails when the run has no such model.
    pub fn token_logprobs(&self, under: &str) -> Result<Vec<f32>, Error> {
        host::result(self.0.token_logprobs(under))
    }

    /// A named number per sampled token, flat: `value` is the value head's estimate before the token, if the objective's plugin declares one
    /// (extra parameters `value` of the hidden size and, if it wants, `value-bias` of one element).
    ///
    /// # Errors
    ///
    /// Fails when the run has no such numbers.
    pub fn token_numbers(&self, name: &str) -> Result<Vec<f32>, Error> {
        host::result(self.0.token_numbers(name))
    }

    /// The number of the optimiser step, from 0.
    pub fn step(&self) -> u32 {
        self.0.step()
    }
}

/// The model's answers to an evaluation set, and what the host computed on them. Rows are numbered from 0 in the order of every list.
#[derive(Clone, Copy)]
pub struct Evaluation<'a>(&'a host::Evaluation);

impl<'a> Evaluation<'a> {
    #[doc(hidden)]
    pub fn from_host(evaluation: &'a host::Evaluation) -> Self {
        Self(evaluation)
    }

    /// The name of the evaluation set, as in the recipe.
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.0.len() as usize
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The prompt of each row.
    pub fn prompts(&self) -> Vec<String> {
        self.0.prompts()
    }

    /// The model's answer to each row.
    pub fn answers(&self) -> Vec<String> {
        self.0.answers()
    }

    /// Whether each answer ended by itself; false if it was cut at the length limit.
    pub fn finished(&self) -> Vec<bool> {
        self.0.finished()
    }

    /// The gold completion of each row, if the data has one.
    pub fn references(&self) -> Vec<Option<String>> {
        self.0.references()
    }

    /// The names of all columns, in the data's order.
    pub fn columns(&self) -> Vec<String> {
        self.0.columns()
    }

    /// One column of every row, as [`Examples::column`](crate::Examples::column).
    pub fn column(&self, name: &str) -> Vec<Option<String>> {
        self.0.column(name)
    }

    /// A number per row that the host computed: `answer-logprob` (sum over the answer's tokens), `answer-tokens`, `reference-logprob`,
    /// `reference-tokens`, `kl` (mean over the answer's tokens, from the base model). None if it was not computed.
    pub fn statistic(&self, name: &str) -> Option<Vec<f64>> {
        self.0.statistic(name)
    }
}

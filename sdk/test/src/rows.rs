//! Rows, answered rows, and the resources over them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tunesmith_sdk::Error;
use tunesmith_sdk::native;

/// A row of the data.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// The position in the data. Given by the host where it is not set.
    pub id: Option<u64>,
    /// The text of the user's message.
    pub prompt: String,
    /// The whole conversation before the completion, if it is more than the user's message: a list of turns.
    pub turns: Option<Value>,
    /// The gold completion.
    pub completion: Option<String>,
    /// All columns, in the data's order.
    pub columns: Map<String, Value>,
}

impl Row {
    /// A row with this prompt and nothing else.
    pub fn new(prompt: impl Into<String>) -> Self {
        Self { prompt: prompt.into(), ..Self::default() }
    }

    /// A row with this conversation: a list of turns, the last of which is to be answered.
    pub fn chat(turns: Value) -> Self {
        let prompt =
            turns.as_array().and_then(|turns| turns.last()?["content"].as_str()).unwrap_or_default().to_owned();
        Self { prompt, turns: Some(turns), ..Self::default() }
    }

    /// The row with a gold completion.
    #[must_use]
    pub fn completion(mut self, completion: impl Into<String>) -> Self {
        self.completion = Some(completion.into());
        self
    }

    /// The row with a column.
    #[must_use]
    pub fn column(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.columns.insert(name.into(), value.into());
        self
    }

    /// The row with an answer of a model.
    pub fn answered(self, answer: impl Into<String>) -> Case {
        Case {
            row: self,
            answer: answer.into(),
            rival: None,
            is_finished: true,
            is_off_policy: false,
            group: 0,
            logprobs: BTreeMap::new(),
            rewards: BTreeMap::new(),
        }
    }

    fn text(&self, column: &str) -> Option<String> {
        match self.columns.get(column)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }
}

/// An answered row: a case to be judged, a rollout, or a row of an evaluation set.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The row.
    pub row: Row,
    /// The answer.
    pub answer: String,
    /// A second answer to compare with.
    pub rival: Option<String>,
    /// Whether the answer ended by itself.
    pub is_finished: bool,
    /// Whether the answer was given, not sampled.
    pub is_off_policy: bool,
    /// The group of a rollout.
    pub group: u32,
    /// Of a rollout: numbers per sampled token, by `policy`, `old`, `reference`, or the name of other numbers.
    pub logprobs: BTreeMap<String, Vec<f32>>,
    /// Of a rollout: each reward by itself, by its name; none where it does not apply.
    pub rewards: BTreeMap<String, Option<f32>>,
}

impl Case {
    /// The case with a rival.
    #[must_use]
    pub fn rival(mut self, rival: impl Into<String>) -> Self {
        self.rival = Some(rival.into());
        self
    }

    /// The case with an answer that was cut at the length limit.
    #[must_use]
    pub fn unfinished(mut self) -> Self {
        self.is_finished = false;
        self
    }

    /// The case in this group of rollouts.
    #[must_use]
    pub fn group(mut self, group: u32) -> Self {
        self.group = group;
        self
    }

    /// The case with an answer that was given, not sampled.
    #[must_use]
    pub fn off_policy(mut self) -> Self {
        self.is_off_policy = true;
        self
    }

    /// The case with a reward of this name. Every rollout of a call has the same names; each weighs 1.0 unless the host says otherwise.
    #[must_use]
    pub fn reward(mut self, name: &str, score: Option<f32>) -> Self {
        self.rewards.insert(name.into(), score);
        self
    }

    /// The case with one number per sampled token under this name.
    #[must_use]
    pub fn logprobs(mut self, under: &str, values: &[f32]) -> Self {
        self.logprobs.insert(under.into(), values.to_vec());
        self
    }

    /// The number of sampled tokens: of the log-probabilities if there are any, else of the answer's words.
    fn length(&self) -> usize {
        self.logprobs.values().next().map_or_else(|| self.answer.split_whitespace().count(), Vec::len)
    }
}

/// The model's answers to an evaluation set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evaluation {
    /// The name of the set.
    pub name: String,
    /// The answered rows.
    pub cases: Vec<Case>,
    /// Numbers per row, by name.
    pub statistics: BTreeMap<String, Vec<f64>>,
}

impl Evaluation {
    /// A set named `test`.
    pub fn new(cases: &[Case]) -> Self {
        Self { name: "test".into(), cases: cases.to_vec(), statistics: BTreeMap::new() }
    }

    /// The set with one number per row under this name.
    ///
    /// # Panics
    ///
    /// Panics if there is not one number per row.
    #[must_use]
    pub fn statistic(mut self, name: &str, values: &[f64]) -> Self {
        assert_eq!(values.len(), self.cases.len(), "one number per row");
        self.statistics.insert(name.into(), values.to_vec());
        self
    }
}

/// Some rows of the pool.
pub(crate) struct Pool {
    pub(crate) rows: Vec<Row>,
    pub(crate) round: u32,
}

/// Completions sampled in one step.
pub(crate) struct Sampled {
    pub(crate) cases: Vec<Case>,
    pub(crate) weights: BTreeMap<String, f32>,
    /// What a crediting plugin attached; none in other stages.
    pub(crate) attached: Option<RefCell<BTreeMap<String, Vec<f32>>>>,
    pub(crate) step: u32,
}

impl Sampled {
    fn tokens(&self) -> usize {
        self.cases.iter().map(Case::length).sum()
    }
}

/// Cases to be judged.
pub(crate) struct ToJudge(pub(crate) Vec<Case>);

/// The ids of rows: their own, or their positions.
pub(crate) fn ids<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<u64> {
    rows.enumerate().map(|(position, row)| row.id.unwrap_or(position as u64)).collect()
}

/// The conversation before each completion, as JSON.
pub(crate) fn messages<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<String> {
    let plain = |row: &Row| json!([{"role": "user", "content": row.prompt}]);
    rows.map(|row| row.turns.clone().unwrap_or_else(|| plain(row)).to_string()).collect()
}

/// The names of all columns, in the order in which they first appear.
pub(crate) fn columns<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in rows.flat_map(|row| row.columns.keys()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// One column of all rows.
pub(crate) fn column<'a>(rows: impl Iterator<Item = &'a Row>, name: &str) -> Vec<Option<String>> {
    rows.map(|row| row.text(name)).collect()
}

fn rows(cases: &[Case]) -> impl Iterator<Item = &Row> {
    cases.iter().map(|case| &case.row)
}

fn prompts(cases: &[Case]) -> Vec<String> {
    rows(cases).map(|row| row.prompt.clone()).collect()
}

fn answers(cases: &[Case]) -> Vec<String> {
    cases.iter().map(|case| case.answer.clone()).collect()
}

fn finished(cases: &[Case]) -> Vec<bool> {
    cases.iter().map(|case| case.is_finished).collect()
}

fn references(cases: &[Case]) -> Vec<Option<String>> {
    rows(cases).map(|row| row.completion.clone()).collect()
}

impl native::Examples for Pool {
    fn len(&self) -> u32 {
        self.rows.len() as u32
    }

    fn ids(&self) -> Vec<u64> {
        ids(self.rows.iter())
    }

    fn prompts(&self) -> Vec<String> {
        self.rows.iter().map(|row| row.prompt.clone()).collect()
    }

    fn completions(&self) -> Vec<Option<String>> {
        self.rows.iter().map(|row| row.completion.clone()).collect()
    }

    fn messages(&self) -> Vec<String> {
        messages(self.rows.iter())
    }

    fn columns(&self) -> Vec<String> {
        columns(self.rows.iter())
    }

    fn column(&self, name: &str) -> Vec<Option<String>> {
        column(self.rows.iter(), name)
    }

    fn round(&self) -> u32 {
        self.round
    }
}

impl native::Cases for ToJudge {
    fn len(&self) -> u32 {
        self.0.len() as u32
    }

    fn prompts(&self) -> Vec<String> {
        prompts(&self.0)
    }

    fn answers(&self) -> Vec<String> {
        answers(&self.0)
    }

    fn references(&self) -> Vec<Option<String>> {
        references(&self.0)
    }

    fn rivals(&self) -> Vec<Option<String>> {
        self.0.iter().map(|case| case.rival.clone()).collect()
    }

    fn columns(&self) -> Vec<String> {
        columns(rows(&self.0))
    }

    fn column(&self, name: &str) -> Vec<Option<String>> {
        column(rows(&self.0), name)
    }
}

impl native::Evaluation for Evaluation {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn len(&self) -> u32 {
        self.cases.len() as u32
    }

    fn prompts(&self) -> Vec<String> {
        prompts(&self.cases)
    }

    fn answers(&self) -> Vec<String> {
        answers(&self.cases)
    }

    fn finished(&self) -> Vec<bool> {
        finished(&self.cases)
    }

    fn references(&self) -> Vec<Option<String>> {
        references(&self.cases)
    }

    fn columns(&self) -> Vec<String> {
        columns(rows(&self.cases))
    }

    fn column(&self, name: &str) -> Vec<Option<String>> {
        column(rows(&self.cases), name)
    }

    fn statistic(&self, name: &str) -> Option<Vec<f64>> {
        self.statistics.get(name).cloned()
    }
}

impl native::Rollouts for Sampled {
    fn len(&self) -> u32 {
        self.cases.len() as u32
    }

    fn ids(&self) -> Vec<u64> {
        ids(rows(&self.cases))
    }

    fn groups(&self) -> Vec<u32> {
        self.cases.iter().map(|case| case.group).collect()
    }

    fn prompts(&self) -> Vec<String> {
        prompts(&self.cases)
    }

    fn messages(&self) -> Vec<String> {
        messages(rows(&self.cases))
    }

    fn off_policy(&self) -> Vec<bool> {
        self.cases.iter().map(|case| case.is_off_policy).collect()
    }

    fn reward_names(&self) -> Vec<String> {
        match (&self.attached, self.cases.first()) {
            (Some(_), Some(first)) => first.rewards.keys().cloned().collect(),
            _ => Vec::new(),
        }
    }

    fn reward_weights(&self) -> Vec<f32> {
        self.reward_names().iter().map(|name| self.weights.get(name).copied().unwrap_or(1.0)).collect()
    }

    fn rewards(&self, name: &str) -> Result<Vec<Option<f32>>, Error> {
        let missing = || Error::unsupported(format!("a rollout of the test has no reward `{name}`"));
        self.cases.iter().map(|case| case.rewards.get(name).copied().ok_or_else(missing)).collect()
    }

    fn attach(&self, name: &str, values: &[f32]) -> Result<(), Error> {
        let Some(attached) = &self.attached else {
            return Err(Error::unsupported("numbers are attached in `credit` only"));
        };
        assert_eq!(values.len(), self.tokens(), "attach: one number per sampled token");
        assert!(values.iter().all(|value| value.is_finite()), "attach: a number is not finite: {values:?}");
        attached.borrow_mut().insert(name.into(), values.to_vec());
        Ok(())
    }

    fn completions(&self) -> Vec<String> {
        answers(&self.cases)
    }

    fn finished(&self) -> Vec<bool> {
        finished(&self.cases)
    }

    fn lengths(&self) -> Vec<u32> {
        self.cases.iter().map(|case| case.length() as u32).collect()
    }

    fn references(&self) -> Vec<Option<String>> {
        references(&self.cases)
    }

    fn columns(&self) -> Vec<String> {
        columns(rows(&self.cases))
    }

    fn column(&self, name: &str) -> Vec<Option<String>> {
        column(rows(&self.cases), name)
    }

    fn token_logprobs(&self, under: &str) -> Result<Vec<f32>, Error> {
        self.token_numbers(under)
    }

    fn token_numbers(&self, name: &str) -> Result<Vec<f32>, Error> {
        let missing = || Error::unsupported(format!("a rollout of the test has no numbers `{name}`"));
        let numbers = self.cases.iter().map(|case| case.logprobs.get(name).cloned().ok_or_else(missing));
        numbers.collect::<Result<Vec<_>, _>>().map(|numbers| numbers.concat())
    }

    fn step(&self) -> u32 {
        self.step
    }
}

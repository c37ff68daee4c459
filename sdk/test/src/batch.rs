//! Tokens of a micro-batch, as `weigh` and as `objective` see them.

use std::collections::BTreeMap;

use tunesmith_sdk::Error;
use tunesmith_sdk::native::{self, Tensor};

use crate::Row;
use crate::rows;

/// One row of a micro-batch. All lists have one entry per token; the first token is never trained on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenRow {
    /// The row of the data.
    pub row: Row,
    /// The tokens.
    pub tokens: Vec<u32>,
    /// The text of each token.
    pub texts: Vec<String>,
    /// Whether each token is trained on.
    pub mask: Vec<bool>,
    /// The weight of each token.
    pub weights: Vec<f32>,
    /// The advantage of each token.
    pub advantages: Option<Vec<f32>>,
    /// Log-probabilities under `policy`, `reference` and `old`.
    pub logprobs: BTreeMap<String, Vec<f32>>,
    /// The group.
    pub group: i32,
    /// Whether the row was chosen; none if rows are no preferences.
    pub is_chosen: Option<bool>,
}

impl TokenRow {
    /// One prompt token, then one trained token of weight 1.0 per log-probability under the policy.
    pub fn new(policy: &[f32]) -> Self {
        let count = policy.len() + 1;
        Self {
            tokens: (0..count as u32).collect(),
            texts: (0..count).map(|token| format!(" t{token}")).collect(),
            mask: (0..count).map(|token| token != 0).collect(),
            weights: vec![1.0; count],
            ..Self::default()
        }
        .logprobs("policy", policy)
    }

    /// The row of the data behind the tokens.
    #[must_use]
    pub fn of(mut self, row: Row) -> Self {
        self.row = row;
        self
    }

    /// Log-probabilities of all tokens but the first, under `policy`, `reference` or `old`.
    #[must_use]
    pub fn logprobs(mut self, under: &str, values: &[f32]) -> Self {
        self.logprobs.insert(under.into(), self.after_prompt(0.0, values));
        self
    }

    /// Weights of all tokens but the first.
    #[must_use]
    pub fn weights(mut self, values: &[f32]) -> Self {
        self.weights = self.after_prompt(0.0, values);
        self
    }

    /// Advantages of all tokens but the first.
    #[must_use]
    pub fn advantages(mut self, values: &[f32]) -> Self {
        self.advantages = Some(self.after_prompt(0.0, values));
        self
    }

    /// Whether each token but the first is trained on.
    #[must_use]
    pub fn mask(mut self, values: &[bool]) -> Self {
        self.mask = self.after_prompt(false, values);
        self
    }

    /// The texts of all tokens but the first.
    #[must_use]
    pub fn texts(mut self, values: &[&str]) -> Self {
        let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
        self.texts = self.after_prompt(self.texts[0].clone(), &texts);
        self
    }

    /// The group.
    #[must_use]
    pub fn group(mut self, group: i32) -> Self {
        self.group = group;
        self
    }

    /// Whether the row was chosen.
    #[must_use]
    pub fn chosen(mut self, is_chosen: bool) -> Self {
        self.is_chosen = Some(is_chosen);
        self
    }

    fn after_prompt<T: Clone>(&self, first: T, values: &[T]) -> Vec<T> {
        assert_eq!(values.len() + 1, self.tokens.len(), "one value per token but the first");
        std::iter::once(first).chain(values.iter().cloned()).collect()
    }
}

/// A micro-batch as text and numbers.
pub(crate) struct Flat {
    pub(crate) rows: Vec<TokenRow>,
    pub(crate) step: u32,
}

impl Flat {
    fn flat<T>(&self, list: impl Fn(&TokenRow) -> Vec<T>) -> Vec<T> {
        self.rows.iter().flat_map(list).collect()
    }

    fn data(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().map(|row| &row.row)
    }
}

fn missing(under: &str) -> Error {
    Error::unsupported(format!("a row of the test has no log-probabilities under `{under}`"))
}

impl native::TokenBatch for Flat {
    fn len(&self) -> u32 {
        self.rows.len() as u32
    }

    fn ids(&self) -> Vec<u64> {
        rows::ids(self.data())
    }

    fn offsets(&self) -> Vec<u32> {
        let mut offset = 0;
        let ends = self.rows.iter().map(|row| {
            offset += row.tokens.len() as u32;
            offset
        });
        std::iter::once(0).chain(ends).collect()
    }

    fn tokens(&self) -> Vec<u32> {
        self.flat(|row| row.tokens.clone())
    }

    fn mask(&self) -> Vec<bool> {
        self.flat(|row| row.mask.clone())
    }

    fn texts(&self) -> Vec<String> {
        self.flat(|row| row.texts.clone())
    }

    fn token_logprobs(&self, under: &str) -> Result<Vec<f32>, Error> {
        let lists = self.rows.iter().map(|row| row.logprobs.get(under).cloned().ok_or_else(|| missing(under)));
        lists.collect::<Result<Vec<_>, _>>().map(|lists| lists.concat())
    }

    fn columns(&self) -> Vec<String> {
        rows::columns(self.data())
    }

    fn column(&self, name: &str) -> Vec<Option<String>> {
        rows::column(self.data(), name)
    }

    fn step(&self) -> u32 {
        self.step
    }
}

/// A micro-batch as tensors: the only one of its step.
pub(crate) struct Padded {
    pub(crate) rows: Vec<TokenRow>,
    pub(crate) parameters: BTreeMap<String, Tensor>,
    pub(crate) step: u32,
    /// The element [b, t] of the policy's log-probabilities whose derivative is asked for.
    pub(crate) direction: Option<(usize, usize)>,
}

impl Padded {
    fn length(&self) -> usize {
        self.rows.iter().map(|row| row.tokens.len()).max().unwrap_or(0)
    }

    fn shape(&self) -> [u32; 2] {
        [self.rows.len() as u32, self.length() as u32]
    }

    /// A float tensor [B, T]: `value` of each trained token, 0.0 elsewhere.
    fn trained(&self, value: impl Fn(&TokenRow, usize) -> f32) -> Tensor {
        let length = self.length();
        let entry = |row: &TokenRow, token| if row.mask.get(token) == Some(&true) { value(row, token) } else { 0.0 };
        let entry = &entry;
        let values: Vec<f32> =
            self.rows.iter().flat_map(|row| (0..length).map(move |token| entry(row, token))).collect();
        Tensor::from_floats(&values, &self.shape())
    }

    fn per_row(&self, values: &[f32]) -> Tensor {
        Tensor::from_floats(values, &[self.rows.len() as u32])
    }
}

impl native::Batch for Padded {
    fn rows(&self) -> u32 {
        self.rows.len() as u32
    }

    fn tokens(&self) -> Tensor {
        let length = self.length();
        let padded = |row: &TokenRow| {
            (0..length).map(|token| row.tokens.get(token).map_or(0, |&id| id as i32)).collect::<Vec<_>>()
        };
        Tensor::from_ints(&self.rows.iter().flat_map(padded).collect::<Vec<_>>(), &self.shape())
    }

    fn mask(&self) -> Tensor {
        self.trained(|_, _| 1.0)
    }

    fn weights(&self) -> Tensor {
        self.trained(|row, token| row.weights[token])
    }

    fn advantages(&self) -> Option<Tensor> {
        self.rows
            .iter()
            .all(|row| row.advantages.is_some())
            .then(|| self.trained(|row, token| row.advantages.as_ref().map_or(0.0, |advantages| advantages[token])))
    }

    fn token_logprobs(&self, under: &str) -> Result<Tensor, Error> {
        if self.rows.iter().any(|row| !row.logprobs.contains_key(under)) {
            return Err(missing(under));
        }
        let logprobs = self.trained(|row, token| row.logprobs[under][token]);
        let Some((row, token)) = self.direction.filter(|_| under == "policy") else { return Ok(logprobs) };
        let mut tangents = vec![0.0; self.rows.len() * self.length()];
        tangents[row * self.length() + token] = 1.0;
        Ok(logprobs.with_tangents(tangents))
    }

    fn groups(&self) -> Tensor {
        let groups: Vec<i32> = self.rows.iter().map(|row| row.group).collect();
        Tensor::from_ints(&groups, &[groups.len() as u32])
    }

    fn chosen(&self) -> Option<Tensor> {
        let chosen: Option<Vec<f32>> =
            self.rows.iter().map(|row| row.is_chosen.map(|is_chosen| f32::from(u8::from(is_chosen)))).collect();
        chosen.map(|chosen| self.per_row(&chosen))
    }

    fn numbers(&self, column: &str) -> Result<Tensor, Error> {
        let missing = || Error::unsupported(format!("a row has no number in the column `{column}`"));
        let number =
            |row: &TokenRow| row.row.columns.get(column).and_then(serde_json::Value::as_f64).ok_or_else(missing);
        let numbers =
            self.rows.iter().map(|row| number(row).map(|number| number as f32)).collect::<Result<Vec<_>, _>>()?;
        Ok(self.per_row(&numbers))
    }

    fn parameter(&self, name: &str) -> Result<Tensor, Error> {
        self.parameters
            .get(name)
            .cloned()
            .ok_or_else(|| Error::unsupported(format!("the test has no parameter `{name}`")))
    }

    fn total_weight(&self) -> f64 {
        self.weights().read().into_iter().map(f64::from).sum()
    }

    fn total_rows(&self) -> u32 {
        self.rows.len() as u32
    }

    fn micro_batches(&self) -> u32 {
        1
    }

    fn step(&self) -> u32 {
        self.step
    }
}

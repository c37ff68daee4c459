//! One row of a micro-batch, as a test writes it.

use std::collections::BTreeMap;

use crate::Row;

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
    /// The policy's log-probability of every id of the vocabulary, for each token.
    pub next: Option<Vec<Vec<f32>>>,
    /// What is drawn for each token, in place of draws from `next`.
    pub draws: Option<Vec<Vec<u32>>>,
    /// The group.
    pub group: i32,
    /// What the row is for: `chosen`, `rejected`, or another word; empty for a plain row.
    pub role: String,
    /// Whether the completion was given, not sampled.
    pub is_off_policy: bool,
    /// Other numbers per token, by name.
    pub numbers: BTreeMap<String, Vec<f32>>,
    /// The policy's hidden state at each token, which predicts the next.
    pub hidden: Option<Vec<Vec<f32>>>,
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

    /// The policy's log-probabilities of every id of the vocabulary, for all tokens but the first.
    #[must_use]
    pub fn next(mut self, values: &[Vec<f32>]) -> Self {
        self.next = Some(self.after_prompt(Vec::new(), values));
        self
    }

    /// The ids that are drawn for all tokens but the first, in place of draws from [`next`](Self::next).
    #[must_use]
    pub fn draws(mut self, values: &[Vec<u32>]) -> Self {
        self.draws = Some(self.after_prompt(Vec::new(), values));
        self
    }

    /// The ids of all tokens but the first.
    #[must_use]
    pub fn tokens(mut self, values: &[u32]) -> Self {
        self.tokens = self.after_prompt(self.tokens[0], values);
        self
    }

    /// The texts of all tokens but the first. The row's text is all of them put together, and its completion starts at the first trained token.
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

    /// Whether the row was chosen, or rejected.
    #[must_use]
    pub fn chosen(self, is_chosen: bool) -> Self {
        self.role(if is_chosen { "chosen" } else { "rejected" })
    }

    /// What the row is for.
    #[must_use]
    pub fn role(mut self, role: &str) -> Self {
        self.role = role.into();
        self
    }

    /// A row whose completion was given, not sampled.
    #[must_use]
    pub fn off_policy(mut self) -> Self {
        self.is_off_policy = true;
        self
    }

    /// Numbers of this name for all tokens but the first.
    #[must_use]
    pub fn numbers(mut self, name: &str, values: &[f32]) -> Self {
        self.numbers.insert(name.into(), self.after_prompt(0.0, values));
        self
    }

    /// The policy's hidden states at all tokens, the first included: each predicts the next token.
    #[must_use]
    pub fn hidden(mut self, states: &[Vec<f32>]) -> Self {
        assert_eq!(states.len(), self.tokens.len(), "one hidden state per token");
        self.hidden = Some(states.to_vec());
        self
    }

    fn after_prompt<T: Clone>(&self, first: T, values: &[T]) -> Vec<T> {
        assert_eq!(values.len() + 1, self.tokens.len(), "one value per token but the first");
        std::iter::once(first).chain(values.iter().cloned()).collect()
    }
}

//! Tokens of a micro-batch, as `weigh` and as `objective` see them.

use std::cell::Cell;
use std::collections::BTreeMap;

use tunesmith_sdk::Error;
use tunesmith_sdk::native::{self, Tensor};

use crate::host::splitmix;
use crate::rows;
use crate::{Row, TokenRow};

/// A micro-batch as text and numbers.
pub(crate) struct Flat {
    pub(crate) rows: Vec<TokenRow>,
    pub(crate) step: u32,
}

impl Flat {
    fn flat<T>(&self, list: impl Fn(&TokenRow) -> Vec<T>) -> Vec<T> {
        self.rows.iter().flat_map(list).collect()
    }

    fn spans(&self) -> Vec<(u32, u32)> {
        self.flat(|row| native::spans_of(&row.texts))
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

    fn roles(&self) -> Vec<String> {
        self.rows.iter().map(|row| row.role.clone()).collect()
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

    fn messages(&self) -> Vec<String> {
        rows::messages(self.data())
    }

    fn row_texts(&self) -> Result<Vec<String>, Error> {
        Ok(self.rows.iter().map(|row| row.texts.concat()).collect())
    }

    fn completion_starts(&self) -> Result<Vec<u32>, Error> {
        let first = |row: &TokenRow| row.mask.iter().position(|is_trained| *is_trained).unwrap_or(row.tokens.len());
        let characters = |text: &String| text.chars().count() as u32;
        Ok(self.rows.iter().map(|row| row.texts[..first(row)].iter().map(characters).sum()).collect())
    }

    fn starts(&self) -> Result<Vec<u32>, Error> {
        Ok(self.spans().into_iter().map(|(start, _)| start).collect())
    }

    fn ends(&self) -> Result<Vec<u32>, Error> {
        Ok(self.spans().into_iter().map(|(_, end)| end).collect())
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
    pub(crate) temperature: f32,
    pub(crate) step: u32,
    /// The seed of draws.
    pub(crate) seed: u64,
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

    /// An integer or float tensor [B, T, count]: `values` of each trained token, zeros elsewhere.
    fn candidates<T: Copy + Default>(
        &self,
        count: usize,
        values: impl Fn(&TokenRow, [usize; 2]) -> Result<Vec<T>, Error>,
    ) -> Result<(Vec<T>, [u32; 3]), Error> {
        let mut all = vec![T::default(); self.rows.len() * self.length() * count];
        for (number, row) in self.rows.iter().enumerate() {
            for token in (0..row.tokens.len()).filter(|token| row.mask[*token]) {
                let found = values(row, [number, token])?;
                assert_eq!(found.len(), count, "candidates for token {token} of row {number}");
                all[(number * self.length() + token) * count..][..count].copy_from_slice(&found);
            }
        }
        let [rows, length] = self.shape();
        Ok((all, [rows, length, count as u32]))
    }

    /// What `of` makes of the policy's log-probabilities of the whole vocabulary at a temperature, for each trained token.
    fn of_next(&self, temperature: f32, of: impl Fn(&[f32], u32) -> f32) -> Result<Tensor, Error> {
        assert!(0.0 < temperature && temperature.is_finite(), "a temperature of {temperature}");
        if self.rows.iter().any(|row| row.next.is_none()) {
            return Err(Error::unsupported("a row of the test says nothing of the whole vocabulary"));
        }
        Ok(self.trained(|row, token| {
            let next = row.next.as_ref().map_or(&[] as &[f32], |next| &next[token]);
            let scaled: Vec<f32> = next.iter().map(|logprob| logprob / temperature).collect();
            let largest = scaled.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum = scaled.iter().map(|value| (value - largest).exp()).sum::<f32>().ln() + largest;
            of(&scaled.iter().map(|value| value - sum).collect::<Vec<_>>(), row.tokens[token])
        }))
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

    fn token_logprobs_at(&self, under: &str, temperature: f32) -> Result<Tensor, Error> {
        if temperature.to_bits() == 1.0_f32.to_bits() {
            return self.token_logprobs(under);
        }
        if self.direction.is_some() || !matches!(under, "policy" | "old") {
            return Err(Error::unsupported("the test knows no gradient and no other model at another temperature"));
        }
        self.of_next(temperature, |logprobs, id| logprobs[id as usize])
    }

    fn token_entropies(&self, temperature: f32) -> Result<Tensor, Error> {
        self.of_next(temperature, |logprobs, _| -logprobs.iter().map(|logprob| logprob.exp() * logprob).sum::<f32>())
    }

    fn token_collisions(&self) -> Result<Tensor, Error> {
        self.of_next(1.0, |logprobs, _| logprobs.iter().map(|logprob| (2.0 * logprob).exp()).sum::<f32>().ln())
    }

    fn token_numbers(&self, name: &str) -> Result<Tensor, Error> {
        if self.rows.iter().any(|row| !row.numbers.contains_key(name)) {
            return Err(Error::unsupported(format!("a row of the test has no numbers `{name}`")));
        }
        Ok(self.trained(|row, token| row.numbers[name][token]))
    }

    fn hidden_states(&self) -> Result<Tensor, Error> {
        let missing = || Error::unsupported("a row of the test has no hidden states");
        let states = self.rows.iter().map(|row| row.hidden.as_ref().ok_or_else(missing));
        let states = states.collect::<Result<Vec<_>, _>>()?;
        let size = states.iter().flat_map(|states| states.iter()).map(Vec::len).max().unwrap_or(0);
        let length = self.length();
        let mut values = vec![0.0; states.len() * length * size];
        for (row, states) in states.iter().enumerate() {
            for (token, state) in states.iter().enumerate() {
                values[(row * length + token) * size..][..size].copy_from_slice(state);
            }
        }
        Ok(Tensor::from_floats(&values, &[states.len() as u32, length as u32, size as u32]))
    }

    fn ids(&self) -> Vec<u64> {
        rows::ids(self.rows.iter().map(|row| &row.row))
    }

    fn roles(&self) -> Vec<String> {
        self.rows.iter().map(|row| row.role.clone()).collect()
    }

    fn off_policy(&self) -> Tensor {
        let given: Vec<f32> = self.rows.iter().map(|row| f32::from(u8::from(row.is_off_policy))).collect();
        self.per_row(&given)
    }

    fn temperature(&self) -> f32 {
        self.temperature
    }

    fn vocabulary(&self) -> u32 {
        self.rows.iter().flat_map(|row| row.next.iter().flatten()).map(Vec::len).max().unwrap_or(0) as u32
    }

    fn samples(&self, count: u32, temperature: f32) -> Result<Tensor, Error> {
        assert!(0 < count && 0.0 < temperature, "batch.samples: {count} at temperature {temperature}");
        let of = |row: &TokenRow, [number, token]: [usize; 2]| match (&row.draws, &row.next) {
            (Some(draws), _) => Ok(draws[token].iter().map(|&id| id as i32).collect()),
            (None, Some(next)) => {
                let seed =
                    self.seed ^ ((((number as u64) << 32) | token as u64) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                Ok(draw(&next[token], count, temperature, seed))
            }
            (None, None) => Err(Error::unsupported("a row of the test says nothing of what is drawn")),
        };
        let (values, shape) = self.candidates(count as usize, of)?;
        Ok(Tensor::from_ints(&values, &shape))
    }

    fn candidate_logprobs(&self, under: &str, candidates: &Tensor) -> Result<Tensor, Error> {
        let shape = candidates.shape();
        assert!(shape.len() == 3 && shape[..2] == self.shape(), "batch.candidate-logprobs: candidates of {shape:?}");
        let (ids, count) = (candidates.read_ints(), shape[2] as usize);
        let own = |[number, token]: [usize; 2]| &ids[(number * self.length() + token) * count..][..count];
        let of = |row: &TokenRow, place: [usize; 2]| {
            let next = row.next.as_ref().filter(|_| matches!(under, "policy" | "old")).ok_or_else(|| missing(under))?;
            Ok(own(place).iter().map(|&id| next[place[1]][id as usize]).collect())
        };
        let (values, shape) = self.candidates(count, of)?;
        let logprobs = Tensor::from_floats(&values, &shape);
        let Some((row, token)) = self.direction.filter(|_| under == "policy") else { return Ok(logprobs) };
        // The trained token may be among its candidates: their log-probabilities are one number.
        let is_own = |place: [usize; 2], id: i32| place == [row, token] && id == self.rows[row].tokens[token] as i32;
        let tangents = self.candidates(count, |_, place| {
            Ok(own(place).iter().map(|&id| f64::from(u8::from(is_own(place, id)))).collect())
        })?;
        Ok(logprobs.with_tangents(tangents.0))
    }

    fn groups(&self) -> Tensor {
        let groups: Vec<i32> = self.rows.iter().map(|row| row.group).collect();
        Tensor::from_ints(&groups, &[groups.len() as u32])
    }

    fn chosen(&self) -> Option<Tensor> {
        let is_preference = |row: &TokenRow| matches!(row.role.as_str(), "chosen" | "rejected");
        let chosen: Vec<f32> = self.rows.iter().map(|row| f32::from(u8::from(row.role == "chosen"))).collect();
        self.rows.iter().any(is_preference).then(|| self.per_row(&chosen))
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

    fn total_groups(&self) -> u32 {
        self.rows.iter().map(|row| row.group).collect::<std::collections::BTreeSet<_>>().len() as u32
    }

    fn micro_batches(&self) -> u32 {
        1
    }

    fn step(&self) -> u32 {
        self.step
    }
}

/// `count` ids from `softmax(logprobs / temperature)`.
fn draw(logprobs: &[f32], count: u32, temperature: f32, seed: u64) -> Vec<i32> {
    let mut sum = 0.0;
    let mut add = |&logprob: &f32| {
        sum += f64::from(logprob / temperature).exp();
        sum
    };
    let sums: Vec<f64> = logprobs.iter().map(&mut add).collect();
    let (state, last) = (Cell::new(seed), sums.len().saturating_sub(1));
    let uniform = || (splitmix(&state) >> 11) as f64 / (1_u64 << 53) as f64;
    let find = |number: f64| sums.partition_point(|sum| *sum <= number).min(last) as i32;
    (0..count).map(|_| find(uniform() * sums.last().copied().unwrap_or(0.0))).collect()
}

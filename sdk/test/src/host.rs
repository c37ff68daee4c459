//! The pretend host: settings, services, and one method per stage.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use serde_json::{Map, Value};
use tunesmith_sdk::log::Level;
use tunesmith_sdk::native::model::{LanguageModel, Prompt};
use tunesmith_sdk::native::{self, Tensor, with_host};
use tunesmith_sdk::{
    Advantages, Answer, Batch, CacheBlock, Cases, Credit, Curate, Edit, Error, Examples, Judge, Measure, Objective,
    ParameterSet, Plugin, Retain, Reward, Rollouts, Sampling, TokenBatch, TrainingSet, Verdict, Weigh,
};

use crate::batch::{Flat, Padded};
use crate::curated::{Curated, Draft};
use crate::edit::{Block, Parameters};
use crate::model::{Asked, PretendModel, Watched};
use crate::rows::{Case, Evaluation, Pool, Row, Sampled, ToJudge};
use crate::{TokenRow, manifest};

/// What a plugin logged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Its lines.
    pub lines: Vec<(Level, String)>,
    /// Its named numbers.
    pub metrics: Vec<(String, f64)>,
    /// The rows that it left out, and why.
    pub skipped: Vec<(usize, String)>,
}

impl Report {
    /// The last number of this name.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.iter().rev().find(|(its, _)| its == name).map(|(_, value)| *value)
    }
}

/// An answer that a plugin asks the recipe's judge about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The row of the pool.
    pub row: usize,
    /// Its prompt.
    pub prompt: String,
    /// Its gold completion.
    pub reference: Option<String>,
    /// The answer.
    pub answer: String,
    /// The answer to compare with.
    pub rival: Option<String>,
}

/// The recipe's judge, as the test wants it.
type PretendJudge = dyn Fn(&Judged) -> Verdict;

/// The services, as the plugin reaches them.
#[derive(Default)]
struct Services {
    models: BTreeMap<String, PretendModel>,
    judge: Option<Rc<PretendJudge>>,
    random: Cell<u64>,
    report: RefCell<Report>,
    asked: Asked,
    /// What plugins keep by example.
    numbers: RefCell<BTreeMap<String, BTreeMap<u64, f64>>>,
}

/// A host that exists only in a test. One method per stage runs a plugin; each answer is checked against the contract as the real host does,
/// and a breach panics.
#[derive(Default)]
pub struct PretendHost {
    settings: Map<String, Value>,
    known: Option<Vec<String>>,
    declared: Option<Vec<String>>,
    parameters: BTreeMap<String, Tensor>,
    reward_weights: BTreeMap<String, f32>,
    attached: RefCell<BTreeMap<String, Vec<f32>>>,
    temperature: Option<f32>,
    round: u32,
    step: u32,
    services: Rc<Services>,
}

impl PretendHost {
    /// A host with no settings, seed 0 and no services.
    pub fn new() -> Self {
        Self::default()
    }

    /// A host with the defaults of this `plugin.toml`, a path from the plugin's folder.
    ///
    /// # Panics
    ///
    /// Panics if the manifest cannot be read.
    pub fn of(manifest: impl AsRef<Path>) -> Self {
        let schema = manifest::settings(manifest.as_ref());
        let settings = schema
            .iter()
            .filter_map(|(name, property)| Some((name.clone(), property.get("default")?.clone())))
            .collect();
        let declared = Some(manifest::parameters(manifest.as_ref()));
        Self { settings, known: Some(schema.keys().cloned().collect()), declared, ..Self::default() }
    }

    /// The host with a setting as the recipe gives it.
    ///
    /// # Panics
    ///
    /// Panics if the manifest that the host was made from has no such setting.
    #[must_use]
    pub fn setting(mut self, name: &str, value: impl Into<Value>) -> Self {
        if let Some(known) = &self.known {
            assert!(known.iter().any(|its| its == name), "the manifest has no setting `{name}`; it has {known:?}");
        }
        self.settings.insert(name.into(), value.into());
        self
    }

    /// The host with a seed for random numbers.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.services_mut().random = Cell::new(seed);
        self
    }

    /// The host with a model of this name: `policy`, `reference`, or another.
    #[must_use]
    pub fn model(mut self, name: &str, model: PretendModel) -> Self {
        self.services_mut().models.insert(name.into(), model);
        self
    }

    /// The host with this judge behind the service `judging`.
    #[must_use]
    pub fn judging(mut self, judge: impl Fn(&Judged) -> Verdict + 'static) -> Self {
        self.services_mut().judge = Some(Rc::new(judge));
        self
    }

    /// The host with an extra trainable parameter, which starts like this.
    ///
    /// # Panics
    ///
    /// Panics if the manifest that the host was made from declares no such parameter.
    #[must_use]
    pub fn parameter(mut self, name: &str, values: &[f32], shape: &[u32]) -> Self {
        if let Some(declared) = &self.declared {
            let is_declared = declared.iter().any(|its| its == name);
            assert!(is_declared, "the manifest declares no parameter `{name}`; it declares {declared:?}");
        }
        self.parameters.insert(name.into(), Tensor::from_floats(values, shape));
        self
    }

    /// The host in this round of curating, from 0.
    #[must_use]
    pub fn round(mut self, round: u32) -> Self {
        self.round = round;
        self
    }

    /// The host at this optimiser step, from 0.
    #[must_use]
    pub fn step(mut self, step: u32) -> Self {
        self.step = step;
        self
    }

    /// The host with this factor of a reward in the sum; 1.0 without it.
    #[must_use]
    pub fn reward_weight(mut self, name: &str, weight: f32) -> Self {
        self.reward_weights.insert(name.into(), weight);
        self
    }

    /// The host whose rollouts were sampled at this temperature; 1.0 without it.
    #[must_use]
    pub fn temperature(mut self, temperature: f32) -> Self {
        self.temperature = Some(temperature);
        self
    }

    /// What the plugin attached to rollouts in its last call of `credit`, by name.
    pub fn attached(&self) -> BTreeMap<String, Vec<f32>> {
        self.attached.borrow().clone()
    }

    fn services_mut(&mut self) -> &mut Services {
        Rc::get_mut(&mut self.services).expect("the services are shared only while a plugin runs")
    }

    /// What the plugin logged in all calls so far.
    pub fn report(&self) -> Report {
        self.services.report.borrow().clone()
    }

    /// What the plugin asked the models to continue so far: the prompts of each call, and how it sampled.
    pub fn asked(&self) -> Vec<(Vec<Prompt>, Sampling)> {
        self.services.asked.borrow().clone()
    }

    /// Makes the plugin from the settings and does what `call` says with it, with this host behind all services.
    ///
    /// # Errors
    ///
    /// Fails when the plugin declines its settings, and as `call`.
    pub fn run<P: Plugin, T>(&self, call: impl FnOnce(&mut P) -> Result<T, Error>) -> Result<T, Error> {
        let settings = Value::Object(self.settings.clone()).to_string();
        with_host(self.services.clone(), || call(&mut P::from_json(&settings)?))
    }

    /// Lets the plugin curate these rows.
    ///
    /// # Errors
    ///
    /// Fails when the plugin declines.
    pub fn curate<P: Curate>(&self, rows: &[Row]) -> Result<Curated, Error> {
        let (pool, draft) = (Pool { rows: rows.to_vec(), round: self.round }, Draft::default());
        self.run(|plugin: &mut P| plugin.curate(&Examples::from_host(&pool), &TrainingSet::from_host(&draft)))?;
        Ok(draft.finish(rows))
    }

    /// Lets the plugin judge these cases.
    ///
    /// # Errors
    ///
    /// Fails when the plugin declines.
    pub fn judge<P: Judge>(&self, cases: &[Case]) -> Result<Vec<Verdict>, Error> {
        let verdicts = self.run(|plugin: &mut P| plugin.judge(&Cases::from_host(&ToJudge(cases.to_vec()))))?;
        expect_length("verdicts", verdicts.len(), cases.len(), "cases");
        for verdict in &verdicts {
            assert!(
                !matches!(verdict, Verdict::Partly(score) if !(0.0..=1.0).contains(score)),
                "{verdict:?} is outside 0.0 to 1.0"
            );
        }
        Ok(verdicts)
    }

    /// Lets the plugin reward these rollouts.
    ///
    /// # Errors
    ///
    /// Fails when the plugin declines.
    pub fn reward<P: Reward>(&self, rollouts: &[Case]) -> Result<Vec<Option<f32>>, Error> {
        let sampled = self.sampled(rollouts);
        let rewards = self.run(|plugin: &mut P| plugin.reward(&Rollouts::from_host(&sampled)))?;
        expect_length("rewards", rewards.len(), rollouts.len(), "rollouts");
        assert!(rewards.iter().flatten().all(|reward| reward.is_finite()), "a reward is not finite: {rewards:?}");
        Ok(rewards)
    }

    /// Lets the plugin turn rewards into advantages.
    ///
    /// # Errors
    ///
    /// Fails when the plugin declines.
    pub fn credit<P: Credit>(&self, rollouts: &[Case], rewards: &[Option<f32>]) -> Result<Advantages, Error> {
        let sampled = Sampled { attached: Some(RefCell::default()), ..self.sampled(rollouts) };
        let advantages = self.run(|plugin: &mut P| plugin.credit(&Rollouts::from_host(&sampled), rewards))?;
        let (values, expected) = match &advantages {
            Advantages::PerRollout(values) => (values, rollouts.len()),
            Advantages::PerToken(values) => (values, native::Rollouts::lengths(&sampled).iter().sum::<u32>() as usize),
        };
        expect_length("advantages", values.len(), expected, "rollouts or tokens");
        assert!(values.iter().all(|value| value.is_finite()), "an advantage is not finite: {values:?}");
        self.attached.replace(sampled.attached.unwrap_or_default().into_inner());
        Ok(advantages)
    }

    fn sampled(&self, rollouts: &[Case]) -> Sampled {
        let weights = self.reward_weights.clone();
        Sampled { cases: rollouts.to_vec(), weights, attached: None, step: self.step }
    }

    /// Lets the plugin weigh the tokens of these rows.
    ///
    /// # Errors
    ///
    /// Fails when the plugin declines.
    pub fn weigh<P: Weigh>(&self, rows: &[TokenRow]) -> Result<Vec<f32>, Error> {
        let flat = Flat { rows: rows.to_vec(), step: self.step };
        let weights = self.run(|plugin: &mut P| plugin.weigh(&TokenBatch::from_host(&flat)))?;
        expect_length("weights", weights.len(), rows.iter().map(|row| row.tokens.len()).sum(), "tokens");
        assert!(
            weights.iter().all(|weight| weight.is_finite() && 0.0 <= *weight),
            "a weight is not finite and at least 0.0: {weights:?}"
        );
        Ok(weights)
    }

    /// Lets the plugin compute its loss of these rows, as the only micro-batch of a step.
    ///
    /// # Errors
    ///
    /// Fails when the plugin declines.
    pub fn objective<P: Objective>(&self, rows: &[TokenRow]) -> Result<f32, Error> {
        self.loss::<P>(rows, None).map(|(loss, _)| loss)
    }

    /// The derivatives of the plugin's loss by the policy's log-probabilities: one list per row, one number per token, 0.0 for those not trained on.
    ///
    /// Exact up to float32 rounding of the loss's own operations, and with `detach` respected. Runs the plugin once per trained token.
    ///
    /// # Errors
    ///
    /// Fails when the plugin declines.
    pub fn gradient<P: Objective>(&self, rows: &[TokenRow]) -> Result<Vec<Vec<f64>>, Error> {
        let derivative = |row: usize, token: usize| {
            if rows[row].mask[token] {
                self.loss::<P>(rows, Some((row, token))).map(|(_, derivative)| derivative)
            } else {
                Ok(0.0)
            }
        };
        let of_row = |row: usize| (0..rows[row].tokens.len()).map(|token| derivative(row, token)).collect();
        (0..rows.len()).map(of_row).collect()
    }

    fn loss<P: Objective>(&self, rows: &[TokenRow], direction: Option<(usize, usize)>) -> Result<(f32, f64), Error> {
        let (parameters, seed) = (self.parameters.clone(), self.services.random.get());
        let temperature = self.temperature.unwrap_or(1.0);
        let batch = Padded { rows: rows.to_vec(), parameters, temperature, step: self.step, seed, direction };
        let loss = self.run(|plugin: &mut P| plugin.objective(&Batch::from_host(&batch)))?;
        let values = loss.read();
        assert!(
            matches!(values.as_slice(), [value] if value.is_finite()),
            "the loss is {values:?}, not one finite number"
        );
        Ok((values[0], loss.native().tangents().map_or(0.0, |tangents| tangents[0])))
    }

    /// Lets the plugin edit these parameters.
    ///
    /// # Errors
    ///
    /// Fails when the plugin declines.
    pub fn edit<P: Edit>(&self, parameters: &Parameters) -> Result<(), Error> {
        self.run(|plugin: &mut P| plugin.edit(&ParameterSet::from_host(parameters)))
    }

    /// Lets the plugin measure this evaluation.
    ///
    /// # Errors
    ///
    /// Fails when the plugin declines.
    pub fn measure<P: Measure>(&self, evaluation: &Evaluation) -> Result<Vec<(String, f64)>, Error> {
        let metrics = self.run(|plugin: &mut P| plugin.measure(&tunesmith_sdk::Evaluation::from_host(evaluation)))?;
        for (position, (name, value)) in metrics.iter().enumerate() {
            let is_word = !name.is_empty() && name.chars().all(|letter| matches!(letter, 'a'..='z' | '0'..='9' | '-'));
            assert!(is_word, "the metric `{name}` is not of lower-case letters, digits and hyphens");
            assert!(value.is_finite(), "the metric `{name}` is {value}");
            assert!(metrics[..position].iter().all(|(other, _)| other != name), "the metric `{name}` comes twice");
        }
        Ok(metrics)
    }

    /// Lets the plugin answer these rows, which it sees without their gold completions, as the real host shows them.
    ///
    /// # Errors
    ///
    /// Fails when the plugin declines.
    pub fn answer<P: Answer>(&self, rows: &[Row]) -> Result<Vec<String>, Error> {
        let asked = rows.iter().map(|row| Row { completion: None, ..row.clone() });
        let pool = Pool { rows: asked.collect(), round: self.round };
        let answers = self.run(|plugin: &mut P| plugin.answer(&Examples::from_host(&pool)))?;
        expect_length("answers", answers.len(), rows.len(), "rows");
        Ok(answers)
    }

    /// Lets the plugin score the entries of this block: [kv-heads, length], flat.
    ///
    /// # Errors
    ///
    /// Fails when the plugin declines.
    pub fn retain<P: Retain>(&self, block: &Block) -> Result<Vec<f32>, Error> {
        let scores = self.run(|plugin: &mut P| plugin.retain(&CacheBlock::from_host(block)))?;
        let keys = block.keys.shape();
        assert_eq!(scores.native().shape(), keys[..2], "the scores are not of shape [kv-heads, length]");
        Ok(scores.read())
    }
}

#[track_caller]
fn expect_length(what: &str, got: usize, expected: usize, of: &str) {
    assert_eq!(got, expected, "{got} {what} for {expected} {of}");
}

impl native::Host for Services {
    fn integers(&self, count: u32) -> Vec<u64> {
        (0..count).map(|_| splitmix(&self.random)).collect()
    }

    fn uniforms(&self, count: u32) -> Vec<f32> {
        // The upper 24 bits fill a float32 exactly.
        (0..count).map(|_| (splitmix(&self.random) >> 40) as f32 / (1 << 24) as f32).collect()
    }

    fn write(&self, level: Level, text: &str) {
        self.report.borrow_mut().lines.push((level, text.into()));
    }

    fn metric(&self, name: &str, value: f64) {
        self.report.borrow_mut().metrics.push((name.into(), value));
    }

    fn skip(&self, row: u32, why: &str) {
        self.report.borrow_mut().skipped.push((row as usize, why.into()));
    }

    fn open(&self, name: &str) -> Result<Rc<dyn LanguageModel>, Error> {
        let names: Vec<_> = self.models.keys().collect();
        let model = self
            .models
            .get(name)
            .ok_or_else(|| Error::unsupported(format!("the test has no model `{name}`; it has {names:?}")))?;
        Ok(Rc::new(Watched { model: model.clone(), asked: self.asked.clone() }))
    }

    fn judge(
        &self,
        examples: &dyn native::Examples,
        rows: &[u32],
        answers: &[String],
        rivals: Option<&[String]>,
    ) -> Result<Vec<Verdict>, Error> {
        let judge = self.judge.as_ref().ok_or_else(|| Error::unsupported("the test has no judge"))?;
        if rows.len() != answers.len() || rivals.is_some_and(|rivals| rivals.len() != rows.len()) {
            return Err(Error::other(format!("{} answers for {} rows", answers.len(), rows.len())));
        }
        let (prompts, references) = (examples.prompts(), examples.completions());
        let verdict = |(at, &row): (usize, &u32)| {
            let row = row as usize;
            judge(&Judged {
                row,
                prompt: prompts[row].clone(),
                reference: references[row].clone(),
                answer: answers[at].clone(),
                rival: rivals.map(|rivals| rivals[at].clone()),
            })
        };
        Ok(rows.iter().enumerate().map(verdict).collect())
    }

    fn judge_rollouts(&self, rollouts: &dyn native::Rollouts) -> Result<Vec<Verdict>, Error> {
        let judge = self.judge.as_ref().ok_or_else(|| Error::unsupported("the test has no judge"))?;
        let (prompts, references) = (rollouts.prompts(), rollouts.references());
        let case = |((row, answer), (prompt, reference))| Judged { row, prompt, reference, answer, rival: None };
        let answers = rollouts.completions().into_iter().enumerate();
        Ok(answers.zip(prompts.into_iter().zip(references)).map(|parts| judge(&case(parts))).collect())
    }

    fn read(&self, name: &str, ids: &[u64]) -> Vec<Option<f64>> {
        let numbers = self.numbers.borrow();
        let numbers = numbers.get(name);
        ids.iter().map(|id| numbers.and_then(|numbers| numbers.get(id)).copied()).collect()
    }

    fn keep(&self, name: &str, ids: &[u64], values: &[f64]) {
        assert_eq!(ids.len(), values.len(), "store: one number per example");
        assert!(values.iter().all(|value| value.is_finite()), "store: a number is not finite: {values:?}");
        let mut numbers = self.numbers.borrow_mut();
        numbers.entry(name.into()).or_default().extend(ids.iter().copied().zip(values.iter().copied()));
    }
}

/// The next number of the splitmix64 stream.
pub(crate) fn splitmix(state: &Cell<u64>) -> u64 {
    state.set(state.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
    let mut mixed = state.get();
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

//! Data and services for tests: a model that parrots, a judge that compares, batches and blocks of a few numbers.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Map;
use tunesmith_core::call::Services;
use tunesmith_core::data::{
    Cases, Example, Examples, Rollout, Rollouts, RowText, RowTexts, Span, TokenLogprobs, Verdict,
};
use tunesmith_core::error::ServiceError;
use tunesmith_core::model::{
    Finish, ForwardInput, ForwardPass, ForwardRequest, Generation, LanguageModel, Message, Models, Prompt, Sampling,
    Score,
};
use tunesmith_core::stage::{Batch, CacheBlock, Draws, Judging, Parameters, Port};
use tunesmith_core::tensors::{Op, TensorId, Tensors};
use tunesmith_plugin::{Grant, Grants};

use crate::Plain;

/// The bytes of a test component, as `cargo xtask plugins` builds it.
pub fn bytes_of(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../components");
    fs::read(folder.join(name).with_extension("wasm"))
        .unwrap_or_else(|error| panic!("tests/components/{name}.wasm: {error}; `cargo xtask plugins` builds it"))
}

/// An error and all its causes, one after the other.
pub fn cause(error: &dyn Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    texts.join(": ")
}

/// All grants.
pub fn grants() -> Grants {
    Grant::ALL.into_iter().collect()
}

/// Examples of these prompts and completions, with the columns `prompt` and, in even rows, `even`.
pub fn examples(rows: &[(&str, Option<&str>)]) -> Arc<Examples> {
    let row = |(id, (prompt, completion)): (usize, &(&str, Option<&str>))| {
        let mut columns = Map::from_iter([("prompt".to_owned(), (*prompt).into())]);
        if id % 2 == 0 {
            columns.insert("even".into(), true.into());
        }
        let messages = vec![Message::user(*prompt)];
        Arc::new(Example {
            id: id as u64,
            messages,
            completion: completion.map(Into::into),
            columns,
            ..Example::default()
        })
    };
    Arc::new(Examples { rows: rows.iter().enumerate().map(row).collect(), round: 3 })
}

/// Two rollouts each for two prompts; the third was cut.
pub fn rollouts(extra_column: Option<&str>) -> Arc<Rollouts> {
    let examples = examples(&[("first", Some("1")), ("second", None)]);
    let rollout = |at: usize| {
        let mut example = examples.rows[at / 2].as_ref().clone();
        if let Some(name) = extra_column {
            example.columns.insert(name.into(), 1.into());
        }
        Rollout {
            example: Arc::new(example),
            group: (at / 2) as u32,
            completion: format!("answer {at}"),
            tokens: vec![7; at + 1],
            is_finished: at != 2,
            is_off_policy: at == 3,
        }
    };
    Arc::new(Rollouts::new((0..4).map(rollout).collect(), Arc::new(Halves(10)), 5))
}

/// So many tokens, each with probability one half.
pub struct Halves(pub usize);

impl TokenLogprobs for Halves {
    fn token_logprobs(&self, under: &str) -> Result<Vec<f32>, ServiceError> {
        match under {
            "policy" => Ok(vec![0.5_f32.ln(); self.0]),
            other => Err(ServiceError::Unsupported(format!("no model `{other}`"))),
        }
    }
}

/// Row texts of which every letter is a token, and an end token.
pub struct Letters(pub Vec<(&'static str, u32)>);

impl RowTexts for Letters {
    fn row_texts(&self) -> Result<Arc<Vec<RowText>>, ServiceError> {
        let text = |&(text, completion_start): &(&str, u32)| RowText {
            text: text.into(),
            completion_start,
            spans: letters(text),
        };
        Ok(Arc::new(self.0.iter().map(text).collect()))
    }
}

/// One span per character, and an empty one at the end.
fn letters(text: &str) -> Vec<Span> {
    let count = text.chars().count() as u32;
    (0..=count).map(|start| Span { start, end: (start + 1).min(count) }).collect()
}

/// A model that repeats the last message; every second sample with an exclamation mark.
pub struct Parrot {
    /// Where forward passes make their tensors.
    pub engine: Arc<Plain>,
    /// The sampling of the last `generate`.
    pub asked: Mutex<Vec<Sampling>>,
}

impl Parrot {
    /// A parrot without tensors.
    pub fn new(engine: Arc<Plain>) -> Arc<Self> {
        Arc::new(Self { engine, asked: Mutex::default() })
    }
}

/// Services with this model under the name `policy`, and a judge that compares.
pub fn services(model: &Arc<Parrot>) -> Services {
    Services {
        models: Some(Arc::new(OnlyPolicy(model.clone()))),
        judging: Some(Arc::new(Equality)),
        store: Some(Arc::default()),
    }
}

struct OnlyPolicy(Arc<Parrot>);

impl Models for OnlyPolicy {
    fn open(&self, name: &str) -> Result<Arc<dyn LanguageModel>, ServiceError> {
        match name {
            "policy" => Ok(self.0.clone()),
            other => Err(ServiceError::Unsupported(format!("no model `{other}`; there is `policy`"))),
        }
    }
}

impl LanguageModel for Parrot {
    fn generate(&self, prompts: &[Prompt], sampling: &Sampling) -> Result<Vec<Generation>, ServiceError> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(sampling.clone());
        let sample = |prompt: &Prompt, number: u32| {
            let text = match prompt {
                Prompt::Chat(messages) | Prompt::Tools { messages, .. } => {
                    messages.last().map_or("", |message| &message.content)
                }
                Prompt::Raw(text) => text,
            };
            let text = format!("{text}{}", if number % 2 == 1 { "!" } else { "" });
            Generation { tokens: vec![1, 2], token_logprobs: vec![-0.5, -0.25], finish: Finish::End, text }
        };
        let samples = |prompt| (0..sampling.samples).map(move |number| sample(prompt, number));
        Ok(prompts.iter().flat_map(samples).collect())
    }

    fn score(&self, _: &[Prompt], completions: &[String]) -> Result<Vec<Score>, ServiceError> {
        let score = |text: &String| {
            // A token per letter; there is no end token here.
            let spans: Vec<Span> = letters(text).into_iter().filter(|span| span.start < span.end).collect();
            Score { token_logprobs: vec![-1.0; spans.len()], spans: Some(spans) }
        };
        Ok(completions.iter().map(score).collect())
    }

    fn score_next(&self, prompts: &[Prompt], candidates: &[String]) -> Result<Vec<f32>, ServiceError> {
        Ok(vec![-3.5; prompts.len() * candidates.len()])
    }

    fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, ServiceError> {
        Ok(texts.iter().map(|text| vec![text.len() as f32, 1.0]).collect())
    }

    fn forward(&self, request: &ForwardRequest) -> Result<ForwardPass, ServiceError> {
        let failed = |error: tunesmith_core::tensors::TensorError| ServiceError::Failed(error.to_string());
        let (ForwardInput::Tokens(input) | ForwardInput::Embeddings(input)) = request.input;
        let shape = self.engine.shape(input).map_err(failed)?;
        let make = |width: usize| {
            let shape = shape.iter().copied().chain([width]).collect();
            self.engine.apply(&Op::Full { value: 0.5, shape }).map_err(failed)
        };
        let logits = if request.logits { Some(make(4)?) } else { None };
        let hidden = request.hidden.iter().map(|&layer| Ok((layer, make(2)?))).collect::<Result<_, ServiceError>>()?;
        Ok(ForwardPass { logits, hidden, attention: vec![] })
    }

    fn hidden_size(&self) -> usize {
        2
    }

    fn layers(&self) -> usize {
        3
    }

    fn max_tokens(&self) -> u32 {
        32
    }
}

/// Right if equal to the gold completion; a completion `*` accepts everything.
pub struct Equality;

impl Judging for Equality {
    fn verdicts(&self, cases: Arc<Cases>) -> Result<Vec<Verdict>, ServiceError> {
        let verdict = |case: &tunesmith_core::data::Case| match case.example.completion.as_deref() {
            Some(gold) if gold == case.answer || gold == "*" => Verdict::Right,
            _ => Verdict::Wrong,
        };
        Ok(cases.cases.iter().map(verdict).collect())
    }
}

/// A micro-batch of one row of three tokens.
pub struct OneBatch(pub Arc<Plain>);

impl Batch for OneBatch {
    fn tensors(&self) -> Arc<dyn Tensors> {
        self.0.clone()
    }

    fn port(&self, port: &Port) -> Result<Option<TensorId>, ServiceError> {
        Ok(match port {
            Port::Tokens => Some(self.0.ints(&[5, 6, 7], &[1, 3])),
            Port::Mask => Some(self.0.floats(&[0.0, 1.0, 1.0], &[1, 3])),
            Port::Weights => Some(self.0.floats(&[0.0, 1.0, 3.0], &[1, 3])),
            Port::TokenLogprobs(under) if under == "policy" => Some(self.0.floats(&[0.0, -1.0, -2.0], &[1, 3])),
            Port::Groups => Some(self.0.ints(&[0], &[1])),
            Port::OffPolicy => Some(self.0.floats(&[0.0], &[1])),
            Port::TokenNumbers(name) if name == "returns" => Some(self.0.floats(&[0.0, 4.0, 5.0], &[1, 3])),
            Port::HiddenStates => Some(self.0.floats(&[0.5; 6], &[1, 3, 2])),
            Port::TokenCollisions => Some(self.0.floats(&[0.0, -0.5, -0.25], &[1, 3])),
            Port::Advantages | Port::Chosen => None,
            other => return Err(ServiceError::Unsupported(format!("no {other:?} here"))),
        })
    }

    fn logprobs_at(&self, under: &str, temperature: f32) -> Result<TensorId, ServiceError> {
        if under != "policy" {
            return Err(ServiceError::Unsupported(format!("no `{under}` here")));
        }
        Ok(self.0.floats(&[0.0, -1.0 / temperature, -2.0 / temperature], &[1, 3]))
    }

    fn entropies(&self, temperature: f32) -> Result<TensorId, ServiceError> {
        Ok(self.0.floats(&[0.0, temperature, temperature], &[1, 3]))
    }

    fn ids(&self) -> Vec<u64> {
        vec![7]
    }

    fn roles(&self) -> Vec<String> {
        vec!["gold".into()]
    }

    fn temperature(&self) -> f32 {
        0.5
    }

    fn total_groups(&self) -> usize {
        2
    }

    fn vocabulary(&self) -> usize {
        8
    }

    /// Counts up from the temperature, rounded, in both places that are trained on.
    fn samples(&self, draws: &Draws) -> Result<TensorId, ServiceError> {
        let count = draws.count;
        let place =
            |at: usize| (0..count).map(move |draw| if at == 0 { 0 } else { draws.temperature as i32 + draw as i32 });
        let ids: Vec<i32> = (0..3).flat_map(place).collect();
        Ok(self.0.ints(&ids, &[1, 3, count]))
    }

    /// The log-probability of an id is that id, negative.
    fn candidate_logprobs(&self, under: &str, candidates: TensorId) -> Result<TensorId, ServiceError> {
        let failed = |error: tunesmith_core::tensors::TensorError| ServiceError::Failed(error.to_string());
        if under != "policy" {
            return Err(ServiceError::Unsupported(format!("no `{under}` here")));
        }
        let (ids, shape) = (self.0.read_ints(candidates).map_err(failed)?, self.0.shape(candidates).map_err(failed)?);
        let logprobs: Vec<f32> = ids.iter().map(|&id| -(id as f32)).collect();
        Ok(self.0.floats(&logprobs, &shape))
    }

    fn rows(&self) -> usize {
        1
    }

    fn total_weight(&self) -> f64 {
        4.0
    }

    fn total_rows(&self) -> usize {
        1
    }

    fn micro_batches(&self) -> usize {
        1
    }

    fn step(&self) -> u32 {
        5
    }
}

/// Two parameters, in the policy and in the snapshot `base`.
pub struct TwoParameters {
    engine: Arc<Plain>,
    policy: Mutex<BTreeMap<String, TensorId>>,
}

impl TwoParameters {
    /// `a` and `b` are 1, 2 and 3 in the policy, and 0 in the base.
    pub fn new(engine: Arc<Plain>) -> Arc<Self> {
        let policy = ["a", "b"].map(|name| (name.to_owned(), engine.floats(&[1.0, 2.0, 3.0], &[3])));
        Arc::new(Self { engine, policy: Mutex::new(policy.into()) })
    }

    /// The policy's parameters.
    pub fn values(&self) -> BTreeMap<String, Vec<f32>> {
        let policy = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        policy.iter().map(|(name, id)| (name.clone(), self.engine.read_floats(*id).unwrap_or_default())).collect()
    }
}

impl Parameters for TwoParameters {
    fn tensors(&self) -> Arc<dyn Tensors> {
        self.engine.clone()
    }

    fn names(&self) -> Vec<String> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    fn get(&self, snapshot: Option<&str>, name: &str) -> Result<TensorId, ServiceError> {
        let policy = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        let id = *policy.get(name).ok_or_else(|| ServiceError::Unsupported(format!("no parameter `{name}`")))?;
        match snapshot {
            None => self.engine.share(id).map_err(|error| ServiceError::Failed(error.to_string())),
            Some("base") => Ok(self.engine.floats(&[0.0; 3], &[3])),
            Some(other) => Err(ServiceError::Unsupported(format!("no snapshot `{other}`"))),
        }
    }

    fn set(&self, name: &str, value: TensorId) -> Result<(), ServiceError> {
        let mut policy = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = self.engine.share(value).map_err(|error| ServiceError::Failed(error.to_string()))?;
        if let Some(old) = policy.insert(name.into(), shared) {
            self.engine.release(old);
        }
        Ok(())
    }

    fn step(&self) -> u32 {
        0
    }
}

/// A cache of one head and two entries.
pub struct SquareBlock(pub Arc<Plain>);

impl CacheBlock for SquareBlock {
    fn tensors(&self) -> Arc<dyn Tensors> {
        self.0.clone()
    }

    fn layer(&self) -> usize {
        1
    }

    fn keys(&self) -> TensorId {
        self.0.floats(&[1.0, 2.0, 3.0, 4.0], &[1, 2, 2])
    }

    fn values(&self) -> TensorId {
        self.keys()
    }

    fn budget(&self) -> usize {
        1
    }
}

//! A model that says what the test tells it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tunesmith_sdk::native::model::{ForwardPass, ForwardRequest, Generation, LanguageModel, Prompt};
use tunesmith_sdk::{Error, Sampling};

type Say = dyn Fn(&str, usize) -> Generation;
type Score = dyn Fn(&str, &str) -> Vec<f32>;
type Cut = dyn Fn(&str) -> Vec<String>;
type ScoreNext = dyn Fn(&str, &str) -> f32;
type Embed = dyn Fn(&str) -> Vec<f32>;
type Forward = dyn Fn(&ForwardRequest) -> ForwardPass;

/// A model that says what the test tells it. What it is not told, it declines with [`Error::Unsupported`].
#[derive(Clone, Default)]
pub struct PretendModel {
    say: Option<Rc<Say>>,
    score: Option<Rc<Score>>,
    cut: Option<Rc<Cut>>,
    score_next: Option<Rc<ScoreNext>>,
    embed: Option<Rc<Embed>>,
    forward: Option<Rc<Forward>>,
    hidden_size: u32,
    layers: u32,
}

impl PretendModel {
    /// Answers with a function of the prompt's text and the number of the sample, from 0.
    pub fn saying(say: impl Fn(&str, usize) -> String + 'static) -> Self {
        Self::generating(move |prompt, sample| Generation::from(say(prompt, sample).as_str()))
    }

    /// As [`saying`](Self::saying), with the log-probabilities and the end as the test wants.
    pub fn generating(say: impl Fn(&str, usize) -> Generation + 'static) -> Self {
        Self { say: Some(Rc::new(say)), ..Self::default() }
    }

    /// Gives these answers one after the other, over all prompts, samples and calls.
    ///
    /// # Panics
    ///
    /// The model panics when it is asked for more.
    pub fn canned<const N: usize>(answers: [&str; N]) -> Self {
        let answers = answers.map(String::from);
        let next = Cell::new(0);
        Self::saying(move |prompt, _| {
            let at = next.replace(next.get() + 1);
            answers
                .get(at)
                .unwrap_or_else(|| panic!("the {N} canned answers are used up; asked again with `{prompt}`"))
                .clone()
        })
    }

    /// Scores with a function of the prompt's text and the completion: the log-probability of each token.
    #[must_use]
    pub fn scoring(self, score: impl Fn(&str, &str) -> Vec<f32> + 'static) -> Self {
        Self { score: Some(Rc::new(score)), ..self }
    }

    /// Cuts scored completions into the texts of their tokens; empty for a token that stands for no text, such as the end token.
    #[must_use]
    pub fn cutting(self, cut: impl Fn(&str) -> Vec<String> + 'static) -> Self {
        Self { cut: Some(Rc::new(cut)), ..self }
    }

    /// Scores next tokens with a function of the prompt's text and the candidate.
    #[must_use]
    pub fn scoring_next(self, score: impl Fn(&str, &str) -> f32 + 'static) -> Self {
        Self { score_next: Some(Rc::new(score)), ..self }
    }

    /// Embeds with a function of the text, into vectors of this size.
    #[must_use]
    pub fn embedding(self, hidden_size: u32, embed: impl Fn(&str) -> Vec<f32> + 'static) -> Self {
        Self { embed: Some(Rc::new(embed)), hidden_size, ..self }
    }

    /// Runs forward passes with a function of the request, as a model of this many layers.
    #[must_use]
    pub fn forwarding(self, layers: u32, forward: impl Fn(&ForwardRequest) -> ForwardPass + 'static) -> Self {
        Self { forward: Some(Rc::new(forward)), layers, ..self }
    }
}

fn told<'a, T: ?Sized>(function: Option<&'a Rc<T>>, verb: &str) -> Result<&'a T, Error> {
    function
        .map(AsRef::as_ref)
        .ok_or_else(|| Error::unsupported(format!("the pretend model was not told how to {verb}")))
}

impl LanguageModel for PretendModel {
    fn generate(&self, prompts: &[Prompt], sampling: &Sampling) -> Result<Vec<Generation>, Error> {
        let say = told(self.say.as_ref(), "generate")?;
        let samples = sampling.samples.unwrap_or(1) as usize;
        Ok(prompts.iter().flat_map(|prompt| (0..samples).map(|sample| say(prompt.text(), sample))).collect())
    }

    fn score(&self, prompts: &[Prompt], completions: &[String]) -> Result<Vec<Vec<f32>>, Error> {
        let score = told(self.score.as_ref(), "score")?;
        Ok(prompts.iter().zip(completions).map(|(prompt, completion)| score(prompt.text(), completion)).collect())
    }

    fn pieces(&self, completion: &str) -> Option<Vec<String>> {
        self.cut.as_ref().map(|cut| cut(completion))
    }

    fn score_next(&self, prompts: &[Prompt], candidates: &[String]) -> Result<Vec<f32>, Error> {
        let score = told(self.score_next.as_ref(), "score next tokens")?;
        Ok(prompts
            .iter()
            .flat_map(|prompt| candidates.iter().map(|candidate| score(prompt.text(), candidate)))
            .collect())
    }

    fn embed(&self, texts: &[String]) -> Result<Vec<f32>, Error> {
        let embed = told(self.embed.as_ref(), "embed")?;
        Ok(texts.iter().flat_map(|text| embed(text)).collect())
    }

    fn forward(&self, request: &ForwardRequest) -> Result<ForwardPass, Error> {
        told(self.forward.as_ref(), "run a forward pass").map(|forward| forward(request))
    }

    fn hidden_size(&self) -> u32 {
        self.hidden_size
    }

    fn layers(&self) -> u32 {
        self.layers
    }
}

/// What plugins asked models to continue: prompts and sampling of each call.
pub(crate) type Asked = Rc<RefCell<Vec<(Vec<Prompt>, Sampling)>>>;

/// A model that notes what it is asked to continue.
pub(crate) struct Watched {
    pub(crate) model: PretendModel,
    pub(crate) asked: Asked,
}

impl LanguageModel for Watched {
    fn generate(&self, prompts: &[Prompt], sampling: &Sampling) -> Result<Vec<Generation>, Error> {
        self.asked.borrow_mut().push((prompts.to_vec(), sampling.clone()));
        self.model.generate(prompts, sampling)
    }

    fn score(&self, prompts: &[Prompt], completions: &[String]) -> Result<Vec<Vec<f32>>, Error> {
        self.model.score(prompts, completions)
    }

    fn pieces(&self, completion: &str) -> Option<Vec<String>> {
        self.model.pieces(completion)
    }

    fn score_next(&self, prompts: &[Prompt], candidates: &[String]) -> Result<Vec<f32>, Error> {
        self.model.score_next(prompts, candidates)
    }

    fn embed(&self, texts: &[String]) -> Result<Vec<f32>, Error> {
        self.model.embed(texts)
    }

    fn forward(&self, request: &ForwardRequest) -> Result<ForwardPass, Error> {
        self.model.forward(request)
    }

    fn hidden_size(&self) -> u32 {
        self.model.hidden_size()
    }

    fn layers(&self) -> u32 {
        self.model.layers()
    }
}

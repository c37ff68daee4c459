//! Self-Contrast: the gold answer is preferred to several of the model's own answers, those least similar to it.

pub mod math;

use serde::Deserialize;
use tunesmith_sdk::{Curate, Error, Examples, Model, Plugin, Prompts, Sampling, TrainingSet, log, random};

use math::{cosine, mean, unique, unlike};

/// The model that samples.
const POLICY: &str = "policy";
/// Where the rejected answers of a row come from.
const PROVENANCE: &str = "self-contrast";

/// The settings, as `plugin.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    samples: usize,
    negatives: usize,
    share: f64,
    filter: bool,
    embedder: String,
    temperature: f32,
    top_p: f32,
    max_tokens: u32,
    cut: Cut,
}

/// What happens to answers that were cut at the length limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cut {
    /// They may be negatives.
    Keep,
    /// They are left out.
    Drop,
}

/// The plugin.
pub struct SelfContrast(Settings);

impl Plugin for SelfContrast {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        if settings.samples < settings.negatives {
            return Err(Error::bad_settings("there are fewer `samples` than `negatives`"));
        }
        Ok(Self(settings))
    }
}

/// A prompt with its gold answer and what can be held against that.
struct Asked<'a> {
    row: usize,
    gold: &'a str,
    candidates: Vec<&'a str>,
}

/// What is counted over a call.
#[derive(Default)]
struct Tally {
    samples: usize,
    empty: usize,
    cut: usize,
    duplicates: usize,
    equal: usize,
    negatives: usize,
    equal_negatives: usize,
    skipped: usize,
    cosines: Vec<f64>,
    negative_cosines: Vec<f64>,
}

impl Curate for SelfContrast {
    fn curate(&self, pool: &Examples, chosen: &TrainingSet) -> Result<(), Error> {
        let golds = pool.completions();
        let (rows, bare): (Vec<usize>, Vec<usize>) =
            (0..golds.len()).partition(|row| golds[*row].as_ref().is_some_and(|gold| !gold.is_empty()));
        for row in bare {
            chosen.omit(row, "no gold completion");
        }
        if rows.is_empty() {
            return Ok(());
        }
        let Settings { samples, temperature, top_p, max_tokens, .. } = self.0;
        let sampling = Sampling {
            top_p: Some(top_p),
            max_tokens: (0 < max_tokens).then_some(max_tokens),
            ..Sampling::at(temperature, samples as u32)
        };
        let answers = Model::open(POLICY)?.generate(&Prompts::new().rows(pool, &rows), &sampling)?;
        let (texts, finished) = (answers.texts(), answers.finished());
        let mut tally = Tally { samples: texts.len(), ..Tally::default() };
        let mut asked = Vec::new();
        for ((row, texts), finished) in rows.into_iter().zip(texts.chunks(samples)).zip(finished.chunks(samples)) {
            let gold = golds[row].as_deref().unwrap_or_default();
            let candidates = self.candidates(gold, texts, finished, &mut tally);
            asked.push(Asked { row, gold, candidates });
        }
        self.contrast(&asked, chosen, &mut tally)?;
        tally.report(asked.len());
        Ok(())
    }
}

impl SelfContrast {
    /// The samples of one prompt that say something; with the filter, each text once.
    fn candidates<'a>(&self, gold: &str, texts: &'a [String], finished: &[bool], tally: &mut Tally) -> Vec<&'a str> {
        let mut usable = Vec::new();
        for (text, is_finished) in texts.iter().zip(finished) {
            tally.equal += usize::from(text == gold);
            if text.trim().is_empty() {
                tally.empty += 1;
            } else if self.0.cut == Cut::Drop && !is_finished {
                tally.cut += 1;
            } else {
                usable.push(text.as_str());
            }
        }
        let once = unique(usable.iter().copied());
        tally.duplicates += usable.len() - once.len();
        if self.0.filter { once } else { usable }
    }

    /// Groups each gold answer with negatives.
    fn contrast(&self, asked: &[Asked<'_>], chosen: &TrainingSet, tally: &mut Tally) -> Result<(), Error> {
        let texts: Vec<String> = asked
            .iter()
            .flat_map(|asked| std::iter::once(asked.gold).chain(asked.candidates.iter().copied()))
            .map(String::from)
            .collect();
        let vectors = Model::open(&self.0.embedder)?.embed(&texts)?;
        let mut rest = vectors.as_slice();
        for Asked { row, gold, candidates } in asked {
            let Some((target, others)) = rest.split_first() else { break };
            let (own, others) = others.split_at(candidates.len());
            rest = others;
            let similarities: Vec<f64> = own.iter().map(|vector| cosine(vector, target)).collect();
            let mut places = if self.0.filter {
                unlike(&similarities, self.0.share, self.0.samples)
            } else {
                (0..candidates.len()).collect()
            };
            chosen.note(*row, "negatives-kept", places.len() as f64);
            tally.cosines.extend(&similarities);
            if places.len() < self.0.negatives {
                tally.skipped += 1;
                chosen.omit(*row, "fewer negatives than asked for");
                continue;
            }
            random::shuffle(&mut places);
            places.truncate(self.0.negatives);
            let negatives = places.iter().map(|place| candidates[*place]);
            tally.negatives += places.len();
            tally.equal_negatives += negatives.clone().filter(|text| text == gold).count();
            tally.negative_cosines.extend(places.iter().map(|place| similarities[*place]));
            let members: Vec<(&str, &str)> =
                std::iter::once(("chosen", *gold)).chain(negatives.map(|text| ("rejected", text))).collect();
            chosen.group(*row, &members, PROVENANCE);
        }
        Ok(())
    }
}

impl Tally {
    fn report(&self, prompts: usize) {
        let share = |count: usize, of: usize| (0 < of).then(|| count as f64 / of as f64);
        let metrics = [
            ("empty-share", share(self.empty, self.samples)),
            ("cut-share", share(self.cut, self.samples)),
            ("duplicate-share", share(self.duplicates, self.samples)),
            ("equal-share", share(self.equal, self.samples)),
            ("equal-negative-share", share(self.equal_negatives, self.negatives)),
            ("skipped-share", share(self.skipped, prompts)),
            ("cosine", mean(&self.cosines)),
            ("cosine-negatives", mean(&self.negative_cosines)),
        ];
        for (name, value) in metrics {
            value.inspect(|value| log::metric(name, *value));
        }
    }
}

tunesmith_sdk::export!(SelfContrast: curate);

#[cfg(test)]
mod tests;

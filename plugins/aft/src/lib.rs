//! AFT: trains on reading several drafts and writing one better answer, and repeats propose-and-aggregate at test time.

pub mod drafts;
pub mod math;
#[path = "../../grape/src/template.rs"]
pub mod template;

use serde::Deserialize;
use tunesmith_sdk::{Answer, Curate, Error, Examples, Plugin, Sampling, TrainingSet, log, random};

use drafts::{Conversations, Showing, stored, written};
use math::share;

/// The model that answers: the one in training.
const POLICY: &str = "policy";

/// The settings, as `plugin.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    proposals: u32,
    proposals_column: String,
    proposer: String,
    temperature: f32,
    top_p: f32,
    final_temperature: f32,
    final_top_p: f32,
    max_tokens: u32,
    rounds: u32,
    aggregation_prompt: String,
    proposal: String,
    longest: usize,
    train: Train,
    target_column: String,
    teacher: String,
    shuffle: bool,
}

/// What is trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Train {
    /// Each row plainly and as an aggregation: the method.
    Both,
    /// Aggregations only.
    Aggregation,
    /// Rows plainly: the control.
    Plain,
}

/// The plugin.
pub struct Aft {
    settings: Settings,
    showing: Showing,
}

impl Plugin for Aft {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        let places = [
            ("aggregation-prompt", &settings.aggregation_prompt, &["{proposals}", "{prompt}"][..]),
            ("proposal", &settings.proposal, &["{draft}"]),
        ];
        for (name, template, marks) in places {
            if let Some(mark) = marks.iter().find(|mark| !template.contains(**mark)) {
                return Err(Error::bad_settings(format!("`{name}` lacks `{mark}`")));
            }
        }
        if settings.train != Train::Plain && settings.proposals_column.is_empty() && settings.proposer.is_empty() {
            return Err(Error::bad_settings("there are no drafts: set `proposals-column` or `proposer`"));
        }
        let showing = Showing {
            aggregation: settings.aggregation_prompt.clone(),
            proposal: settings.proposal.clone(),
            longest: settings.longest,
        };
        Ok(Self { settings, showing })
    }
}

impl Aft {
    /// How drafts, and aggregations but the last, are sampled.
    fn drafting(&self) -> Sampling {
        Sampling {
            temperature: Some(self.settings.temperature),
            top_p: Some(self.settings.top_p),
            samples: Some(self.settings.proposals),
            max_tokens: self.most(),
            ..Sampling::greedy()
        }
    }

    /// How the last aggregation is sampled.
    fn finishing(&self) -> Sampling {
        Sampling {
            temperature: Some(self.settings.final_temperature),
            top_p: Some(self.settings.final_top_p),
            max_tokens: self.most(),
            ..Sampling::greedy()
        }
    }

    fn most(&self) -> Option<u32> {
        (0 < self.settings.max_tokens).then_some(self.settings.max_tokens)
    }

    /// The drafts of each of these rows: those of the column, and where there are none, samples of `model`, if one is named.
    fn drafts(
        &self,
        examples: &Examples<'_>,
        conversations: &Conversations,
        model: &str,
    ) -> Result<Vec<Vec<String>>, Error> {
        let mut drafts = stored(examples, &self.settings.proposals_column)?;
        if model.is_empty() {
            return Ok(drafts);
        }
        let open: Vec<usize> = (0..drafts.len()).filter(|row| drafts[*row].is_empty()).collect();
        let made = written(conversations.plain(model, &open, &self.drafting())?);
        open.into_iter().zip(made).for_each(|(row, texts)| drafts[row] = texts);
        Ok(drafts)
    }

    /// One text per row out of its drafts.
    fn aggregated(
        &self,
        conversations: &Conversations,
        rows: &[(usize, &[String])],
        model: &str,
        sampling: &Sampling,
    ) -> Result<Vec<String>, Error> {
        Ok(conversations.aggregations(model, rows, &self.showing, sampling)?.concat())
    }
}

impl Answer for Aft {
    fn answer(&self, examples: &Examples) -> Result<Vec<String>, Error> {
        let conversations = Conversations::of(examples);
        let all: Vec<usize> = (0..examples.len()).collect();
        if self.settings.rounds == 0 {
            return Ok(conversations.plain(POLICY, &all, &Sampling::greedy())?.concat());
        }
        let mut drafts = self.drafts(examples, &conversations, POLICY)?;
        for _ in 1..self.settings.rounds {
            let rows = numbered(&drafts);
            drafts = written(conversations.aggregations(POLICY, &rows, &self.showing, &self.drafting())?);
        }
        self.aggregated(&conversations, &numbered(&drafts), POLICY, &self.finishing())
    }
}

/// Rows with their drafts.
fn numbered(drafts: &[Vec<String>]) -> Vec<(usize, &[String])> {
    drafts.iter().map(Vec::as_slice).enumerate().collect()
}

impl Curate for Aft {
    fn curate(&self, pool: &Examples, chosen: &TrainingSet) -> Result<(), Error> {
        let conversations = Conversations::of(pool);
        let drafts = match self.settings.train {
            Train::Plain if self.settings.teacher.is_empty() => vec![Vec::new(); pool.len()],
            _ => self.drafts(pool, &conversations, &self.settings.proposer)?,
        };
        let drafts: Vec<Vec<String>> = drafts.into_iter().map(|drafts| self.in_order(drafts)).collect();
        let golds = pool.completions();
        let targets = self.targets(pool, &conversations, &drafts)?;
        let mut tally = Tally::default();
        for (row, (target, drafts)) in targets.into_iter().zip(&drafts).enumerate() {
            let Some(Target { text, provenance }) = target else {
                chosen.omit(row, "no answer to train on");
                continue;
            };
            let is_aggregated = self.settings.train != Train::Plain && !drafts.is_empty();
            if self.settings.train == Train::Aggregation {
                chosen.omit(row, if is_aggregated { "trained on as an aggregation" } else { "no drafts" });
            } else if golds[row].as_ref() == Some(&text) {
                chosen.keep(row, provenance);
            } else {
                chosen.replace(row, &text, provenance);
            }
            if is_aggregated {
                let (request, is_cut) = self.showing.request(conversations.prompt(row), drafts);
                chosen.add(&request, &text, "aggregation", Some(row));
                chosen.note(row, "drafts", drafts.len() as f64);
                tally.count(drafts, &text, is_cut);
            }
        }
        tally.report();
        Ok(())
    }
}

/// What a row is trained on, and where it comes from.
struct Target {
    text: String,
    provenance: &'static str,
}

impl Aft {
    fn in_order(&self, mut drafts: Vec<String>) -> Vec<String> {
        if self.settings.shuffle {
            random::shuffle(&mut drafts);
        }
        drafts
    }

    /// The answer of each row: its own, or the teacher's, if there is one.
    fn targets(
        &self,
        pool: &Examples<'_>,
        conversations: &Conversations,
        drafts: &[Vec<String>],
    ) -> Result<Vec<Option<Target>>, Error> {
        let own = match self.settings.target_column.as_str() {
            "" => pool.completions(),
            column => pool.column(column),
        };
        let gold = |text: Option<String>| {
            let text = text.filter(|text| !text.trim().is_empty());
            text.map(|text| Target { text, provenance: "gold" })
        };
        let mut targets: Vec<Option<Target>> = own.into_iter().map(gold).collect();
        if !self.settings.teacher.is_empty() {
            let open: Vec<(usize, &[String])> = numbered(drafts)
                .into_iter()
                .filter(|(row, drafts)| targets[*row].is_none() && !drafts.is_empty())
                .collect();
            let greedy = Sampling { max_tokens: self.most(), ..Sampling::greedy() };
            let made = self.aggregated(conversations, &open, &self.settings.teacher, &greedy)?;
            for ((row, _), text) in open.into_iter().zip(made).filter(|(_, text)| !text.trim().is_empty()) {
                targets[row] = Some(Target { text, provenance: "synthetic" });
            }
        }
        Ok(targets)
    }
}

/// Counts over the aggregations of a call.
#[derive(Default)]
struct Tally {
    rows: usize,
    drafts: usize,
    repeated: usize,
    cut: usize,
    shorter: usize,
}

impl Tally {
    fn count(&mut self, drafts: &[String], target: &str, is_cut: bool) {
        self.rows += 1;
        self.drafts += drafts.len();
        self.repeated += math::repeated(drafts);
        self.cut += usize::from(is_cut);
        let total: usize = drafts.iter().map(|draft| draft.chars().count()).sum();
        self.shorter += usize::from(target.chars().count() * drafts.len() < total);
    }

    fn report(&self) {
        for (name, value) in [
            ("drafts", share(self.drafts, self.rows)),
            ("share-repeated", share(self.repeated, self.drafts)),
            ("share-shortened", share(self.cut, self.rows)),
            ("share-shorter", share(self.shorter, self.rows)),
        ] {
            if let Some(value) = value {
                log::metric(name, value);
            }
        }
    }
}

tunesmith_sdk::export!(Aft: curate, answer);

#[cfg(test)]
mod tests;

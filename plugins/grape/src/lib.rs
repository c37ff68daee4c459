//! GRAPE: of several responses to a prompt, trains on the one that the starting model finds likeliest per token.

pub mod candidates;
pub mod math;
pub mod score;
pub mod template;

use serde::Deserialize;
use serde_json::Value;
use tunesmith_sdk::{Curate, Error, Examples, Plugin, TrainingSet, log, random};

use candidates::{Candidate, Places, distinct, shortened};
use math::{Scored, Select, mean, pick};
use score::{Scoring, Template, score};

/// The settings, as `plugin.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    gold: bool,
    columns: Vec<String>,
    list_column: String,
    template: String,
    end_token: bool,
    select: String,
    keep: usize,
    least_candidates: usize,
    longest: usize,
    truncated: Truncated,
}

/// What happens to truncated responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Truncated {
    /// They are candidates, with a note.
    Flag,
    /// They are none.
    Drop,
}

/// The plugin.
pub struct Grape {
    places: Places,
    scoring: Scoring,
    select: Select,
    keep: usize,
    least: usize,
    truncated: Truncated,
}

impl Plugin for Grape {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        let list = Some(settings.list_column).filter(|column| !column.is_empty());
        let places = Places { has_gold: settings.gold, columns: settings.columns, list };
        if !places.has_gold && places.columns.is_empty() && places.list.is_none() {
            return Err(Error::bad_settings(
                "there is nowhere to take responses from: set `gold`, `columns` or `list-column`",
            ));
        }
        let select = Select::parse(&settings.select).ok_or_else(|| {
            Error::bad_settings(format!(
                "`select` is `{}`, none of `best`, `worst`, `random`, `all`, `source:NAME`",
                settings.select
            ))
        })?;
        Ok(Self {
            places,
            scoring: Scoring {
                template: Template::parse(&settings.template)?,
                counts_end: settings.end_token,
                longest: settings.longest,
            },
            select,
            keep: settings.keep.max(1),
            least: settings.least_candidates,
            truncated: settings.truncated,
        })
    }
}

/// A row and its candidates, each with its score.
struct Choice {
    row: usize,
    candidates: Vec<(Candidate, f64)>,
    picked: Vec<usize>,
}

impl Curate for Grape {
    fn curate(&self, pool: &Examples, chosen: &TrainingSet) -> Result<(), Error> {
        let rows = self.candidates(pool, chosen)?;
        let scores = score(pool, &rows, &self.scoring)?;
        let choices: Vec<Choice> = rows
            .into_iter()
            .zip(scores)
            .filter_map(|((row, candidates), scores)| self.choice(chosen, row, candidates, scores))
            .collect();
        let texts = Texts::of(pool);
        for choice in &choices {
            note(chosen, choice);
            self.train_on(chosen, &texts, choice);
        }
        report(&choices);
        Ok(())
    }
}

impl Grape {
    /// The distinct candidates of each row that has any; the other rows are left out.
    fn candidates(&self, pool: &Examples, chosen: &TrainingSet) -> Result<Vec<(usize, Vec<Candidate>)>, Error> {
        for column in self.places.missing(pool) {
            log::warn(&format!("no row has the column `{column}`; there are {}", pool.columns().join(", ")));
        }
        let (mut rows, mut repeated, mut all) = (Vec::new(), 0, 0);
        for (row, mut candidates) in self.places.responses(pool)?.into_iter().enumerate() {
            for candidate in &mut candidates {
                candidate.is_truncated |= shortened(&candidate.text, self.scoring.longest).1;
            }
            if self.truncated == Truncated::Drop {
                candidates.retain(|candidate| !candidate.is_truncated);
            }
            all += candidates.len();
            let (candidates, twice) = distinct(candidates);
            repeated += twice;
            if candidates.is_empty() {
                chosen.omit(row, "no candidate response");
            } else {
                rows.push((row, candidates));
            }
        }
        if all != 0 {
            log::metric("share-repeated", repeated as f64 / all as f64);
        }
        Ok(rows)
    }

    /// Picks among a row's candidates; leaves the row out where there is nothing to pick.
    fn choice(
        &self,
        chosen: &TrainingSet,
        row: usize,
        candidates: Vec<Candidate>,
        scores: Vec<Option<f64>>,
    ) -> Option<Choice> {
        let pairs = candidates.into_iter().zip(scores);
        let candidates: Vec<(Candidate, f64)> =
            pairs.filter_map(|(candidate, score)| Some((candidate, score?))).collect();
        if candidates.is_empty() {
            chosen.omit(row, "no candidate response");
            return None;
        }
        if candidates.len() < self.least {
            chosen.omit(row, "fewer candidates than `least-candidates`");
            return None;
        }
        let lots = random::integers(candidates.len());
        let ranked: Vec<Scored> = candidates
            .iter()
            .zip(lots)
            .map(|((candidate, score), lot)| Scored { score: *score, lot, sources: &candidate.sources })
            .collect();
        let picked = pick(&self.select, &ranked, self.keep);
        if picked.is_empty() {
            chosen.omit(row, "no candidate from the wanted source");
            return None;
        }
        Some(Choice { row, candidates, picked })
    }

    /// The first pick takes the row's place, others are added.
    fn train_on(&self, chosen: &TrainingSet, texts: &Texts, choice: &Choice) {
        let row = choice.row;
        for (rank, &at) in choice.picked.iter().enumerate() {
            let (candidate, _) = &choice.candidates[at];
            let source = match &self.select {
                Select::Source(name) => name,
                _ => &candidate.sources[0],
            };
            if rank == 0 && texts.completions[row].as_ref() == Some(&candidate.text) {
                chosen.keep(row, source);
            } else if rank == 0 {
                chosen.replace(row, &candidate.text, source);
            } else if texts.is_single_turn(row) {
                chosen.add(&texts.prompts[row], &candidate.text, source, Some(row));
            } else {
                log::metric("left-out-of-conversations", 1.0);
            }
        }
    }
}

/// What is needed of the pool to write rows.
struct Texts {
    prompts: Vec<String>,
    completions: Vec<Option<String>>,
    messages: Vec<String>,
}

impl Texts {
    fn of(pool: &Examples) -> Self {
        Self { prompts: pool.prompts(), completions: pool.completions(), messages: pool.messages() }
    }

    /// Whether the row is one user message, perhaps after a system message: only such rows can be added a second time.
    fn is_single_turn(&self, row: usize) -> bool {
        let Ok(Value::Array(turns)) = serde_json::from_str(&self.messages[row]) else { return false };
        turns.iter().filter(|turn| turn["role"] != "system").count() == 1
    }
}

/// Notes of a row: how many candidates it had, the scores of those picked, and how far the first is from the best of the rest.
fn note(chosen: &TrainingSet, choice: &Choice) {
    let Choice { row, candidates, picked } = choice;
    let finite = |name: &str, value: f64| {
        if value.is_finite() {
            chosen.note(*row, name, value);
        }
    };
    finite("candidates", candidates.len() as f64);
    finite("single", f64::from(u8::from(candidates.len() == 1)));
    for (rank, &at) in picked.iter().enumerate() {
        let name = if rank == 0 { "score".into() } else { format!("score-{}", rank + 1) };
        finite(&name, candidates[at].1);
    }
    let is_truncated = picked.iter().any(|&at| candidates[at].0.is_truncated);
    finite("truncated", f64::from(u8::from(is_truncated)));
    if let Some(best) = rest(choice).reduce(f64::max) {
        finite("margin", candidates[picked[0]].1 - best);
    }
}

/// The scores of a row's candidates that were not picked.
fn rest(choice: &Choice) -> impl Iterator<Item = f64> + '_ {
    let others = choice.candidates.iter().enumerate().filter(|(at, _)| !choice.picked.contains(at));
    others.map(|(_, (_, score))| *score)
}

/// Numbers about all rows of the call.
fn report(choices: &[Choice]) {
    let scores = |choice: &'_ Choice| choice.picked.iter().map(|&at| choice.candidates[at].1).collect::<Vec<f64>>();
    let is_single = |choice: &Choice| choice.candidates.len() == 1;
    let is_truncated = |choice: &Choice| choice.picked.iter().any(|&at| choice.candidates[at].0.is_truncated);
    let share = |is: &dyn Fn(&Choice) -> bool| mean(choices.iter().map(|choice| f64::from(u8::from(is(choice)))));
    for (name, value) in [
        ("candidates", mean(choices.iter().map(|choice| choice.candidates.len() as f64))),
        ("share-single", share(&is_single)),
        ("share-truncated", share(&is_truncated)),
        ("score-chosen", mean(choices.iter().flat_map(scores))),
        ("score-rest", mean(choices.iter().flat_map(rest))),
    ] {
        if let Some(value) = value {
            log::metric(name, value);
        }
    }
    if 1 < choices.len() && choices.iter().all(is_single) {
        log::warn("no row has two distinct candidates, so there was nothing to choose");
    }
}

tunesmith_sdk::export!(Grape: curate);

#[cfg(test)]
mod tests;

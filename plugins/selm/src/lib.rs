//! Self-exploring language models: the policy's own answer is ranked among two given ones, and lowered whatever its rank.

pub mod math;

use serde::Deserialize;
use tunesmith_sdk::{Curate, Error, Examples, Model, Plugin, Prompts, Sampling, TrainingSet, Verdict, judging, log};

use math::{PAIRS, Wins, portion};

/// The model that answers.
const POLICY: &str = "policy";
/// Where the policy's own answer is among the three.
const OWN: usize = 1;
/// Where the records come from.
const PROVENANCE: &str = "ranked";

/// The settings, as `plugin.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    chosen_column: String,
    rejected_column: String,
    portions: u64,
    portion: u64,
    temperature: f32,
    max_tokens: u32,
    orders: Orders,
    unfinished: Unfinished,
}

/// In which orders a pair is shown to the judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Orders {
    /// The given answer first.
    One,
    /// That, and the other way round.
    Both,
}

/// What happens to a row whose own answer was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unfinished {
    /// It is ranked as it is.
    Rank,
    /// The row is left out.
    Drop,
}

/// The plugin.
pub struct Selm(Settings);

impl Plugin for Selm {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        if settings.portions <= settings.portion {
            return Err(Error::bad_settings("`portion` counts from 0 and is below `portions`"));
        }
        Ok(Self(settings))
    }
}

/// A row with its three answers: the better given one, the policy's own, the worse given one.
struct Asked {
    row: usize,
    answers: [String; 3],
    wins: Wins,
}

impl Curate for Selm {
    fn curate(&self, pool: &Examples, chosen: &TrainingSet) -> Result<(), Error> {
        let given = self.given(pool, chosen);
        if given.is_empty() {
            return Ok(());
        }
        let mut asked = self.answered(pool, given, chosen)?;
        self.rank(pool, &mut asked)?;
        let (mut best, mut worst, mut records) = (0_u32, 0_u32, 0_u32);
        for Asked { row, answers, wins } in &asked {
            let (first, last) = (wins.best(), wins.worst());
            if answers[first] == answers[last] {
                chosen.omit(*row, "the best and the worst answer are the same");
                continue;
            }
            records += 1;
            best += u32::from(first == OWN);
            worst += u32::from(last == OWN);
            let members = [("chosen", first), ("rejected", last), ("self", OWN)];
            chosen.group(*row, &members.map(|(role, place)| (role, answers[place].as_str())), PROVENANCE);
        }
        if 0 < records {
            log::metric("own-best", f64::from(best) / f64::from(records));
            log::metric("own-worst", f64::from(worst) / f64::from(records));
        }
        Ok(())
    }
}

impl Selm {
    /// The rows of this portion that have two answers.
    fn given(&self, pool: &Examples, chosen: &TrainingSet) -> Vec<(usize, [String; 2])> {
        let columns = [&self.0.chosen_column, &self.0.rejected_column].map(|name| pool.column(name));
        let [better, worse] = columns;
        let mut given = Vec::new();
        for ((row, id), pair) in pool.ids().into_iter().enumerate().zip(better.into_iter().zip(worse)) {
            if portion(id, self.0.portions) != self.0.portion {
                chosen.omit(row, "of another portion");
                continue;
            }
            match pair {
                (Some(better), Some(worse)) if better.trim().is_empty() || worse.trim().is_empty() => {
                    chosen.omit(row, "a given answer is empty");
                }
                (Some(better), Some(worse)) if better == worse => chosen.omit(row, "both given answers are the same"),
                (Some(better), Some(worse)) => given.push((row, [better, worse])),
                _ => chosen.omit(row, "no two given answers"),
            }
        }
        given
    }

    /// The rows with the policy's own answer.
    fn answered(
        &self,
        pool: &Examples,
        given: Vec<(usize, [String; 2])>,
        chosen: &TrainingSet,
    ) -> Result<Vec<Asked>, Error> {
        let rows: Vec<usize> = given.iter().map(|(row, _)| *row).collect();
        let sampling = Sampling {
            temperature: Some(self.0.temperature),
            max_tokens: (0 < self.0.max_tokens).then_some(self.0.max_tokens),
            ..Sampling::greedy()
        };
        let answers = Model::open(POLICY)?.generate(&Prompts::new().rows(pool, &rows), &sampling)?;
        let mut asked = Vec::new();
        for (((row, [better, worse]), own), is_finished) in
            given.into_iter().zip(answers.texts()).zip(answers.finished())
        {
            if own.trim().is_empty() {
                chosen.omit(row, "the own answer is empty");
            } else if self.0.unfinished == Unfinished::Drop && !is_finished {
                chosen.omit(row, "the own answer was cut at the length limit");
            } else {
                asked.push(Asked { row, answers: [better, own, worse], wins: Wins::default() });
            }
        }
        Ok(asked)
    }

    /// Compares all pairs of all rows, in one call. Equal texts tie and are not asked about.
    fn rank(&self, pool: &Examples, asked: &mut [Asked]) -> Result<(), Error> {
        let orders: &[bool] = match self.0.orders {
            Orders::One => &[false],
            Orders::Both => &[false, true],
        };
        let mut places = Vec::new();
        let (mut rows, mut first, mut second) = (Vec::new(), Vec::new(), Vec::new());
        for (at, Asked { row, answers, wins }) in asked.iter_mut().enumerate() {
            for pair in PAIRS {
                for is_turned in orders {
                    let [one, other] = if *is_turned { [pair[1], pair[0]] } else { pair };
                    if answers[one] == answers[other] {
                        wins.count([one, other], 0.5);
                        continue;
                    }
                    places.push((at, [one, other]));
                    rows.push(*row);
                    first.push(answers[one].clone());
                    second.push(answers[other].clone());
                }
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let verdicts = judging::compare(pool, &rows, &first, &second)?;
        let (count, mut ties) = (verdicts.len(), 0_u32);
        for ((at, pair), verdict) in places.into_iter().zip(verdicts) {
            let score = match verdict {
                Verdict::Right => 1.0,
                Verdict::Wrong => 0.0,
                Verdict::Partly(score) => f64::from(score),
                Verdict::Undecided(_) => 0.5,
            };
            ties += u32::from((score - 0.5).abs() < f64::EPSILON);
            asked[at].wins.count(pair, score);
        }
        log::metric("tie-share", f64::from(ties) / count as f64);
        Ok(())
    }
}

tunesmith_sdk::export!(Selm: curate);

#[cfg(test)]
mod tests;

//! SSR: trains on the model's own answer where the judge accepts it, else on the gold answer. S3FT without rewordings.

// The rules and the calls are those of S3FT, from the same files: a component can link only one plugin's exports.
#[path = "../../s3ft/src/attempt.rs"]
pub mod attempt;
#[path = "../../s3ft/src/math.rs"]
pub mod math;

use serde::Deserialize;
use tunesmith_sdk::{Curate, Error, Examples, Plugin, Prompts, TrainingSet, log};

use attempt::{Rules, attempt, choose, diagnose, gold_targets};
use math::{Source, rate, rates_by_class};

/// The settings, as `plugin.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    temperature: f32,
    max_tokens: u32,
    accept_at: f32,
    unfinished_is_wrong: bool,
    class_column: String,
    diagnose: bool,
}

/// The plugin.
pub struct Ssr {
    settings: Settings,
}

impl Plugin for Ssr {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        Ok(Self { settings })
    }
}

impl Curate for Ssr {
    fn curate(&self, pool: &Examples, chosen: &TrainingSet) -> Result<(), Error> {
        let rules = Rules {
            temperature: self.settings.temperature,
            max_tokens: self.settings.max_tokens,
            accept_at: self.settings.accept_at,
            unfinished_is_wrong: self.settings.unfinished_is_wrong,
        };
        let mut targets = gold_targets(pool, chosen);
        let rows: Vec<usize> = targets.iter().map(|target| target.row).collect();
        let answers = attempt(pool, &rows, &Prompts::new().rows(pool, &rows), rules)?;
        let accepted: Vec<bool> = answers.iter().map(Option::is_some).collect();
        for (target, answer) in targets.iter_mut().zip(answers) {
            chosen.note(target.row, "accepted-self", f64::from(u8::from(answer.is_some())));
            if let Some(text) = answer {
                (target.text, target.source) = (text, Source::Own);
            }
        }
        self.report(pool, &rows, &accepted);
        choose(chosen, &targets);
        if self.settings.diagnose { diagnose(pool, chosen, &targets) } else { Ok(()) }
    }
}

impl Ssr {
    /// The accept rate, over all rows and by class: a judge that accepts "I don't know" everywhere shows here.
    fn report(&self, pool: &Examples, rows: &[usize], accepted: &[bool]) {
        if rows.is_empty() {
            return;
        }
        let count = accepted.iter().filter(|is_accepted| **is_accepted).count();
        log::metric("accept-rate-self", rate(count, rows.len()));
        if self.settings.class_column.is_empty() {
            return;
        }
        let classes = pool.column(&self.settings.class_column);
        let by_row = rows.iter().zip(accepted);
        let by_class = by_row.filter_map(|(&row, &is_accepted)| Some((classes.get(row)?.as_deref()?, is_accepted)));
        for (class, rate) in rates_by_class(by_class) {
            log::metric(&format!("accept-rate-self-{class}"), rate);
        }
    }
}

tunesmith_sdk::export!(Ssr: curate);

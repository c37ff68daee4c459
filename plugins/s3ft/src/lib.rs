//! S3FT: trains on the model's own answer where the judge accepts it, else on its rewording of the gold answer, else on the gold answer.

pub mod attempt;
pub mod math;

use serde::Deserialize;
use tunesmith_sdk::{Curate, Error, Examples, Plugin, Prompts, TrainingSet, log};

use attempt::{Rules, Target, attempt, choose, gold_targets};
use math::{Source, fill, rate};

/// The settings, as `plugin.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    temperature: f32,
    max_tokens: u32,
    paraphrase: bool,
    rewrite_prompt: String,
    accept_at: f32,
    unfinished_is_wrong: bool,
}

/// The plugin.
pub struct S3ft {
    settings: Settings,
    rules: Rules,
}

impl Plugin for S3ft {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        if settings.paraphrase && !settings.rewrite_prompt.contains("{gold}") {
            return Err(Error::bad_settings(
                "`rewrite-prompt` does not show the model the gold answer: `{gold}` is missing",
            ));
        }
        let rules = Rules {
            temperature: settings.temperature,
            max_tokens: settings.max_tokens,
            accept_at: settings.accept_at,
            unfinished_is_wrong: settings.unfinished_is_wrong,
        };
        Ok(Self { settings, rules })
    }
}

impl Curate for S3ft {
    fn curate(&self, pool: &Examples, chosen: &TrainingSet) -> Result<(), Error> {
        let mut targets = gold_targets(pool, chosen);
        self.try_own(pool, chosen, &mut targets)?;
        if self.settings.paraphrase {
            self.try_rewording(pool, chosen, &mut targets)?;
        }
        choose(chosen, &targets);
        Ok(())
    }
}

impl S3ft {
    /// Steps 1 and 2: the model's own answers.
    fn try_own(&self, pool: &Examples, chosen: &TrainingSet, targets: &mut [Target]) -> Result<(), Error> {
        let rows: Vec<usize> = targets.iter().map(|target| target.row).collect();
        let answers = attempt(pool, &rows, &Prompts::new().rows(pool, &rows), self.rules)?;
        settle(chosen, targets.iter_mut(), answers, Source::Own);
        Ok(())
    }

    /// Steps 3 and 4: rewordings of the gold answer, where the own answer was not accepted.
    fn try_rewording(&self, pool: &Examples, chosen: &TrainingSet, targets: &mut [Target]) -> Result<(), Error> {
        let prompts = pool.prompts();
        let open: Vec<&mut Target> = targets.iter_mut().filter(|target| target.source == Source::Gold).collect();
        let rows: Vec<usize> = open.iter().map(|target| target.row).collect();
        let requests: Vec<String> =
            open.iter().map(|target| fill(&self.settings.rewrite_prompt, &prompts[target.row], &target.text)).collect();
        let answers = attempt(pool, &rows, &Prompts::new().users(&requests), self.rules)?;
        settle(chosen, open.into_iter(), answers, Source::Paraphrase);
        Ok(())
    }
}

/// Puts accepted answers in place of the gold ones, and reports how many there were.
fn settle<'a>(
    chosen: &TrainingSet,
    targets: impl Iterator<Item = &'a mut Target>,
    answers: Vec<Option<String>>,
    source: Source,
) {
    let word = source.provenance();
    let asked = answers.len();
    let mut accepted = 0;
    for (target, answer) in targets.zip(answers) {
        chosen.note(target.row, &format!("accepted-{word}"), f64::from(u8::from(answer.is_some())));
        if let Some(text) = answer {
            (target.text, target.source) = (text, source);
            accepted += 1;
        }
    }
    if 0 < asked {
        log::metric(&format!("accept-rate-{word}"), rate(accepted, asked));
    }
}

tunesmith_sdk::export!(S3ft: curate);

#[cfg(test)]
mod tests;

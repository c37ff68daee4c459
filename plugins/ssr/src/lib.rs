//! SSR: trains on the model's own answer where the judge accepts it, else on the gold answer. S3FT without rewordings.

// The rules and the calls are those of S3FT, from the same files: a component can link only one plugin's exports.
#[path = "../../s3ft/src/attempt.rs"]
pub mod attempt;
#[path = "../../s3ft/src/math.rs"]
pub mod math;

use serde::Deserialize;
use tunesmith_sdk::{Curate, Error, Examples, Plugin, Prompts, TrainingSet, log};

use attempt::{Rules, attempt, choose, gold_targets};
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
        Ok(())
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

#[cfg(test)]
mod tests {
    use tunesmith_sdk::Verdict;
    use tunesmith_sdk_test::{Choice, PretendHost, PretendModel, Row, check_manifest};

    use super::*;

    const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml");

    /// A model that always answers `1`, and a judge that compares with the gold answer.
    fn host() -> PretendHost {
        PretendHost::of(MANIFEST)
            .model("reference", PretendModel::saying(|_, _| "1".into()))
            .judging(|case| Verdict::from(case.reference.as_ref() == Some(&case.answer)))
    }

    fn row(gold: &str, class: &str) -> Row {
        Row::new("q").completion(gold).column("answerable", class)
    }

    #[test]
    fn the_manifest_says_what_the_code_does() {
        check_manifest::<Ssr>(MANIFEST);
    }

    #[test]
    fn accepted_answers_replace_gold() {
        let host = host();
        let curated = host.curate::<Ssr>(&[row("1", "yes"), row("2", "yes")]).expect("nothing is missing");
        let expected = [
            Choice::Replace { row: 0, completion: "1".into(), provenance: "self".into() },
            Choice::Keep { row: 1, provenance: "gold".into() },
        ];
        assert_eq!(curated.choices, expected);
        assert_eq!(host.report().metric("accept-rate-self"), Some(0.5));
    }

    #[test]
    fn without_accepted_answers_the_set_is_the_data_as_it_is() {
        let rows: Vec<Row> = (2..9).map(|gold| row(&gold.to_string(), "yes")).collect();
        let curated = host().curate::<Ssr>(&rows).expect("nothing is missing");
        let plain: Vec<Choice> = (0..7).map(|row| Choice::Keep { row, provenance: "gold".into() }).collect();
        assert_eq!(curated.choices, plain);
    }

    #[test]
    fn accept_rates_are_told_by_class() {
        let host = host().setting("class-column", "answerable");
        host.curate::<Ssr>(&[row("1", "yes"), row("2", "yes"), row("1", "no")]).expect("nothing is missing");
        assert_eq!(host.report().metric("accept-rate-self-yes"), Some(0.5));
        assert_eq!(host.report().metric("accept-rate-self-no"), Some(1.0));
    }
}

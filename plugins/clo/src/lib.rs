//! Cross-lingual optimization: answers in the language of the prompt are preferred to their translations, and the target language is fine-tuned on.

pub mod math;
pub mod records;
#[path = "../../grape/src/template.rs"]
pub mod template;

use std::collections::BTreeMap;

use serde::Deserialize;
use tunesmith_sdk::{Batch, Curate, Error, Evaluation, Examples, Measure, Objective, Plugin, Tensor, TrainingSet, log};

use math::{Characters, language};
use records::{Records, Translator};

/// The role of a chosen answer in the source language.
const SOURCE: &str = "source";
/// The role of a chosen answer in the target language.
const TARGET: &str = "target";
/// The role of the same answer in the other language.
const REJECTED: &str = "rejected";

/// The settings, as `plugin.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    target_prompt: String,
    target_answer: String,
    translator: String,
    translate_prompt: String,
    max_tokens: u32,
    records: Records,
    lambda: f32,
    beta: f32,
    language: String,
    language_column: String,
    languages: BTreeMap<String, String>,
}

/// The plugin.
pub struct Clo {
    settings: Settings,
    translator: Option<Translator>,
    languages: BTreeMap<String, Characters>,
}

impl Plugin for Clo {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        if !settings.translate_prompt.contains("{text}") {
            return Err(Error::bad_settings("`translate-prompt` lacks `{text}`"));
        }
        let parse = |(name, text): (&String, &String)| match Characters::parse(text) {
            Some(characters) => Ok((name.clone(), characters)),
            None => Err(Error::bad_settings(format!("`languages.{name}` has a range that runs backwards"))),
        };
        let languages: BTreeMap<_, _> = settings.languages.iter().map(parse).collect::<Result<_, _>>()?;
        if !settings.language.is_empty() && !languages.contains_key(&settings.language) {
            return Err(Error::bad_settings("`language` is none of `languages`"));
        }
        let translator = (!settings.translator.is_empty()).then(|| Translator {
            model: settings.translator.clone(),
            prompt: settings.translate_prompt.clone(),
            max_tokens: settings.max_tokens,
        });
        Ok(Self { settings, translator, languages })
    }
}

impl Curate for Clo {
    fn curate(&self, pool: &Examples, chosen: &TrainingSet) -> Result<(), Error> {
        let prompts = pool.column(&self.settings.target_prompt);
        let answers = pool.column(&self.settings.target_answer);
        let pairs = records::collect(pool, prompts, answers, self.translator.as_ref())?;
        let all = pairs.len();
        let kept = pairs.iter().filter(|pair| pair.tell(chosen, self.settings.records)).count();
        if 0 < all {
            log::metric("kept-share", kept as f64 / all as f64);
        }
        Ok(())
    }
}

/// The preferences of a batch, as rows of it.
#[derive(Default)]
struct Pairs {
    chosen: Vec<i32>,
    rejected: Vec<i32>,
    /// Chosen rows in the target language.
    target: Vec<i32>,
}

impl Objective for Clo {
    fn objective(&self, batch: &Batch) -> Result<Tensor, Error> {
        let Settings { lambda, beta, .. } = self.settings;
        let pairs = pairs(&batch.groups().read_ints(), &batch.roles())?;
        let count = pairs.chosen.len();
        let (mask, policy) = (batch.mask(), batch.token_logprobs("policy")?);
        let ratios = (&policy - &batch.token_logprobs("reference")?).sum_dim(1);
        let margins = (rows(&ratios, &pairs.chosen) - rows(&ratios, &pairs.rejected)).reshape(&[count]) * beta;
        // -log sigmoid(m) is softplus(-m).
        let preference = (-&margins).softplus().sum() / count as f32;
        let read = margins.detach().read();
        log::metric("reward-margin", read.iter().map(|margin| f64::from(*margin)).sum::<f64>() / count as f64);
        log::metric("reward-accuracy", read.iter().filter(|margin| 0.0 < **margin).count() as f64 / count as f64);
        let mut loss = preference * (1.0 - lambda);
        if !pairs.target.is_empty() {
            let nll = -rows(&policy, &pairs.target).sum() / rows(&mask, &pairs.target).sum();
            log::metric("target-nll", f64::from(nll.detach().item()));
            loss = loss + nll * lambda;
        }
        log::metric("target-share", pairs.target.len() as f64 / count as f64);
        Ok(loss * (count as f32 / batch.total_groups().max(1) as f32))
    }
}

/// The rows of a tensor.
fn rows(tensor: &Tensor, rows: &[i32]) -> Tensor {
    tensor.index_select(0, &Tensor::from_ints(rows, &[rows.len()]))
}

/// The preferences of a batch.
fn pairs(numbers: &[i32], roles: &[String]) -> Result<Pairs, Error> {
    let mut pairs = Pairs::default();
    let places: Vec<usize> = (0..numbers.len()).collect();
    for group in places.chunk_by(|one, other| numbers[*one] == numbers[*other]) {
        let [(chosen, SOURCE | TARGET), (rejected, REJECTED)] =
            group.iter().map(|row| (*row as i32, roles[*row].as_str())).collect::<Vec<_>>()[..]
        else {
            let number = numbers[group[0]];
            return Err(Error::unsupported(format!(
                "group {number} of the batch is no pair of languages; take `clo` in `[curate]` too"
            )));
        };
        pairs.chosen.push(chosen);
        pairs.rejected.push(rejected);
        if roles[group[0]] == TARGET {
            pairs.target.push(chosen);
        }
    }
    Ok(pairs)
}

impl Measure for Clo {
    fn measure(&self, evaluation: &Evaluation) -> Result<Vec<(String, f64)>, Error> {
        let answers = evaluation.answers();
        let asked = match self.settings.language_column.as_str() {
            "" => vec![Some(self.settings.language.clone()); answers.len()],
            name => evaluation.column(name),
        };
        let (mut right, mut unknown, mut all) = (0_usize, 0_usize, 0_usize);
        for (row, (answer, asked)) in answers.iter().zip(asked).enumerate() {
            let Some(asked) = asked.filter(|name| self.languages.contains_key(name)) else {
                log::skip(row, "no language that is one of `languages`");
                continue;
            };
            let found = language(answer, &self.languages);
            all += 1;
            right += usize::from(found == Some(asked.as_str()));
            unknown += usize::from(found.is_none());
        }
        if all == 0 {
            return Err(Error::unsupported("no row says which language is asked for"));
        }
        let share = |count: usize| count as f64 / all as f64;
        Ok(vec![("language-rate".into(), share(right)), ("unknown-language".into(), share(unknown))])
    }
}

tunesmith_sdk::export!(Clo: curate, objective, measure);

#[cfg(test)]
mod tests;

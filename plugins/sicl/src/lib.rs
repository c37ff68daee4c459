//! SICL: classifies with one model under several templates and draws of demonstrations, combines what it says, and measures the result.

pub mod draw;
pub mod math;
pub mod metrics;
pub mod prompts;
#[cfg(test)]
mod reference;
mod scores;
pub mod template;

use serde::Deserialize;
use serde_json::{Map, Value};
use tunesmith_sdk::{Answer, Curate, Error, Evaluation, Examples, Measure, Plugin, TrainingSet, log, random};

use draw::Retrieval;
use math::{Combine, argmax, combine};
use metrics::Metrics;
use prompts::{Shown, Style};
use template::Template;

/// Rows of which no two variants disagree before that is told.
const AGREEING: usize = 16;
/// The provenance of rows with demonstrations.
const PROVENANCE: &str = "demonstrations";
/// Why a row is left out.
const NO_LABEL: &str = "no label that is one of `labels`";

/// The settings, as `plugin.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    labels: Vec<String>,
    label_column: String,
    templates: Vec<String>,
    joiner: String,
    separator: String,
    count: usize,
    draws: usize,
    demonstrations: Vec<Map<String, Value>>,
    demonstrations_column: String,
    retrieval: Retrieval,
    combine: Combine,
    calibration: Calibration,
    bins: usize,
    seed: u64,
    system: String,
    copies: usize,
}

/// What is done to scores before they become probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Calibration {
    /// Nothing.
    None,
    /// They are standardised over the rows of the call.
    Batch,
}

/// The plugin.
pub struct Sicl {
    style: Style,
    label_column: String,
    demonstrations: Vec<Shown>,
    demonstrations_column: String,
    draws: usize,
    seed: u64,
    combine: Combine,
    calibration: Calibration,
    bins: usize,
    copies: usize,
}

impl Plugin for Sicl {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        let templates: Vec<Template> = settings.templates.iter().map(|text| Template::parse(text)).collect();
        if let Some(at) = templates.iter().position(|template| template.fields().next().is_none()) {
            let what = format!("template {at} shows nothing of a row: it has no `{{prompt}}` and no other place");
            return Err(Error::bad_settings(what));
        }
        let style = Style {
            labels: settings.labels,
            templates,
            joiner: settings.joiner,
            separator: settings.separator,
            count: settings.count,
            retrieval: settings.retrieval,
            system: settings.system,
        };
        let read = |(at, object): (usize, &Map<String, Value>)| {
            style.demonstration(object, &format!("entry {at} of `demonstrations`")).map_err(Error::bad_settings)
        };
        let demonstrations = settings.demonstrations.iter().enumerate().map(read).collect::<Result<_, _>>()?;
        Ok(Self {
            style,
            label_column: settings.label_column,
            demonstrations,
            demonstrations_column: settings.demonstrations_column,
            draws: settings.draws.max(1),
            seed: settings.seed,
            combine: settings.combine,
            calibration: settings.calibration,
            bins: settings.bins,
            copies: settings.copies.max(1),
        })
    }
}

/// What is needed of the rows of a call.
struct Rows {
    shown: Vec<Shown>,
    /// What a row's demonstrations are drawn from, where it has a list of its own.
    own: Vec<Option<Vec<Shown>>>,
}

/// Reads a column of the rows of a call.
type Column<'a> = &'a dyn Fn(&str) -> Vec<Option<String>>;

impl Sicl {
    /// The texts of the rows' labels.
    fn labels(&self, completions: Vec<Option<String>>, column: Column<'_>) -> Vec<Option<String>> {
        if self.label_column.is_empty() { completions } else { column(&self.label_column) }
    }

    fn rows(&self, prompts: Vec<String>, labels: &[Option<String>], column: Column<'_>) -> Result<Rows, Error> {
        let columns = self.style.columns().into_iter().map(column).collect();
        let shown = self.style.rows(prompts, columns, labels);
        let own = match self.demonstrations_column.as_str() {
            "" => vec![None; shown.len()],
            name => self.lists(&column(name))?,
        };
        Ok(Rows { shown, own })
    }

    /// The rows' own lists of demonstrations.
    fn lists(&self, cells: &[Option<String>]) -> Result<Vec<Option<Vec<Shown>>>, Error> {
        let name = &self.demonstrations_column;
        let list = |(row, cell): (usize, &Option<String>)| {
            let Some(cell) = cell else { return Ok(None) };
            let objects: Vec<Map<String, Value>> = serde_json::from_str(cell).map_err(|error| {
                Error::unsupported(format!("column `{name}` of row {row} is no list of objects: {error}"))
            })?;
            let read = |(at, object): (usize, &Map<String, Value>)| {
                let place = format!("entry {at} of column `{name}` of row {row}");
                self.style.demonstration(object, &place).map_err(Error::unsupported)
            };
            objects.iter().enumerate().map(read).collect::<Result<_, _>>().map(Some)
        };
        cells.iter().enumerate().map(list).collect()
    }

    /// The classes' probabilities: by row, by variant.
    fn probabilities(&self, rows: &Rows) -> Result<Vec<Vec<Vec<f64>>>, Error> {
        let variants = |(shown, own): (&Shown, &Option<Vec<Shown>>)| {
            let pool = own.as_deref().unwrap_or(&self.demonstrations);
            self.style.variants(shown, pool, self.draws, self.seed)
        };
        let prompts = rows.shown.iter().zip(&rows.own).map(variants).collect::<Result<Vec<_>, _>>()?;
        scores::probabilities(&self.style, &prompts, self.calibration)
    }
}

impl Answer for Sicl {
    fn answer(&self, examples: &Examples) -> Result<Vec<String>, Error> {
        let unknown = vec![None; examples.len()];
        let rows = self.rows(examples.prompts(), &unknown, &|name| examples.column(name))?;
        let probabilities = self.probabilities(&rows)?;
        let answer = |variants: &Vec<Vec<f64>>| self.style.labels[argmax(&combine(self.combine, variants))].clone();
        let answers = probabilities.iter().map(answer).collect();
        report_disagreement(&probabilities);
        Ok(answers)
    }
}

impl Measure for Sicl {
    fn measure(&self, evaluation: &Evaluation) -> Result<Vec<(String, f64)>, Error> {
        let column = |name: &str| evaluation.column(name);
        let labels = self.labels(evaluation.references(), &column);
        let rows = self.rows(evaluation.prompts(), &labels, &column)?;
        let mut golds = Vec::new();
        let mut labelled = Vec::new();
        for (row, (shown, variants)) in rows.shown.iter().zip(self.probabilities(&rows)?).enumerate() {
            match shown.label {
                Some(label) => {
                    golds.push(label);
                    labelled.push(variants);
                }
                None => log::skip(row, NO_LABEL),
            }
        }
        measured(&labelled, &golds, self.combine, self.bins).ok_or_else(|| {
            let (name, labels) = (evaluation.name(), self.style.labels.join(", "));
            Error::unsupported(format!("no row of `{name}` has one of the labels {labels}; is `label-column` right?"))
        })
    }
}

impl Curate for Sicl {
    fn curate(&self, pool: &Examples, chosen: &TrainingSet) -> Result<(), Error> {
        let column = |name: &str| pool.column(name);
        let labels = self.labels(pool.completions(), &column);
        let rows = self.rows(pool.prompts(), &labels, &column)?;
        let others = if self.demonstrations.is_empty() { &rows.shown } else { &self.demonstrations };
        let mut numbers = random::integers(2 * self.copies * rows.shown.len()).into_iter();
        let templates = &self.style.templates;
        for (row, (shown, own)) in rows.shown.iter().zip(&rows.own).enumerate() {
            let Some(label) = shown.label else {
                chosen.omit(row, NO_LABEL);
                continue;
            };
            let mut why = "trained on with demonstrations";
            for _ in 0..self.copies {
                let (first, second) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
                // The bias of the remainder is below templates / 2^64.
                let template = &templates[(first % templates.len() as u64) as usize];
                let drawn = self.style.drawn(own.as_deref().unwrap_or(others), shown, second);
                if drawn.is_empty() && self.style.count != 0 {
                    why = "no demonstration to show with it";
                    break;
                }
                let prompt = self.style.prompt(template, &drawn, shown)?;
                chosen.add(&prompt, &self.style.labels[label], PROVENANCE, Some(row));
            }
            chosen.omit(row, why);
        }
        Ok(())
    }
}

/// All metrics of rows of variants: those of the chosen combination, and the main ones of each combination and of a single variant, which
/// are means over the variants. None of no rows.
fn measured(rows: &[Vec<Vec<f64>>], golds: &[usize], chosen: Combine, bins: usize) -> Option<Vec<(String, f64)>> {
    let metrics = |how: Combine| {
        let combined: Vec<Vec<f64>> = rows.iter().map(|variants| combine(how, variants)).collect();
        Metrics::of(&combined, golds, bins)
    };
    let variants = 0..rows.first().map_or(0, Vec::len);
    let single = variants.map(|variant| {
        let alone: Vec<Vec<f64>> = rows.iter().map(|row| row[variant].clone()).collect();
        Metrics::of(&alone, golds, bins)
    });
    let single = Metrics::mean_of(&single.collect::<Option<Vec<Metrics>>>()?)?;
    let mut named: Vec<(String, f64)> =
        metrics(chosen)?.named().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let each = [
        ("single", single),
        ("mean", metrics(Combine::Mean)?),
        ("max", metrics(Combine::Max)?),
        ("majority", metrics(Combine::Majority)?),
    ];
    for (how, metrics) in each {
        named.extend(metrics.named().into_iter().map(|(name, value)| (format!("{name}-{how}"), value)));
    }
    named.push(("disagreement".into(), report_disagreement(rows)?));
    if chosen == Combine::Max && single.confidence < single.accuracy {
        log::warn("single variants are less confident than right, and `max` makes confidence lower still: try `mean`");
    }
    Some(named)
}

/// The share of rows of whose variants two disagree; none of no rows. Where all agree, that is told: an ensemble needs disagreement.
fn report_disagreement(rows: &[Vec<Vec<f64>>]) -> Option<f64> {
    let first = rows.first()?;
    let disagree = |variants: &&Vec<Vec<f64>>| variants.iter().any(|p| argmax(p) != argmax(&variants[0]));
    let share = rows.iter().filter(disagree).count() as f64 / rows.len() as f64;
    log::metric("disagreement", share);
    if AGREEING <= rows.len() && share == 0.0 && 1 < first.len() {
        log::warn("no two variants disagree about any row of this call: more different templates would tell more");
    }
    Some(share)
}

tunesmith_sdk::export!(Sicl: curate, measure, answer);

#[cfg(test)]
mod tests;

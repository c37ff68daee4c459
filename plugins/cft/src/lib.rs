//! CFT: trains on a critique of a possibly wrong solution in place of the solution.

pub mod critiques;
pub mod math;
#[path = "../../grape/src/template.rs"]
pub mod template;

use serde::Deserialize;
use tunesmith_sdk::{Curate, Error, Examples, Plugin, TrainingSet, log};

use critiques::{Asked, Teacher, collect};
use math::{Critique, Label, REFUSED, Rules, Strip, share};
use template::fill;

/// How many critiques with one and the same conclusion are too many to be chance.
const ONE_SIDED: usize = 16;

/// The settings, as `plugin.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    solution_column: String,
    critique_column: String,
    teacher: String,
    teacher_prompt: String,
    temperature: f32,
    top_p: f32,
    max_tokens: u32,
    critique_prompt: String,
    conclusion: String,
    right: String,
    wrong: String,
    end_marker: String,
    strip_marker: Strip,
    unlabelled: Unlabelled,
    refusals: Vec<String>,
    longest: usize,
    target: Target,
}

/// What happens to a critique without a conclusion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unlabelled {
    /// It is left out.
    Drop,
    /// It is trained on.
    Keep,
}

/// What is trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The critique: the method.
    Critique,
    /// The solution as it is: the control.
    Solution,
}

/// The plugin.
pub struct Cft {
    solution_column: String,
    critique_column: String,
    critique_prompt: String,
    teacher: Option<Teacher>,
    rules: Rules,
    target: Target,
}

impl Plugin for Cft {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        let prompts = [("critique-prompt", &settings.critique_prompt), ("teacher-prompt", &settings.teacher_prompt)];
        for (name, template) in prompts {
            for mark in ["{prompt}", "{solution}"] {
                if !template.contains(mark) {
                    return Err(Error::bad_settings(format!("`{name}` lacks `{mark}`")));
                }
            }
        }
        if settings.right.eq_ignore_ascii_case(&settings.wrong) {
            return Err(Error::bad_settings("`right` and `wrong` are the same"));
        }
        if settings.critique_column.is_empty() && settings.teacher.is_empty() {
            return Err(Error::bad_settings("there are no critiques: set `critique-column` or `teacher`"));
        }
        // Whatever comes after the end marker would be taken off.
        let can_stop = settings.strip_marker != Strip::None && !settings.end_marker.is_empty();
        let teacher = (!settings.teacher.is_empty()).then_some(Teacher {
            model: settings.teacher,
            prompt: settings.teacher_prompt,
            temperature: settings.temperature,
            top_p: settings.top_p,
            max_tokens: settings.max_tokens,
            stop: can_stop.then(|| settings.end_marker.clone()).into_iter().collect(),
        });
        let rules = Rules {
            conclusion: settings.conclusion,
            right: settings.right,
            wrong: settings.wrong,
            end_marker: settings.end_marker,
            strip: settings.strip_marker,
            keeps_unlabelled: settings.unlabelled == Unlabelled::Keep,
            refusals: settings.refusals,
            longest: settings.longest,
        };
        Ok(Self {
            solution_column: settings.solution_column,
            critique_column: settings.critique_column,
            critique_prompt: settings.critique_prompt,
            teacher,
            rules,
            target: settings.target,
        })
    }
}

impl Curate for Cft {
    fn curate(&self, pool: &Examples, chosen: &TrainingSet) -> Result<(), Error> {
        let mut tally = Tally::default();
        for asked in self.critiques(pool, chosen)? {
            tally.all += 1;
            let prompt = self.prompt(&asked);
            let read = asked.critique.as_ref().map_err(|why| *why);
            let read = read.and_then(|text| self.rules.read(text, prompt.chars().count()));
            match read {
                Ok(critique) => {
                    tally.count(&critique);
                    self.train_on(chosen, &asked, &prompt, &critique);
                }
                Err(why) => {
                    tally.refused += usize::from(why == REFUSED);
                    chosen.omit(asked.row, why);
                }
            }
        }
        tally.report();
        Ok(())
    }
}

impl Cft {
    /// Every row that has a solution and may have a critique; the others are left out.
    fn critiques(&self, pool: &Examples, chosen: &TrainingSet) -> Result<Vec<Asked>, Error> {
        let solutions = match self.solution_column.as_str() {
            "" => pool.completions(),
            column => pool.column(column),
        };
        let stored = match self.critique_column.as_str() {
            "" => vec![None; pool.len()],
            column => pool.column(column),
        };
        let (named, known) = ([&self.solution_column, &self.critique_column], pool.columns());
        for column in named.into_iter().filter(|column| !column.is_empty() && !known.contains(column)) {
            if self.teacher.is_none() || *column == self.solution_column {
                log::warn(&format!("no row has the column `{column}`; there are {}", known.join(", ")));
            }
        }
        let mut rows = Vec::new();
        for (row, ((solution, stored), question)) in solutions.into_iter().zip(stored).zip(pool.prompts()).enumerate() {
            match solution.filter(|text| !text.trim().is_empty()) {
                Some(solution) => rows.push((row, question, solution, stored)),
                None => chosen.omit(row, "no solution"),
            }
        }
        collect(rows, self.teacher.as_ref())
    }

    fn prompt(&self, asked: &Asked) -> String {
        fill(&self.critique_prompt, &[("{prompt}", &asked.question), ("{solution}", &asked.solution)])
    }

    /// The row itself has another prompt than what is trained on, so it is left out and a new one is added in its place.
    fn train_on(&self, chosen: &TrainingSet, asked: &Asked, prompt: &str, critique: &Critique) {
        let row = asked.row;
        if let Some(label) = critique.label {
            chosen.note(row, "is-right", f64::from(u8::from(label == Label::Right)));
        }
        match self.target {
            Target::Critique => {
                let provenance = if asked.is_from_teacher { "synthetic" } else { "critique" };
                chosen.omit(row, "trained on as a critique");
                chosen.add(prompt, &critique.text, provenance, Some(row));
            }
            Target::Solution if self.solution_column.is_empty() => chosen.keep(row, "solution"),
            Target::Solution => chosen.replace(row, &asked.solution, "solution"),
        }
    }
}

/// Counts over the rows of a call.
#[derive(Default)]
struct Tally {
    all: usize,
    kept: usize,
    right: usize,
    wrong: usize,
    refused: usize,
}

impl Tally {
    fn count(&mut self, critique: &Critique) {
        self.kept += 1;
        self.right += usize::from(critique.label == Some(Label::Right));
        self.wrong += usize::from(critique.label == Some(Label::Wrong));
    }

    fn report(&self) {
        let labelled = self.right + self.wrong;
        for (name, value) in [
            ("share-kept", share(self.kept, self.all)),
            ("share-refused", share(self.refused, self.all)),
            ("share-labelled", share(labelled, self.kept)),
            ("share-right", share(self.right, labelled)),
        ] {
            if let Some(value) = value {
                log::metric(name, value);
            }
        }
        if ONE_SIDED <= labelled && (self.right == 0 || self.wrong == 0) {
            let word = if self.wrong == 0 { "right" } else { "wrong" };
            log::warn(&format!(
                "every critique of this call says `{word}`: a model trained on them will always say so"
            ));
        }
    }
}

tunesmith_sdk::export!(Cft: curate);

#[cfg(test)]
mod tests;

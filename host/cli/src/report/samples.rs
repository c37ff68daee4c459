//! Answers to the evaluation sets, before training and after it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::html::Html;

/// Rows of a set that are shown; numbers are taken from all.
const MOST_ROWS: usize = 60;
/// Characters of a text that are shown.
const MOST_CHARACTERS: usize = 4_000;

/// A line of `samples.jsonl`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Sample {
    step: u32,
    set: String,
    id: u64,
    prompt: String,
    reference: Option<String>,
    answer: String,
    #[serde(default)]
    is_finished: bool,
    #[serde(default)]
    statistics: BTreeMap<String, Option<f64>>,
}

/// The samples of a run: those before training, and the last ones.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    sets: BTreeMap<String, Set>,
}

#[derive(Debug, Default)]
struct Set {
    /// The step of the last samples; 0 as long as there are only those before training.
    last: u32,
    rows: BTreeMap<u64, Row>,
    /// The host's numbers about answers, by name: before training, and the last ones.
    statistics: BTreeMap<String, [Vec<f64>; 2]>,
}

#[derive(Debug, Default)]
struct Row {
    prompt: String,
    reference: Option<String>,
    before: Option<Answer>,
    after: Option<Answer>,
}

#[derive(Debug, Clone, PartialEq)]
struct Answer {
    text: String,
    is_finished: bool,
}

impl Samples {
    /// Takes a line of `samples.jsonl`.
    pub(crate) fn add(&mut self, sample: Sample) {
        let set = self.sets.entry(sample.set).or_default();
        let is_after = sample.step > 0;
        if sample.step > set.last {
            set.last = sample.step;
            set.rows.values_mut().for_each(|row| row.after = None);
            set.statistics.values_mut().for_each(|numbers| numbers[1].clear());
        }
        if is_after && sample.step < set.last {
            return;
        }
        for (name, value) in sample.statistics {
            set.statistics.entry(name).or_default()[usize::from(is_after)].extend(value);
        }
        if set.rows.len() >= MOST_ROWS && !set.rows.contains_key(&sample.id) {
            return;
        }
        let row = set.rows.entry(sample.id).or_default();
        row.prompt = shortened(&sample.prompt);
        row.reference = sample.reference.as_deref().map(shortened);
        let answer = Some(Answer { text: shortened(&sample.answer), is_finished: sample.is_finished });
        if is_after { row.after = answer } else { row.before = answer }
    }

    /// The names of the sets.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.sets.keys().map(String::as_str)
    }

    /// The host's numbers about the answers to a set, by name: before training, and the last ones.
    pub(crate) fn statistics(&self, set: &str) -> impl Iterator<Item = (&str, &[Vec<f64>; 2])> {
        let statistics = self.sets.get(set).map(|set| &set.statistics);
        statistics.into_iter().flatten().map(|(name, numbers)| (name.as_str(), numbers))
    }

    /// The step of a set's last samples.
    pub(crate) fn last(&self, set: &str) -> u32 {
        self.sets.get(set).map_or(0, |set| set.last)
    }

    /// The answers to a set side by side, with those of another run after its training.
    pub(crate) fn shown(&self, set: &str, other: Option<(&str, &Samples)>) -> Html {
        let Some(rows) = self.sets.get(set).map(|set| &set.rows) else { return Html::default() };
        let row = |(id, row): (&u64, &Row)| {
            let head = Html::element("h4", &[], [Html::text(&format!("row {id}"))]);
            let mut columns = vec![column("prompt", Some(&row.prompt), true)];
            columns.extend(row.reference.as_deref().map(|text| column("reference", Some(text), true)));
            let answer = |name: &str, answer: Option<&Answer>| {
                column(name, answer.map(|answer| answer.text.as_str()), answer.is_none_or(|answer| answer.is_finished))
            };
            columns.push(answer("before", row.before.as_ref()));
            columns.push(answer("after", row.after.as_ref()));
            if let Some((name, other)) = other {
                let row =
                    other.sets.get(set).and_then(|set| set.rows.get(id)).filter(|other| other.prompt == row.prompt);
                columns.push(answer(&format!("after, {name}"), row.and_then(|row| row.after.as_ref())));
            }
            Html::element("div", &[("class", "sample")], [head, Html::element("div", &[("class", "columns")], columns)])
        };
        Html::all(rows.iter().map(row))
    }
}

fn column(name: &str, text: Option<&str>, is_finished: bool) -> Html {
    let mut content = vec![Html::of_text("h5", name)];
    content.push(match text {
        Some(text) => Html::of_text("pre", text),
        None => Html::element("p", &[("class", "none")], [Html::text("not there")]),
    });
    if !is_finished {
        content.push(Html::element("p", &[("class", "none")], [Html::text("cut at the length limit")]));
    }
    Html::element("div", &[], content)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST_CHARACTERS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{} ... ({} characters more)", &text[..end], text[end..].chars().count()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(step: u32, id: u64, answer: &str) -> Sample {
        let statistics = [("answer-tokens".to_owned(), Some(answer.len() as f64))].into();
        let (set, prompt) = ("s".to_owned(), format!("p{id}"));
        Sample { step, set, id, prompt, reference: None, answer: answer.into(), is_finished: step > 0, statistics }
    }

    #[test]
    fn the_first_and_the_last_answers_stand_side_by_side() {
        let mut samples = Samples::default();
        for sample in [sample(0, 1, "a"), sample(2, 1, "middle"), sample(4, 1, "last"), sample(2, 1, "old")] {
            samples.add(sample);
        }
        let shown = samples.shown("s", None);
        let markup = shown.markup();
        assert!(markup.contains("<pre>a</pre>") && markup.contains("cut at the length limit"), "{markup}");
        assert!(!markup.contains("middle"), "{markup}");
        assert_eq!(samples.last("s"), 4);
    }

    #[test]
    fn all_rows_count_and_some_are_shown() {
        let mut samples = Samples::default();
        (0..1000).for_each(|id| samples.add(sample(0, id, &"x".repeat(5_000))));
        let shown = samples.shown("s", None);
        assert_eq!(shown.markup().matches("class=\"sample\"").count(), MOST_ROWS);
        assert!(shown.markup().contains("(1000 characters more)"));
        assert_eq!(samples.statistics("s").next().map(|(_, numbers)| numbers[0].len()), Some(1000));
    }
}

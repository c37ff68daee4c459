//! The experiment of self-ensembling: three classes of six digits, half of whose labels are noise, under four templates that also rotate the
//! digits.
//!
//! The class says how many of the digits are large (5 to 9): `a` at most two, `b` three, `c` more. Rotating changes nothing of it.

use std::path::Path;

use serde_json::{Map, Value, json};
use tunesmith::{Options, evaluate};
use tunesmith_train::random::Random;

use crate::lab::{self, Arm, Outcome, SEED, Scale};
use crate::table::number;
use crate::task;

/// Digits of a row.
const DIGITS: usize = 6;
/// Rows that the arms are trained on.
const SHOTS: usize = 60;
/// Letters of the templates; the template of letter `k` rotates the digits by `k`.
const LETTERS: [char; 4] = ['p', 'q', 'r', 'x'];
/// The only template of plain fine-tuning.
const ONE: &str = "[\"p{prompt}\"]";

/// Fine-tuning with demonstrations and four templates, and plain fine-tuning with one template and none, with the same steps and batches.
pub fn arms() -> Vec<Arm> {
    let plain = [
        ("curate.settings.templates", ONE),
        ("curate.settings.count", "0"),
        ("curate.settings.copies", "1"),
        ("answer.settings.count", "0"),
        ("measure.settings.count", "0"),
    ];
    let plain = plain.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    vec![
        Arm { name: "sicl".into(), recipe: "sicl", set: Vec::new() },
        Arm { name: "sicl-sft".into(), recipe: "sicl", set: plain },
    ]
}

/// Writes what the base is trained on, the few rows of the arms, and held-out rows that carry those as demonstrations.
///
/// # Errors
///
/// Fails when a file cannot be written.
pub fn prepare(runs: &Path, scale: Scale) -> anyhow::Result<()> {
    let mut random = Random::named(SEED, "classes");
    let base = (0..scale.base).map(|_| {
        let (digits, label) = row(&mut random);
        // The bias of the remainder is below 2^-56 here.
        let kind = (random.bits() % 4) as usize;
        json!({ "prompt": format!("{}{}", LETTERS[kind], rotated(&digits, kind)), "completion": label })
    });
    task::write_lines(&lab::data(runs, "classes"), base)?;
    let mut random = Random::named(SEED, "classes-train");
    let shots: Vec<Value> = (0..SHOTS.min(scale.train)).map(|_| columns(&mut random)).collect();
    task::write_lines(&lab::data(runs, "classes-train"), shots.iter().cloned())?;
    let demonstration = |shot: &Value| {
        let mut fields = shot.as_object().cloned().unwrap_or_default();
        let label = fields.shift_remove("completion").unwrap_or_default();
        fields.insert("label".into(), label);
        Value::from(fields)
    };
    let shots: Vec<Value> = shots.iter().map(demonstration).collect();
    let mut random = Random::named(SEED, "classes-held-out");
    let held_out = (0..scale.eval).map(|_| {
        let mut row = columns(&mut random);
        row["shots"] = shots.clone().into();
        row
    });
    task::write_lines(&lab::data(runs, "classes-held-out"), held_out)
}

/// A row with its digits rotated by 0 (the prompt), 1, 2 and 3.
fn columns(random: &mut Random) -> Value {
    let (digits, label) = row(random);
    let mut row = Map::from_iter([("prompt".to_owned(), digits.clone().into())]);
    for by in 1..LETTERS.len() {
        row.insert(format!("r{by}"), rotated(&digits, by).into());
    }
    row.insert("completion".into(), label.into());
    row.into()
}

/// Digits, and their label, which in half of the cases is any of the three.
fn row(random: &mut Random) -> (String, &'static str) {
    let digits: String = (0..DIGITS).map(|_| char::from(b'0' + (random.bits() % 10) as u8)).collect();
    let label = match random.bits() % 6 {
        0 => "a",
        1 => "b",
        2 => "c",
        _ => class(&digits),
    };
    (digits, label)
}

fn class(digits: &str) -> &'static str {
    match digits.chars().filter(|digit| '5' <= *digit).count() {
        0..=2 => "a",
        3 => "b",
        _ => "c",
    }
}

fn rotated(digits: &str, by: usize) -> String {
    let (head, tail) = digits.split_at(by);
    format!("{tail}{head}")
}

/// The table: plain fine-tuning with its one template, then the single variants and every combination of both arms.
///
/// # Errors
///
/// Fails when the plain arm cannot be measured again.
pub fn rows(recipes: &Path, outcomes: &[Outcome]) -> anyhow::Result<Vec<Vec<String>>> {
    let head = ["arm", "variants", "combined by", "accuracy", "ece", "nll", "entropy", "confidence"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for outcome in outcomes {
        if outcome.name == "sicl-sft" {
            let found = alone(recipes, outcome)?;
            let cells = METRICS.map(|name| number(found.get(name).copied()));
            rows.push([&["sicl-sft", "1", "-"].map(String::from)[..], &cells].concat());
        }
        for how in ["single", "mean", "max", "majority"] {
            let cells = METRICS.map(|name| number(outcome.after("classes", &format!("{name}-{how}"))));
            let variants = if outcome.name == "sicl" { "4 x 5" } else { "4" };
            rows.push([&[outcome.name.as_str(), variants, how].map(String::from)[..], &cells].concat());
        }
    }
    Ok(rows)
}

/// The metrics of the table.
const METRICS: [&str; 5] = ["accuracy", "ece", "nll", "entropy", "confidence"];

/// The plain arm measured with the template that it was trained with.
fn alone(recipes: &Path, outcome: &Outcome) -> anyhow::Result<std::collections::BTreeMap<String, f64>> {
    let one = |table: &str| [(format!("{table}.settings.templates"), ONE), (format!("{table}.settings.count"), "0")];
    let model = ("model.path".to_owned(), format!("'{}'", outcome.model().display()));
    let set = ["answer", "measure"].into_iter().flat_map(one).map(|(key, value)| (key, value.to_owned()));
    let options = Options { set: set.chain([model]).collect(), ..Options::default() };
    let sets = evaluate(&recipes.join("sicl.toml"), None, &options, &mut ())?;
    Ok(sets.into_iter().next().map(|set| set.before).unwrap_or_default())
}

/// Whether the signature shows: the maximum is better calibrated than the mean, and the mean than a single variant.
pub fn claims(outcomes: &[Outcome]) -> Vec<String> {
    let claim = |outcome: &Outcome| {
        let found: Vec<f64> = ["max", "mean", "single"]
            .iter()
            .filter_map(|how| outcome.after("classes", &format!("ece-{how}")))
            .collect();
        let holds = found.len() == 3 && found.is_sorted_by(|one, other| one < other);
        let disagreement = number(outcome.after("classes", "disagreement"));
        let verdict = if holds { "holds" } else { "does not hold" };
        format!("{}: ece of max < mean < single ({found:.3?}; disagreement {disagreement}): {verdict}", outcome.name)
    };
    outcomes.iter().map(claim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_do_not_depend_on_rotation_and_are_even() {
        let mut random = Random::numbered(1, 1);
        let mut counts = [0_u32; 3];
        let mut noise = 0;
        for _ in 0..3_000 {
            let (digits, label) = row(&mut random);
            for by in 0..DIGITS {
                assert_eq!(class(&rotated(&digits, by)), class(&digits));
            }
            counts[usize::from(label.as_bytes()[0] - b'a')] += 1;
            noise += u32::from(label != class(&digits));
        }
        assert!(counts.iter().all(|count| count.abs_diff(1_000) < 130), "{counts:?}");
        // Half of the labels are drawn, and two of three of those are another one.
        assert!(noise.abs_diff(1_000) < 130, "{noise}");
    }

    #[test]
    fn a_row_shows_itself_rotated() {
        let row = columns(&mut Random::numbered(1, 2));
        let text = |name: &str| row[name].as_str().expect("text").to_owned();
        assert_eq!(text("r1"), rotated(&text("prompt"), 1));
        assert_eq!(rotated("012345", 2), "234501");
        assert_eq!(text("r3").len(), DIGITS);
    }
}

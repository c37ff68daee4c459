//! The plugin as the host sees it, and its numbers against those of sacreBLEU and `rouge-score`.

use serde_json::Value;
use tunesmith_sdk_test::{Case, Evaluation, PretendHost, Row, check_manifest};

use super::*;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml");

fn host() -> PretendHost {
    PretendHost::of(MANIFEST)
}

/// What the Python packages say of fifty pairs.
fn fixture() -> Value {
    serde_json::from_str(include_str!("../tests/reference.json")).expect("it is JSON")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("it is a list")
}

fn numbers(value: &Value) -> Vec<f64> {
    list(value).iter().map(|number| number.as_f64().expect("it is a number")).collect()
}

/// Samples and their references.
fn pairs(fixture: &Value) -> Vec<(String, String)> {
    let text = |pair: &Value, name: &str| pair[name].as_str().expect("it is a text").to_owned();
    list(&fixture["pairs"]).iter().map(|pair| (text(pair, "sample"), text(pair, "reference"))).collect()
}

#[track_caller]
fn agree(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < 1e-9, "{what}, pair {at}: {found}, not {expected}");
    }
}

fn scores(plugin: &Overlap, pairs: &[(String, String)]) -> Vec<f64> {
    pairs.iter().map(|(sample, reference)| plugin.score(sample, reference)).collect()
}

fn plugin(smoothing: &str, value: f64, order: usize, effective_order: bool) -> Overlap {
    let smoothing = serde_json::from_value(smoothing.into()).expect("there is such a smoothing");
    let (metric, column) = (Metric::Bleu, String::new());
    Overlap::new(Settings { metric, column, smoothing, value, order, effective_order, lowercase: false })
        .expect("the settings are fine")
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<Overlap>(MANIFEST);
}

#[test]
fn words_are_those_of_sacrebleu() {
    let fixture = fixture();
    for ((sample, _), expected) in pairs(&fixture).iter().zip(list(&fixture["tokens"])) {
        assert_eq!(serde_json::json!(words_13a(sample)), *expected, "{sample:?}");
    }
}

#[test]
fn scores_are_those_of_sacrebleu() {
    let fixture = fixture();
    let pairs = pairs(&fixture);
    assert!(pairs.len() >= 40);
    assert_eq!(list(&fixture["scores"]).len(), 10);
    for case in list(&fixture["scores"]) {
        let smoothing = case["smoothing"].as_str().expect("it has a name");
        let is_effective = case["effective_order"].as_bool().expect("it is said");
        let plugin = plugin(smoothing, case["value"].as_f64().unwrap_or(0.0), 4, is_effective);
        agree(&format!("{smoothing}, {is_effective}"), &scores(&plugin, &pairs), &numbers(&case["bleu"]));
    }
    agree("order 2", &scores(&plugin("exp", 0.0, 2, true), &pairs), &numbers(&fixture["order_2"]));
}

#[test]
fn a_corpus_has_the_score_of_sacrebleu() {
    let fixture = fixture();
    let row = |(sample, reference): &(String, String)| Row::new("?").completion(reference).answered(sample);
    let cases: Vec<Case> = pairs(&fixture).iter().map(row).collect();
    let metrics = host().measure::<Overlap>(&Evaluation::new(&cases)).expect("there are references");
    assert_eq!(metrics[1].0, "corpus-bleu");
    agree("the corpus", &[metrics[1].1], &[fixture["corpus_bleu"].as_f64().expect("it is a number")]);
}

#[test]
fn rouge_is_that_of_its_package() {
    let fixture = fixture();
    let plugin = Overlap { metric: Metric::RougeL, ..plugin("none", 0.0, 4, true) };
    agree("rouge", &scores(&plugin, &pairs(&fixture)), &numbers(&fixture["rouge_l"]));
}

#[test]
fn a_sample_is_rewarded_by_its_reference() {
    let asked = Row::new("Translate.").completion("the cat sat on the mat");
    let cases = [
        asked.clone().answered("the cat sat on mat"),
        asked.clone().answered("the cat sat on the mat"),
        asked.clone().answered(""),
        asked.answered("dogs"),
        Row::new("?").answered("the cat"),
    ];
    let host = host();
    let rewards = host.reward::<Overlap>(&cases).expect("nothing is missing");
    assert_eq!(rewards[1..], [Some(1.0), Some(0.0), Some(0.0), None]);
    assert!((rewards[0].expect("it has a reference") - 0.651_113).abs() < 1e-6);
    let report = host.report();
    assert_eq!((report.metric("zero-share"), report.skipped), (Some(0.5), vec![(4, NO_REFERENCE.to_owned())]));
}

#[test]
fn the_column_wins_over_the_completion_and_case_counts_unless_told() {
    let case = Row::new("?").completion("no").column("said", "A B C D").answered("a b c d");
    let host = host().setting("column", "said");
    assert_eq!(host.reward::<Overlap>(std::slice::from_ref(&case)), Ok(vec![Some(0.0)]));
    let folded = host.setting("lowercase", true);
    assert_eq!(folded.reward::<Overlap>(&[case]), Ok(vec![Some(1.0)]));
    assert_eq!(folded.reward::<Overlap>(&[Row::new("?").completion("no").answered("no")]), Ok(vec![Some(1.0)]));
}

#[test]
fn a_set_is_measured_by_its_mean() {
    let asked = Row::new("?").completion("a b");
    let cases = [asked.clone().answered("a b"), asked.answered("x"), Row::new("?").answered("y")];
    let host = host().setting("metric", "rouge-l");
    let metrics = host.measure::<Overlap>(&Evaluation::new(&cases));
    assert_eq!(metrics, Ok(vec![("rouge-l".to_owned(), 0.5)]));
    assert_eq!(host.report().skipped.len(), 1);
    let declined = host.measure::<Overlap>(&Evaluation::new(&[Row::new("?").answered("y")]));
    assert!(matches!(declined, Err(Error::Unsupported(text)) if text.contains("`column`")));
}

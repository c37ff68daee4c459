//! The plugin against a pretend host: what it keeps, draws, leaves out and counts.

use tunesmith_sdk::native::model::Generation;
use tunesmith_sdk_test::{Choice, PretendHost, PretendModel, Row, check_manifest};

use super::*;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml");

/// Numbers are embedded as points on a quarter of a circle: the nearer, the more similar.
fn angle(text: &str) -> Vec<f32> {
    let angle: f32 = text.parse::<f32>().expect("a number") * 0.1;
    vec![angle.cos(), angle.sin()]
}

/// A host whose policy answers every prompt with these, in turn.
fn host<const N: usize>(answers: [&'static str; N]) -> PretendHost {
    let model = PretendModel::saying(move |_, sample| answers[sample].to_owned()).embedding(2, angle);
    PretendHost::of(MANIFEST).setting("samples", N).setting("negatives", 1).model("policy", model)
}

fn rows() -> Vec<Row> {
    vec![Row::new("q").completion("0")]
}

/// The rejected answers of the only group, sorted.
fn rejected(choices: &[Choice]) -> Vec<String> {
    let [Choice::Group { row: 0, members, provenance }] = choices else { panic!("{choices:?}") };
    assert_eq!((members[0].0.as_str(), members[0].1.as_str(), provenance.as_str()), ("chosen", "0", PROVENANCE));
    assert!(members[1..].iter().all(|(role, _)| role == "rejected"), "{members:?}");
    let mut texts: Vec<String> = members[1..].iter().map(|(_, text)| text.clone()).collect();
    texts.sort();
    texts
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<SelfContrast>(MANIFEST);
}

#[test]
fn the_answers_least_like_the_gold_one_are_rejected() {
    let host = host(["1", "5", "2", "7"]).setting("share", 0.5).setting("negatives", 2);
    let curated = host.curate::<SelfContrast>(&rows()).expect("nothing is missing");
    assert_eq!(rejected(&curated.choices), ["5", "7"]);
    assert_eq!(curated.noted("negatives-kept"), [(0, 2.0)]);
    let cosine = (0.1_f64.cos() + 0.5_f64.cos() + 0.2_f64.cos() + 0.7_f64.cos()) / 4.0;
    assert!((host.report().metric("cosine").expect("it is told") - cosine).abs() < 1e-6);
    let negatives = f64::midpoint(0.5_f64.cos(), 0.7_f64.cos());
    assert!((host.report().metric("cosine-negatives").expect("it is told") - negatives).abs() < 1e-6);
}

#[test]
fn duplicates_empty_answers_and_the_gold_one_are_no_negatives() {
    let host = host(["3", " ", "0", "3"]);
    let curated = host.curate::<SelfContrast>(&rows()).expect("nothing is missing");
    assert_eq!(rejected(&curated.choices), ["3"]);
    let report = host.report();
    for name in ["empty-share", "equal-share", "duplicate-share"] {
        assert_eq!(report.metric(name), Some(0.25), "{name}");
    }
    assert_eq!(report.metric("equal-negative-share"), Some(0.0));
}

#[test]
fn a_prompt_with_too_few_negatives_is_left_out() {
    let host = host(["3", "3", "0", "0"]).setting("negatives", 2);
    let curated = host.curate::<SelfContrast>(&rows()).expect("nothing is missing");
    assert_eq!(curated.choices, [Choice::Omit { row: 0, why: "fewer negatives than asked for".into() }]);
    assert_eq!(host.report().metric("skipped-share"), Some(1.0));
    assert_eq!(host.report().metric("cosine-negatives"), None);
}

#[test]
fn without_the_filter_every_sample_may_be_drawn() {
    let host = host(["0", "0", "1"]).setting("filter", false).setting("negatives", 3);
    let curated = host.curate::<SelfContrast>(&rows()).expect("nothing is missing");
    assert_eq!(rejected(&curated.choices), ["0", "0", "1"]);
    assert_eq!(host.report().metric("equal-negative-share"), Some(2.0 / 3.0));
}

#[test]
fn draws_follow_the_seed() {
    let drawn = |seed| {
        let host = host(["1", "2", "3", "4", "5", "6", "7", "8"]).seed(seed);
        rejected(&host.curate::<SelfContrast>(&rows()).expect("nothing is missing").choices)
    };
    assert_eq!(drawn(1), drawn(1));
    let all: std::collections::BTreeSet<Vec<String>> = (0..64).map(drawn).collect();
    // The filter keeps six of eight.
    assert_eq!(all.len(), 6, "{all:?}");
}

#[test]
fn another_model_may_embed() {
    let host = host(["1", "5"]).model("policy", PretendModel::saying(|_, sample| ["1", "5"][sample].to_owned()));
    let host = host.model("embedder", PretendModel::default().embedding(2, angle)).setting("embedder", "embedder");
    assert_eq!(rejected(&host.curate::<SelfContrast>(&rows()).expect("nothing is missing").choices), ["5"]);
}

#[test]
fn cut_answers_may_be_left_out() {
    let generate = |_: &str, sample: usize| Generation {
        text: ["9", "5", "1"][sample].into(),
        is_finished: sample != 0,
        token_logprobs: vec![-0.5],
    };
    let curated = |cut| {
        let model = PretendModel::generating(generate).embedding(2, angle);
        let host = host(["", "", ""]).model("policy", model).setting("share", 0.5).setting("cut", cut);
        rejected(&host.curate::<SelfContrast>(&rows()).expect("nothing is missing").choices)
    };
    assert_eq!(curated("keep"), ["9"]);
    assert_eq!(curated("drop"), ["5"]);
}

#[test]
fn rows_without_gold_answers_ask_nobody() {
    let host = host(["1"]);
    let curated = host.curate::<SelfContrast>(&[Row::new("q")]).expect("nothing is missing");
    assert_eq!(curated.choices, [Choice::Omit { row: 0, why: "no gold completion".into() }]);
    assert!(host.asked().is_empty());
}

#[test]
fn more_negatives_than_samples_are_refused() {
    let refused = host(["1"]).setting("negatives", 2).curate::<SelfContrast>(&rows());
    assert!(matches!(refused, Err(Error::BadSettings(_))), "{refused:?}");
}

//! The plugin as the host sees it.

use tunesmith_sdk_test::{Case, Evaluation, PretendHost, Row, check_manifest};

use super::*;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml");

fn host() -> PretendHost {
    PretendHost::of(MANIFEST)
}

/// A host whose model answers with bare numbers.
fn bare() -> PretendHost {
    let tags = ["think-open", "think-close", "answer-open", "answer-close"];
    tags.into_iter().fold(host(), |host, tag| host.setting(tag, ""))
}

/// An answer in the asked form, but for what it says.
fn formed(number: &str) -> String {
    format!("<think>I count.</think>\n<answer>{number}</answer>")
}

fn count(gold: u32) -> Row {
    Row::new("How many?").column("answer", gold)
}

#[track_caller]
fn check(host: &PretendHost, case: Case, expected: Option<f32>) {
    assert_eq!(host.reward::<Fgrpr>(&[case]), Ok(vec![expected]));
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<Fgrpr>(MANIFEST);
}

#[test]
fn nearness_and_form_add_up() {
    check(&host(), count(100).answered(formed("100")), Some(2.5));
    check(&host(), count(100).answered(formed("75")), Some(2.25));
    check(&host(), count(100).answered(formed("150")), Some(1.0));
    check(&host(), count(100).answered("<answer>100</answer>"), Some(1.5));
    check(&host(), count(100).answered("100"), Some(0.0));
    check(&host(), count(12_000).answered(formed("12,000")), Some(0.0));
    check(&host(), count(12_000).answered(formed("12000")), Some(2.5));
    check(&host(), count(12).answered("<think>one, two,").unfinished(), Some(0.0));
}

#[test]
fn a_gold_zero_is_met_or_missed() {
    check(&host(), count(0).answered(formed("0")), Some(2.5));
    check(&host(), count(0).answered(formed("1")), Some(1.0));
}

#[test]
fn settings_change_what_is_rewarded() {
    let binary = host().setting("accuracy", "binary");
    check(&binary, count(100).answered(formed("100")), Some(2.0));
    check(&binary, count(100).answered(formed("99")), Some(1.0));
    check(&host().setting("format", 0.5), count(100).answered(formed("100")), Some(2.0));
    check(&host().setting("threshold", 0.25).setting("bonus", 2.0), count(100).answered(formed("75")), Some(1.0));
    check(&host().setting("threshold", 0.25).setting("bonus", 2.0), count(64).answered(formed("56")), Some(2.875));
}

#[test]
fn a_bare_number_may_be_cut() {
    check(&bare(), count(20).answered("20"), Some(2.5));
    check(&bare(), count(20).answered("20").unfinished(), Some(0.0));
    check(&host(), count(20).answered(formed("20")).unfinished(), Some(1.5));
}

#[test]
fn the_gold_number_stands_in_the_column_or_the_completion() {
    check(&host(), Row::new("?").completion(formed("8")).answered(formed("8")), Some(2.5));
    check(&host(), count(9).completion(formed("8")).answered(formed("8")), Some((2.5 - 1.0 / 9.0) as f32));
    check(&bare(), Row::new("?").completion("8").answered("6"), Some(2.25));
    check(&host().setting("column", "count"), Row::new("?").column("count", "8").answered(formed("8")), Some(2.5));
    check(&host(), Row::new("?").completion("many").answered(formed("8")), None);
    check(&host(), Row::new("?").column("answer", -3).answered(formed("3")), None);
}

#[test]
fn the_parts_are_logged() {
    let host = host();
    let cases = [count(4).answered(formed("3")), count(4).answered("4"), Row::new("?").answered("4")];
    assert_eq!(host.reward::<Fgrpr>(&cases), Ok(vec![Some(2.25), Some(0.0), None]));
    let report = host.report();
    assert_eq!((report.metric("accuracy"), report.metric("format")), (Some(0.625), Some(0.5)));
    assert_eq!(report.skipped, [(2, NO_GOLD.to_owned())]);
}

#[test]
fn errors_are_measured_over_the_rows_with_a_number() {
    let cases = [
        count(10).answered(formed("13")),
        count(10).answered(formed("6")),
        count(10).answered("10"),
        count(10).answered("<answer>10</answer>"),
        Row::new("?").answered(formed("4")),
    ];
    let metrics = host().measure::<Fgrpr>(&Evaluation::new(&cases)).expect("there are gold numbers");
    let expected =
        [("mae", 7.0 / 3.0), ("rmse", (25.0_f64 / 3.0).sqrt()), ("exact", 0.25), ("answered", 0.75), ("format", 0.5)];
    assert_eq!(metrics, expected.map(|(name, value)| (name.to_owned(), value)));
}

#[test]
fn a_set_without_gold_numbers_is_declined() {
    let declined = host().measure::<Fgrpr>(&Evaluation::new(&[Row::new("?").answered("4")]));
    assert!(matches!(declined, Err(Error::Unsupported(text)) if text.contains("`column`")));
}

#[test]
fn half_a_pair_of_tags_is_declined() {
    for tag in ["think-open", "answer-close"] {
        let declined = host().setting(tag, "").reward::<Fgrpr>(&[]);
        assert!(matches!(declined, Err(Error::BadSettings(text)) if text.contains("one is empty")));
    }
}

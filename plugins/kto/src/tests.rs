//! The plugin against a pretend host: what it groups, its loss and gradient by hand.

use tunesmith_sdk_test::{Choice, PretendHost, Row, TokenRow, check_manifest};

use super::*;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml");

fn host() -> PretendHost {
    PretendHost::of(MANIFEST)
}

#[track_caller]
fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 2e-6 * (1.0 + expected.abs()), "{found}, not {expected}");
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<Kto>(MANIFEST);
}

fn labelled() -> Vec<Row> {
    vec![
        Row::new("one").completion("a").column("label", true),
        Row::new("two").completion("b").column("label", "maybe"),
        Row::new("three").completion("c").column("label", 0),
        Row::new("four").completion("d").column("label", "true"),
        Row::new("five").column("label", true),
    ]
}

fn group(row: usize, members: &[(&str, &str)]) -> Choice {
    let members = members.iter().map(|(role, text)| ((*role).to_owned(), (*text).to_owned())).collect();
    Choice::Group { row, members, provenance: "gold".into() }
}

#[test]
fn completions_are_grouped_with_those_of_the_row_before() {
    let host = host();
    let curated = host.curate::<Kto>(&labelled()).expect("there are labels");
    let omitted = |row: usize, why: &str| Choice::Omit { row, why: why.into() };
    assert_eq!(
        curated.choices,
        [
            omitted(1, "the label is neither true nor false"),
            omitted(4, "no completion"),
            group(0, &[("chosen", "a"), ("mismatched", "d")]),
            group(2, &[("rejected", "c"), ("mismatched", "a")]),
            group(3, &[("chosen", "d"), ("mismatched", "c")]),
        ]
    );
    assert_eq!((host.report().metric("good"), host.report().metric("bad")), (Some(2.0), Some(1.0)));
}

#[test]
fn a_single_completion_has_no_other_to_go_with() {
    let curated = host().curate::<Kto>(&labelled()[..1]).expect("there are labels");
    assert_eq!(curated.choices, [Choice::Omit { row: 0, why: "no other completion in the chunk".into() }]);
    let host = host().setting("loss", "apo-zero-unpaired");
    let curated = host.curate::<Kto>(&labelled()[..1]).expect("there are labels");
    assert_eq!(curated.choices, [group(0, &[("chosen", "a")])]);
}

#[test]
fn rows_without_the_column_are_refused() {
    let refused = host().setting("label", "good").curate::<Kto>(&labelled()).err();
    assert!(matches!(&refused, Some(Error::Unsupported(text)) if text.contains("a column `good`")), "{refused:?}");
}

/// A good completion of ratio 1.5 and a bad one of -1.0; the ratios of other rows are 2.0 and -1.0: a distance of 0.5.
fn rows() -> Vec<TokenRow> {
    let row = |role: &str, group: i32, policy: &[f32]| {
        TokenRow::new(policy).logprobs("reference", &vec![-1.0; policy.len()]).role(role).group(group)
    };
    vec![
        row("chosen", 0, &[-0.25, -0.25]),
        row("mismatched", 0, &[-0.5, -0.25, -0.25]),
        row("rejected", 1, &[-1.5, -1.5]),
        row("mismatched", 1, &[-2.0]),
    ]
}

#[test]
fn loss_and_gradient_are_those_of_the_formula() {
    let host = host().setting("beta", 0.4).setting("desirable-weight", 1.5).setting("undesirable-weight", 0.5);
    let (good, bad) = (sigmoid(0.4 * (1.5 - 0.5)), sigmoid(0.4 * (0.5 + 1.0)));
    let expected = f64::midpoint(1.5 * (1.0 - good), 0.5 * (1.0 - bad));
    near(f64::from(host.objective::<Kto>(&rows()).expect("nothing is missing")), expected);
    let report = host.report();
    near(report.metric("kl").expect("it is told"), 0.5);
    near(report.metric("reward-chosen").expect("it is told"), 0.6);
    near(report.metric("reward-rejected").expect("it is told"), -0.4);
    near(report.metric("reward-margin").expect("it is told"), 1.0);
    let gradient = host.gradient::<Kto>(&rows()).expect("nothing is missing");
    near(gradient[0][1], -0.5 * 1.5 * 0.4 * good * (1.0 - good));
    near(gradient[2][2], 0.5 * 0.5 * 0.4 * bad * (1.0 - bad));
    // The distance has no gradient.
    near(gradient[1][1], 0.0);
}

#[test]
fn the_anchored_loss_needs_no_other_rows() {
    let host = host().setting("loss", "apo-zero-unpaired");
    let own = [rows()[0].clone(), rows()[2].clone()];
    let expected = f64::midpoint(1.0 - sigmoid(0.15), sigmoid(-0.1));
    near(f64::from(host.objective::<Kto>(&own).expect("nothing is missing")), expected);
    near(host.report().metric("kl").expect("it is told"), 0.0);
}

#[track_caller]
fn check_refusal(rows: &[TokenRow], expected: &str) {
    let refused = host().objective::<Kto>(rows);
    assert!(
        matches!(&refused, Err(Error::Unsupported(text)) if text.contains(expected) && text.contains("take `kto` in `[curate]` too")),
        "{refused:?}"
    );
}

#[test]
fn rows_without_labels_are_refused_with_a_hint() {
    let all = rows();
    check_refusal(&[all[0].clone(), all[2].clone()], "has the role `mismatched`, from which");
    check_refusal(&all[1..2], "group 0 of the batch has no labelled row");
    check_refusal(&[all[0].clone().role("")], "row 0 of the batch has the role ``");
}

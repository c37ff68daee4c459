//! The plugin against a pretend host, where every character is a token.

use std::slice::from_ref;

use tunesmith_sdk_test::{PretendHost, PretendModel, Row, TokenRow, check_manifest};

use super::*;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml");

/// A row whose completion has a token of this log-probability per character, and an end token.
fn row(completion: &str, wrong: impl Into<serde_json::Value>, logprob: f32) -> TokenRow {
    let pieces = pieces(completion);
    let texts: Vec<&str> = pieces.iter().map(String::as_str).collect();
    let data = Row::new("q").completion(completion).column("wrong", wrong);
    TokenRow::new(&vec![logprob; pieces.len()]).texts(&texts).of(data)
}

/// The characters of a text, and nothing for its end token.
fn pieces(text: &str) -> Vec<String> {
    text.chars().map(String::from).chain([String::new()]).collect()
}

/// A host whose policy gives each token of wrong code this log-probability, where `better` characters get the other one.
fn host(logprob: f32, better: &'static str, other: f32) -> PretendHost {
    let of = move |piece: String| if better.contains(&piece) && !piece.is_empty() { other } else { logprob };
    let model = PretendModel::default()
        .scoring(move |_, completion| pieces(completion).into_iter().map(of).collect())
        .cutting(pieces);
    PretendHost::of(MANIFEST).model("policy", model)
}

/// Compares the weights of the completion's tokens: the prompt's token comes before them, the end token after.
#[track_caller]
fn check(host: &PretendHost, rows: &[TokenRow], expected: &[f64]) {
    let weights = host.weigh::<Fait>(rows).expect("nothing is missing");
    assert_eq!(weights.len(), expected.len(), "{weights:?}");
    for (at, (weight, expected)) in weights.iter().zip(expected).enumerate() {
        assert!((f64::from(*weight) - expected).abs() < 1e-5, "token {at}: {weight}, not {expected}: {weights:?}");
    }
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<Fait>(MANIFEST);
}

#[test]
fn a_fixed_weight_is_one_and_the_shares_of_line_and_token() {
    let host = PretendHost::of(MANIFEST).setting("dynamic", false).setting("lambda", 4.0);
    // Line: 1 + 4 / 2 = 3. Character: 1 + 4 = 5. The other line, prompt and end: 1.
    check(&host, &[row("a\nb+c", "a\nb-c", -1.0)], &[1.0, 1.0, 1.0, 3.0, 5.0, 3.0, 1.0]);
    let lines = host.setting("token-share", 0.0);
    check(&lines, &[row("a\nb+c", "a\nb-c", -1.0)], &[1.0, 1.0, 1.0, 3.0, 3.0, 3.0, 1.0]);
}

#[test]
fn the_weight_grows_where_the_model_prefers_the_wrong_code_and_fades_where_it_does_not() {
    // Right code: 1.5 nats per token. Wrong code: 0.5 on the marked tokens, so emphasis 2 sigma(1) = 1.4621172.
    let row = row("b+c", "b-c", -1.5);
    let half = 1.462_117_2 / 2.0;
    check(&host(-0.5, "", 0.0), from_ref(&row), &[1.0, 1.0 + half, 1.0 + 2.0 * half, 1.0 + half, 1.0]);
    // Wrong code far less likely: 10.5 nats per token; 2 sigma(-9) = 0.0002467892.
    let (near, far) = (0.000_246_789_2, host(-10.5, "", 0.0));
    check(&far, from_ref(&row), &[1.0, 1.0 + near / 2.0, 1.0 + near, 1.0 + near / 2.0, 1.0]);
    // A longer tau fades later: 2 sigma(-9 / 9) = 0.5378828.
    let slow = 0.537_882_84;
    check(&far.setting("tau", 9.0), &[row], &[1.0, 1.0 + slow / 2.0, 1.0 + slow, 1.0 + slow / 2.0, 1.0]);
}

#[test]
fn only_marked_tokens_of_the_wrong_code_count() {
    // Of two lines only the second differs: `x` in the first is very unlikely, and does not matter. Wrong: 0.5 nats; right: 0.5: emphasis 1.
    let row = row("x\nb+c", "x\nb-c", -0.5);
    check(&host(-0.5, "x", -100.0), &[row], &[1.0, 1.0, 1.0, 1.5, 2.0, 1.5, 1.0]);
}

#[test]
fn a_granularity_without_a_share_does_not_count_in_the_means_either() {
    // `b` and `c` stand in the line, and are very unlikely in the wrong code; only the sign counts. Wrong: 0.5 nats; right: 0.5: emphasis 1.
    let host = host(-0.5, "bc", -100.0).setting("line-share", 0.0).setting("token-share", 1.0);
    check(&host, &[row("b+c", "b-c", -0.5)], &[1.0, 1.0, 2.0, 1.0, 1.0]);
}

#[test]
fn several_variants_are_marked_and_scored_together() {
    let host = host(-1.0, "", 0.0);
    check(&host, &[row("a\nb", serde_json::json!(["c\nb", "a\nd"]), -1.0)], &[1.0, 2.0, 1.0, 2.0, 1.0]);
    let report = host.report();
    assert_eq!(report.metric("share-paired"), Some(1.0));
    assert_eq!(report.metric("share-marked"), Some(0.5));
    assert_eq!(report.metric("emphasis"), Some(1.0));
}

#[test]
fn rows_without_a_variant_are_trained_on_as_they_are() {
    let mut plain = row("b+c", "", -1.0);
    plain.row.columns.remove("wrong");
    let host = host(-1.0, "", 0.0);
    check(&host, from_ref(&plain), &[1.0; 5]);
    assert_eq!(host.report().metric("share-paired"), Some(0.0));
    check(&host, &[plain, row("+", "-", -1.0)], &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 1.0]);
}

#[test]
fn variants_that_are_equal_or_not_similar_are_left_out_and_counted() {
    let host = host(-1.0, "", 0.0).setting("most-changed", 0.5);
    check(&host, &[row("b+c", "b + c", -1.0), row("b+c", "xyz", -1.0)], &[1.0; 10]);
    let skipped = host.report().skipped;
    let expected = [(0, "the wrong variant does not differ"), (1, "the wrong variant is not similar")];
    assert_eq!(skipped, expected.map(|(row, why)| (row, why.to_owned())));
}

#[test]
fn a_code_that_starts_with_a_bracket_is_no_list() {
    let host = PretendHost::of(MANIFEST).setting("dynamic", false);
    check(&host, &[row("[a]", "[b]", -1.0)], &[1.0, 2.0, 3.0, 2.0, 1.0]);
}

#[test]
fn a_model_that_does_not_tell_where_its_tokens_stand_is_told() {
    let model = PretendModel::default().scoring(|_, completion| vec![-1.0; completion.chars().count() + 1]);
    let host = PretendHost::of(MANIFEST).model("policy", model);
    assert!(matches!(host.weigh::<Fait>(&[row("+", "-", -1.0)]), Err(Error::Unsupported(_))));
}

#[test]
fn a_missing_column_is_warned_about_once() {
    let mut plain = row("b+c", "", -1.0);
    plain.row.columns.remove("wrong");
    let warned = |step: u32| {
        let host = PretendHost::of(MANIFEST).step(step);
        host.weigh::<Fait>(from_ref(&plain)).expect("nothing is missing");
        host.report().lines.iter().any(|(_, line)| line.contains("no row has the column `wrong`"))
    };
    assert!(warned(0) && !warned(1));
}

//! The plugin against a pretend host: the golden vector, exact gradients, and draws that approach the limit.

use std::slice::from_ref;

use tunesmith_sdk_test::{PretendHost, TokenRow, check_manifest};

use super::*;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml");

/// One trained place with the label 0. Log-probabilities of ids 0, 1 and 2 are those of the golden vector.
fn golden() -> TokenRow {
    TokenRow::new(&[-0.7]).tokens(&[0]).next(&[vec![-0.7, -1.5, -2.0]]).draws(&[vec![0, 0, 1, 2]])
}

fn host(draws: usize) -> PretendHost {
    PretendHost::of(MANIFEST).setting("draws", draws)
}

#[track_caller]
fn check(host: &PretendHost, rows: &[TokenRow], expected: f32) {
    let loss = host.objective::<Otr>(rows).expect("nothing is missing");
    assert!((loss - expected).abs() < 1e-6, "the loss is {loss}, not {expected}");
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<Otr>(MANIFEST);
}

#[test]
fn the_golden_vector_is_met() {
    check(&host(4), &[golden()], 0.2625);
    check(&host(4).setting("beta", 0.0), &[golden()], 0.35);
}

#[test]
fn the_gradient_of_the_label_is_its_share_of_the_draws() {
    let gradient = host(4).gradient::<Otr>(&[golden()]).expect("nothing is missing");
    assert!((gradient[0][1] + 0.5).abs() < 1e-6, "{gradient:?}");
}

/// For one trained token: its share is q(y), and no gradient flows through q.
#[test]
fn the_gradient_of_the_limit_is_the_labels_probability_at_the_temperature() {
    let exact = host(0).setting("beta", 0.0).setting("temperature", 1.0);
    let p = [0.5_f32, 0.3, 0.2].map(f32::ln).to_vec();
    let row = TokenRow::new(&[p[0]]).tokens(&[0]).next(&[p]);
    // -0.5 ln 0.5: with beta 0 and temperature 1 this is DFT.
    check(&exact, from_ref(&row), 0.346_573_6);
    let gradient = exact.gradient::<Otr>(&[row]).expect("nothing is missing");
    assert!((gradient[0][1] + 0.5).abs() < 1e-6, "{gradient:?}");
}

#[test]
fn many_draws_approach_the_limit() {
    let p: Vec<f32> = [0.4_f32, 0.3, 0.2, 0.1].map(f32::ln).to_vec();
    let row = TokenRow::new(&[p[2]]).tokens(&[2]).next(&[p]);
    let loss = |draws: usize| {
        host(draws).seed(5).setting("temperature", 2.0).objective::<Otr>(from_ref(&row)).expect("nothing is missing")
    };
    // A draw's loss varies by less than 1: four standard errors of 4096 draws.
    assert!((loss(4096) - loss(0)).abs() < 4.0 / 64.0, "{} and {}", loss(4096), loss(0));
}

#[test]
fn a_label_that_is_never_drawn_leaves_the_negative_term_or_nothing() {
    let row = golden().draws(&[vec![1, 1, 2, 2]]);
    check(&host(4), from_ref(&row), -0.175);
    let skipping = host(4).setting("unseen", "skip");
    check(&skipping, from_ref(&row), 0.0);
    assert_eq!(skipping.report().metric("label-seen"), Some(0.0));
    // The other place counts, and the divisor stays.
    check(&skipping, &[row, golden()], 0.2625 / 2.0);
}

#[test]
fn weights_and_mask_count_as_for_any_objective() {
    let place = vec![-0.7, -1.5, -2.0];
    let two = TokenRow::new(&[-0.7, -0.7])
        .tokens(&[0, 0])
        .next(&[place.clone(), place])
        .draws(&[vec![0, 0, 1, 2], vec![1, 1, 2, 2]]);
    check(&host(4), &[two.clone().weights(&[3.0, 1.0])], (3.0 * 0.2625 - 0.175) / 4.0);
    check(&host(4), &[two.clone().mask(&[true, false])], 0.2625);
    let host = host(4);
    check(&host, &[two], (0.2625 - 0.175) / 2.0);
    assert_eq!(host.report().metric("label-drawn"), Some(0.25));
    assert_eq!(host.report().metric("label-seen"), Some(0.5));
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let host = host(0).setting("unseen", "skip");
    assert!(matches!(host.objective::<Otr>(&[golden()]), Err(Error::BadSettings(text)) if text.contains("unseen")));
}

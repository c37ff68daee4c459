//! The plugin against a pretend host: losses by hand, exact gradients, masks and weights.

use std::f64::consts::{LN_2, LN_10};

use tunesmith_sdk::log::Level;
use tunesmith_sdk_test::{PretendHost, TokenRow, check_manifest};

use super::*;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml");
/// Log-probabilities of the probabilities 0.9, 0.5 and 0.1.
const LOGPS: [f32; 3] = [-0.105_360_516, -std::f32::consts::LN_2, -std::f32::consts::LN_10];

fn host(function: &str) -> PretendHost {
    PretendHost::of(MANIFEST).setting("function", function)
}

/// Compares the loss of one row of probabilities 0.9, 0.5, 0.1.
#[track_caller]
fn check(host: &PretendHost, expected: f64) {
    let loss = host.objective::<BeyondNll>(&[TokenRow::new(&LOGPS)]).expect("nothing is missing");
    assert!((f64::from(loss) - expected).abs() < 1e-6, "the loss is {loss}, not {expected}");
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<BeyondNll>(MANIFEST);
}

#[test]
fn losses_are_means_over_kept_tokens() {
    check(&host("nll"), (0.105_360_516 + LN_2 + LN_10) / 3.0);
    check(&host("p"), (0.1 + 0.5 + 0.9) / 3.0);
    check(&host("family").setting("alpha", 10.0), (1.0 - 0.348_678_44 + (1.0 - 0.000_976_56) + 1.0) / 30.0);
    // 0.1 is below the threshold of 0.2: the mean is over two tokens, or over one.
    check(&host("top-p"), f64::midpoint(0.1, 0.5));
    check(&host("top-logp"), f64::midpoint(0.105_360_516, LN_2));
    check(&host("bottom-p"), 0.9);
    check(&host("bottom-logp"), LN_10);
    check(&host("log-1-p"), (-LN_10 - LN_2 - 0.105_360_516) / 3.0);
}

#[test]
fn a_token_mean_counts_dropped_tokens_as_zero() {
    check(&host("top-p").setting("reduction", "token-mean"), (0.1 + 0.5) / 3.0);
    check(&host("nll").setting("reduction", "token-mean"), (0.105_360_516 + LN_2 + LN_10) / 3.0);
}

#[test]
fn gradients_carry_the_papers_factor_and_none_through_the_indicator() {
    // d loss / d l is f'(p) p over the kept tokens: -p for `p`, -p^alpha for the family, -1 for `nll`.
    let gradient = |host: &PretendHost| {
        host.gradient::<BeyondNll>(&[TokenRow::new(&LOGPS)]).expect("nothing is missing").remove(0)
    };
    let near = |found: &[f64], expected: [f64; 3]| {
        for (found, expected) in found[1..].iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
        }
    };
    near(&gradient(&host("p")), [-0.3, -0.5 / 3.0, -0.1 / 3.0]);
    near(&gradient(&host("family").setting("alpha", 2.0)), [-0.27, -0.25 / 3.0, -0.01 / 3.0]);
    near(&gradient(&host("top-logp")), [-0.5, -0.5, 0.0]);
    near(&gradient(&host("bottom-p")), [0.0, 0.0, -0.1]);
}

#[test]
fn without_kept_tokens_the_loss_is_zero_and_still_depends_on_the_policy() {
    let host = host("top-p").setting("threshold", 0.95);
    check(&host, 0.0);
    let gradient = host.gradient::<BeyondNll>(&[TokenRow::new(&LOGPS)]).expect("nothing is missing");
    assert!(gradient[0].iter().all(|derivative| derivative.abs() < f64::EPSILON));
    assert_eq!(host.report().metric("kept-share"), Some(0.0));
}

#[test]
fn weights_multiply_the_loss_and_leave_the_denominator() {
    let row = TokenRow::new(&LOGPS).weights(&[2.0, 0.0, 1.0]);
    let loss = host("p").objective::<BeyondNll>(&[row]).expect("nothing is missing");
    assert!((loss - (0.2 + 0.0 + 0.9) / 3.0).abs() < 1e-6, "{loss}");
}

#[test]
fn tokens_that_are_not_trained_on_count_nowhere() {
    for function in ["nll", "p", "top-p", "log-1-p"] {
        let masked = TokenRow::new(&[-0.3, -4.0]).mask(&[true, false]);
        let alone = host(function).objective::<BeyondNll>(&[TokenRow::new(&[-0.3])]).expect("nothing is missing");
        let host = host(function);
        let loss = host.objective::<BeyondNll>(&[masked]).expect("nothing is missing");
        assert!((loss - alone).abs() < 1e-6, "{function}: {loss}, not {alone}");
    }
}

#[test]
fn metrics_tell_how_the_model_stands() {
    let host = host("top-p");
    check(&host, 0.3);
    assert!((host.report().metric("mean-p").expect("reported") - 0.5).abs() < 1e-6);
    assert!((host.report().metric("kept-share").expect("reported") - 2.0 / 3.0).abs() < 1e-6);
}

#[test]
fn a_weak_model_is_warned_about_once_and_only_where_the_gradient_vanishes() {
    let warned = |function: &str, step: u32| {
        let host = host(function).step(step);
        host.objective::<BeyondNll>(&[TokenRow::new(&[-5.0, -6.0])]).expect("nothing is missing");
        host.report().lines.iter().any(|(level, _)| *level == Level::Warn)
    };
    assert!(warned("family", 0));
    assert!(warned("p", 0));
    assert!(!warned("p", 1));
    assert!(!warned("nll", 0));
}

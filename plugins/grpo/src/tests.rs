//! The plugin against a pretend host: rows that were given, rows without a trained token, extreme ratios, and what it refuses.
//! Losses of all kinds against another implementation are in the project's own tests, through the real component.

use tunesmith_sdk_test::{PretendHost, TokenRow, check_manifest};

use super::*;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml");
const LOSSES: [&str; 9] = ["grpo", "bnpo", "dr-grpo", "dapo", "cispo", "sapo", "vespo", "luspo", "rloo"];

fn host(loss: &str) -> PretendHost {
    let host = PretendHost::of(MANIFEST).setting("loss", loss).setting("max-completion-length", 2);
    if loss == "cispo" { host.setting("epsilon-high", 5.0) } else { host }
}

/// A row of two sampled tokens, whose ratios are 1.5 and 0.5.
fn sampled(advantage: f32) -> TokenRow {
    let old = [-1.0 - 1.5_f32.ln(), -1.0 - 0.5_f32.ln()];
    TokenRow::new(&[-1.0, -1.0]).logprobs("old", &old).advantages(&[advantage; 2]).role("rollout")
}

/// A row of two tokens that were given, with probabilities 1/2 and 1/4.
fn given(advantage: f32) -> TokenRow {
    let logp = [0.5_f32.ln(), 0.25_f32.ln()];
    TokenRow::new(&logp).logprobs("old", &[0.0; 2]).advantages(&[advantage; 2]).role("reference").off_policy()
}

#[track_caller]
fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-5 * (1.0 + expected.abs()), "{found}, not {expected}");
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<Grpo>(MANIFEST);
}

/// Of an advantage of 2, the ratio 1.5 is clipped to 1.2, and 0.5 is not clipped; of -2 it is the other way round.
#[test]
fn ratios_are_clipped_where_that_lowers_the_gain() {
    for (advantage, expected, derivatives, clips) in
        [(2.0, -1.7, [0.0, -0.5], [0.0, 0.5]), (-2.0, 2.3, [1.5, 0.0], [0.5, 0.0])]
    {
        let (host, rows) = (host("dapo"), [sampled(advantage)]);
        near(host.objective::<Grpo>(&rows).expect("nothing is missing").into(), expected);
        let gradient = host.gradient::<Grpo>(&rows).expect("nothing is missing");
        gradient[0][1..].iter().zip(derivatives).for_each(|(found, expected)| near(*found, expected));
        let metric = |name: &str| host.report().metric(name);
        assert_eq!([metric("clip-low"), metric("clip-high")], clips.map(Some));
        assert_eq!(metric("clip-region"), Some(0.5));
    }
}

#[test]
fn the_divisors_of_the_losses_differ() {
    let rows = [sampled(2.0), sampled(2.0).mask(&[true, false])];
    // Sums of -2.4 and -1.0 in the first row, and -2.4 in the second.
    for (loss, expected) in [
        ("grpo", (-1.7 - 2.4) / 2.0),
        ("dapo", -5.8 / 3.0),
        ("bnpo", -5.8 / 3.0),
        ("dr-grpo", -5.8 / 4.0),
        ("luspo", -2.9),
    ] {
        near(host(loss).objective::<Grpo>(&rows).expect("nothing is missing").into(), expected);
    }
}

#[test]
fn given_rows_are_never_clipped() {
    let token = [[-0.5, -0.25], [0.5, 0.25]];
    // Of two tokens, or of a length of two; LUSPO sums a row.
    let rest = |loss: &str| if loss == "luspo" { 1.0 } else { 0.5 };
    for loss in LOSSES.iter().filter(|loss| **loss != "rloo") {
        for (advantage, token) in [1.0, -1.0].into_iter().zip(token) {
            let (host, rows) = (host(loss), [given(advantage)]);
            near(host.objective::<Grpo>(&rows).expect("nothing is missing").into(), (token[0] + token[1]) * rest(loss));
            let gradient = host.gradient::<Grpo>(&rows).expect("nothing is missing");
            gradient[0][1..].iter().zip(token).for_each(|(found, token)| near(*found, token * rest(loss)));
            assert!(host.report().metric("clip-region").is_none_or(|share| share == 0.0), "{loss}");
        }
    }
    // The row's probability, 1/8, and the geometric mean.
    near(host("rloo").objective::<Grpo>(&[given(-1.0)]).expect("nothing is missing").into(), 0.125);
    let by_row = host("grpo").setting("ratio", "sequence");
    near(by_row.objective::<Grpo>(&[given(-1.0)]).expect("nothing is missing").into(), 0.125_f64.sqrt());
}

#[test]
fn given_rows_are_not_left_out_as_too_far() {
    let host = host("dapo").setting("off-policy-threshold", 0.01);
    near(host.objective::<Grpo>(&[given(-1.0)]).expect("nothing is missing").into(), 0.375);
    let drifted = TokenRow::new(&[-2.0, -2.0]).logprobs("old", &[-1.0; 2]).advantages(&[-1.0; 2]);
    near(host.objective::<Grpo>(&[drifted]).expect("nothing is missing").into(), 0.0);
}

#[test]
fn a_step_without_any_trained_token_is_nothing() {
    for loss in LOSSES {
        for ratio in ["token", "sequence"] {
            let host = host(loss).setting("ratio", ratio).setting("beta", 0.5);
            let empty = |row: TokenRow| row.logprobs("reference", &[-1.0; 2]).mask(&[false; 2]).weights(&[0.0; 2]);
            let rows = [empty(sampled(0.0)), empty(given(0.0))];
            near(host.objective::<Grpo>(&rows).expect("nothing is missing").into(), 0.0);
            let gradient = host.gradient::<Grpo>(&rows).expect("nothing is missing");
            assert!(gradient.iter().flatten().all(|value| *value == 0.0), "{loss} {ratio}: {gradient:?}");
        }
    }
}

#[test]
fn extreme_ratios_are_finite_and_so_are_their_gradients() {
    let far = |advantage| TokenRow::new(&[-0.5; 2]).logprobs("old", &[-400.0; 2]).advantages(&[advantage; 2]);
    for loss in LOSSES {
        let (host, rows) = (host(loss), [far(0.0), far(1.0), far(-1e9)]);
        let found = host.objective::<Grpo>(&rows).expect("nothing is missing");
        assert!(found.is_finite(), "{loss}: {found}");
        let gradient = host.gradient::<Grpo>(&rows).expect("nothing is missing");
        assert!(gradient.iter().flatten().all(|value| value.is_finite()), "{loss}: {gradient:?}");
    }
}

/// The policy finds a token impossible that the reference writes: `exp(200)` is no float32.
#[test]
fn divergences_from_a_far_reference_are_finite() {
    let row = TokenRow::new(&[-200.0, -1.0]).logprobs("old", &[-200.0, -1.0]).logprobs("reference", &[0.0, -1.5]);
    for is_corrected in [true, false] {
        let host = host("dapo").setting("beta", 0.5).setting("bias-correction-kl", is_corrected);
        let rows = [row.clone().advantages(&[0.0; 2])];
        let found = host.objective::<Grpo>(&rows).expect("nothing is missing");
        assert!(found.is_finite() && 1e6 < found, "{found}");
        let gradient = host.gradient::<Grpo>(&rows).expect("nothing is missing");
        assert!(gradient[0].iter().all(|value| value.is_finite()), "{gradient:?}");
    }
}

/// A tenth of the weight for all is no change where a loss is a mean over tokens.
#[test]
fn small_weights_are_divided_by_themselves() {
    for loss in ["grpo", "bnpo", "dapo", "cispo", "sapo", "vespo"] {
        let rows = [sampled(2.0), sampled(2.0).mask(&[true, false])];
        let light = rows.clone().map(|row| row.weights(&[0.1; 2]));
        let of = |rows: &[TokenRow]| f64::from(host(loss).objective::<Grpo>(rows).expect("nothing is missing"));
        near(of(&light), of(&rows));
    }
}

#[test]
fn what_is_missing_is_named() {
    let refused = host("dapo").objective::<Grpo>(&[TokenRow::new(&[-1.0]).logprobs("old", &[-1.0])]);
    assert!(matches!(&refused, Err(Error::Unsupported(text)) if text.contains("`[rollout]`")), "{refused:?}");
    let refused = host("cispo").setting("epsilon-high", 0.0).objective::<Grpo>(&[sampled(1.0)]);
    assert!(matches!(&refused, Err(Error::BadSettings(text)) if text.contains("`epsilon-high`")), "{refused:?}");
}

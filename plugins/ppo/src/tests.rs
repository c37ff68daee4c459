//! The plugin against a pretend host: credit by hand, then loss, gradients and the value head.

use tunesmith_sdk_test::{Case, PretendHost, Row, TokenRow, check_manifest};

use super::*;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml");

fn host() -> PretendHost {
    PretendHost::of(MANIFEST).setting("whiten", false)
}

fn rollout(values: &[f32], old: &[f32], reference: &[f32]) -> Case {
    Row::new("q").answered("").logprobs("value", values).logprobs("old", old).logprobs("reference", reference)
}

#[track_caller]
fn near(found: &[f32], expected: &[f32]) {
    let near = |(found, expected): (&f32, &f32)| (found - expected).abs() < 1e-5;
    assert!(found.len() == expected.len() && found.iter().zip(expected).all(near), "{found:?}, not {expected:?}");
}

#[track_caller]
fn check(host: &PretendHost, rollouts: &[Case], rewards: &[Option<f32>], (advantages, returns): (&[f32], &[f32])) {
    let credited = host.credit::<Ppo>(rollouts, rewards).expect("nothing is missing");
    let Advantages::PerToken(found) = credited else { panic!("{credited:?} are per rollout") };
    near(&found, advantages);
    near(&host.attached()["returns"], returns);
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<Ppo>(MANIFEST);
}

/// With kl 1 the tokens' rewards are 1, 0 and, for a score of 3, 3: the numbers that `math.rs` has by hand.
#[test]
fn each_rollout_is_credited_by_itself() {
    let host = host().setting("kl", 1.0).setting("gamma", 0.5).setting("lambda", 0.5).setting("score-clip", 3.0);
    let one = rollout(&[1.0, 2.0, 4.0], &[-2.0, -1.0, -0.5], &[-1.0, -1.0, -0.5]);
    let other = rollout(&[0.5], &[-1.0], &[-1.0]).group(1);
    let (advantages, returns) = ([0.9375, -0.25, -1.0, -2.5], [1.9375, 1.75, 3.0, -2.0]);
    check(&host, &[one, other], &[Some(7.0), Some(-2.0)], (&advantages, &returns));
    // Of -1, 0, 0 and 0.
    assert_eq!(host.report().metric("kl"), Some(-0.25));
}

#[test]
fn what_has_no_reward_or_was_not_sampled_teaches_nothing() {
    let host = host().setting("whiten", true).setting("kl", 0.0);
    let rollouts = [
        rollout(&[0.5, 1.0], &[-1.0; 2], &[-1.0; 2]),
        rollout(&[2.0], &[-1.0], &[-1.0]),
        rollout(&[3.0], &[-1.0], &[-1.0]).off_policy(),
        rollout(&[], &[], &[]),
        rollout(&[0.0], &[-1.0], &[-1.0]),
        rollout(&[0.0], &[-1.0], &[-1.0]),
    ];
    let rewards = [None, None, Some(1.0), Some(1.0), Some(1.0), Some(-1.0)];
    let expected = [0.0, 0.0, 0.0, 0.0, 1.0, -1.0];
    check(&host, &rollouts, &rewards, (&expected, &[0.5, 1.0, 2.0, 3.0, 1.0, -1.0]));
    check(&host, &rollouts, &[None; 6], (&[0.0; 6], &[0.5, 1.0, 2.0, 3.0, 0.0, 0.0]));
}

#[test]
fn without_tokens_there_is_nothing() {
    check(&host(), &[rollout(&[], &[], &[])], &[Some(1.0)], (&[], &[]));
}

/// One sampled token per entry. The head reads the first of two hidden numbers; it starts at the old estimates.
fn row(ratios: &[f32], advantages: &[f32], (values, old, returns): (&[f32], &[f32], &[f32])) -> TokenRow {
    let now: Vec<f32> = ratios.iter().map(|ratio| ratio.ln() - 1.0).collect();
    let states = values.iter().map(|value| vec![*value, 9.0]).chain([vec![77.0, 9.0]]);
    TokenRow::new(&now)
        .logprobs("old", &vec![-1.0; ratios.len()])
        .advantages(advantages)
        .numbers("returns", returns)
        .numbers("value", old)
        .hidden(&states.collect::<Vec<_>>())
}

fn head(host: PretendHost) -> PretendHost {
    host.parameter("value", &[1.0, 0.0], &[2]).parameter("value-bias", &[0.5], &[1])
}

#[track_caller]
fn check_loss(host: &PretendHost, rows: &[TokenRow], expected: f32) {
    let loss = host.objective::<Ppo>(rows).expect("nothing is missing");
    assert!((loss - expected).abs() < 1e-5, "the loss is {loss}, not {expected}");
}

/// Estimates equal to returns: only the surrogate is left.
fn surrogate(ratios: &[f32], advantages: &[f32]) -> TokenRow {
    let zeros = vec![0.0; ratios.len()];
    row(ratios, advantages, (&vec![-0.5; ratios.len()], &zeros, &zeros))
}

#[test]
fn the_surrogate_takes_the_worse_of_both() {
    // max(-A rho, -A clip(rho)): -1.2, -0.5, 3, 1.6 for 2.0 * 1.2, 0.5, 1.5 * 2, 0.8 * 2.
    let row = surrogate(&[1.5, 0.5, 1.5, 0.5], &[1.0, 1.0, -2.0, -2.0]);
    check_loss(&head(host()), std::slice::from_ref(&row), (-1.2 - 0.5 + 3.0 + 1.6) / 4.0);
    // Clipped tokens have no gradient; the others have -A rho / tokens.
    let gradient = head(host()).gradient::<Ppo>(&[row]).expect("nothing is missing");
    let expected = [0.0, 0.0, -0.125, 0.75, 0.0];
    for (found, expected) in gradient[0].iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{gradient:?}");
    }
}

/// Estimates 0.5 + hidden, shifted by one token; old ones 1 and 1, returns 0 and 3.
/// First: V = 2, clipped to 1.2: max(4, 1.44) / 2 = 2. Second: V = 1.1, not clipped: 3.61 / 2 = 1.805.
#[test]
fn the_value_loss_takes_the_worse_of_both() {
    let host = head(host()).setting("value-coefficient", 0.5);
    let both = row(&[1.0, 1.0], &[0.0, 0.0], (&[1.5, 0.6], &[1.0, 1.0], &[0.0, 3.0]));
    check_loss(&host, &[both], 0.5 * (2.0 + 1.805) / 2.0);
    // Moved towards the return by more than it may: the clipped error counts, (1.2 - 3)^2 / 2.
    let far = row(&[1.0], &[0.0], (&[1.5], &[1.0], &[3.0]));
    check_loss(&host, &[far], 0.5 * 1.62);
}

#[test]
fn weights_and_the_count_of_the_step_make_the_mean() {
    let row = surrogate(&[1.0, 1.0, 1.0], &[3.0, 5.0, 7.0]).weights(&[2.0, 1.0, 0.0]);
    check_loss(&head(host()), &[row], -11.0 / 3.0);
    let masked = surrogate(&[1.0], &[3.0]).mask(&[false]).weights(&[0.0]);
    check_loss(&head(host()), &[masked], 0.0);
}

#[test]
fn ratios_that_would_overflow_are_finite() {
    let row = surrogate(&[1.0, 1.0], &[0.0, -1e-9]).logprobs("old", &[-900.0, -900.0]);
    let loss = head(host()).objective::<Ppo>(&[row]).expect("nothing is missing");
    assert!((loss - 0.5e-9 * 20.0_f32.exp()).abs() < 1e-3, "{loss}");
}

#[test]
fn the_temperature_of_sampling_is_that_of_the_ratio() {
    let even = [0.5_f32.ln(); 2].to_vec();
    let row = surrogate(&[1.0], &[1.0]).tokens(&[0]).next(&[even]).logprobs("old", &[0.5_f32.ln()]);
    check_loss(&head(host()).temperature(0.5), &[row], -1.0);
}

#[test]
fn what_is_missing_is_told() {
    let told = |row: TokenRow| head(host()).objective::<Ppo>(&[row]).expect_err("something is missing").to_string();
    assert!(told(TokenRow::new(&[-1.0])).contains("there are no advantages"));
    let without = told(TokenRow::new(&[-1.0]).advantages(&[1.0]).logprobs("old", &[-1.0]));
    assert!(without.contains("take `ppo` in `[credit]` too"), "{without}");
}

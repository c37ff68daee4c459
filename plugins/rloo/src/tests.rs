//! The plugin against a pretend host: clipping before the divergence is taken off, and what is left without a reward.

use tunesmith_sdk_test::{Case, PretendHost, Row, check_manifest};

use super::*;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml");

fn rollout(group: u32, policy: &[f32], reference: &[f32]) -> Case {
    Row::new("q").answered("").group(group).logprobs("policy", policy).logprobs("reference", reference)
}

fn rollouts() -> Vec<Case> {
    vec![
        rollout(0, &[-1.0, -2.0], &[-1.5, -2.5]),
        rollout(0, &[-0.5], &[-0.25]),
        rollout(0, &[], &[]),
        rollout(1, &[-3.0], &[-4.0]),
    ]
}

#[track_caller]
fn check(host: &PretendHost, rewards: &[Option<f32>], expected: &[f32]) {
    let advantages = host.credit::<Rloo>(&rollouts(), rewards).expect("nothing is missing");
    let Advantages::PerRollout(found) = advantages else { panic!("{advantages:?} are per token") };
    let near = |(found, expected): (&f32, &f32)| (found - expected).abs() < 1e-6;
    assert!(found.len() == expected.len() && found.iter().zip(expected).all(near), "{found:?}, not {expected:?}");
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<Rloo>(MANIFEST);
}

/// Divergences are 1.0, -0.25, 0.0 and 1.0. Rewards 5, 1 and -9 become 2, 1 and -1, then 1.5, 1.125 and -1.
#[test]
fn rewards_are_clipped_before_the_divergence_is_taken_off() {
    let host = PretendHost::of(MANIFEST).setting("beta", 0.5).setting("lowest", -1.0).setting("highest", 2.0);
    let rewards = [Some(5.0), Some(1.0), Some(-9.0), Some(2.0)];
    check(&host, &rewards, &[1.4375, 0.875, -2.3125, 0.0]);
    assert_eq!(host.report().metric("kl"), Some(0.4375));
}

#[test]
fn a_rollout_without_a_reward_is_in_nobodys_baseline() {
    let host = PretendHost::of(MANIFEST).setting("beta", 0.0);
    check(&host, &[Some(2.0), None, Some(1.0), None], &[1.0, 0.0, -1.0, 0.0]);
    check(&host, &[None, None, Some(1.0), None], &[0.0; 4]);
    let half = 0.5_f32.sqrt();
    let exact = host.setting("normalise", true).setting("epsilon", 0.0);
    check(&exact, &[Some(2.0), None, Some(1.0), None], &[half, 0.0, -half, 0.0]);
}

/// As in TRL: what has no others to be compared with has no advantage, which is not the same as one of 0.
#[test]
fn lone_rollouts_are_in_no_deviation() {
    let host = PretendHost::of(MANIFEST).setting("beta", 0.0).setting("normalise", true).setting("epsilon", 0.0);
    let half = 0.5_f32.sqrt();
    check(&host, &[Some(2.0), None, Some(1.0), Some(9.0)], &[half, 0.0, -half, 0.0]);
    check(&host, &[Some(2.0), None, None, Some(9.0)], &[0.0; 4]);
}

#[test]
fn a_range_that_is_none_is_refused() {
    let error = PretendHost::of(MANIFEST).setting("lowest", 1.0).setting("highest", 0.0).credit::<Rloo>(&[], &[]);
    assert!(error.expect_err("there is no such range").to_string().contains("below `lowest`"));
}

//! The plugin against a pretend host: several rewards, rollouts without any, and what it logs. Numbers are in `math.rs` and, through the real
//! component, in `tests/it/credit.rs`.

use tunesmith_sdk_test::{Case, PretendHost, Row, check_manifest};

use super::*;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml");

fn rollout(group: u32, good: Option<f32>, short: Option<f32>) -> Case {
    Row::new("q").answered("a b").group(group).reward("good", good).reward("short", short)
}

#[track_caller]
fn check(host: &PretendHost, rollouts: &[Case], rewards: &[Option<f32>], expected: &[f32]) {
    let advantages = host.credit::<GroupAdvantage>(rollouts, rewards).expect("nothing is missing");
    let Advantages::PerRollout(found) = advantages else { panic!("{advantages:?} are per token") };
    let near = |(found, expected): (&f32, &f32)| (found - expected).abs() < 1e-5;
    assert!(found.len() == expected.len() && found.iter().zip(expected).all(near), "{found:?}, not {expected:?}");
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<GroupAdvantage>(MANIFEST);
}

#[test]
fn a_rollout_without_a_reward_has_no_advantage_and_is_not_counted() {
    let host = PretendHost::of(MANIFEST).setting("scale", "none");
    let rollouts: Vec<Case> = [0, 0, 0, 1, 1, 2].map(|group| rollout(group, None, None)).to_vec();
    let rewards = [Some(1.0), None, Some(3.0), Some(5.0), Some(5.0), None];
    check(&host, &rollouts, &rewards, &[-1.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
    assert_eq!(host.report().metric("zero-spread-share"), Some(0.5), "the last group has no reward");
    // Of 1, 3, 5 and 5: the squared distances from 3.5 add up to 11.
    let spread = host.report().metric("reward-std").expect("it is logged");
    assert!((spread - (11.0_f64 / 3.0).sqrt()).abs() < 1e-9, "{spread}");
}

/// Each reward of -1 and 1 becomes -1 and 1 (population); `short` disagrees with `good` in the second group and counts half as much.
/// The sums are -1.5, 1.5, -0.5, 0.5: over the batch their deviation is sqrt(1.25).
#[test]
fn each_reward_is_normalised_by_itself_with_its_weight() {
    let host = PretendHost::of(MANIFEST)
        .setting("aggregation", "normalise-then-sum")
        .setting("ddof", 0)
        .setting("epsilon", 0.0)
        .reward_weight("short", 0.5);
    let rollouts = [
        rollout(0, Some(0.0), Some(-100.0)),
        rollout(0, Some(0.01), Some(100.0)),
        rollout(1, Some(3.0), Some(9.0)),
        rollout(1, Some(4.0), Some(2.0)),
    ];
    let deviation = 1.25_f32.sqrt();
    let expected = [-1.5, 1.5, -0.5, 0.5].map(|sum| sum / deviation);
    check(&host, &rollouts, &[Some(-50.0), Some(50.01), Some(7.5), Some(5.0)], &expected);
}

#[test]
fn the_largest_rewards_have_finite_advantages() {
    for scale in ["group", "batch", "none"] {
        let host = PretendHost::of(MANIFEST).setting("scale", scale);
        let rollouts = [rollout(0, None, None), rollout(0, None, None)];
        // The pretend host refuses what is not finite.
        let advantages = host.credit::<GroupAdvantage>(&rollouts, &[Some(f32::MAX), Some(f32::MIN)]);
        assert!(matches!(advantages, Ok(Advantages::PerRollout(values)) if 0.5 < values[0] && values[1] < -0.5));
    }
}

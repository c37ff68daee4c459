//! The formulas by hand, and the plugin against a pretend host: pairs, groups, and the terms beside the preference.

use tunesmith_sdk_test::{PretendHost, Row, TokenRow, check_manifest};

use super::*;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml");

fn host() -> PretendHost {
    PretendHost::of(MANIFEST)
}

#[track_caller]
fn near(found: f32, expected: f64) {
    assert!((f64::from(found) - expected).abs() < 2e-6 * (1.0 + expected.abs()), "{found}, not {expected}");
}

fn side(policy: f32, reference: f32, length: f32) -> Side {
    let one = |value: f32| Tensor::from_floats(&[value], &[1]);
    Side { policy: one(policy), reference: one(reference), score: one(policy - reference), length: one(length) }
}

fn numbers(beta: f32) -> Numbers {
    Numbers { beta, smoothing: 0.0, tau: 0.05, gamma: 1.0, lambda: 0.1 }
}

/// The cost of one pair.
fn cost(loss: Loss, chosen: &Side, rejected: &Side, beta: f32) -> f32 {
    math::loss(loss, chosen, rejected, &Tensor::full(0.0, &[]), numbers(beta)).item()
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<Dpo>(MANIFEST);
}

#[test]
fn golden_vectors() {
    near(cost(Loss::Sigmoid, &side(-4.0, -5.0, 2.0), &side(-6.0, -4.0, 3.0), 0.1), 0.554_355);
    // Means of -1.0 and -1.5 per token, a beta of 2 and a margin of 1: 0.693147.
    near(cost(Loss::Simpo, &side(-2.0, 0.0, 2.0), &side(-6.0, 0.0, 4.0), 2.0), std::f64::consts::LN_2);
}

#[test]
fn the_odds_ratio_is_that_of_mean_log_probabilities() {
    let odds = |p: f64| (p / (1.0 - p)).ln();
    for p in [0.001_f64, 0.5, 0.999] {
        near(math::log_odds(&Tensor::from_floats(&[p.ln() as f32], &[1])).item(), odds(p));
    }
    assert!(math::log_odds(&Tensor::from_floats(&[0.0], &[1])).item().is_finite());
    // Probabilities of 0.5 and 0.2 per token.
    let (chosen, rejected) = (side(0.5_f32.ln() * 3.0, 0.0, 3.0), side(0.2_f32.ln(), 0.0, 1.0));
    let ratio = odds(0.5) - odds(0.2);
    near(cost(Loss::Orpo, &chosen, &rejected, 0.1), 2.0_f64.ln() + 0.1 * (-ratio).exp().ln_1p());
}

#[test]
fn divergences_agree_near_the_reference() {
    use Divergence::{Alpha, ForwardKl, Js, ReverseKl};
    let of = |divergence: Divergence, ratio: f32| divergence.score(&Tensor::from_floats(&[ratio], &[1]), 0.5).item();
    near(of(ReverseKl, 1.5), 1.5);
    near(of(ForwardKl, 1.5), 1.0 - (-1.5_f64).exp());
    near(of(Js, 1.5), (2.0 * 1.5_f64.exp() / (1.0 + 1.5_f64.exp())).ln());
    near(of(Alpha, 1.5), ((-0.75_f64).exp() - 1.0) / -0.5);
    near(Alpha.score(&Tensor::from_floats(&[1.5], &[1]), 1.0).item(), 1.5);
}

/// A row of group `group` with these log-probabilities under the policy, and -1.0 per token under the reference.
fn row(role: &str, group: i32, policy: &[f32], first: u32) -> TokenRow {
    let tokens: Vec<u32> = (first..).take(policy.len()).collect();
    TokenRow::new(policy).logprobs("reference", &vec![-1.0; policy.len()]).tokens(&tokens).role(role).group(group)
}

/// A group of two pairs and one of one pair: ratios 1.0 against -1.0 and -2.0, and 0.5 against -0.5.
fn rows() -> Vec<TokenRow> {
    vec![
        row("chosen", 0, &[-0.5, -0.5], 10),
        row("rejected", 0, &[-2.0, -1.0], 20),
        row("rejected", 0, &[-4.0], 30),
        row("rejected", 1, &[-1.5, -1.0], 40),
        row("chosen", 1, &[-0.5], 50),
    ]
}

fn dpo(beta: f64, difference: f64) -> f64 {
    (-beta * difference).exp().ln_1p()
}

#[test]
fn the_loss_is_a_mean_over_groups_and_within_a_group_over_its_pairs() {
    let host = host();
    let expected = f64::midpoint(f64::midpoint(dpo(0.1, 2.0), dpo(0.1, 4.0)), dpo(0.1, 1.0));
    near(host.objective::<Dpo>(&rows()).expect("nothing is missing"), expected);
    let report = host.report();
    let metric = |name: &str| report.metric(name).expect("it is told") as f32;
    near(metric("reward-chosen"), 0.1 * 2.5 / 3.0);
    near(metric("reward-rejected"), -0.1 * 4.5 / 3.0);
    near(metric("reward-margin"), 0.7 / 3.0);
    assert_eq!((report.metric("reward-accuracy"), report.metric("equal-pairs")), (Some(1.0), Some(0.0)));
}

#[test]
fn gradients_raise_the_chosen_and_lower_the_rejected() {
    let gradient = host().gradient::<Dpo>(&rows()).expect("nothing is missing");
    let slope = |difference: f64| 0.1 / (1.0 + (0.1 * difference).exp());
    let expected =
        [-(slope(2.0) + slope(4.0)) / 4.0, slope(2.0) / 4.0, slope(4.0) / 4.0, slope(1.0) / 2.0, -slope(1.0) / 2.0];
    for (row, expected) in gradient.iter().zip(expected) {
        near(row[1] as f32, expected);
    }
}

#[test]
fn a_pair_of_equal_sides_has_no_loss() {
    let host = host();
    let mut rows = rows();
    rows[1] = row("rejected", 0, &[-2.0, -1.0], 10);
    near(host.objective::<Dpo>(&rows).expect("nothing is missing"), f64::midpoint(dpo(0.1, 4.0), dpo(0.1, 1.0)));
    let skipped = (1, "the rejected completion equals the chosen one".to_owned());
    assert_eq!((host.report().metric("equal-pairs"), host.report().skipped), (Some(1.0), vec![skipped]));
    let only = [rows[0].clone(), rows[1].clone()];
    near(host.objective::<Dpo>(&only).expect("nothing is missing"), 0.0);
}

#[test]
fn losses_are_added_by_their_weights() {
    let host = host().setting("losses", vec!["sigmoid", "sft"]).setting("weights", vec![2.0, 0.5]);
    // The chosen rows have three tokens of -0.5.
    let expected = 2.0 * f64::midpoint(f64::midpoint(dpo(0.1, 2.0), dpo(0.1, 4.0)), dpo(0.1, 1.0)) + 0.5 * 0.5;
    near(host.objective::<Dpo>(&rows()).expect("nothing is missing"), expected);
}

/// CLO: `lambda NLL + (1 - lambda) DPO`, the NLL of the marked row only.
#[test]
fn likelihood_is_added_for_marked_rows() {
    let marked = |mut rows: Vec<TokenRow>| {
        for row in &mut rows {
            row.row = Row::new("q").column("target", u32::from(row.group == 1));
        }
        rows[4].logprobs.insert("policy".into(), vec![0.0, -0.25]);
        rows
    };
    let host = host().setting("share", 0.75).setting("nll", 0.25).setting("nll-column", "target");
    let expected = f64::midpoint(f64::midpoint(dpo(0.1, 2.0), dpo(0.1, 4.0)), dpo(0.1, 1.25));
    near(host.objective::<Dpo>(&marked(rows())).expect("nothing is missing"), 0.75 * expected + 0.25 * 0.25);
    let host = host.setting("nll-column", "");
    near(host.objective::<Dpo>(&marked(rows())).expect("nothing is missing"), 0.75 * expected + 0.25 * 1.25 / 3.0);
}

/// SELM: the policy's own answer is lowered.
#[test]
fn optimism_lowers_the_own_answer() {
    let host = host().setting("alpha", 0.5);
    let mut with_own = rows()[..2].to_vec();
    with_own.push(row("self", 0, &[-0.25, -0.25], 60));
    near(host.objective::<Dpo>(&with_own).expect("nothing is missing"), dpo(0.1, 2.0) + 0.5 * 0.1 * 1.5);
    near(host.gradient::<Dpo>(&with_own).expect("nothing is missing")[2][1] as f32, 0.05);
    let refused = host.objective::<Dpo>(&rows());
    assert!(
        matches!(&refused, Err(Error::Unsupported(text)) if text.contains("no row of the role `self`")),
        "{refused:?}"
    );
}

#[test]
fn simpo_needs_no_reference() {
    let mut rows = rows();
    for row in &mut rows {
        row.logprobs.remove("reference");
    }
    let host = host().setting("losses", vec!["simpo"]).setting("beta", 2.0);
    let of = |chosen: f64, rejected: f64| (0.5 - 2.0 * (chosen - rejected)).exp().ln_1p();
    let expected = f64::midpoint(f64::midpoint(of(-0.5, -1.5), of(-0.5, -4.0)), of(-0.5, -1.25));
    near(host.objective::<Dpo>(&rows).expect("nothing is missing"), expected);
    near(host.report().metric("reward-chosen").expect("it is told") as f32, -1.0);
}

#[track_caller]
fn check_refusal(rows: &[TokenRow], expected: &str) {
    let refused = host().objective::<Dpo>(rows);
    assert!(
        matches!(&refused, Err(Error::Unsupported(text)) if text.contains(expected) && text.contains("in `[data]`")),
        "{refused:?}"
    );
}

#[test]
fn groups_that_are_no_preferences_are_refused_with_a_hint() {
    let all = rows();
    check_refusal(&all[..1], "group 0 of the batch has no rejected row");
    check_refusal(&all[1..3], "group 0 of the batch has no chosen row");
    check_refusal(&[all[0].clone(), all[0].clone(), all[1].clone()], "has 2 chosen rows");
    check_refusal(&[all[0].clone(), all[1].clone().role("gold")], "has a row of the role `gold`");
}

#[track_caller]
fn check_settings(host: &PretendHost, expected: &str) {
    let refused = host.objective::<Dpo>(&rows());
    assert!(matches!(&refused, Err(Error::BadSettings(text)) if text.contains(expected)), "{refused:?}");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    check_settings(&host().setting("weights", vec![1.0, 1.0]), "one number for each");
    check_settings(&host().setting("losses", vec!["nca-pair"]).setting("f-divergence", "js"), "leaves a constant");
    check_settings(&host().setting("losses", vec!["aot"]).setting("weighting", true), "sort");
    check_settings(&host().setting("losses", vec!["exo-pair"]), "such as 0.001");
    check_settings(&host().setting("label-smoothing", 0.1), "`robust` is `sigmoid` with one");
    check_settings(&host().setting("losses", vec!["ipo"]).setting("alpha", 0.1), "`sigmoid` only");
}

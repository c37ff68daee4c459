//! The plugin against a pretend host: what it groups, its loss and gradient by hand, and the average that it keeps.

use tunesmith_sdk_test::{Choice, PretendHost, PretendModel, Row, TokenRow, check_manifest};

use super::*;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml");

fn host() -> PretendHost {
    PretendHost::of(MANIFEST)
}

/// A gold answer and two negatives of row 7, with log-probabilities under the policy and the starting model.
fn group() -> Vec<TokenRow> {
    let row = |role: &str, policy: &[f32], reference: &[f32]| {
        let data = Row { id: Some(7), ..Row::new("q") };
        TokenRow::new(policy).logprobs("reference", reference).of(data).role(role)
    };
    vec![
        row("gold", &[-0.5, -0.25], &[-1.0, -1.0]),
        row("negative", &[-1.0, -1.0], &[-1.0, -0.5]),
        row("negative", &[-2.0, -0.5], &[-2.0, -1.0]),
    ]
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<Dft>(MANIFEST);
}

#[test]
fn gold_answers_are_grouped_with_samples_that_differ() {
    let say = |_: &str, sample: usize| ["4", "5", "", "6"][sample % 4].to_owned();
    let host = host().setting("epochs", 2).model("policy", PretendModel::saying(say));
    let rows = [Row::new("2 + 2").completion("4"), Row::new("no gold")];
    let curated = host.curate::<Dft>(&rows).expect("nothing is missing");
    let group = |negatives: &[&str]| {
        let members = std::iter::once(("gold", "4")).chain(negatives.iter().map(|text| ("negative", *text)));
        let members = members.map(|(role, text)| (role.to_owned(), text.to_owned())).collect();
        Choice::Group { row: 0, members, provenance: "gold".into() }
    };
    let omitted = Choice::Omit { row: 1, why: "no gold completion".into() };
    assert_eq!(curated.choices, [omitted, group(&["5"]), group(&["6"])]);
    assert_eq!((host.report().metric("equal-share"), host.report().metric("empty-share")), (Some(0.25), Some(0.25)));
}

#[test]
fn the_system_message_is_for_sampling_only() {
    let host = host().setting("system", "be wrong").model("policy", PretendModel::saying(|_, _| "5".into()));
    host.curate::<Dft>(&[Row::new("2 + 2").completion("4")]).expect("nothing is missing");
    let asked = format!("{:?}", host.asked()[0].0);
    assert!(asked.contains("be wrong") && asked.contains("2 + 2"), "{asked}");
}

/// d = (-2.0 + 1.5, -2.5 + 3.0) = (-0.5, 0.5); with gamma 1 the weights are exp(d) / mean(exp(d)).
#[test]
fn loss_and_gradient_are_those_of_the_formula() {
    let host = host().setting("gamma", 1.0);
    let (low, high) = ((-0.5_f64).exp(), 0.5_f64.exp());
    let mean = f64::midpoint(low, high);
    let expected = 0.75 + 0.5 * (low / mean * -2.0 + high / mean * -2.5);
    let loss = f64::from(host.objective::<Dft>(&group()).expect("nothing is missing"));
    assert!((loss - expected).abs() < 1e-6, "{loss}, not {expected}");
    let gradient = host.gradient::<Dft>(&group()).expect("nothing is missing");
    for (row, expected) in gradient.iter().zip([-1.0, 0.5 * low / mean, 0.5 * high / mean]) {
        assert!((row[1] - expected).abs() < 1e-6 && (row[1] - row[2]).abs() < 1e-9, "{gradient:?}");
    }
    assert_eq!(host.report().metric("margin"), Some(-0.75 + 2.25));
}

/// DFT2: means in place of sums, and no reference.
#[test]
fn the_mean_score_needs_no_reference() {
    let rows: Vec<TokenRow> = group()
        .into_iter()
        .map(|mut row| {
            row.logprobs.remove("reference");
            row
        })
        .collect();
    let host = host().setting("score", "mean").setting("tau", 0.5).setting("gamma", 1.0);
    let (one, other) = ((-1.0_f64 / 0.5).exp(), (-1.25_f64 / 0.5).exp());
    let mean = f64::midpoint(one, other);
    let expected = 0.375 - 0.5 * (one / mean + other / mean * 1.25);
    let loss = f64::from(host.objective::<Dft>(&rows).expect("nothing is missing"));
    assert!((loss - expected).abs() < 1e-6, "{loss}, not {expected}");
}

#[test]
fn the_average_of_a_row_is_kept_from_step_to_step() {
    let host = host();
    let first = host.objective::<Dft>(&group()).expect("nothing is missing");
    let second = host.objective::<Dft>(&group()).expect("nothing is missing");
    // u starts at 0 and moves towards log(mean(exp(d))) = 0.12: the weights fall.
    let (d, gamma) = ([-0.5, 0.5], 0.85);
    let u = math::moved(math::moved(0.0, gamma, &d), gamma, &d);
    let weights = math::weights(&d, u, 20.0);
    let expected = 0.75 + 0.5 * (weights[0] * -2.0 + weights[1] * -2.5);
    assert!((f64::from(second) - expected).abs() < 1e-6, "{second}, not {expected}");
    assert!(first < second, "{first} {second}");
}

#[test]
fn a_group_without_negatives_is_plain_fine_tuning() {
    let host = host();
    let loss = host.objective::<Dft>(&group()[..1]).expect("nothing is missing");
    assert!((loss - 0.75).abs() < 1e-6, "{loss}");
    assert_eq!(host.report().metric("without-negatives"), Some(1.0));
}

#[test]
fn rows_that_are_no_groups_are_refused_with_a_hint() {
    let rows = [TokenRow::new(&[-1.0]).logprobs("reference", &[-1.0])];
    let refused = host().objective::<Dft>(&rows);
    assert!(
        matches!(&refused, Err(Error::Unsupported(text)) if text.contains("take `dft` in `[curate]` too")),
        "{refused:?}"
    );
    let orphan = host().objective::<Dft>(&group()[1..]);
    assert!(matches!(&orphan, Err(Error::Unsupported(text)) if text.contains("has no gold answer")), "{orphan:?}");
}

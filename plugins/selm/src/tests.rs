//! The plugin against a pretend host: an own answer that is best, worst, between, equal, empty or cut.

use tunesmith_sdk::native::model::Generation;
use tunesmith_sdk_test::{Choice, PretendHost, PretendModel, Row, check_manifest};

use super::*;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml");

/// A policy that repeats the prompt, and a judge that likes larger numbers.
fn host() -> PretendHost {
    let number = |text: &str| text.parse::<i32>().expect("a number");
    PretendHost::of(MANIFEST).model("policy", PretendModel::saying(|prompt, _| prompt.to_owned())).judging(
        move |case| {
            let rival = case.rival.as_deref().expect("answers are compared");
            match number(&case.answer).cmp(&number(rival)) {
                std::cmp::Ordering::Equal => Verdict::undecided("equal"),
                order => Verdict::from(order.is_gt()),
            }
        },
    )
}

fn row(own: &str, chosen: &str, rejected: &str) -> Row {
    Row::new(own).completion(chosen).column("chosen", chosen).column("rejected", rejected)
}

fn ranked(row: usize, chosen: &str, rejected: &str, own: &str) -> Choice {
    let members = [("chosen", chosen), ("rejected", rejected), ("self", own)];
    let members = members.map(|(role, text)| (role.to_owned(), text.to_owned())).into();
    Choice::Group { row, members, provenance: PROVENANCE.into() }
}

fn omitted(row: usize, why: &str) -> Choice {
    Choice::Omit { row, why: why.into() }
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<Selm>(MANIFEST);
}

#[test]
fn the_best_of_three_is_preferred_to_the_worst_and_the_own_one_is_kept() {
    let host = host();
    let rows = [row("9", "5", "2"), row("1", "5", "2"), row("3", "5", "2"), row("3", "2", "5")];
    let curated = host.curate::<Selm>(&rows).expect("nothing is missing");
    let expected =
        [ranked(0, "9", "2", "9"), ranked(1, "5", "1", "1"), ranked(2, "5", "2", "3"), ranked(3, "5", "2", "3")];
    assert_eq!(curated.choices, expected);
    let report = host.report();
    assert_eq!(
        ["own-best", "own-worst", "tie-share"].map(|name| report.metric(name)),
        [Some(0.25), Some(0.25), Some(0.0)]
    );
    assert_eq!(host.asked().len(), 1, "one call for all rows");
    assert_eq!(host.asked()[0].1.temperature, Some(0.0));
}

#[test]
fn an_own_answer_that_equals_a_given_one_ties_with_it() {
    let curated = host().curate::<Selm>(&[row("5", "5", "2"), row("2", "5", "2")]).expect("nothing is missing");
    assert_eq!(curated.choices, [ranked(0, "5", "2", "5"), ranked(1, "5", "2", "2")]);
}

#[test]
fn what_the_judge_cannot_tell_leaves_the_given_order() {
    let host = host().judging(|_| Verdict::undecided("no idea"));
    let curated = host.curate::<Selm>(&[row("9", "2", "5")]).expect("nothing is missing");
    assert_eq!(curated.choices, [ranked(0, "2", "5", "9")]);
    assert_eq!(host.report().metric("tie-share"), Some(1.0));
}

#[test]
fn a_liking_for_the_first_answer_cancels_in_both_orders() {
    // The own answer beats the worse one, which beats the better one; of the better and the own one the first wins.
    let curated = |orders: &str| {
        let host = host().setting("orders", orders);
        let wins = [("2", "3"), ("3", "2"), ("9", "2"), ("3", "9")];
        let host = host.judging(move |case| {
            Verdict::from(wins.contains(&(case.answer.as_str(), case.rival.as_deref().unwrap_or_default())))
        });
        host.curate::<Selm>(&[row("3", "2", "9")]).expect("nothing is missing").choices
    };
    assert_eq!(curated("one"), [ranked(0, "2", "9", "3")]);
    assert_eq!(curated("both"), [ranked(0, "3", "2", "3")]);
}

#[test]
fn a_phase_takes_its_portion() {
    let rows: Vec<Row> = (0..5).map(|_| row("9", "5", "2")).collect();
    let host = host().setting("portions", 3).setting("portion", 1);
    let curated = host.curate::<Selm>(&rows).expect("nothing is missing");
    let taken: Vec<usize> =
        (0..5).filter(|row| !curated.choices.contains(&omitted(*row, "of another portion"))).collect();
    assert_eq!(taken, [1, 4]);
    assert!(curated.choices.contains(&ranked(4, "9", "2", "9")));
}

#[test]
fn rows_without_two_answers_are_left_out_with_a_reason() {
    let host = host();
    let rows = [row("9", "5", "5"), row("9", " ", "5"), Row::new("9").column("chosen", "5"), row(" ", "5", "2")];
    let curated = host.curate::<Selm>(&rows).expect("nothing is missing");
    let expected = [
        omitted(0, "both given answers are the same"),
        omitted(1, "a given answer is empty"),
        omitted(2, "no two given answers"),
        omitted(3, "the own answer is empty"),
    ];
    assert_eq!(curated.choices, expected);
    assert_eq!(host.asked()[0].0.len(), 1);
}

#[test]
fn a_cut_own_answer_may_be_left_out() {
    let cut = |_: &str, _: usize| Generation { text: "9".into(), is_finished: false, token_logprobs: vec![-0.5] };
    let curated = |unfinished: &str| {
        let host = host().model("policy", PretendModel::generating(cut)).setting("unfinished", unfinished);
        host.curate::<Selm>(&[row("q", "5", "2")]).expect("nothing is missing").choices
    };
    assert_eq!(curated("rank"), [ranked(0, "9", "2", "9")]);
    assert_eq!(curated("drop"), [omitted(0, "the own answer was cut at the length limit")]);
}

#[test]
fn a_portion_that_does_not_exist_is_refused() {
    let refused = host().setting("portions", 2).setting("portion", 2).curate::<Selm>(&[]);
    assert!(matches!(refused, Err(Error::BadSettings(_))), "{refused:?}");
}

//! The plugin as the host sees it.

use tunesmith_sdk_test::{Case, Evaluation, PretendHost, Row, check_manifest};

use super::*;

/// A question of the kind that GSM8K asks, with this gold completion.
fn question(completion: &str) -> Row {
    Row::new("How many?").completion(completion)
}

fn host() -> PretendHost {
    PretendHost::of("plugin.toml")
}

#[track_caller]
fn check(host: &PretendHost, case: Case, expected: Verdict) {
    assert_eq!(host.judge::<AnswerMatch>(&[case]), Ok(vec![expected]));
}

#[track_caller]
fn check_text(host: &PretendHost, gold: &str, answer: &str, is_right: bool) {
    check(host, Row::new("?").column("answer", gold).answered(answer), Verdict::from(is_right));
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<AnswerMatch>("plugin.toml");
}

#[test]
fn the_gold_answer_of_gsm8k_follows_its_marker() {
    let gold = question("She buys 3 + 4 = <<3+4=7>>7 eggs, 6 left.\n#### 7");
    check(&host(), gold.clone().answered("So there are 7 eggs."), Verdict::Right);
    check(&host(), gold.clone().answered("3 and 4 make 7.\n#### 7\nI used 2 steps."), Verdict::Right);
    check(&host(), gold.clone().answered("#### 8"), Verdict::Wrong);
    check(&host(), gold.answered("I do not know"), Verdict::Wrong);
}

#[test]
fn the_column_wins_over_the_completion() {
    let row = question("#### 7").column("answer", 8);
    check(&host(), row.clone().answered("8"), Verdict::Right);
    check(&host().setting("column", "other"), row.answered("8"), Verdict::Wrong);
}

#[test]
fn without_a_gold_answer_nothing_is_decided() {
    check(&host(), Row::new("?").answered("7"), Verdict::undecided(NO_GOLD));
    check(&host(), question("I do not know").answered("7"), Verdict::undecided(NO_GOLD));
}

#[test]
fn the_last_or_the_first_number_counts() {
    let row = question("#### 3");
    check(&host(), row.clone().answered("2 + 1 = 3"), Verdict::Right);
    check(&host().setting("take", "first"), row.clone().answered("2 + 1 = 3"), Verdict::Wrong);
    check(&host().setting("take", "first"), row.answered("3, since 2 + 1 = 4 - 1"), Verdict::Right);
}

#[test]
fn a_marker_without_an_answer_leaves_it_to_the_one_before() {
    check(&host(), question("#### 7").answered("#### 7\n####"), Verdict::Right);
}

#[test]
fn strict_asks_for_the_marker_in_the_model_s_text_only() {
    let strict = host().setting("strict", true).setting("marker", "answer is");
    check(&strict, Row::new("?").column("answer", "7").answered("7"), Verdict::Wrong);
    check(&strict, Row::new("?").column("answer", "7").answered("The Answer is: 7 (not 8)"), Verdict::Right);
}

#[test]
fn a_tolerance_is_in_the_unit_of_the_number() {
    let near = host().setting("tolerance", 0.01);
    check_text(&near, "3.14", "3.15", true);
    check_text(&near, "3.14", "3.16", false);
    check_text(&host(), "3.14", "3.140", true);
}

#[test]
fn short_texts_are_compared_by_their_words() {
    let text = host().setting("kind", "text").setting("marker", "");
    check_text(&text, "Paris", "paris.", true);
    check_text(&text, "Paris", "I think so.\nParis\n\n", true);
    check_text(&text, "Paris", "London", false);
    check_text(&text, "New York", "new  york", true);
    check_text(&text.setting("fold-case", false), "Paris", "paris", false);
    check_text(&host().setting("kind", "text").setting("strip-punctuation", false), "C++", "c", false);
    check_text(&host().setting("kind", "text").setting("marker", "answer:"), "yes", "Hm.\nAnswer: Yes!\nBye", true);
    check_text(&host().setting("kind", "text"), "yes", "...", false);
}

#[test]
fn choices_are_letters() {
    let choice = host().setting("kind", "choice").setting("marker", "answer is");
    check_text(&choice, "B", "A is wrong. The answer is (B), not C.", true);
    check_text(&choice, "B", "The answer is A", false);
    check_text(&choice, "(B)", "B", true);
    check_text(&choice, "B", "A cat", false);
}

#[test]
fn of_two_answers_the_right_one_is_better() {
    let row = question("#### 7");
    check(&host(), row.clone().answered("7").rival("8"), Verdict::Right);
    check(&host(), row.clone().answered("8").rival("7"), Verdict::Wrong);
    check(&host(), row.clone().answered("7").rival("7.0"), Verdict::undecided("both answers are right"));
    check(&host(), row.answered("8").rival("9"), Verdict::undecided("both answers are wrong"));
    check(&host(), Row::new("?").answered("7").rival("8"), Verdict::undecided(NO_GOLD));
}

#[test]
fn a_set_is_measured_over_the_rows_with_a_gold_answer() {
    let cases = [
        question("#### 1").answered("1"),
        question("#### 2").answered("3").unfinished(),
        question("#### 3").answered("none"),
        Row::new("?").answered("4"),
    ];
    let host = host();
    let evaluation = Evaluation::new(&cases).statistic("kl", &[0.1, 0.2, 0.3, 0.4]);
    let metrics = host.measure::<AnswerMatch>(&evaluation).expect("metrics");
    let expected = [("accuracy", 1.0 / 3.0), ("answered", 0.75), ("finished", 0.75), ("kl", 0.25)];
    assert_eq!(metrics, expected.map(|(name, value)| (name.to_owned(), value)));
    assert_eq!(host.report().skipped, [(3, NO_GOLD.to_owned())]);
}

#[test]
fn a_set_without_gold_answers_is_declined() {
    let measure = |cases: &[Case]| host().measure::<AnswerMatch>(&Evaluation::new(cases));
    assert!(matches!(measure(&[]), Err(Error::Unsupported(text)) if text.contains("empty")));
    assert!(
        matches!(measure(&[Row::new("?").answered("4")]), Err(Error::Unsupported(text)) if text.contains("`column`"))
    );
}

#[test]
fn settings_that_contradict_each_other_are_declined() {
    let declined = |host: PretendHost| matches!(host.judge::<AnswerMatch>(&[]), Err(Error::BadSettings(_)));
    assert!(declined(host().setting("strict", true).setting("marker", " ")));
    assert!(declined(host().setting("tolerance", -1.0)));
    assert!(declined(host().setting("kind", "choice").setting("choices", "A-D")));
}

#[test]
fn a_right_rollout_is_rewarded_and_one_without_a_gold_answer_is_not_scored() {
    let gold = question("#### 7");
    let rollouts = [gold.clone().answered("It is 7."), gold.clone().answered("8"), gold.answered("no idea")];
    let rollouts = [&rollouts[..], &[Row::new("?").answered("7")]].concat();
    assert_eq!(host().reward::<AnswerMatch>(&rollouts), Ok(vec![Some(1.0), Some(0.0), Some(0.0), None]));
}

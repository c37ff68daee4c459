//! The plugin as the host sees it.

use tunesmith_sdk_test::{Case, PretendHost, PretendModel, Row, check_manifest};

use super::*;

fn host(kind: &str, model: PretendModel) -> PretendHost {
    PretendHost::of("plugin.toml").setting("kind", kind).setting("model", "grader").model("grader", model)
}

fn case(answer: &str) -> Case {
    Row::new("2 + 2?").completion("4").answered(answer)
}

fn pair(answer: &str, rival: &str) -> Case {
    Case { rival: Some(rival.into()), ..case(answer) }
}

#[track_caller]
fn check(host: &PretendHost, case: Case, expected: Verdict) {
    assert_eq!(host.judge::<LlmJudge>(&[case]), Ok(vec![expected]));
}

/// A judge that says yes to requests with `4` as the answer to be judged.
fn knows_four() -> PretendModel {
    PretendModel::saying(|prompt, _| {
        let is_right = prompt.contains("Answer to be judged:\n4\n");
        format!("I compare.\nVerdict: {}", if is_right { "yes" } else { "no" })
    })
}

/// A judge that prefers the longer answer, and takes A of two of one length.
fn likes_length() -> PretendModel {
    PretendModel::saying(|prompt, _| {
        let part = |from: &str, to: &str| {
            prompt.split_once(from).and_then(|(_, it)| it.split_once(to)).map_or(0, |it| it.0.len())
        };
        let (a, b) = (part("Answer A:\n", "\n\n"), part("Answer B:\n", "\n\n"));
        format!("Better: {}", if b > a { "B" } else { "A" })
    })
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<LlmJudge>("plugin.toml");
}

#[test]
fn yes_is_right_and_no_is_wrong() {
    let host = host("yes-no", knows_four());
    check(&host, case("4"), Verdict::Right);
    check(&host, case("5"), Verdict::Wrong);
    let (prompts, sampling) = &host.asked()[0];
    assert!(prompts[0].text().contains("Question:\n2 + 2?\n\nReference answer:\n4\n"), "{}", prompts[0].text());
    assert_eq!((sampling.temperature, sampling.max_tokens), (Some(0.0), Some(512)));
    check(&host, Row::new("?").answered("4"), Verdict::undecided(NO_REFERENCE));
    assert_eq!(host.asked().len(), 2, "what cannot be asked about is not asked");
    assert_eq!(host.report().skipped, [(0, NO_REFERENCE.to_owned())]);
}

#[test]
fn many_cases_are_one_request_for_texts_and_keep_their_order() {
    let host = host("yes-no", knows_four());
    let cases = [case("4"), Row::new("?").answered("4"), case("3"), case("4")];
    let verdicts = host.judge::<LlmJudge>(&cases).expect("it judges");
    assert_eq!(verdicts, [Verdict::Right, Verdict::undecided(NO_REFERENCE), Verdict::Wrong, Verdict::Right]);
    assert_eq!((host.asked().len(), host.asked()[0].0.len()), (1, 3));
    assert_eq!(host.judge::<LlmJudge>(&[]), Ok(vec![]));
}

#[test]
fn a_grade_is_a_share_of_its_scale() {
    let says = |text: &'static str| host("grade", PretendModel::saying(move |_, _| text.into()));
    check(&says("Fine. Score: 10"), case("4"), Verdict::Right);
    check(&says("Score: 1"), case("4"), Verdict::Wrong);
    check(&says("Score: 5.5/10"), case("4"), Verdict::Partly(0.5));
    check(&says("Score: 3").setting("lowest", 2).setting("highest", 4), case("4"), Verdict::Partly(0.5));
    let asked = says("Score: 3").setting("highest", 5);
    check(&asked, case("4"), Verdict::Partly(0.5));
    assert!(asked.asked()[0].0[0].text().contains("a number from 1 (useless) to 5 (could"));
    check(&says("Score: 11"), case("4"), Verdict::undecided(UNREAD));
}

#[test]
fn a_pair_is_asked_about_in_both_orders() {
    let host = host("pairwise", likes_length());
    check(&host, pair("four, of course", "4"), Verdict::Right);
    check(&host, pair("4", "four, of course"), Verdict::Wrong);
    assert_eq!(host.report().metric("order-mattered"), Some(0.0));
    check(&host, pair("4", "5"), Verdict::undecided(ORDER));
    assert_eq!(host.report().metric("order-mattered"), Some(1.0));
    check(&host, case("4"), Verdict::undecided(NO_RIVAL));
    check(&host.setting("order-mattered", "partly"), pair("4", "5"), Verdict::Partly(0.5));
}

#[test]
fn a_text_without_a_verdict_is_asked_for_again_and_never_a_tie() {
    let texts = PretendModel::canned(["hm", "hm", "Verdict: yes"]);
    let asked = host("yes-no", texts).setting("retries", 2);
    check(&asked, case("4"), Verdict::Right);
    let temperatures: Vec<_> = asked.asked().iter().map(|(_, sampling)| sampling.temperature).collect();
    assert_eq!(temperatures, [Some(0.0), Some(0.7), Some(0.7)]);
    assert_eq!((asked.report().metric("unread"), asked.report().metric("judge-texts")), (Some(0.0), Some(3.0)));
    for kind in ["yes-no", "grade", "pairwise"] {
        let host = host(kind, PretendModel::saying(|_, _| "I like both".into())).setting("order-mattered", "partly");
        check(&host, pair("4", "5"), Verdict::undecided(UNREAD));
        assert_eq!(host.report().metric("unread"), Some(1.0));
        assert_eq!(host.report().skipped, [(0, UNREAD.to_owned())]);
    }
    let half = PretendModel::saying(|prompt, _| if prompt.contains("A:\n4") { "Better: A" } else { "?" }.into());
    check(&host("pairwise", half).setting("order-mattered", "partly"), pair("4", "5"), Verdict::undecided(UNREAD));
}

#[test]
fn several_samples_vote() {
    let votes = |texts: [&str; 3]| {
        host("yes-no", PretendModel::canned(texts))
            .setting("samples", 3)
            .setting("temperature", 1.0)
            .setting("retries", 0)
    };
    check(&votes(["Verdict: yes", "Verdict: no", "Verdict: yes"]), case("4"), Verdict::Right);
    check(&votes(["Verdict: no", "?", "Verdict: no"]), case("4"), Verdict::Wrong);
    check(&votes(["Verdict: no", "?", "Verdict: yes"]), case("4"), Verdict::undecided(DISAGREE));
    let grades = host("grade", PretendModel::canned(["Score: 4", "Score: 10"])).setting("samples", 2);
    check(&grades.setting("temperature", 1.0).setting("lowest", 0), case("4"), Verdict::Partly(0.7));
    let again = host("yes-no", PretendModel::canned(["?", "Verdict: no", "?", "Verdict: yes", "Verdict: yes"]));
    let again = again.setting("samples", 3).setting("temperature", 0.5);
    check(&again, case("4"), Verdict::Right);
    assert_eq!(again.asked()[1].0.len(), 2, "only what was missing is asked again");
}

#[test]
fn templates_and_words_are_the_recipes() {
    let says = PretendModel::saying(|prompt, _| if prompt == "{4|{reference}}" { "=ja" } else { "=nein" }.into());
    let host = host("yes-no", says).setting("template", "{{reference}|{answer}}").setting("marker", "=");
    let host = host.setting("yes", "ja").setting("no", "nein");
    check(&host, case("{reference}"), Verdict::Right);
    check(&host, case("5"), Verdict::Wrong);
}

#[test]
fn settings_that_do_not_go_together_are_refused() {
    #[track_caller]
    fn refused(kind: &str, settings: &[(&str, &str)], expected: &str) {
        let mut host = host(kind, PretendModel::default());
        for (name, value) in settings {
            host = match value.parse::<f64>() {
                Ok(number) if *name == "samples" => host.setting(name, number as u64),
                Ok(number) => host.setting(name, number),
                Err(_) => host.setting(name, *value),
            };
        }
        let error = host.judge::<LlmJudge>(&[case("4")]).expect_err("it is refused");
        assert!(matches!(&error, Error::BadSettings(text) if text.contains(expected)), "{error}");
    }
    refused("yes-no", &[("template", "is it right?")], "no place `{answer}`");
    refused("pairwise", &[("template", "{answer}")], "no place `{rival}`");
    refused("grade", &[("template", "{answer}{rival}")], "for the kind `pairwise`");
    refused("grade", &[("lowest", "10")], "must be less than `highest`");
    refused("yes-no", &[("no", "Yes")], "the same word");
    refused("yes-no", &[("samples", "2")], "need a `temperature` above 0");
}

#[test]
fn a_model_that_is_not_there_or_fails_ends_the_judging() {
    let nowhere = PretendHost::of("plugin.toml").setting("model", "grader");
    assert!(nowhere.judge::<LlmJudge>(&[case("4")]).is_err());
    assert!(host("yes-no", PretendModel::default()).judge::<LlmJudge>(&[case("4")]).is_err());
}

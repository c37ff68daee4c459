//! The plugin against a pretend host: what it makes of rows in two languages, its loss by hand, and the rate of languages.

use serde_json::json;
use tunesmith_sdk::native::model::Generation;
use tunesmith_sdk_test::{Choice, Evaluation, PretendHost, PretendModel, Row, TokenRow, check_manifest};

use super::*;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml");

fn host() -> PretendHost {
    PretendHost::of(MANIFEST)
}

fn row(target: [&str; 2]) -> Row {
    Row::new("1+1").completion("2").column("target-prompt", target[0]).column("target-answer", target[1])
}

fn member(role: &str, text: &str) -> (String, String) {
    (role.into(), text.into())
}

fn added(prompt: &str, members: Vec<(String, String)>) -> Choice {
    let conversation = json!([{ "role": "user", "content": prompt }]).to_string();
    Choice::AddGroup { conversation, members, provenance: TARGET.into(), like: Some(0) }
}

/// Both directions: `target` and `source` rows with one rejected row each.
fn batch() -> Vec<TokenRow> {
    let row = |role: &str, group: i32, policy: &[f32], reference: &[f32]| {
        TokenRow::new(policy).logprobs("reference", reference).group(group).role(role)
    };
    vec![
        row(SOURCE, 0, &[-0.5], &[-1.0]),
        row(REJECTED, 0, &[-2.0], &[-1.0]),
        row(TARGET, 1, &[-1.0, -2.0], &[-1.0, -1.5]),
        row(REJECTED, 1, &[-0.25], &[-0.5]),
    ]
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<Clo>(MANIFEST);
}

#[test]
fn a_row_in_two_languages_becomes_a_preference_in_each_direction() {
    let host = host();
    let curated = host.curate::<Clo>(&[row(["b+b", "c"])]).expect("nothing is missing");
    let members = vec![member(SOURCE, "2"), member(REJECTED, "c")];
    let own = Choice::Group { row: 0, members, provenance: SOURCE.into() };
    assert_eq!(curated.choices, [own, added("b+b", vec![member(TARGET, "c"), member(REJECTED, "2")])]);
    assert_eq!(host.report().metric("kept-share"), Some(1.0));
    assert!(host.asked().is_empty());
}

#[test]
fn the_control_keeps_both_answers() {
    let curated = host().setting("records", "answers").curate::<Clo>(&[row(["b+b", "c"])]).expect("nothing is missing");
    let own = Choice::Keep { row: 0, provenance: SOURCE.into() };
    assert_eq!(curated.choices, [own, added("b+b", vec![member("", "c")])]);
}

#[test]
fn rows_without_a_translation_are_left_out_with_a_reason() {
    let rows =
        [row(["b+b", "2"]), row(["1+1", "c"]), row([" ", "c"]), Row::new("1+1").completion("2"), Row::new("1+1")];
    let host = host();
    let curated = host.curate::<Clo>(&rows).expect("nothing is missing");
    let why: Vec<&str> = curated
        .choices
        .iter()
        .map(|choice| match choice {
            Choice::Omit { why, .. } => why.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        "the translated answer is a copy",
        "the translated prompt is a copy",
        "an empty translation",
        "no translation",
        "no translation",
    ];
    assert_eq!(why, expected);
    assert_eq!(host.report().metric("kept-share"), Some(0.0));
}

#[test]
fn a_model_may_translate_what_is_missing() {
    let translate = |request: &str, _: usize| Generation {
        text: request
            .rsplit("\n\n")
            .next()
            .map(|text| format!(" {} ", text.replace('1', "b").replace('2', "c")))
            .expect("a text"),
        is_finished: !request.ends_with('9'),
        token_logprobs: vec![-0.5],
    };
    let host = host().model("reference", PretendModel::generating(translate)).setting("translator", "reference");
    let half = Row::new("1+1").completion("2").column("target-prompt", "given");
    let rows = [half, Row::new("1+1").completion("9"), Row::new("no answer")];
    let curated = host.curate::<Clo>(&rows).expect("nothing is missing");
    assert_eq!(curated.choices[1], added("given", vec![member(TARGET, "c"), member(REJECTED, "2")]));
    let omitted = |row, why: &str| Choice::Omit { row, why: why.into() };
    assert_eq!(curated.choices[2], omitted(1, "the translation was cut at the length limit"));
    assert_eq!(curated.choices[3], omitted(2, "no translation"));
    // One answer, then prompt and answer: in one call, and nothing of the row that has no answer.
    assert_eq!(host.asked().iter().map(|(prompts, _)| prompts.len()).collect::<Vec<_>>(), [3]);
}

#[test]
fn loss_and_gradient_are_those_of_the_formula() {
    let host = host().setting("lambda", 0.25).setting("beta", 0.5);
    // Ratios: 0.5 and -1.0, then -0.5 and 0.25.
    let margins: [f64; 2] = [0.5 * 1.5, 0.5 * -0.75];
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let preference = -margins.iter().map(|margin| sigmoid(*margin).ln()).sum::<f64>() / 2.0;
    let expected = 0.75 * preference + 0.25 * 1.5;
    let loss = f64::from(host.objective::<Clo>(&batch()).expect("nothing is missing"));
    assert!((loss - expected).abs() < 1e-6, "{loss}, not {expected}");
    let gradient = host.gradient::<Clo>(&batch()).expect("nothing is missing");
    let [one, other] = margins.map(|margin| 0.75 * -0.5 * sigmoid(-margin) / 2.0);
    // The negative log-likelihood is of the target's two tokens only.
    for (row, expected) in gradient.iter().zip([one, -one, other - 0.25 / 2.0, -other]) {
        let last = row.iter().rev().find(|value| **value != 0.0).copied().unwrap_or_default();
        assert!((last - expected).abs() < 1e-6, "{gradient:?}, not {expected}");
    }
    let report = host.report();
    assert_eq!(report.metric("reward-accuracy"), Some(0.5));
    assert_eq!(report.metric("reward-margin"), Some(0.1875));
    assert_eq!((report.metric("target-nll"), report.metric("target-share")), (Some(1.5), Some(0.5)));
}

#[test]
fn a_batch_without_target_rows_has_preferences_only() {
    let host = host().setting("lambda", 0.25).setting("beta", 0.5);
    let expected = 0.75 * (1.0 + (-0.75_f64).exp()).ln();
    let loss = f64::from(host.objective::<Clo>(&batch()[..2]).expect("nothing is missing"));
    assert!((loss - expected).abs() < 1e-6, "{loss}, not {expected}");
}

#[test]
fn rows_that_are_no_pairs_are_refused_with_a_hint() {
    for rows in [&batch()[1..2], &batch()[1..3], &[TokenRow::new(&[-1.0]).logprobs("reference", &[-1.0])]] {
        let refused = host().objective::<Clo>(rows);
        assert!(
            matches!(&refused, Err(Error::Unsupported(text)) if text.contains("take `clo` in `[curate]` too")),
            "{refused:?}"
        );
    }
}

#[test]
fn the_rate_is_of_answers_in_the_language_that_is_asked_for() {
    let languages = json!({ "digits": "0-9", "letters": "a-j" });
    let host = host().setting("languages", languages);
    let answered = |answer: &str, language: &str| Row::new("q").column("language", language).answered(answer);
    let cases =
        [answered("12a", "digits"), answered("abc", "digits"), answered("??", "letters"), answered("1", "other")];
    let measured =
        host.setting("language-column", "language").measure::<Clo>(&Evaluation::new(&cases)).expect("languages");
    let third = 1.0 / 3.0;
    assert_eq!(measured, [("language-rate".into(), third), ("unknown-language".into(), third)]);
}

#[test]
fn without_a_column_all_rows_ask_for_one_language() {
    let languages = json!({ "digits": "0-9", "letters": "a-j" });
    let cases = [Row::new("q").answered("12"), Row::new("q").answered("ab")];
    let host = host().setting("languages", languages).setting("language", "letters");
    let measured = host.measure::<Clo>(&Evaluation::new(&cases)).expect("languages");
    assert_eq!(measured[0], ("language-rate".into(), 0.5));
    let unknown = host.setting("language", "").measure::<Clo>(&Evaluation::new(&cases));
    assert!(matches!(unknown, Err(Error::Unsupported(_))), "{unknown:?}");
}

#[test]
fn settings_that_say_nothing_are_refused() {
    let refused = |name: &str, value: serde_json::Value| {
        let refused = host().setting(name, value).curate::<Clo>(&[]);
        assert!(matches!(refused, Err(Error::BadSettings(_))), "{refused:?}");
    };
    refused("translate-prompt", "translate".into());
    refused("languages", json!({ "digits": "9-0" }));
    refused("language", "klingon".into());
}

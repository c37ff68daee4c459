//! The plugin against a pretend host whose model likes short words.

use serde_json::{Value, json};
use tunesmith_sdk_test::{Choice, Curated, PretendHost, PretendModel, Row, check_manifest};

use super::*;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml");

/// One token per word, of a log-probability of minus a tenth of its letters; the end token has -5.
fn likes_short_words(_: &str, response: &str) -> Vec<f32> {
    response.split_whitespace().map(|word| -(word.len() as f32) / 10.0).chain([-5.0]).collect()
}

fn host() -> PretendHost {
    PretendHost::of(MANIFEST).model("reference", PretendModel::default().scoring(likes_short_words))
}

fn row(responses: Value) -> Row {
    Row::new("q").completion("ccc").column("responses", responses)
}

#[track_caller]
fn curate(host: &PretendHost, rows: &[Row]) -> Curated {
    host.curate::<Grape>(rows).expect("nothing is missing")
}

fn listed() -> PretendHost {
    host().setting("list-column", "responses")
}

fn replaced(row: usize, completion: &str, provenance: &str) -> Choice {
    Choice::Replace { row, completion: completion.into(), provenance: provenance.into() }
}

fn added(completion: &str, provenance: &str) -> Choice {
    Choice::Add { prompt: "q".into(), completion: completion.into(), provenance: provenance.into(), like: Some(0) }
}

#[track_caller]
fn check_note(curated: &Curated, name: &str, expected: &[(usize, f64)]) {
    let found = curated.noted(name);
    let is_near = |((row, value), (other, expected)): (&(usize, f64), &(usize, f64))| {
        // Log-probabilities are float32.
        row == other && (value - expected).abs() < 1e-6
    };
    assert!(found.len() == expected.len() && found.iter().zip(expected).all(is_near), "{name}: {found:?}");
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<Grape>(MANIFEST);
}

#[test]
fn the_likeliest_response_per_token_is_trained_on() {
    let host = listed();
    let long = "b b b b b b b b";
    let rows = [
        row(json!(["dddd", {"text": long, "source": "m"}])),
        row(json!(["dddd"])),
        Row::new("q"),
        row(json!([])),
        Row::new("q").column("responses", json!(["e e", "e e ", "e"])),
    ];
    let curated = curate(&host, &rows);
    let expected = [
        Choice::Omit { row: 2, why: "no candidate response".into() },
        // Its sum, -0.8, is less than that of `ccc`, -0.3: it is the mean that counts.
        replaced(0, long, "m"),
        Choice::Keep { row: 1, provenance: "gold".into() },
        Choice::Keep { row: 3, provenance: "gold".into() },
        // A tie: the first in the data.
        replaced(4, "e e", "responses"),
    ];
    assert_eq!(curated.choices, expected);
    check_note(&curated, "score", &[(0, -0.1), (1, -0.3), (3, -0.3), (4, -0.1)]);
    check_note(&curated, "margin", &[(0, 0.2), (1, 0.1), (4, 0.0)]);
    check_note(&curated, "candidates", &[(0, 3.0), (1, 2.0), (3, 1.0), (4, 2.0)]);
    check_note(&curated, "single", &[(0, 0.0), (1, 0.0), (3, 1.0), (4, 0.0)]);
    let report = host.report();
    assert_eq!(report.metric("share-single"), Some(0.25));
    assert_eq!(report.metric("candidates"), Some(2.0));
    assert_eq!(report.metric("share-repeated"), Some(1.0 / 9.0));
    assert!(report.lines.is_empty(), "{:?}", report.lines);
}

#[test]
fn controls_choose_otherwise_from_the_same_candidates() {
    let rows =
        [row(json!([{"text": "a", "source": "m"}, {"text": "bb", "source": "n"}, {"text": "a", "source": "n"}]))];
    let choices = |select: &str| curate(&listed().setting("select", select), &rows).choices;
    assert_eq!(choices("best"), [replaced(0, "a", "m")]);
    assert_eq!(choices("worst"), [Choice::Keep { row: 0, provenance: "gold".into() }]);
    let all = [Choice::Keep { row: 0, provenance: "gold".into() }, added("a", "m"), added("bb", "n")];
    assert_eq!(choices("all"), all);
    // `a` came from both, so it is the first of that source.
    assert_eq!(choices("source:n"), [replaced(0, "a", "n")]);
    let nobody = [Choice::Omit { row: 0, why: "no candidate from the wanted source".into() }];
    assert_eq!(choices("source:nobody"), nobody);
}

#[test]
fn the_random_control_follows_the_seed_and_reaches_every_candidate() {
    let rows = vec![row(json!(["a", "bb"])); 64];
    let choices = |seed| curate(&listed().setting("select", "random").seed(seed), &rows).choices;
    assert_eq!(choices(1), choices(1));
    assert_ne!(choices(1), choices(2));
    let count = |word: &str| choices(1).iter().filter(|choice| format!("{choice:?}").contains(word)).count();
    let counts = [count("\"a\""), count("\"bb\""), count("Keep")];
    // Each is binomial with mean 21.3 and standard deviation 3.8.
    assert!(counts.iter().sum::<usize>() == 64 && counts.iter().all(|count| (10..33).contains(count)), "{counts:?}");
}

#[test]
fn several_may_be_kept_of_single_turns_only() {
    let host = listed().setting("keep", 2);
    let curated = curate(&host, &[row(json!(["a", "bb"]))]);
    assert_eq!(curated.choices, [replaced(0, "a", "responses"), added("bb", "responses")]);
    check_note(&curated, "score-2", &[(0, -0.2)]);
    check_note(&curated, "margin", &[(0, 0.2)]);
    let turns = |text: &str| {
        let (prompts, completions) = (vec![String::new()], vec![None]);
        Texts { prompts, completions, messages: vec![text.into()] }.is_single_turn(0)
    };
    assert!(turns(r#"[{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]"#));
    assert!(!turns(
        r#"[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "r"}]"#
    ));
}

#[test]
fn columns_are_sources_too() {
    let host = host().setting("gold", false).setting("columns", json!(["one", "two"]));
    let rows = [
        Row::new("q").completion("a").column("one", "bbb").column("two", "bb"),
        Row::new("q").completion("a").column("two", "bb"),
        Row::new("q").completion("a"),
    ];
    let omitted = Choice::Omit { row: 2, why: "no candidate response".into() };
    assert_eq!(curate(&host, &rows).choices, [omitted, replaced(0, "bb", "two"), replaced(1, "bb", "two")]);
    assert!(host.report().lines.is_empty());
}

#[test]
fn a_column_that_nobody_has_and_a_lack_of_choice_are_told() {
    let host = host().setting("columns", json!(["two", "on"]));
    curate(&host, &[Row::new("q").completion("a").column("two", "a"), Row::new("q").completion("a")]);
    let lines: Vec<String> = host.report().lines.into_iter().map(|(_, line)| line).collect();
    assert_eq!(lines[0], "no row has the column `on`; there are two");
    assert!(lines[1].contains("nothing to choose"), "{lines:?}");
}

#[test]
fn the_end_token_counts_only_if_the_recipe_says_so() {
    // One token of -0.3 against three of -0.4; with the end token -2.65 against -1.55.
    let rows = [row(json!(["dddd dddd dddd"]))];
    assert_eq!(curate(&listed(), &rows).choices, [Choice::Keep { row: 0, provenance: "gold".into() }]);
    let curated = curate(&listed().setting("end-token", true), &rows);
    assert_eq!(curated.choices, [replaced(0, "dddd dddd dddd", "responses")]);
    check_note(&curated, "score", &[(0, -1.55)]);
}

#[test]
fn a_model_without_an_end_token_loses_no_token() {
    let words = |_: &str, text: &str| text.split_whitespace().map(|word| -(word.len() as f32)).collect();
    let host = PretendHost::of(MANIFEST).model("reference", PretendModel::default().scoring(words));
    let curated = curate(&host.setting("list-column", "responses"), &[row(json!(["a bbbbb"]))]);
    check_note(&curated, "score", &[(0, -3.0)]);
    check_note(&curated, "margin", &[(0, 0.0)]);
}

#[test]
fn the_template_is_what_the_model_reads() {
    let reads = |prompt: &str, response: &str| {
        let is_right = prompt == "Question: q\nAnswer:" && matches!(response, " ccc" | " a" | "");
        vec![if is_right { -1.0 } else { -9.0 }; 1 + usize::from(!response.is_empty())]
    };
    let host = PretendHost::of(MANIFEST).model("reference", PretendModel::default().scoring(reads));
    let curated = curate(&host.setting("list-column", "responses"), &[row(json!(["a"]))]);
    check_note(&curated, "score", &[(0, -1.0)]);
    let reads = |prompt: &str, response: &str| {
        vec![if prompt == "q" { -2.0 } else { -9.0 }; 1 + usize::from(!response.is_empty())]
    };
    let host = PretendHost::of(MANIFEST).model("reference", PretendModel::default().scoring(reads));
    let chat = host.setting("list-column", "responses").setting("template", "");
    check_note(&curate(&chat, &[row(json!(["a"]))]), "score", &[(0, -2.0)]);
}

#[test]
fn truncated_responses_are_scored_on_what_is_kept_and_flagged() {
    let rows = [row(json!(["a a zzzzzzzz"])), row(json!([{"text": "a", "truncated": true}]))];
    let flagged = curate(&listed().setting("longest", 3), &rows);
    assert_eq!(flagged.choices, [replaced(0, "a a zzzzzzzz", "responses"), replaced(1, "a", "responses")]);
    check_note(&flagged, "score", &[(0, -0.1), (1, -0.1)]);
    check_note(&flagged, "truncated", &[(0, 1.0), (1, 1.0)]);
    let dropped = curate(&listed().setting("longest", 3).setting("truncated", "drop"), &rows);
    assert_eq!(dropped.kept(), [0, 1]);
    check_note(&dropped, "truncated", &[(0, 0.0), (1, 0.0)]);
}

#[test]
fn rows_with_too_few_candidates_may_be_left_out() {
    let curated = curate(&listed().setting("least-candidates", 2), &[row(json!(["ccc"])), row(json!(["dddd"]))]);
    let why = "fewer candidates than `least-candidates`".into();
    assert_eq!(curated.choices, [Choice::Omit { row: 0, why }, Choice::Keep { row: 1, provenance: "gold".into() }]);
}

#[test]
fn a_list_that_is_none_is_told_with_its_row() {
    let refused = listed().curate::<Grape>(&[row(json!(["a"])), row(json!("a"))]);
    assert!(matches!(refused, Err(Error::Unsupported(text)) if text.contains("`responses` of row 1")));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refused = |host: PretendHost| matches!(host.curate::<Grape>(&[]), Err(Error::BadSettings(_)));
    assert!(refused(host().setting("gold", false)));
    assert!(refused(host().setting("select", "likeliest")));
    assert!(refused(host().setting("template", "{prompt}")));
}

#[test]
fn a_pool_without_candidates_asks_nobody() {
    let curated = curate(&PretendHost::of(MANIFEST), &[Row::new("q")]);
    assert_eq!(curated.choices, [Choice::Omit { row: 0, why: "no candidate response".into() }]);
}

//! The plugin against a pretend host: a model that counts what it is asked, and one that aggregates by voting.

use serde_json::{Value, json};
use tunesmith_sdk_test::{Choice, Curated, PretendHost, PretendModel, Row, check_manifest};

use super::*;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml");

/// The last message of a conversation.
fn last(conversation: &str) -> String {
    let turns: Vec<Value> = serde_json::from_str(conversation).expect("a conversation");
    turns.last().expect("a turn")["content"].as_str().expect("text").to_owned()
}

/// Drafts `q.0`, `q.1`, ... to a plain prompt `q`; of drafts it makes `[all of them]` with the number of the sample.
fn scribe() -> PretendModel {
    PretendModel::saying(|conversation, sample| match last(conversation).split_once('?') {
        None => format!("{}.{sample}", last(conversation)),
        Some((drafts, _)) => format!("[{}]{sample}", drafts.trim_end_matches(' ')),
    })
}

/// Shows drafts as `a b c ?q`.
fn host() -> PretendHost {
    PretendHost::of(MANIFEST)
        .setting("aggregation-prompt", "{proposals}?{prompt}")
        .setting("proposal", "{draft} ")
        .setting("proposals", 2)
        .model("policy", scribe())
        .model("reference", scribe())
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<Aft>(MANIFEST);
}

#[test]
fn rounds_are_drafts_then_aggregations_then_one() {
    let rows = [Row::new("x"), Row::new("y")];
    let answers = |rounds: u64| {
        let host = host().setting("rounds", rounds);
        let answers = host.answer::<Aft>(&rows).expect("it answers");
        let sampled: Vec<(usize, u32)> =
            host.asked().iter().map(|(prompts, how)| (prompts.len(), how.samples.unwrap_or(1))).collect();
        (answers, sampled)
    };
    let (plain, asked) = answers(0);
    assert_eq!((plain, asked), (vec!["x.0".into(), "y.0".into()], vec![(2, 1)]));
    let (one, asked) = answers(1);
    assert_eq!((one, asked), (vec!["[x.0 x.1]0".into(), "[y.0 y.1]0".into()], vec![(2, 2), (2, 1)]));
    let (two, asked) = answers(2);
    let expected = |q: &str| format!("[[{q}.0 {q}.1]0 [{q}.0 {q}.1]1]0");
    assert_eq!((two, asked), (vec![expected("x"), expected("y")], vec![(2, 2), (2, 2), (2, 1)]));
}

#[test]
fn five_proposals_and_two_rounds_are_eleven_texts_and_sampled_as_the_paper_does() {
    let host = PretendHost::of(MANIFEST).model("policy", scribe());
    host.answer::<Aft>(&[Row::new("x")]).expect("it answers");
    let asked = host.asked();
    let texts: u32 = asked.iter().map(|(_, how)| how.samples.unwrap_or(1)).sum();
    // n A + 1 with n = 5 and A = 2.
    assert_eq!(texts, 11);
    let how = |at: usize| (asked[at].1.temperature, asked[at].1.top_p, asked[at].1.max_tokens);
    assert_eq!(how(0), (Some(0.7), Some(0.95), Some(4096)));
    assert_eq!((how(1), how(2)), (how(0), (Some(0.7), Some(1.0), Some(4096))));
    let request = last(asked[2].0[0].text());
    assert!(request.contains("Proposal 1:\n") && request.contains("Proposal 5:\n"), "{request}");
    assert!(request.ends_with("Query:\nx"), "{request}");
}

#[test]
fn no_rounds_ask_as_the_host_would() {
    let host = host().setting("rounds", 0);
    let answers = host.answer::<Aft>(&[Row::new("x")]);
    assert_eq!(answers, Ok(vec!["x.0".into()]));
    assert_eq!(host.asked()[0].1, Sampling::greedy());
}

#[test]
fn stored_drafts_take_the_place_of_sampled_ones() {
    let host = host().setting("rounds", 1).setting("proposals-column", "drafts");
    let rows = [
        Row::new("x").column("drafts", json!(["a", { "text": "b", "source": "s" }, " "])),
        Row::new("y"),
        Row::new("z").column("drafts", json!([])),
    ];
    let answers = host.answer::<Aft>(&rows);
    assert_eq!(answers, Ok(vec!["[a b]0".into(), "[y.0 y.1]0".into(), "[z.0 z.1]0".into()]));
    assert_eq!(host.asked()[0].0.len(), 2, "two rows have no drafts");
    for (cell, expected) in [
        (json!("a"), "column `drafts` of row 0 is no list"),
        (json!(["a", 3]), "has entry 1 that is neither text nor an object with `text`"),
    ] {
        let error = host.answer::<Aft>(&[Row::new("x").column("drafts", cell)]).expect_err("it is broken");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_model_that_says_nothing_is_asked_plainly_again() {
    let silent =
        PretendModel::saying(|conversation, _| if last(conversation) == "x" { " ".into() } else { "?".into() });
    let host = host().model("policy", silent);
    assert_eq!(host.answer::<Aft>(&[Row::new("x")]), Ok(vec![" ".into()]));
    assert!(host.asked().iter().all(|(prompts, _)| last(prompts[0].text()) == "x"));
}

#[test]
fn drafts_are_cut_alike_and_the_prompt_is_not() {
    let host = host().setting("rounds", 1).setting("proposals-column", "drafts").setting("longest", 6);
    let row = Row::new("a long prompt").column("drafts", json!(["abcdef", "uv", "ghijkl"]));
    host.answer::<Aft>(&[row]).expect("it answers");
    assert_eq!(last(host.asked()[0].0[0].text()), "ab uv gh ?a long prompt");
    assert_eq!(host.report().metric("share-shortened"), Some(1.0));
}

#[track_caller]
fn curate(host: &PretendHost, rows: &[Row]) -> Curated {
    host.curate::<Aft>(rows).expect("nothing is missing")
}

fn keep(row: usize) -> Choice {
    Choice::Keep { row, provenance: "gold".into() }
}

fn add(prompt: &str, completion: &str, row: usize) -> Choice {
    Choice::Add {
        prompt: prompt.into(),
        completion: completion.into(),
        provenance: "aggregation".into(),
        like: Some(row),
    }
}

fn omit(row: usize, why: &str) -> Choice {
    Choice::Omit { row, why: why.into() }
}

/// A row with two stored drafts, one without, one without an answer.
fn rows() -> [Row; 3] {
    [
        Row::new("x").completion("gold").column("drafts", json!(["a", "a"])),
        Row::new("y").completion("gold"),
        Row::new("z").column("drafts", json!(["a", "b"])),
    ]
}

#[test]
fn a_row_is_trained_on_plainly_and_as_an_aggregation() {
    let host = host().setting("proposals-column", "drafts").setting("proposer", "").setting("shuffle", false);
    let curated = curate(&host, &rows());
    assert_eq!(curated.choices, [keep(0), add("a a ?x", "gold", 0), keep(1), omit(2, "no answer to train on")]);
    assert_eq!(curated.noted("drafts"), [(0, 2.0)]);
    assert!(host.asked().is_empty());
    let report = host.report();
    assert_eq!((report.metric("share-repeated"), report.metric("share-shorter")), (Some(0.5), Some(0.0)));
    let alone = curate(&host.setting("train", "aggregation"), &rows());
    assert_eq!(
        alone.choices,
        [
            omit(0, "trained on as an aggregation"),
            add("a a ?x", "gold", 0),
            omit(1, "no drafts"),
            omit(2, "no answer to train on")
        ]
    );
}

#[test]
fn the_control_is_plain_and_asks_nobody() {
    let host = host().setting("train", "plain");
    assert_eq!(curate(&host, &rows()).choices, [keep(0), keep(1), omit(2, "no answer to train on")]);
    assert!(host.asked().is_empty());
}

#[test]
fn drafts_that_are_not_stored_are_the_starting_models() {
    let host = host().setting("proposals-column", "drafts").setting("shuffle", false);
    let curated = curate(&host, &rows()[1..2]);
    assert_eq!(curated.choices, [keep(0), add("y.0 y.1 ?y", "gold", 0)]);
    assert_eq!(host.asked()[0].1.samples, Some(2));
}

#[test]
fn a_teacher_aggregates_where_there_is_no_answer() {
    let host = host().setting("proposals-column", "drafts").setting("proposer", "").setting("shuffle", false);
    let host = host.setting("teacher", "reference");
    let curated = curate(&host, &rows()[2..]);
    let replaced = Choice::Replace { row: 0, completion: "[a b]0".into(), provenance: "synthetic".into() };
    assert_eq!(curated.choices, [replaced, add("a b ?z", "[a b]0", 0)]);
}

#[test]
fn another_column_may_have_the_answer() {
    let host = host().setting("target-column", "best").setting("train", "plain");
    let rows = [Row::new("x").completion("gold").column("best", "better"), Row::new("y").completion("gold")];
    let replaced = Choice::Replace { row: 0, completion: "better".into(), provenance: "gold".into() };
    assert_eq!(curate(&host, &rows).choices, [replaced, omit(1, "no answer to train on")]);
}

#[test]
fn a_random_order_keeps_all_drafts() {
    let host = host().setting("proposals-column", "drafts");
    let row = Row::new("x").completion("gold").column("drafts", json!(["a", "b", "c", "d"]));
    let curated = curate(&host, &vec![row; 8]);
    let mut orders: Vec<String> = curated
        .choices
        .iter()
        .filter_map(|choice| match choice {
            Choice::Add { prompt, .. } => Some(prompt.clone()),
            _ => None,
        })
        .collect();
    for order in &orders {
        let mut drafts: Vec<&str> = order.trim_end_matches("?x").split_whitespace().collect();
        drafts.sort_unstable();
        assert_eq!(drafts, ["a", "b", "c", "d"]);
    }
    orders.sort();
    orders.dedup();
    assert!(3 < orders.len(), "{orders:?}");
}

#[test]
fn a_system_message_stays_before_the_request() {
    let examples = Conversation;
    let host = host().setting("rounds", 1);
    host.run(|plugin: &mut Aft| plugin.answer(&Examples::from_host(&examples))).expect("it answers");
    let expected = r#"[{"role":"system","content":"s"},{"role":"user","content":"second.0 second.1 ?second"}]"#;
    assert_eq!(host.asked()[1].0[0].text(), expected);
    assert_eq!(host.asked()[0].0[0].text(), Conversation::MESSAGES, "drafts see the whole conversation");
}

/// One row with a system message and an earlier turn.
struct Conversation;

impl Conversation {
    const MESSAGES: &str = r#"[{"role":"system","content":"s"},{"role":"user","content":"first"},{"role":"assistant","content":"a"},{"role":"user","content":"second"}]"#;
}

impl tunesmith_sdk::native::Examples for Conversation {
    fn len(&self) -> u32 {
        1
    }

    fn ids(&self) -> Vec<u64> {
        vec![0]
    }

    fn prompts(&self) -> Vec<String> {
        vec!["second".into()]
    }

    fn completions(&self) -> Vec<Option<String>> {
        vec![None]
    }

    fn messages(&self) -> Vec<String> {
        vec![Self::MESSAGES.into()]
    }

    fn columns(&self) -> Vec<String> {
        vec![]
    }

    fn column(&self, _: &str) -> Vec<Option<String>> {
        vec![None]
    }

    fn round(&self) -> u32 {
        0
    }
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refused = |host: PretendHost, expected: &str| match host.answer::<Aft>(&[]) {
        Err(Error::BadSettings(text)) => assert!(text.contains(expected), "{text}"),
        other => panic!("{other:?}"),
    };
    refused(host().setting("aggregation-prompt", "{proposals}"), "`aggregation-prompt` lacks `{prompt}`");
    refused(host().setting("proposal", "{number}"), "`proposal` lacks `{draft}`");
    refused(host().setting("proposer", ""), "there are no drafts");
}

//! The plugin against a pretend host: both stages, and every reason to leave something out.

use tunesmith_sdk::native::model::Generation;
use tunesmith_sdk_test::{Choice, PretendHost, PretendModel, Row, check_manifest};

use super::*;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml");

/// A policy that writes what the document says after `read `, and knows one answer without it.
fn host() -> PretendHost {
    let say = |prompt: &str, _: usize| match prompt.strip_prefix("read ") {
        Some(document) => document.to_owned(),
        None if prompt == "known?" => "YES.".to_owned(),
        None if prompt == "silent?" => " ".to_owned(),
        None => "no idea".to_owned(),
    };
    PretendHost::of(MANIFEST)
        .setting("template", "read {document}")
        .setting("question-mark", "Q:")
        .setting("answer-mark", "A:")
        .model("policy", PretendModel::saying(say))
}

fn rows(documents: &[&str]) -> Vec<Row> {
    documents.iter().map(|text| Row::new(*text)).collect()
}

fn omitted(row: usize, why: &str) -> Choice {
    Choice::Omit { row, why: why.into() }
}

fn added(prompt: &str, completion: &str, provenance: &str) -> Choice {
    let [prompt, completion, provenance] = [prompt, completion, provenance].map(String::from);
    Choice::Add { prompt, completion, provenance, like: Some(0) }
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<Autonomous>(MANIFEST);
}

#[test]
fn open_book_answers_are_trained_on_without_the_document() {
    let host = host();
    let curated = host.curate::<Autonomous>(&rows(&["Q: a? A: yes Q: b? A: no"])).expect("nothing is missing");
    let expected =
        [added("a?", "yes", "open-book"), added("b?", "no", "open-book"), omitted(0, "read for its questions")];
    assert_eq!(curated.choices, expected);
    assert_eq!(curated.noted("questions"), [(0, 2.0)]);
    assert_eq!((host.report().metric("kept-share"), host.asked().len()), (Some(1.0), 1));
}

#[test]
fn writing_with_the_document_may_be_trained_on_too() {
    let host = host().setting("document-records", true);
    let curated = host.curate::<Autonomous>(&rows(&["Q: a? A: yes ", "nothing"])).expect("nothing is missing");
    let expected = [
        added("a?", "yes", "open-book"),
        added("read Q: a? A: yes ", "Q: a? A: yes", "document"),
        omitted(0, "read for its questions"),
        omitted(1, "no question was written"),
    ];
    assert_eq!(curated.choices, expected);
}

#[test]
fn closed_book_answers_are_rejected_where_they_differ() {
    let host = host().setting("stage", "closed-book");
    let document = "Q: known? A: yes Q: silent? A: yes Q: new? A: yes";
    let curated = host.curate::<Autonomous>(&rows(&[document])).expect("nothing is missing");
    let members = [("chosen", "yes"), ("rejected", "no idea")].map(|(role, text)| (role.to_owned(), text.to_owned()));
    let group = Choice::AddGroup {
        conversation: json!([{ "role": "user", "content": "new?" }]).to_string(),
        members: members.into(),
        provenance: "closed-book".into(),
        like: Some(0),
    };
    assert_eq!(curated.choices, [group, omitted(0, "read for its questions")]);
    let report = host.report();
    let why: Vec<&str> = report.skipped.iter().map(|(_, why)| why.as_str()).collect();
    assert_eq!(why, ["the closed-book answer is the same", "the closed-book answer is empty"]);
    assert_eq!(report.metric("known-share"), Some(1.0 / 3.0));
    let temperatures: Vec<Option<f32>> = host.asked().iter().map(|(_, sampling)| sampling.temperature).collect();
    assert_eq!(temperatures, [Some(0.7), Some(1.0)]);
}

#[test]
fn faulty_questions_are_counted_and_left_out() {
    let host = host().setting("support", 0.5);
    let documents = ["yes Q: a? A: yes Q: b? A: Q: A? A: yes", "Q: c? A: elsewhere"];
    let host_says = PretendModel::saying(|prompt, _| {
        if prompt.contains("elsewhere") {
            "Q: c? A: unheard of".into()
        } else {
            prompt.trim_start_matches("read ").into()
        }
    });
    let host = host.model("policy", host_says);
    let curated = host.curate::<Autonomous>(&rows(&documents)).expect("nothing is missing");
    let expected =
        [added("a?", "yes", "open-book"), omitted(0, "read for its questions"), omitted(1, "no question was written")];
    assert_eq!(curated.choices, expected);
    let expected = [
        (0, "a question or its answer is missing".to_owned()),
        (0, "the question was asked before".to_owned()),
        (1, "the answer is not in the document".to_owned()),
    ];
    assert_eq!(host.report().skipped, expected);
    assert_eq!(host.report().metric("kept-share"), Some(0.25));
}

#[test]
fn a_cut_answer_is_left_out_and_what_comes_before_it_stays() {
    let cut = |_: &str, _: usize| Generation {
        text: "Q: a? A: yes Q: b? A: n".into(),
        is_finished: false,
        token_logprobs: vec![-0.5],
    };
    let host = host().model("policy", PretendModel::generating(cut));
    let curated = host.curate::<Autonomous>(&rows(&["d"])).expect("nothing is missing");
    assert_eq!(curated.choices[0], added("a?", "yes", "open-book"));
    assert_eq!(host.report().skipped, [(0, "the answer was cut at the length limit".to_owned())]);
    assert_eq!(host.report().metric("kept-share"), Some(0.5));
}

#[test]
fn documents_that_are_missing_or_too_long_are_left_out() {
    let host = host().setting("document-column", "document").setting("longest", 12);
    let rows = [
        Row::new("q"),
        Row::new("q").column("document", " "),
        Row::new("q").column("document", "Q: long? A: yes"),
        Row::new("q").column("document", "Q: a? A: yes"),
    ];
    let curated = host.curate::<Autonomous>(&rows).expect("nothing is missing");
    let expected = [omitted(0, "no document"), omitted(1, "no document"), omitted(2, "the document is too long")];
    assert_eq!(curated.choices[..3], expected);
    assert_eq!(host.asked()[0].0.len(), 1);
}

#[test]
fn each_document_may_be_asked_about_several_times() {
    let model = PretendModel::saying(|_, sample| format!("Q: {sample}? A: yes"));
    let host = host().setting("samples", 3).model("policy", model);
    let curated = host.curate::<Autonomous>(&rows(&["d"])).expect("nothing is missing");
    assert_eq!(curated.noted("questions"), [(0, 3.0)]);
    assert_eq!(curated.choices.len(), 4);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let refused = host().setting("template", "read").curate::<Autonomous>(&[]);
    assert!(matches!(refused, Err(Error::BadSettings(_))), "{refused:?}");
    let refused = host().setting("stage", "closed-book").setting("document-records", true).curate::<Autonomous>(&[]);
    assert!(matches!(refused, Err(Error::BadSettings(_))), "{refused:?}");
}

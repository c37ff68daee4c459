//! The plugin against a pretend host: one right answer, one wrong, one cut; a rewording that holds and one that does not.

use tunesmith_sdk::native::model::{Generation, Prompt};
use tunesmith_sdk::{Error, Verdict};
use tunesmith_sdk_test::{Choice, PretendHost, PretendModel, Row, check_manifest};

use super::*;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml");

/// Answers prompts by their first letter, and rewrites `r:N` to `p:N` unless N is 9.
fn base(prompt: &str) -> Generation {
    let (text, is_finished) = match prompt {
        "good" => ("p:1", true),
        "bad" | "worse" => ("p:0", true),
        "cut" => ("p:3", false),
        "empty" => (" ", true),
        _ => match prompt.trim_start_matches("say ") {
            "r:9" => ("p:8", true),
            "r:2" => ("p:2", true),
            "r:3" => ("p:3", true),
            _ => ("p:4", true),
        },
    };
    Generation { text: text.into(), is_finished, token_logprobs: vec![-0.5] }
}

fn host() -> PretendHost {
    PretendHost::of(MANIFEST)
        .setting("rewrite-prompt", "say {gold}")
        .model("reference", PretendModel::generating(|prompt, _| base(prompt)))
        .judging(|case| Verdict::from(case.reference.as_deref().map(|gold| &gold[1..]) == case.answer.get(1..)))
}

fn rows() -> Vec<Row> {
    let row = |prompt: &str, gold: &str| Row::new(prompt).completion(gold);
    vec![
        row("good", "r:1"),
        row("bad", "r:2"),
        Row::new("no gold"),
        row("cut", "r:3"),
        row("worse", "r:9"),
        row("empty", "r:4"),
    ]
}

fn replaced(row: usize, completion: &str, provenance: &str) -> Choice {
    Choice::Replace { row, completion: completion.into(), provenance: provenance.into() }
}

fn gold(row: usize) -> Choice {
    Choice::Keep { row, provenance: "gold".into() }
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<S3ft>(MANIFEST);
}

#[test]
fn own_answers_come_first_then_rewordings_then_gold() {
    let host = host();
    let curated = host.curate::<S3ft>(&rows()).expect("nothing is missing");
    let expected = [
        Choice::Omit { row: 2, why: "no gold completion".into() },
        replaced(0, "p:1", "self"),
        replaced(1, "p:2", "paraphrase"),
        replaced(3, "p:3", "paraphrase"),
        gold(4),
        replaced(5, "p:4", "paraphrase"),
    ];
    assert_eq!(curated.choices, expected);
    assert_eq!(curated.noted("accepted-self"), [(0, 1.0), (1, 0.0), (3, 0.0), (4, 0.0), (5, 0.0)]);
    assert_eq!(curated.noted("accepted-paraphrase"), [(1, 1.0), (3, 1.0), (4, 0.0), (5, 1.0)]);
    assert_eq!(host.report().metric("accept-rate-self"), Some(0.2));
    assert_eq!(host.report().metric("accept-rate-paraphrase"), Some(0.75));
}

#[test]
fn a_chunk_costs_two_generate_calls_and_only_rejected_rows_are_reworded() {
    let host = host();
    host.curate::<S3ft>(&rows()).expect("nothing is missing");
    let asked = host.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].0.len(), 5);
    let rewordings: Vec<&str> = asked[1].0.iter().map(Prompt::text).collect();
    assert_eq!(rewordings, ["say r:2", "say r:3", "say r:9", "say r:4"]);
    assert_eq!(asked[0].1.temperature, Some(0.0));
    assert_eq!(asked[0].1.max_tokens, None);
}

#[test]
fn a_cut_answer_may_be_allowed() {
    let host = host().setting("unfinished-is-wrong", false);
    let curated = host.curate::<S3ft>(&rows()).expect("nothing is missing");
    assert!(curated.choices.contains(&replaced(3, "p:3", "self")));
}

#[test]
fn without_rewordings_rejected_rows_stay_gold() {
    let host = host().setting("paraphrase", false);
    let curated = host.curate::<S3ft>(&rows()).expect("nothing is missing");
    assert_eq!(curated.kept(), [1, 3, 4, 5]);
    assert_eq!(host.asked().len(), 1);
}

#[test]
fn a_judge_that_is_half_sure_is_believed_if_the_recipe_says_so() {
    let host = |accept_at: f64| host().judging(|_| Verdict::Partly(0.5)).setting("accept-at", accept_at);
    let kept = |accept_at| host(accept_at).curate::<S3ft>(&rows()).expect("nothing is missing").kept();
    assert_eq!(kept(1.0), [0, 1, 3, 4, 5]);
    assert_eq!(kept(0.5), [] as [usize; 0]);
}

#[test]
fn what_the_judge_cannot_tell_is_not_accepted() {
    let host = host().judging(|_| Verdict::undecided("no idea")).setting("accept-at", 0.01);
    let curated = host.curate::<S3ft>(&rows()).expect("nothing is missing");
    assert_eq!(curated.kept(), [0, 1, 3, 4, 5]);
}

#[test]
fn a_request_without_the_gold_answer_is_refused() {
    let refused = host().setting("rewrite-prompt", "say it").curate::<S3ft>(&rows());
    assert!(matches!(refused, Err(Error::BadSettings(text)) if text.contains("{gold}")));
}

#[test]
fn a_pool_without_gold_asks_nobody() {
    let host = host();
    host.curate::<S3ft>(&[Row::new("a")]).expect("nothing is missing");
    assert!(host.asked().is_empty());
}

//! The plugin against a pretend host: stored critiques, and a teacher that reads the request.

use tunesmith_sdk::native::model::{Generation, Prompt};
use tunesmith_sdk_test::{Choice, Curated, PretendHost, PretendModel, Row, check_manifest};

use super::*;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml");

fn host() -> PretendHost {
    PretendHost::of(MANIFEST).setting("critique-prompt", "{prompt}={solution}?")
}

/// Says that `q=1` is right, refuses to speak of `q=3`, stops short at `q=4`, and else finds fault.
fn teacher(request: &str) -> Generation {
    let (text, is_finished) = match request {
        "see q=1" => ("One is one.\nConclusion: right [END]", true),
        "see q=3" => ("I'm sorry, but I will not.", true),
        "see q=4" => ("Conclusion: wrong", false),
        _ => ("It is one.\nConclusion: wrong [END]", true),
    };
    Generation { text: text.into(), is_finished, token_logprobs: vec![-0.5] }
}

fn with_teacher() -> PretendHost {
    host()
        .setting("teacher", "reference")
        .setting("teacher-prompt", "see {prompt}={solution}")
        .model("reference", PretendModel::generating(|prompt, _| teacher(prompt)))
}

fn row(solution: &str) -> Row {
    Row::new("q").completion(solution)
}

#[track_caller]
fn curate(host: &PretendHost, rows: &[Row]) -> Curated {
    host.curate::<Cft>(rows).expect("nothing is missing")
}

/// A row that became a critique of `q=solution`.
fn critique(row: usize, solution: &str, text: &str, provenance: &str) -> [Choice; 2] {
    let prompt = format!("q={solution}?");
    [
        Choice::Omit { row, why: "trained on as a critique".into() },
        Choice::Add { prompt, completion: text.into(), provenance: provenance.into(), like: Some(row) },
    ]
}

fn omitted(row: usize, why: &str) -> [Choice; 1] {
    [Choice::Omit { row, why: why.into() }]
}

fn warnings(host: &PretendHost) -> Vec<String> {
    host.report().lines.into_iter().map(|(_, line)| line).collect()
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<Cft>(MANIFEST);
}

#[test]
fn stored_critiques_become_completions_of_question_solution_and_request() {
    let host = host();
    let rows = [
        row("1").column("critique", "One is one.\nConclusion: right [END]"),
        row("2").column("critique", "It is one.\nConclusion: Wrong"),
        row("3").column("critique", "I cannot say."),
        row("4"),
        Row::new("q").column("critique", "Conclusion: wrong"),
        row("5").column("critique", "Hm."),
    ];
    let curated = curate(&host, &rows);
    let expected: Vec<Choice> = [
        &omitted(4, "no solution")[..],
        &critique(0, "1", "One is one.\nConclusion: right", "critique"),
        &critique(1, "2", "It is one.\nConclusion: Wrong", "critique"),
        &omitted(2, "the critique is a refusal"),
        &omitted(3, "no critique"),
        &omitted(5, "the critique has no conclusion"),
    ]
    .concat();
    assert_eq!(curated.choices, expected);
    assert_eq!(curated.noted("is-right"), [(0, 1.0), (1, 0.0)]);
    let report = host.report();
    assert_eq!(report.metric("share-kept"), Some(0.4));
    assert_eq!(report.metric("share-refused"), Some(0.2));
    assert_eq!(report.metric("share-labelled"), Some(1.0));
    assert_eq!(report.metric("share-right"), Some(0.5));
    assert!(host.asked().is_empty());
}

#[test]
fn a_teacher_writes_where_nothing_is_stored() {
    let host = with_teacher();
    let stored = row("2").column("critique", "No.\nConclusion: wrong");
    let rows = [row("1"), stored, row("3"), row("4"), row("5")];
    let expected: Vec<Choice> = [
        &critique(0, "1", "One is one.\nConclusion: right", "synthetic")[..],
        &critique(1, "2", "No.\nConclusion: wrong", "critique"),
        &omitted(2, "the critique is a refusal"),
        &omitted(3, "the critique was cut at the length limit"),
        &critique(4, "5", "It is one.\nConclusion: wrong", "synthetic"),
    ]
    .concat();
    assert_eq!(curate(&host, &rows).choices, expected);
    let asked = host.asked();
    assert_eq!(asked.len(), 1);
    let requests: Vec<&str> = asked[0].0.iter().map(Prompt::text).collect();
    assert_eq!(requests, ["see q=1", "see q=3", "see q=4", "see q=5"]);
    let sampling = &asked[0].1;
    assert_eq!((sampling.temperature, sampling.top_p, sampling.max_tokens), (Some(0.3), Some(0.95), Some(3200)));
    assert_eq!((sampling.samples, sampling.stop.as_slice()), (None, &["[END]".to_owned()][..]));
    assert!(warnings(&host).is_empty());
    let whole = with_teacher().setting("strip-marker", "none");
    assert_eq!(
        curate(&whole, &rows[..1]).choices,
        critique(0, "1", "One is one.\nConclusion: right [END]", "synthetic")
    );
    assert!(whole.asked()[0].1.stop.is_empty());
}

#[test]
fn another_solution_of_the_same_question_is_another_row() {
    let curated = curate(&with_teacher(), &[row("1"), row("2")]);
    assert_eq!(curated.noted("is-right"), [(0, 1.0), (1, 0.0)]);
}

#[test]
fn the_control_trains_on_the_same_rows_as_they_are() {
    let critique = "One is one.\nConclusion: right";
    let rows = [
        row("1").column("critique", critique).column("noisy", "7"),
        row("2").column("critique", "I cannot say.").column("noisy", "8"),
    ];
    let control = host().setting("target", "solution");
    let refused = omitted(1, "the critique is a refusal");
    let kept = [Choice::Keep { row: 0, provenance: "solution".into() }, refused[0].clone()];
    assert_eq!(curate(&control, &rows).choices, kept);
    let column = control.setting("solution-column", "noisy");
    let replaced = Choice::Replace { row: 0, completion: "7".into(), provenance: "solution".into() };
    assert_eq!(curate(&column, &rows).choices, [replaced, refused[0].clone()]);
}

#[test]
fn what_is_too_long_is_left_out_whole() {
    let host = host().setting("longest", 20);
    let fits = row("1").column("critique", "Conclusion: right");
    let too_long = row("1").column("critique", "Conclusion: right now");
    let expected: Vec<Choice> = [
        &omitted(0, "prompt and critique are longer than `longest`")[..],
        &omitted(1, "prompt and critique are longer than `longest`"),
    ]
    .concat();
    // Four characters of prompt, seventeen of critique.
    assert_eq!(curate(&host, &[fits.clone(), too_long]).choices, expected);
    assert_eq!(
        curate(&host.setting("longest", 21), &[fits]).choices,
        critique(0, "1", "Conclusion: right", "critique")
    );
}

#[test]
fn a_one_sided_set_is_warned_of() {
    let rows = |wrong: usize| {
        let text = |at: usize| if at < wrong { "Conclusion: wrong" } else { "Conclusion: right" };
        (0..16).map(|at| row("1").column("critique", text(at))).collect::<Vec<_>>()
    };
    let warned = |wrong: usize| {
        let host = host();
        curate(&host, &rows(wrong));
        warnings(&host)
    };
    assert!(warned(1).is_empty());
    assert!(warned(0)[0].contains("says `right`"));
    assert!(warned(16)[0].contains("says `wrong`"));
}

#[test]
fn a_column_that_nobody_has_is_told() {
    let host = host().setting("critique-column", "critic");
    curate(&host, &[row("1").column("critique", "Conclusion: right")]);
    assert_eq!(warnings(&host), ["no row has the column `critic`; there are critique"]);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refused = |host: PretendHost| matches!(host.curate::<Cft>(&[]), Err(Error::BadSettings(_)));
    assert!(refused(host().setting("critique-prompt", "{prompt}")));
    assert!(refused(host().setting("teacher-prompt", "{solution}")));
    assert!(refused(host().setting("right", "Wrong")));
    assert!(refused(host().setting("critique-column", "")));
}

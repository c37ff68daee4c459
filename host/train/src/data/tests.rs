//! What data files give, and what their faults say.

use std::path::PathBuf;

use tunesmith_core::plan::{DataPlan, FilePlan};

use super::{Dataset, read};

fn plan() -> DataPlan {
    let train = FilePlan { name: "train".into(), path: PathBuf::new(), digest: String::new(), limit: None };
    DataPlan {
        train,
        eval: Vec::new(),
        prompt: "prompt".into(),
        completion: "completion".into(),
        messages: "messages".into(),
        system: None,
    }
}

fn read_bytes(bytes: &[u8], limit: Option<usize>, plan: &DataPlan) -> Result<Dataset, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, bytes).expect("writable");
    let file = FilePlan { path, limit, ..plan.train.clone() };
    read(&file, plan).map_err(|error| error.to_string())
}

#[track_caller]
fn good(text: &str) -> Dataset {
    read_bytes(text.as_bytes(), None, &plan()).expect("the data is fine")
}

#[track_caller]
fn check(bytes: &[u8], expected: &str) {
    let error = read_bytes(bytes, None, &plan()).expect_err("the data is wrong");
    assert!(error.contains(expected), "`{error}` does not say `{expected}`");
}

#[test]
fn a_prompt_and_its_completion_keep_all_columns() {
    let data =
        good("{\"prompt\":\"2+2?\",\"completion\":\"4\",\"level\":3,\"tags\":[\"a\"]}\n\n{\"prompt\":\"b\"}\r\n");
    let row = &data.examples[0];
    assert_eq!((row.prompt(), row.completion.as_deref()), ("2+2?", Some("4")));
    assert_eq!(row.column("level").as_deref(), Some("3"));
    assert_eq!(row.columns.keys().collect::<Vec<_>>(), ["prompt", "completion", "level", "tags"]);
    assert_eq!((data.examples[1].id, &data.examples[1].completion), (1, &None));
}

#[test]
fn the_last_assistant_turn_of_a_chat_is_the_completion() {
    let data = good(
        r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"},{"role":"assistant","content":"d"}]}"#,
    );
    assert_eq!(data.examples[0].messages.len(), 3);
    assert_eq!(data.examples[0].completion.as_deref(), Some("d"));
}

#[test]
fn the_recipes_system_message_comes_first() {
    let plan = DataPlan { system: Some("be brief".into()), ..plan() };
    let data = read_bytes(b"{\"prompt\":\"a\"}", None, &plan).expect("the data is fine");
    assert_eq!(data.examples[0].messages[0].role, "system");
    assert_eq!(data.examples[0].prompt(), "a");
}

#[test]
fn a_limit_reads_no_further_but_digests_the_whole_file() {
    let text = b"{\"prompt\":\"a\"}\nnot json\n";
    let data = read_bytes(text, Some(1), &plan()).expect("the first row is fine");
    assert_eq!(data.examples.len(), 1);
    assert_eq!(data.digest, tunesmith_core::digest::of(text));
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    assert_eq!(read_bytes(b"\xef\xbb\xbf{\"prompt\":\"a\"}", None, &plan()).expect("fine").examples.len(), 1);
}

#[test]
fn faults_are_named_with_line_and_column() {
    check(b"{\"prompt\":\"a\"}\n\xff\n", "rows.jsonl:2:1: is not UTF-8\nhint:");
    check(b"{\"prompt\":\"a\"}\n{\"prompt\" \"b\"}\n", "rows.jsonl:2:11: is not JSON: expected `:`\nhint:");
    check(b"{\"prompt\":\"a\"}\n{\"prompt\":\"b", "rows.jsonl:2:12: is not JSON: EOF while parsing a string");
    check(b"[1]\n", "rows.jsonl:1: is a list, not an object");
    check(
        b"{\"question\":\"a\",\"answer\":\"b\"}",
        "misses the column `prompt` (or a chat in `messages`); there are `question`, `answer`",
    );
    check(b"{\"prompt\":3}", "the column `prompt` is a number, not text");
    check(b"{\"prompt\":\"a\",\"completion\":[]}", "the column `completion` is a list, not text");
    check(b"{\"prompt\":\" \"}", "the prompt is empty");
    check(b"{\"prompt\":\"a\",\"completion\":\"\"}", "the completion is empty");
    check(b"{\"messages\":\"hi\"}", "the column `messages` is text, not a list");
    check(b"{\"messages\":[]}", "the prompt is empty");
    check(b"{\"messages\":[\"hi\"]}", "turn 0 of `messages` is text, not an object");
    check(b"{\"messages\":[{\"role\":\"user\"}]}", "turn 0 of `messages` has no `content`");
    check(
        b"{\"messages\":[{\"role\":\"user\",\"content\":null}]}",
        "`content` of turn 0 of `messages` is null, not text",
    );
    check(b"", "has no rows");
    check(b"\n \n", "has no rows");
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    let text = format!("{{\"prompt\":{}", "[".repeat(100_000));
    check(text.as_bytes(), "recursion limit exceeded");
}

#[test]
fn a_completion_column_that_the_recipe_names_must_be_there() {
    let plan = DataPlan { completion: "solution".into(), ..plan() };
    let error = read_bytes(b"{\"prompt\":\"a\",\"answer\":\"b\"}", None, &plan).expect_err("the column is missing");
    assert!(error.contains("misses the column `solution`; there are `prompt`, `answer`"), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let file = FilePlan { path: "/nowhere/at/all.jsonl".into(), ..plan().train };
    assert!(read(&file, &plan()).expect_err("there is no such file").to_string().contains("all.jsonl"));
}

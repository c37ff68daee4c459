//! What data files give, and what their faults say.

mod files;
mod parquet;

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tunesmith_core::data::{Example, Target};
use tunesmith_core::model::Prompt;
use tunesmith_core::plan::{DataPlan, FilePlan, Plan};
use tunesmith_core::recipe::Recipe;

use super::{Dataset, Rows, open, target};
use crate::service::with_causes;

fn plan_of(data: &str) -> DataPlan {
    let text = format!("output = \"run\"\n[model]\npath = \"m\"\n[data]\n{data}\n");
    let recipe = Recipe::parse(&text).expect("a recipe");
    Plan::resolve(&recipe, &text, Path::new("")).expect("a plan").data
}

fn plan() -> DataPlan {
    plan_of("train = \"t.jsonl\"")
}

/// The rows of a set, and the plan of its files as it becomes.
struct Read {
    examples: Vec<Arc<Example>>,
    file: FilePlan,
    data: Dataset,
}

fn read(file: &FilePlan, plan: &DataPlan) -> Result<Read, String> {
    let (mut file, mut examples) = (file.clone(), Vec::new());
    let data = open(&mut file, plan, &mut |_, example| examples.push(Arc::clone(example)))
        .map_err(|error| with_causes(&error))?;
    assert_eq!(data.examples().collect::<Result<Vec<_>, _>>().expect("they were read before"), examples);
    assert_eq!(data.count(), examples.len());
    Ok(Read { examples, file, data })
}

fn read_as(name: &str, bytes: &[u8], limit: Option<usize>, plan: &DataPlan) -> Result<Read, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("writable");
    read(&FilePlan { path, limit, ..plan.train.clone() }, plan)
}

fn read_bytes(bytes: &[u8], limit: Option<usize>, plan: &DataPlan) -> Result<Read, String> {
    read_as("rows.jsonl", bytes, limit, plan)
}

#[track_caller]
fn good(text: &str) -> Read {
    read_bytes(text.as_bytes(), None, &plan()).expect("the data is fine")
}

#[track_caller]
fn check(bytes: &[u8], expected: &str) {
    let error = read_bytes(bytes, None, &plan()).err().expect("the data is wrong");
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
    assert_eq!(data.file.digest, tunesmith_core::digest::of(text));
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
    let error = read_bytes(b"{\"prompt\":\"a\",\"answer\":\"b\"}", None, &plan).err().expect("the column is missing");
    assert!(error.contains("misses the column `solution`; there are `prompt`, `answer`"), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let file = FilePlan { path: "/nowhere/at/all.jsonl".into(), ..plan().train };
    assert!(read(&file, &plan()).err().expect("there is no such file").contains("all.jsonl"));
}

#[test]
fn turns_keep_what_they_have_beside_a_text() {
    let data = good(
        r#"{"messages":[{"role":"user","content":"1+2?","name":null},{"role":"assistant","content":null,"tool_calls":[{"function":{"name":"add","arguments":{"a":1}}}]},
            {"role":"tool","content":"3","tool_call_id":"x"},{"role":"assistant","content":"3."}],"tools":[{"function":{"name":"add"}}]}"#
            .replace('\n', "")
            .as_str(),
    );
    let row = &data.examples[0];
    assert_eq!(row.messages[0].whole, None, "a field that is null says nothing");
    assert_eq!(row.messages[1].content, "");
    let call = row.messages[1].whole.as_ref().expect("it calls a tool");
    assert_eq!((&call["content"], &call["tool_calls"][0]["function"]["name"]), (&json!(null), &json!("add")));
    assert_eq!(row.messages[2].whole.as_ref().expect("it answers a call")["tool_call_id"], "x");
    assert_eq!((row.completion.as_deref(), &row.reply), (Some("3."), &None));
    assert!(
        matches!(row.conversation(), Prompt::Tools { tools, messages } if tools == json!([{"function": {"name": "add"}}]) && messages.len() == 3)
    );
    assert_eq!(row.columns.len(), 2, "columns are as in the data");
}

#[test]
fn a_chat_may_end_with_a_tool_call() {
    let data = good(
        r#"{"messages":[{"role":"user","content":"1+2?"},{"role":"assistant","tool_calls":[{"name":"add"}]}],"tools":"[{\"name\": \"add\"}]"}"#,
    );
    let row = &data.examples[0];
    assert_eq!(row.completion.as_deref(), Some(r#"[{"name":"add"}]"#));
    assert_eq!(row.reply.as_ref().expect("a turn").whole.as_ref().expect("a call")["content"], json!(null));
    assert_eq!(row.tools, Some(json!([{"name": "add"}])), "tools may be JSON text");
}

#[test]
fn faults_in_tool_calls_are_named() {
    let turn = |turn: &str| format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"q\"}},{turn}]}}");
    check(
        turn(r#"{"role":"assistant","tool_calls":{"name":"a"}}"#).as_bytes(),
        "`tool_calls` of turn 1 of `messages` is no list of calls",
    );
    check(
        turn(r#"{"role":"assistant","tool_calls":[{"id":"a"}]}"#).as_bytes(),
        "`tool_calls` of turn 1 of `messages` is no list of calls",
    );
    check(
        turn(r#"{"role":"assistant","content":[1],"tool_calls":[{"name":"a"}]}"#).as_bytes(),
        "`content` of turn 1 of `messages` is a list",
    );
    check(br#"{"messages":[{"role":"user","content":"q"}],"tools":"add"}"#, "the column `tools` is no list of tools");
}

#[test]
fn a_row_without_prompt_may_be_plain_text() {
    let data = good("{\"text\":\"once upon\",\"level\":1}\n{\"prompt\":\"a\",\"text\":\"a column\"}");
    let row = &data.examples[0];
    assert!(row.is_text && !data.examples[1].is_text);
    assert_eq!((row.completion.as_deref(), row.conversation()), (Some("once upon"), Prompt::Raw(String::new())));
    check(b"{\"text\":\"\"}", "the text is empty");
    check(b"{\"text\":3}", "the column `text` is a number, not text");
    let named = plan_of("train = \"t.jsonl\"\nprompt = \"question\"");
    let error = read_bytes(b"{\"text\":\"a\"}", None, &named).err().expect("a prompt is wanted");
    assert!(error.contains("misses the column `question`"), "{error}");
    let other = plan_of("train = \"t.jsonl\"\ntext = \"body\"");
    assert_eq!(
        read_bytes(b"{\"body\":\"a\"}", None, &other).expect("fine").examples[0].completion.as_deref(),
        Some("a")
    );
}

#[test]
fn a_line_without_end_does_not_fill_the_memory() {
    let mut text = b"{\"prompt\":\"".to_vec();
    text.resize(65 << 20, b'a');
    check(&text, "rows.jsonl:1: the line is longer than 64 MiB");
}

#[test]
fn a_file_that_changes_while_it_is_read_is_found_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, "{\"prompt\":\"a\"}\n").expect("writable");
    let data = read(&FilePlan { path: path.clone(), ..plan().train }, &plan()).expect("fine").data;
    std::fs::write(&path, "{\"prompt\":\"abc\"}\n").expect("writable");
    let error = data.examples().next().expect("an answer").expect_err("it has changed").to_string();
    assert!(error.contains("has changed since it was checked"), "{error}");
}

#[test]
fn a_better_and_a_worse_completion_are_a_preference() {
    let text = good(r#"{"prompt":"q","chosen":"a","rejected":"b"}"#);
    let chats = good(
        r#"{"chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],"rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"b"}]}"#,
    );
    for data in [text, chats] {
        let row = &data.examples[0];
        assert_eq!((row.prompt(), row.completion.as_deref()), ("q", Some("a")));
        let expected = Target::Preference { chosen: "a".into(), rejected: "b".into() };
        assert_eq!(target(&plan(), row), Some(expected));
        // Whoever names the column as that of the completion trains on it alone.
        let alone = DataPlan { completion: "chosen".into(), ..plan() };
        assert_eq!(target(&alone, row), Some(Target::Completion("a".into())));
    }
    check(br#"{"prompt":"q","chosen":"a","rejected":3}"#, "the column `rejected` is a number, not a completion\nhint:");
    check(br#"{"prompt":"q","chosen":"a","rejected":[]}"#, "the column `rejected` is a list, not a completion");
    check(br#"{"prompt":"q","chosen":3,"rejected":"b"}"#, "the column `chosen` is a number, not a list");
}

#[test]
fn a_label_says_whether_a_completion_is_good() {
    let labelled = DataPlan { label: Some("good".into()), ..plan() };
    let read = |text: &str| read_bytes(text.as_bytes(), None, &labelled);
    let role = |text: &str| {
        let row = Arc::clone(&read(text).expect("the data is fine").examples[0]);
        target(&labelled, &row).expect("it has a completion").members()[0].role.clone()
    };
    assert_eq!(role(r#"{"prompt":"q","completion":"a","good":true}"#), "chosen");
    assert_eq!(role(r#"{"prompt":"q","completion":"a","good":0}"#), "rejected");
    let fault = |text: &str| read(text).err().expect("the data is wrong");
    let wrong = fault(r#"{"prompt":"q","completion":"a","good":"yes"}"#);
    assert!(wrong.contains("the column `good` is text, not a label\nhint: a label is true or false"), "{wrong}");
    assert!(fault(r#"{"prompt":"q","completion":"a"}"#).contains("misses the column `good`"));
    // Without the recipe's word a column is a column.
    assert_eq!(
        target(&plan(), &good(r#"{"prompt":"q","completion":"a","label":1}"#).examples[0]),
        Some(Target::Completion("a".into()))
    );
}

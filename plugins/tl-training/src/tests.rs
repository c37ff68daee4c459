//! The plugin as the host sees it.

use tunesmith_sdk_test::{Case, Choice, PretendHost, Row, TokenRow, check_manifest};

use super::*;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml");

fn host() -> PretendHost {
    PretendHost::of(MANIFEST)
}

fn turn(role: &str, content: &str) -> Value {
    json!({ "role": role, "content": content })
}

/// Tools of a row: `get_weather` and `get_time`.
fn offered() -> Value {
    json!([
        { "name": "get_weather", "parameters": { "type": "object", "properties": { "city": {}, "day": {} } } },
        { "name": "get_time", "parameters": { "type": "object", "properties": { "city": {} } } },
    ])
}

/// A chat with a call that fails, one that does not, and this answer.
fn chat(answer: Option<&str>) -> Row {
    let turns = json!([
        turn("system", "Tools are there."),
        turn("user", "Weather?"),
        turn("assistant", "get_weather(town='Rome')"),
        turn("tool", "TypeError: got an unexpected keyword argument 'town'"),
        turn("assistant", "get_weather(city='Rome')"),
        turn("tool", "{\"error\": \"\", \"response\": \"14\"}"),
    ]);
    let row = Row::chat(turns).column("tools", offered());
    answer.into_iter().fold(row, Row::completion)
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<TlTraining>(MANIFEST);
}

#[test]
fn a_call_that_failed_is_no_target_but_stays_in_the_context() {
    let host = host();
    let curated = host.curate::<TlTraining>(&[chat(Some("14 degrees."))]).expect("nothing is missing");
    let [Choice::Keep { row: 0, .. }, Choice::AddGroup { conversation, members, like, .. }] = &curated.choices[..]
    else {
        panic!("{:?}", curated.choices);
    };
    assert_eq!((members, like), (&vec![(String::new(), "get_weather(city='Rome')".to_owned())], &Some(0)));
    let before: Vec<Value> = serde_json::from_str(conversation).expect("it is JSON");
    assert_eq!(before.len(), 4);
    assert_eq!(before[2]["content"], "get_weather(town='Rome')");
    let report = host.report();
    let counts = ["targets", "failed", "unanswered", "wordless"].map(|name| report.metric(name));
    assert_eq!(counts, [Some(2.0), Some(1.0), Some(0.0), Some(0.0)]);
}

#[test]
fn a_chat_that_ends_with_a_result_has_targets_too() {
    let host = host().setting("errors", json!([]));
    let curated = host.curate::<TlTraining>(&[chat(None)]).expect("nothing is missing");
    assert!(matches!(&curated.choices[0], Choice::Omit { row: 0, .. }));
    assert_eq!(curated.choices.len(), 3, "without patterns both calls are targets");
}

#[test]
fn calls_without_a_text_are_left_out() {
    let turns = json!([
        turn("user", "q"),
        { "role": "assistant", "content": "", "tool_calls": [{ "name": "f" }] },
        turn("tool", "r"),
        turn("assistant", "Which day?"),
        turn("user", "Today."),
    ]);
    let host = host();
    let curated = host.curate::<TlTraining>(&[Row::chat(turns).completion("a")]).expect("nothing is missing");
    assert_eq!((curated.kept(), curated.choices.len()), (vec![0], 1));
    let report = host.report();
    assert_eq!((report.metric("wordless"), report.metric("unanswered")), (Some(1.0), Some(1.0)));
    assert_eq!(report.skipped, [(0, "a turn has no text".to_owned())]);
}

/// A row with these tokens after one of the prompt.
fn tokens(pieces: &[&str], tools: Value) -> TokenRow {
    let row = Row::new("Weather?").completion(pieces.concat()).column("tools", tools);
    TokenRow::new(&vec![-1.0; pieces.len()]).texts(pieces).of(row)
}

#[test]
fn tokens_that_choose_the_tool_count_as_much_as_the_others() {
    let pieces = ["get", "_weather", "(", "city", "=", "'", "Rome", "'", ")", ""];
    let host = host();
    // Keys: `get` and `_weather`. The last quote is not counted: (10 - 2 - 1) / 2.
    let weights = host.weigh::<TlTraining>(&[tokens(&pieces, offered())]).expect("nothing is missing");
    assert_eq!(weights, [1.0, 3.5, 3.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
    let report = host.report();
    assert_eq!((report.metric("key-tokens"), report.metric("key-weight")), (Some(2.0), Some(3.5)));
    let capped = host.setting("largest", 2.0).weigh::<TlTraining>(&[tokens(&pieces, offered())]);
    assert_eq!(capped.expect("nothing is missing")[1..3], [2.0, 2.0]);
}

#[test]
fn rows_without_a_call_of_an_offered_tool_are_plain() {
    let rows = [
        tokens(&["It", " is", " 14."], offered()),
        tokens(&["find", "(", ")"], offered()),
        tokens(&["get_time", "(", ")"], Value::Null),
        tokens(&["get_time", "(", ")"], json!(["get_time"])),
    ];
    let host = host();
    let weights = host.weigh::<TlTraining>(&rows).expect("nothing is missing");
    assert_eq!(weights, [vec![1.0; 12], vec![1.0, 2.0, 1.0, 1.0]].concat());
    assert_eq!(host.report().metric("unmarked-rows"), Some(3.0));
}

/// A rollout where `get_weather(city='Rome')` is right.
fn answered(answer: &str) -> Case {
    Row::new("Weather?").completion("get_weather(city='Rome')").column("tools", offered()).answered(answer)
}

#[test]
fn kinds_of_errors_are_rewarded_apart() {
    let cases = [
        answered("get_weather(city=\"Rome\")"),
        answered("get_weather(city='Rom')"),
        answered("get_weather(city='Rome', day='now')"),
        answered("get_weather(town='Rome')"),
        answered("get_time(city='Rome')"),
        answered("find(city='Rome')"),
        answered("get_weather(city='Ro").unfinished(),
        answered(""),
    ];
    let host = host();
    let expected = [1.0, -0.25, -0.5, -1.3, -1.5, -2.0, -2.0, -2.0].map(Some);
    assert_eq!(host.reward::<TlTraining>(&cases), Ok(expected.to_vec()));
    let report = host.report();
    let shares = ["unparsable", "unknown-tool", "wrong-tool", "wrong-names", "wrong-values", "right"];
    assert_eq!(shares.map(|name| report.metric(name)), [0.25, 0.125, 0.125, 0.25, 0.125, 0.125].map(Some));
}

#[test]
fn rows_that_ask_for_no_call_have_no_reward() {
    let cases = [
        Row::new("?").completion("14 degrees.").column("tools", offered()).answered("get_time()"),
        Row::new("?").completion("f()").answered("f()"),
        answered("x"),
    ];
    let host = host();
    assert_eq!(host.reward::<TlTraining>(&cases), Ok(vec![None, None, Some(-2.0)]));
    assert_eq!(host.report().skipped, [(0, NO_CALL.to_owned()), (1, NO_TOOLS.to_owned())]);
    let declined = host.reward::<TlTraining>(&[Row::new("?").completion("f()").answered("f()")]);
    assert!(matches!(declined, Err(Error::Unsupported(text)) if text.contains("`tools`")));
}

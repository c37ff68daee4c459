//! Servers that answer, and servers that do not: order, retries, budgets, tapes, and the key that nobody sees.

pub(crate) mod pretend;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use tunesmith_core::model::Message;

use self::pretend::{PretendServer, Reply, Request};
use super::*;

const KEY: &str = "sk-a-secret-that-nobody-may-see-0123456789";

fn plan(url: &str) -> ServerPlan {
    ServerPlan {
        server: url.into(),
        model: "m".into(),
        logprobs: false,
        key: None,
        requests: None,
        tokens: None,
        retries: 2,
        timeout: 5,
        parallel: 3,
        tape: None,
        mode: TapeMode::Record,
    }
}

/// A model that waits for nothing between two requests.
fn model_with(plan: &ServerPlan, key: Option<&str>) -> ServerModel {
    let key = key.map(|key| Key::new(key).expect("a key"));
    let mut model = ServerModel::open("grader", plan, 50, key).expect("the tape is whole");
    model.client.pausing(Duration::from_millis(1));
    model
}

fn model(server: &PretendServer) -> ServerModel {
    model_with(&plan(&server.url()), Some(KEY))
}

fn chats(count: usize) -> Vec<Prompt> {
    (0..count).map(|number| Prompt::Chat(vec![Message::user(format!("q{number}"))])).collect()
}

fn texts(answers: &[Generation]) -> Vec<&str> {
    answers.iter().map(|answer| answer.text.as_str()).collect()
}

fn told<T>(result: Result<T, ServiceError>) -> String {
    result.err().expect("it fails").to_string()
}

/// What asking one question of a server ends with.
#[track_caller]
fn check_failure(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static, requests: usize, expected: &[&str]) {
    let server = PretendServer::answering(answer);
    let told = told(model(&server).generate(&chats(1), &Sampling::greedy(5)));
    for words in expected {
        assert!(told.contains(words), "`{told}` does not say `{words}`");
    }
    assert!(told.starts_with("model `grader` ") && !told.contains(KEY) && !told.contains('\n'), "{told}");
    assert_eq!(server.seen().len(), requests, "{told}");
}

#[test]
fn answers_are_in_the_order_of_the_prompts_whatever_comes_first() {
    let server = PretendServer::answering(|request| {
        let late = u64::from(request.prompt().ends_with(['0', '3', '6']));
        std::thread::sleep(Duration::from_millis(30 * late));
        Reply::saying(&format!("to {}", request.prompt()))
    });
    let answers = model(&server).generate(&chats(8), &Sampling::greedy(5)).expect("it answers");
    assert_eq!(texts(&answers), (0..8).map(|number| format!("to q{number}")).collect::<Vec<_>>());
    let seen = server.seen();
    assert!(seen.iter().all(|request| request.path == "/v1/chat/completions"));
    assert!(seen.iter().all(|request| request.authorization == Some(format!("Bearer {KEY}"))));
    assert!(seen.iter().all(|request| request.body.get("seed").is_none()), "a greedy request has no seed");
}

#[test]
fn samples_have_seeds_of_their_own_whether_they_come_together_or_not() {
    let sampling = Sampling { temperature: 1.0, samples: 3, seed: 9, ..Sampling::greedy(5) };
    let seed = |request: &Request| request.body["seed"].as_u64().expect("a seed");
    let singly = PretendServer::answering(move |request| Reply::saying(&seed(request).to_string()));
    let answers = model(&singly).generate(&chats(2), &sampling).expect("it answers");
    let mut seeds = texts(&answers);
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!((answers.len(), seeds.len()), (6, 6));

    let together = PretendServer::answering(|request| {
        let choice = |number: u64| json!({"message": {"content": format!("{} {number}", request.prompt())}});
        let count = request.body["n"].as_u64().expect("several");
        Reply::json(&json!({"choices": (0..count).map(choice).collect::<Vec<_>>()}))
    });
    let answers = model(&together).generate(&chats(2), &sampling).expect("it answers");
    assert_eq!(texts(&answers), ["q0 0", "q0 1", "q0 2", "q1 0", "q1 1", "q1 2"]);
    assert_eq!(together.seen().len(), 2);

    let one_at_a_time = PretendServer::answering(move |request| match request.body.get("n") {
        Some(_) => Reply::Status(400, "", "only one completion choice is allowed".into()),
        None => Reply::saying(&seed(request).to_string()),
    });
    let folder = tempfile::tempdir().expect("a temporary folder");
    let with_tape = ServerPlan { tape: Some(folder.path().join("t.jsonl")), ..plan(&one_at_a_time.url()) };
    let answers = model_with(&with_tape, None).generate(&chats(1), &sampling).expect("it answers");
    assert_eq!((answers.len(), one_at_a_time.seen().len()), (3, 4));
    let replay = ServerPlan { mode: TapeMode::Replay, ..with_tape };
    assert_eq!(model_with(&replay, None).generate(&chats(1), &sampling).expect("it is on the tape"), answers);
}

#[test]
fn raw_prompts_embeddings_and_log_probabilities_are_asked_for() {
    let server = PretendServer::answering(|request| match request.path.as_str() {
        "/v1/completions" => Reply::json(&json!({"choices": [{"text": "b", "logprobs": {"token_logprobs": [-0.5]}}]})),
        "/v1/embeddings" => {
            let texts = request.body["input"].as_array().expect("texts");
            let entry =
                |(index, text): (usize, &Value)| json!({"index": index, "embedding": [text.as_str().map(str::len), 1]});
            Reply::json(&json!({"data": texts.iter().enumerate().map(entry).collect::<Vec<_>>()}))
        }
        _ => Reply::Status(404, "", String::new()),
    });
    let model = model_with(&ServerPlan { logprobs: true, ..plan(&server.url()) }, None);
    let answers = model.generate(&[Prompt::Raw("a".into())], &Sampling::greedy(5)).expect("it answers");
    assert_eq!((answers[0].text.as_str(), answers[0].tokens.len()), ("b", 1));
    let many: Vec<String> = (0..70).map(|length| "x".repeat(length)).collect();
    let vectors = model.embed(&many).expect("it embeds");
    assert_eq!(vectors.iter().map(|vector| vector[0] as usize).collect::<Vec<_>>(), (0..70).collect::<Vec<_>>());
    assert!(model.embed(&[]).expect("there is nothing to do").is_empty());
    let score = told(model.score(&chats(1), &["a".into()]));
    assert!(score.contains("cannot score given completions; hint: name a model in a folder"), "{score}");
    assert!(model.score_next(&chats(1), &["a".into()]).is_err());
    assert!(server.seen().iter().all(|request| request.authorization.is_none()), "there is no key");
}

#[test]
fn a_server_that_is_busy_is_asked_again() {
    let server = PretendServer::answering(|request| match request.number {
        0 => Reply::Status(429, "Retry-After: 0\r\n", String::new()),
        1 => Reply::Status(503, "", "<html>later</html>".into()),
        _ => Reply::saying("yes"),
    });
    let answers = model(&server).generate(&chats(1), &Sampling::greedy(5)).expect("it answers in the end");
    assert_eq!((texts(&answers), server.seen().len()), (vec!["yes"], 3));
}

#[test]
fn the_pause_is_the_servers_or_doubles_and_depends_on_the_request_alone() {
    let server = PretendServer::answering(|request| match request.number {
        0 => Reply::Status(429, "Retry-After: 1\r\n", String::new()),
        _ => Reply::saying("yes"),
    });
    let start = Instant::now();
    model(&server).generate(&chats(1), &Sampling::greedy(5)).expect("it answers");
    assert!(Duration::from_secs(1) <= start.elapsed());
    let client = ServerModel::open("grader", &plan("http://h"), 5, None).expect("there is no tape").client;
    let question = |text: &str| questions::embeddings("m", &[text.into()]);
    for sent in 1..12 {
        let pause = client.pause(&question("a"), sent, None);
        assert_eq!(pause, client.pause(&question("a"), sent, None));
        assert_ne!(pause, client.pause(&question("b"), sent, None));
        let longest = Duration::from_millis(500 << (sent - 1)).min(Duration::from_mins(2));
        assert!(longest.mul_f64(0.5) <= pause && pause <= longest, "{pause:?}");
    }
    assert_eq!(client.pause(&question("a"), 1, Some(Duration::from_secs(9_999))), Duration::from_mins(2));
}

#[test]
fn failures_that_last_are_told_and_never_a_panic() {
    let always =
        |status| move |_: &Request| Reply::Status(status, "", "{\"error\": {\"message\": \"no\\nspace\"}}".into());
    check_failure(always(500), 3, &["asked 3 times: status 500: no space", "hint: is the server at `http://127"]);
    check_failure(always(401), 1, &["refused a request with status 401: no space; hint: is `key`"]);
    check_failure(always(404), 1, &["hint: does `server` end as the server wants it"]);
    check_failure(always(400), 1, &["refused a request with status 400: no space"]);
    check_failure(|_| Reply::Bytes(Vec::new()), 3, &["asked 3 times: "]);
    check_failure(|_| Reply::Bytes(b"\x00\xffnonsense\r\n\r\n".into()), 3, &["what came is no HTTP"]);
    check_failure(
        |_| Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{".into()),
        3,
        &["the connection failed"],
    );
    check_failure(|_| Reply::Status(200, "", "<html>".into()), 1, &["cannot be read: no JSON"]);
    check_failure(|_| Reply::Status(200, "", "[".repeat(100_000)), 1, &["cannot be read: no JSON"]);
    check_failure(|_| Reply::json(&json!({"choices": []})), 1, &["without a completion"]);
    check_failure(|_| Reply::json(&json!({"error": "x"})), 1, &["an answer without `choices`"]);
    check_failure(|_| Reply::Status(200, "", " ".repeat(33 << 20)), 1, &["more than 32 MiB"]);
    check_failure(
        |_| Reply::Status(200, "", "{\"choices\": [{\"message\": {\"content\": \"\u{0}".into()),
        1,
        &["no JSON"],
    );
}

#[test]
fn redirects_are_not_followed() {
    let other = PretendServer::answering(|_| Reply::saying("stolen"));
    let address = other.url();
    let location: &'static str = format!("Location: {address}/chat/completions\r\n").leak();
    for status in [301, 302, 307, 308] {
        check_failure(move |_| Reply::Status(status, location, String::new()), 1, &["redirects are not followed"]);
    }
    assert!(other.seen().is_empty());
}

#[test]
fn a_server_that_is_slow_or_not_there_is_told() {
    let server = PretendServer::answering(|_| Reply::Silence(Duration::from_secs(4)));
    let slow = ServerPlan { timeout: 1, retries: 0, ..plan(&server.url()) };
    let told_of_slow = told(model_with(&slow, None).generate(&chats(1), &Sampling::greedy(5)));
    assert!(told_of_slow.contains("asked once: no answer within 1 s"), "{told_of_slow}");
    let gone = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
    let told_of_gone = told(model_with(&plan(&format!("http://{gone}/v1")), None).embed(&["a".into()]));
    assert!(
        told_of_gone.contains("asked 3 times: ") && told_of_gone.contains("hint: is the server at"),
        "{told_of_gone}"
    );
    #[cfg(not(feature = "https"))]
    {
        let told = told(model_with(&plan("https://127.0.0.1:1/v1"), None).embed(&["a".into()]));
        assert!(told.contains("hint: build with `--features https`"), "{told}");
    }
}

#[test]
fn a_budget_ends_a_run_with_a_hint() {
    let server = PretendServer::answering(|_| Reply::saying("yes"));
    let few = ServerPlan { requests: Some(2), parallel: 1, ..plan(&server.url()) };
    let told_of_few = told(model_with(&few, None).generate(&chats(3), &Sampling::greedy(5)));
    assert!(told_of_few.contains("2 of 2 requests; hint: raise `requests`"), "{told_of_few}");
    assert_eq!(server.seen().len(), 2);
    let short = ServerPlan { tokens: Some(15), parallel: 1, ..plan(&server.url()) };
    let told_of_short = told(model_with(&short, None).generate(&chats(3), &Sampling::greedy(5)));
    assert!(told_of_short.contains("20 of 15 tokens"), "{told_of_short}");
}

#[test]
fn a_tape_repeats_a_run_without_the_server() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tape = Some(folder.path().join("grader.jsonl"));
    let sampling = Sampling { temperature: 1.0, samples: 2, seed: 4, ..Sampling::greedy(5) };
    let server = PretendServer::answering(|request| Reply::saying(&format!("{} {}", request.prompt(), request.number)));
    let record = ServerPlan { tape, ..plan(&server.url()) };
    let answers = model_with(&record, Some(KEY)).generate(&chats(5), &sampling).expect("it answers");
    assert_eq!(server.seen().len(), 10);
    let again = model_with(&record, Some(KEY)).generate(&chats(5), &sampling).expect("it is on the tape");
    assert_eq!((&again, server.seen().len()), (&answers, 10), "nothing is asked twice");
    drop(server);
    let replay = ServerPlan { mode: TapeMode::Replay, server: "http://127.0.0.1:1/v1".into(), ..record };
    let model = model_with(&replay, None);
    assert_eq!(model.generate(&chats(5), &sampling).expect("it is on the tape"), answers);
    let told = told(model.generate(&chats(6), &sampling));
    assert!(told.contains("does not hold (request ") && told.contains("hint: the recipe, the data"), "{told}");
    assert!(!read(folder.path()).contains(KEY));
}

/// Everything in a folder's files.
fn read(folder: &Path) -> String {
    let files = fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("an entry").path());
    files.map(|path| fs::read_to_string(path).expect("text")).collect()
}

#[test]
fn the_key_shows_nowhere_though_the_server_sends_it_back() {
    let echo = |request: &Request| request.authorization.clone().unwrap_or_default();
    for status in [400, 401, 500] {
        check_failure(
            move |request| Reply::Status(status, "", json!({"error": {"message": echo(request)}}).to_string()),
            if status == 500 { 3 } else { 1 },
            &["its message repeats the key and is not shown"],
        );
    }
    check_failure(
        move |request| Reply::Status(401, "", format!("wrong key: {}***", &echo(request)[7..20])),
        1,
        &["its message repeats the key"],
    );
    check_failure(move |request| Reply::saying(&echo(request)), 1, &["it holds the key that was sent"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = PretendServer::answering(move |request| match request.number {
        0 => Reply::saying(&format!("the key is {}", echo(request))),
        _ => Reply::saying("fine"),
    });
    let with_tape = ServerPlan { tape: Some(folder.path().join("t.jsonl")), ..plan(&server.url()) };
    let model = model_with(&with_tape, Some(KEY));
    assert!(!told(model.generate(&chats(1), &Sampling::greedy(5))).contains(KEY));
    model.generate(&chats(1), &Sampling::greedy(5)).expect("it answers");
    let tape = read(folder.path());
    assert!(tape.contains("fine") && !tape.contains(KEY), "{tape}");
    assert!(!format!("{model:?}").contains(KEY));
}

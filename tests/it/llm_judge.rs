//! A model as the judge of a run: through the component, the real host, and a server that answers over HTTP.

#[path = "../../host/train/src/server/tests/pretend.rs"]
#[expect(dead_code, reason = "the tests of the server itself use the rest")]
mod pretend;
mod real_server;

use std::fs;
use std::path::Path;

use serde_json::Value;
use tunesmith::{Error, Keys, Options, Session, Summary};

use self::pretend::{PretendServer, Reply, Request};
use crate::bad_input::{Lab, built_plugin, check_told};

const KEY: &str = "sk-the-key-of-the-test-0123456789";

/// A recipe that trains on own answers where the model `grader`, or another, accepts them.
fn lab(grader: &str, settings: &str) -> Lab {
    let lab = Lab::new();
    for name in ["ssr.wasm", "llm-judge.wasm"] {
        lab.write(name, built_plugin(name));
    }
    lab.append(
        "recipe.toml",
        &format!(
            "[generate]\nmax-tokens = 6\n[plugins]\nssr = {{ path = \"ssr.wasm\", grants = [\"model.generate\", \"judge\"] }}\n\
             llm = {{ path = \"llm-judge.wasm\", grants = [\"model.generate\"] }}\n\
             [curate]\nplugin = \"ssr\"\nsettings = {{ unfinished-is-wrong = false }}\n\
             [judge]\nplugin = \"llm\"\n[judge.settings]\nmodel = \"grader\"\n{settings}[models.grader]\n{grader}"
        ),
    );
    lab
}

fn behind(url: &str) -> String {
    format!(
        "server = \"{url}\"\nmodel = \"m\"\nkey = \"GRADER_KEY\"\ntape = \"grader.jsonl\"\nretries = 1\nmax-tokens = 40\n"
    )
}

fn options() -> Options {
    let keys = Keys::new(|name| (name == "GRADER_KEY").then(|| KEY.to_owned()));
    assert!(!format!("{keys:?}").contains(KEY));
    Options { keys, ..Options::default() }
}

fn run_with(lab: &Lab, options: &Options) -> Result<Summary, Error> {
    Session::open_with(&lab.path("recipe.toml"), options)?.run(&mut ())
}

/// Everything in the files of a folder, and of folders in it.
fn everything(folder: &Path) -> String {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let text = |path: &Path| String::from_utf8_lossy(&fs::read(path).expect("readable")).into_owned();
    entries.map(|path| if path.is_dir() { everything(&path) } else { text(&path) }).collect()
}

fn records(lab: &Lab) -> Vec<Value> {
    let text = fs::read_to_string(lab.path("run/trace.jsonl")).expect("a trace");
    text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["record"].clone()).collect()
}

/// Accepts answers to the row `two` alone.
fn strict(request: &Request) -> Reply {
    let is_two = request.prompt().contains("Question:\ntwo\n");
    Reply::saying(if is_two { "It fits.\nVerdict: yes" } else { "Verdict: no" })
}

#[test]
fn a_server_judges_and_its_tape_repeats_the_run_without_it() {
    let server = PretendServer::answering(strict);
    let lab = lab(&behind(&server.url()), "");
    let summary = run_with(&lab, &options()).unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(summary.provenance.get("self"), Some(&1), "{:?}", summary.provenance);
    assert_eq!(summary.provenance.get("gold"), Some(&1));
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    for request in &seen {
        assert_eq!(request.authorization.as_deref(), Some(format!("Bearer {KEY}").as_str()));
        assert_eq!((&request.body["model"], &request.body["max_tokens"]), (&"m".into(), &40.into()));
        assert!(request.prompt().contains("Reference answer:\n"), "{}", request.prompt());
    }
    let records = records(&lab);
    let curate = records.iter().find(|record| record["event"] == "curate").expect("it curated");
    let calls = curate["calls"].as_array().expect("calls");
    assert!(calls.iter().any(|call| call["stage"] == "judge" && call["plugin"] == "llm"), "{curate}");
    assert!(!everything(&lab.path("")).contains(KEY), "the key is in a file");

    drop(server);
    let trace = |lab: &Lab| fs::read_to_string(lab.path("run/trace.jsonl")).expect("a trace").lines().count();
    let (lines, first) = (trace(&lab), summary.trace);
    fs::remove_dir_all(lab.path("run")).expect("the run folder goes");
    lab.replace("recipe.toml", "tape = ", "mode = \"replay\"\ntape = ");
    let again = run_with(&lab, &Options::default()).unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!((again.trace, trace(&lab)), (first, lines), "the same trace, without server and key");

    fs::remove_dir_all(lab.path("run")).expect("the run folder goes");
    lab.replace("recipe.toml", "[judge.settings]\n", "[judge.settings]\nmax-tokens = 39\n");
    let error = run_with(&lab, &Options::default()).expect_err("the tape has no such request");
    check_told(&error, &["plugin `ssr`", "its tape", "does not hold", "hint: the recipe, the data or a plugin"]);
}

#[test]
fn a_model_in_a_folder_judges_with_its_own_tokenizer() {
    // The tiny model reads 128 characters.
    let lab = lab("path = \"model\"\nmax-tokens = 3\n", "retries = 0\ntemplate = \"{reference}|{answer}\"\n");
    let summary = run_with(&lab, &Options::default()).unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(summary.provenance.get("gold"), Some(&2), "a model of random weights has no verdict");
    let records = records(&lab);
    let curate = records.iter().find(|record| record["event"] == "curate").expect("it curated");
    let judge = curate["calls"].as_array().expect("calls").iter().find(|call| call["stage"] == "judge");
    let report = &judge.expect("it judged")["report"];
    assert_eq!(report["skipped"]["the judge's text has no verdict"], 2, "{report}");
    assert_eq!(report["metrics"]["unread"][0], 1.0, "{report}");
}

#[test]
fn a_server_that_fails_ends_the_run_and_the_key_shows_nowhere() {
    let server = PretendServer::answering(|request| {
        Reply::Status(401, "", format!("no: {}", request.authorization.as_deref().unwrap_or_default()))
    });
    let lab = lab(&behind(&server.url()), "");
    let error = run_with(&lab, &options()).expect_err("the server refuses");
    let told = check_told(&error, &["the run failed", "model `grader` refused a request with status 401", "is `key`"]);
    assert!(!told.contains(KEY) && !format!("{error:?}").contains(KEY));
    assert!(!everything(&lab.path("")).contains(KEY), "the key is in a file");
}

#[test]
fn what_a_model_lacks_is_told_before_any_work() {
    #[track_caller]
    fn check(grader: &str, options: &Options, expected: &[&str]) {
        let lab = lab(grader, "");
        let error = Session::open_with(&lab.path("recipe.toml"), options).err().expect("something is missing");
        check_told(&error, expected);
        assert!(!lab.path("run").exists() && !lab.path("grader.jsonl").exists(), "nothing is written");
    }
    let grader = behind("http://127.0.0.1:1/v1");
    let none = Options::default();
    check(&grader, &none, &["`models.grader.key`", "`GRADER_KEY` is not set", "hint: export it"]);
    let odd = Options { keys: Keys::new(|_| Some("se cret".to_owned())), ..Options::default() };
    check(&grader, &odd, &["`models.grader.key`", "cannot be used", "visible ASCII"]);
    check(
        &format!("{grader}mode = \"replay\"\n"),
        &none,
        &["`models.grader.tape`", "there is no tape", "hint: record one"],
    );
    check("path = \"nowhere\"\n", &none, &["`models.grader.path`", "there is no folder"]);
    check(
        "server = \"http://u:p@h/v1\"\nmodel = \"m\"\n",
        &none,
        &["`models.grader.server`", "hint: put the key into"],
    );
    check(&grader.replace("http:", "https:"), &options(), &["`models.grader.server`", "does not speak https"]);
}

#[test]
fn a_judge_that_names_no_model_of_the_recipe_is_told_which_there_are() {
    let lab = lab("path = \"model\"\n", "");
    lab.replace("recipe.toml", "model = \"grader\"", "model = \"teacher\"");
    let error = run_with(&lab, &Options::default()).expect_err("there is none");
    check_told(&error, &["there is no model `teacher`; there are `policy`, `reference`, `grader`"]);
}

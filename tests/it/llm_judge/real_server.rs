//! The same over a real server: llama.cpp with a small model, if `tests/python/model_server.py` was prepared on this machine.

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tunesmith::{Keys, Options};

use super::{everything, lab, records, run_with};
use crate::bad_input::check_told;

const KEY: &str = "sk-the-key-of-a-real-server-0123456789";

/// The server's process; it ends with its input.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    /// Starts the server. Where it is not prepared, this says so past the test's capture, and fails if `TUNESMITH_NEEDS_SERVER` is set.
    fn start(test: &str) -> Option<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/model_server.py");
        let cache = env::var_os("TUNESMITH_CACHE").map(PathBuf::from);
        let cache = cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache/tunesmith")))?;
        let folder = cache.join("model-server");
        let mut command = Command::new("python3");
        command.arg(script).arg(&folder).env("TUNESMITH_TEST_SERVER_KEY", KEY);
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let found = started.ok().and_then(|mut process| {
            let mut address = String::new();
            BufReader::new(process.stdout.take()?).read_line(&mut address).ok()?;
            let is_up = address.starts_with("http://");
            is_up.then(|| Self { process, address: format!("{}/v1", address.trim()) })
        });
        if found.is_none() {
            let told = format!(
                "SKIPPED: {test}: no model server; `python3 tests/python/model_server.py --prepare {}` fetches one\n",
                folder.display()
            );
            assert!(env::var_os("TUNESMITH_NEEDS_SERVER").is_none(), "{told}");
            let _ = std::io::stderr().lock().write_all(told.as_bytes());
        }
        found
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn options(key: &'static str) -> Options {
    Options { keys: Keys::new(move |_| Some(key.to_owned())), ..Options::default() }
}

#[test]
fn a_real_server_judges_and_its_tape_repeats_the_run_without_it() {
    let Some(server) = Server::start("a_real_server_judges_and_its_tape_repeats_the_run_without_it") else { return };
    let grader = format!(
        "server = \"{}\"\nmodel = \"smollm2\"\nkey = \"K\"\ntape = \"grader.jsonl\"\nparallel = 2\nlogprobs = true\nrequests = 20\n",
        server.address
    );
    // The small model says little that is a grade; what counts is that all its texts come.
    let settings = "kind = \"grade\"\ntemplate = \"Grade this from 1 to 10: {answer}\"\n\
                    samples = 2\ntemperature = 0.8\nmax-tokens = 8\nretries = 1\n";
    let lab = lab(&grader, settings);

    let error = run_with(&lab, &options("sk-the-wrong-key-0123456789")).expect_err("the key is wrong");
    check_told(&error, &["refused a request with status 401", "hint: is `key`"]);
    std::fs::remove_dir_all(lab.path("run")).expect("the run folder goes");

    let summary = run_with(&lab, &options(KEY)).unwrap_or_else(|error| panic!("{error:?}"));
    let records = records(&lab);
    let curate = records.iter().find(|record| record["event"] == "curate").expect("it curated");
    let judge = curate["calls"].as_array().expect("calls").iter().find(|call| call["stage"] == "judge");
    let texts = &judge.expect("it judged")["report"]["metrics"]["judge-texts"];
    assert!(texts[0].as_f64() >= Some(4.0), "two rows, two samples each: {texts}");
    let tape = std::fs::read_to_string(lab.path("grader.jsonl")).expect("a tape");
    assert!(tape.contains("token_logprobs") && tape.contains("\"n\":2"), "{tape}");
    assert!(!everything(&lab.path("")).contains(KEY), "the key is in a file");

    drop(server);
    std::fs::remove_dir_all(lab.path("run")).expect("the run folder goes");
    lab.replace("recipe.toml", "parallel = 2", "mode = \"replay\"");
    let again = run_with(&lab, &Options::default()).unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(again.trace, summary.trace);
}

//! The real program looking at data and training on more data than it may hold.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The model that an example trains: digits, a few letters, and a chat template; 64 positions.
const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/04-digit-lab/golden/base-mixed");

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tunesmith"));
    command.current_dir(folder).env("TUNESMITH_CACHE", folder.join("cache")).args(arguments);
    command
}

/// What the program says when all goes well.
#[track_caller]
fn told(folder: &TempDir, arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = command(folder.path(), arguments).output().expect("the program starts");
    assert_eq!(status.code(), Some(0), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text")
}

#[track_caller]
fn refused(folder: &TempDir, arguments: &[&str], expected: &[&str]) {
    let Output { status, stdout, stderr } = command(folder.path(), arguments).output().expect("the program starts");
    let told = String::from_utf8(stderr).expect("text");
    assert_eq!((status.code(), stdout.len()), (Some(2), 0), "{told}");
    for words in expected {
        assert!(told.contains(words), "`{told}` does not say `{words}`");
    }
    assert!(!told.contains('\u{1b}') && !told.contains("panicked"), "{told}");
}

fn folder(rows: &[Value]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lines = rows.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    fs::write(folder.path().join("rows.jsonl"), lines).expect("writable");
    let recipe = format!(
        "output = \"run\"\n[model]\npath = '{MODEL}'\nadapter = {{ lora = {{ rank = 2 }} }}\n[data]\ntrain = \"rows.jsonl\"\n[train]\nsteps = 2\nbatch = 4\n"
    );
    fs::write(folder.path().join("recipe.toml"), recipe).expect("writable");
    folder
}

fn rows() -> Vec<Value> {
    let mut rows: Vec<Value> =
        (0..8).map(|n| json!({"prompt": format!("{n}+1"), "completion": "7".repeat(n + 1), "level": n})).collect();
    rows.push(json!({"prompt": "0+1", "completion": "7", "note": "again"}));
    rows.push(json!({"prompt": "1".repeat(70), "completion": "2", "level": null, "\u{1b}[31mred": [1]}));
    rows.push(json!({"prompt": "3+3"}));
    rows
}

#[test]
fn a_file_is_told_with_its_columns() {
    let told = told(&folder(&rows()), &["data", "inspect", "rows.jsonl"]);
    for words in [
        "train: 11 rows, 1 without completion, 1 said before",
        "rows.jsonl  JSON lines    11       1",
        "prompt         text in 11",
        "completion     text in 10, missing in 1",
        "level          number in 8, missing in 2, null in 1",
        "\\u{1b}[31mred  missing in 10, list in 1",
        "lengths and a sample need a tokenizer: give `--model FOLDER`",
    ] {
        assert!(told.contains(words), "`{told}` does not say `{words}`");
    }
    assert!(!told.contains('\u{1b}'), "{told}");
}

#[test]
fn lengths_are_tokens_and_the_sample_shows_what_has_a_loss() {
    let folder = folder(&rows());
    let report: Value =
        serde_json::from_str(&told(&folder, &["data", "inspect", "rows.jsonl", "--model", MODEL, "--json"]))
            .expect("JSON");
    let lengths = &report["sets"][0]["lengths"];
    // A prompt is `<user>0+1<end><model>`, six tokens; an answer its digits and `<end>`. Sorted: 6 8 8 9 10 11 12 13 14 15 75.
    assert_eq!(lengths["row"], json!({"p50": 11, "p95": 75, "max": 75}));
    assert_eq!(lengths["prompt"], json!({"p50": 6, "p95": 73, "max": 73}));
    assert_eq!(lengths["trained"], json!({"p50": 4, "p95": 9, "max": 9}));
    assert_eq!((&lengths["too-long"], &report["max-length"]), (&json!(1), &json!(64)));
    let text = told(&folder, &["data", "inspect", "recipe.toml", "--row", "2"]);
    for words in [
        "1 rows are longer than 64 tokens and would be refused",
        "row 2 as it is trained on, 10 tokens",
        "    <user>2+1<end><model>«777<end>»",
    ] {
        assert!(text.contains(words), "`{text}` does not say `{words}`");
    }
    let all =
        told(&folder, &["data", "inspect", "recipe.toml", "--set", "data.loss=all", "--set", "train.truncate=true"]);
    assert!(all.contains("    <user>«0+1<end><model>7<end>»") && all.contains("would be cut"), "{all}");
    assert!(!folder.path().join("run").exists(), "nothing is made");
}

#[test]
fn bad_data_ends_with_2() {
    let folder = folder(&[json!({"prompt": "1", "completion": "2"}), json!([1])]);
    refused(
        &folder,
        &["data", "inspect", "rows.jsonl"],
        &["error: rows.jsonl", "rows.jsonl:2: is a list, not an object"],
    );
    refused(&folder, &["data", "inspect", "recipe.toml"], &["error: recipe.toml:6: `data.train`", "rows.jsonl:2"]);
    refused(&folder, &["data", "inspect", "none.jsonl"], &["error: none.jsonl", "cannot read"]);
    refused(&folder, &["data", "inspect", "*.parquet"], &["matches no file", "hint: "]);
    refused(&folder, &["data", "inspect", "rows.jsonl", "--model", "none"], &["error: none", "config.json"]);
}

#[test]
fn a_row_that_is_too_long_is_named_with_its_line_at_check() {
    let folder = folder(&rows()[8..10]);
    let words = [
        "error: recipe.toml:6: `data.train`",
        "rows.jsonl:2: the row has 75 tokens, of which 73 are the prompt",
        "hint: ",
    ];
    refused(&folder, &["check", "recipe.toml"], &words);
    assert!(!folder.path().join("run").exists());
}

/// The most memory that a run of the program held, in bytes.
#[cfg(target_os = "linux")]
fn peak(folder: &TempDir, arguments: &[&str]) -> u64 {
    let mut command = command(folder.path(), arguments);
    let mut child = command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut peak = 0;
    loop {
        // The system keeps the maximum itself; only what is held in the last moments can be missed.
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak = peak.max(kilobytes.unwrap_or(0) * 1024);
        if let Some(status) = child.try_wait().expect("it can be asked") {
            let mut said = String::new();
            std::io::Read::read_to_string(&mut child.stderr.take().expect("it is piped"), &mut said).expect("text");
            assert!(status.success(), "{said}");
            return peak;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_file() {
    const ROW: usize = 8 << 10;
    let fill = |folder: &TempDir, rows: usize| {
        let mut file = std::io::BufWriter::new(fs::File::create(folder.path().join("rows.jsonl")).expect("writable"));
        let note = "x".repeat(ROW);
        for row in 0..rows {
            let prompt = format!("{row}+1");
            let line = json!({"prompt": prompt, "completion": "7", "note": note});
            writeln!(file, "{line}").expect("writable");
        }
        file.flush().expect("writable");
    };
    let (small, large) = (folder(&[]), folder(&[]));
    fill(&small, 100);
    fill(&large, 17_000);
    let bytes = fs::metadata(large.path().join("rows.jsonl")).expect("it is there").len();
    assert!(bytes > 128 << 20);
    for (arguments, room) in [
        // An index of the rows.
        (&["data", "inspect", "rows.jsonl", "--model", MODEL][..], 8 << 20),
        // That, and at most 64 MiB of rows as tokens.
        (&["train", "recipe.toml"][..], 64 << 20),
    ] {
        let (few, many) = (peak(&small, arguments), peak(&large, arguments));
        assert!(few > 1 << 20, "nothing was measured");
        assert!(many < few + room, "{arguments:?}: {many} bytes for {bytes} bytes of data, {few} for few rows");
    }
}

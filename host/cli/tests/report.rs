//! The page about a run, as the program writes it and a real browser shows it.

#[path = "common/browser.rs"]
mod browser;
#[path = "common/lab.rs"]
mod lab;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Output;

use lab::Lab;
use serde_json::{Value, json};

const STEPS: usize = 6;

const RECIPE: &str = r#"seed = 5
output = "run"
[model]
path = "model"
adapter = { lora = { rank = 2, alpha = 4 } }
[data]
train = "train.jsonl"
eval = { "<b>near</b>" = "test.jsonl" }
[plugins]
"<i>tally</i>" = { path = "tally.wasm", grants = ["model.generate"] }
match = "MATCH"
[curate]
plugin = "<i>tally</i>"
chunk = 6
[weigh]
plugin = "<i>tally</i>"
[generate]
max-tokens = 8
[train]
steps = 6
batch = 4
micro-batch = 2
learning-rate = 0.01
checkpoint-every = 3
[measure]
plugin = "match"
settings = { kind = "text", marker = "" }
every = 2
"#;

/// What a row of data may hold to get into the page: the first three would leave a mark on the document if they ran.
const HOSTILE: [&str; 4] = [
    "</pre></script><script>document.body.id='o1'</script>",
    "<img src=x onerror=\"document.body.id='o2'\">",
    "\"><svg onload=\"document.body.id='o3'\">",
    "</title></style><iframe srcdoc=\"<b>a\"></iframe>",
];

/// A lab whose data want to run in the reader's browser, with a run in `run`.
fn hostile_lab() -> Lab {
    let matching = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/answer-match.wasm");
    let lab = Lab::new(&RECIPE.replace("MATCH", &matching.display().to_string()));
    let row = |text: &&str| json!({ "prompt": text, "completion": text }).to_string();
    let rows: Vec<String> = HOSTILE.iter().map(row).collect();
    lab.write("test.jsonl", rows.join("\n").as_bytes());
    lab.write("train.jsonl", rows.iter().cycle().take(12).cloned().collect::<Vec<_>>().join("\n").as_bytes());
    lab.finish("run", &[]);
    lab
}

fn report(lab: &Lab, arguments: &[&str]) -> Output {
    lab.program(&["report"]).args(arguments).output().expect("the program starts")
}

/// Writes a report, which must succeed and give JSON.
#[track_caller]
fn written(lab: &Lab, arguments: &[&str]) -> Value {
    let output = report(lab, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The names of all elements of a document. In what a browser dumps, every `<` of a text is escaped.
fn elements(dom: &str) -> BTreeSet<String> {
    let names = dom.split('<').skip(1).filter(|tag| !tag.starts_with(['/', '!']));
    names.map(|tag| tag.split([' ', '>', '\n', '/']).next().unwrap_or_default().to_lowercase()).collect()
}

/// All that a page may be made of: nothing that runs or fetches.
const HARMLESS: [&str; 33] = [
    "b",
    "body",
    "circle",
    "code",
    "details",
    "div",
    "figcaption",
    "figure",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "head",
    "html",
    "li",
    "main",
    "meta",
    "p",
    "path",
    "pre",
    "progress",
    "rect",
    "section",
    "span",
    "style",
    "summary",
    "svg",
    "table",
    "tbody",
    "td",
    "text",
    "th",
];

#[track_caller]
fn expect_harmless(dom: &str) {
    let mut found = elements(dom);
    for name in HARMLESS.iter().chain(&["title", "tr", "ul"]) {
        found.remove(*name);
    }
    assert!(found.is_empty(), "{found:?}");
    assert!(dom.contains("<html lang=\"en\">") && dom.contains("<body>"), "something has left its mark");
    assert_eq!(dom.matches("<style").count(), 1, "a style of somebody else");
    assert!(dom.contains("default-src 'none'"), "no policy");
}

#[test]
fn a_browser_shows_the_curves_and_runs_nothing_of_the_samples() {
    let lab = hostile_lab();
    let told = written(&lab, &["run"]);
    assert_eq!(told["faults"], json!([]));
    let page = lab.path("run/report.html");
    let text = fs::read_to_string(&page).expect("the page is there");
    assert_eq!(told["bytes"], text.len());
    for word in ["src=", "href=", "url(", "@import", "<script"] {
        let in_tags = text.split('<').filter_map(|tag| tag.split_once('>')).any(|(tag, _)| tag.contains(word));
        assert!(!in_tags, "`{word}` in a tag");
    }
    expect_harmless(&text);

    let Some(browser) = browser::find("a_browser_shows_the_curves_and_runs_nothing_of_the_samples") else { return };
    // The same texts do run where they are not escaped: what is looked for below can be found.
    let control = lab.path("control.html");
    for (number, mark) in [(0, "o1"), (1, "o2"), (2, "o3")] {
        fs::write(&control, format!("<!doctype html><html lang=\"en\"><body><pre>{}</pre>", HOSTILE[number]))
            .expect("writable");
        assert!(browser::dom(&browser, &control).contains(&format!("id=\"{mark}\"")), "{mark} does not run by itself");
    }

    let dom = browser::dom(&browser, &page);
    expect_harmless(&dom);
    let section = |id: &str| {
        let (_, rest) =
            dom.split_once(&format!("<section id=\"{id}\">")).unwrap_or_else(|| panic!("no section `{id}`"));
        rest.split_once("</section>").expect("it ends").0
    };
    let training = section("training");
    for curve in ["loss", "learning rate", "gradient norm", "tokens per second"] {
        let (_, chart) =
            training.split_once(&format!("aria-label=\"{curve}\"")).unwrap_or_else(|| panic!("no curve `{curve}`"));
        let line = format!("data-points=\"{STEPS}\"");
        assert!(chart.split_once("</svg>").expect("it ends").0.contains(&line), "`{curve}` has not all steps");
    }
    let samples = section("samples");
    for text in HOSTILE {
        let shown = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        assert!(samples.contains(&shown), "`{shown}` is not shown as text");
    }
    assert!(samples.contains(">before<") && samples.contains(">after<"));
    assert!(section("rows").contains("gold") && section("rows").contains("aria-label=\"tally\""));
    assert!(section("plugins").contains("&lt;i&gt;tally&lt;/i&gt;") && section("plugins").contains("curate"));
    assert!(section("evaluation").contains("&lt;b&gt;near&lt;/b&gt;: exact-match"));
    let head = fs::read_to_string(lab.path("run/trace.jsonl")).expect("a trace");
    let head = head.lines().last().expect("lines")[9..73].to_owned();
    assert!(section("trace").contains(&head), "no `{head}`");
}

#[test]
fn a_run_that_lost_files_or_goes_on_has_a_report_that_says_so() {
    let lab = hostile_lab();
    let trace = fs::read_to_string(lab.path("run/trace.jsonl")).expect("a trace");
    let lines: Vec<&str> = trace.split_inclusive('\n').collect();
    // A run in its second step, with a line half written.
    let second = lines.iter().position(|line| line.contains("\"step\":1,")).expect("two steps");
    lab.write("run/trace.jsonl", format!("{}{}", lines[..=second].concat(), &lines[second + 1][..50]).as_bytes());
    assert_eq!(written(&lab, &["run", "-o", "half.html"])["faults"], json!([]));
    let page = fs::read_to_string(lab.path("half.html")).expect("the page is there");
    assert!(page.contains("goes on, or was stopped") && page.contains("data-points=\"2\""));

    lab.write(
        "run/trace.jsonl",
        trace.replacen("\"event\":\"step\",\"step\":2", "\"event\":\"step\",\"step\":7", 1).as_bytes(),
    );
    lab.write("run/plan.json", b"{\"seed\": ");
    lab.write("run/samples.jsonl", b"{}\n\xff\xfe\n");
    fs::remove_file(lab.path("run/curated.jsonl")).expect("it is there");
    let faults = written(&lab, &["run", "-o", "damaged.html"])["faults"].to_string();
    for words in [
        "`plan.json` cannot be read: EOF",
        "`trace.jsonl` is damaged",
        "was changed: its hash does not fit",
        "`samples.jsonl`: 2 line(s) cannot be read and are left out; line 1: missing field",
        "`curated.jsonl` cannot be read",
    ] {
        assert!(faults.contains(words), "`{faults}` does not say `{words}`");
    }
    let page = fs::read_to_string(lab.path("damaged.html")).expect("the page is there");
    expect_harmless(&page);
    for words in
        ["its trace is damaged", "There is no plan that can be read.", "There are no samples.", "data-points=\"2\""]
    {
        assert!(page.contains(words), "the page does not say `{words}`");
    }
    let output = report(&lab, &["run", "-o", "damaged.html"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("warning: `plan.json` cannot be read"), "{output:?}");
}

#[test]
fn two_runs_stand_side_by_side() {
    let lab = hostile_lab();
    lab.finish("other", &["--set", "train.learning-rate=0.02", "--set", "train.steps=4"]);
    written(&lab, &["run", "--compare", "other", "-o", "both.html"]);
    let page = fs::read_to_string(lab.path("both.html")).expect("the page is there");
    expect_harmless(&page);
    for words in [
        "`train.learning-rate` was 0.01 and is 0.02",
        "class=\"line s0\"",
        "class=\"line s1\"",
        "data-points=\"6\"",
        "data-points=\"4\"",
        "after, other",
    ] {
        assert!(page.contains(words), "the page does not say `{words}`");
    }
}

#[test]
fn a_folder_without_a_run_ends_with_2() {
    let lab = Lab::new(RECIPE);
    fs::create_dir(lab.path("empty")).expect("writable");
    for (folder, words) in [("empty", "holds no run"), ("none", "is no folder"), ("recipe.toml", "is no folder")] {
        let output = report(&lab, &[folder]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(words) && told.contains("hint: "), "{told}");
    }
    assert!(!lab.path("empty/report.html").exists());
}

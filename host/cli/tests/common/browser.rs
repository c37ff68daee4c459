//! A real browser without a window, if this machine has one.

use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_mins(2);

/// The first of the known browsers on the path. Where there is none, this says so past the test's capture, and fails if
/// `TUNESMITH_NEEDS_BROWSER` is set.
pub(crate) fn find(test: &str) -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
    let folders: Vec<PathBuf> = env::var_os("PATH").iter().flat_map(env::split_paths).collect();
    let found =
        names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|path| path.is_file());
    if found.is_none() {
        let told = format!("SKIPPED: {test}: no browser on the path; tried {names:?}\n");
        assert!(env::var_os("TUNESMITH_NEEDS_BROWSER").is_none(), "{told}");
        let _ = std::io::stderr().lock().write_all(told.as_bytes());
    }
    found
}

/// The document as it is after the browser has loaded it and all its scripts have run.
pub(crate) fn dom(browser: &Path, page: &Path) -> String {
    let profile = tempfile::tempdir().expect("a temporary folder");
    let out = profile.path().join("dom.html");
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    command.arg(format!("--user-data-dir={}", profile.path().join("profile").display()));
    command.arg("--dump-dom").arg(format!("file://{}", page.display()));
    // A file cannot fill up as a pipe can.
    command.stdin(Stdio::null()).stderr(Stdio::null()).stdout(File::create(&out).expect("writable"));
    let mut child = command.spawn().expect("the browser starts");
    let end = Instant::now() + LIMIT;
    while child.try_wait().expect("it can be asked").is_none() {
        if end < Instant::now() {
            child.kill().expect("it can be killed");
            child.wait().expect("it ends");
            panic!("the browser did not end within {LIMIT:?}");
        }
        thread::sleep(Duration::from_millis(50));
    }
    fs::read_to_string(&out).expect("the document is text")
}

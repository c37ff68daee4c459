//! What `doctor` finds on this machine, and on one with a driver that it can ask.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn doctor(folder: &Path, arguments: &[&str], libraries: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tunesmith"));
    command.current_dir(folder).env("TUNESMITH_CACHE", folder.join("cache")).arg("doctor").args(arguments);
    if let Some(libraries) = libraries {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    command.output().expect("the program starts")
}

fn lab() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// The check of this name.
#[track_caller]
fn check(output: &Output, name: &str) -> Value {
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let checks = told["checks"].as_array().expect("a list");
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no check `{name}` in {told}")).clone()
}

#[test]
fn a_machine_that_builds_this_can_train() {
    let folder = lab();
    let output = doctor(folder.path(), &["--json"], None);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told["is-ready"], true);
    for check in told["checks"].as_array().expect("a list") {
        assert_eq!(
            check["is-fine"],
            check["mend"].is_null(),
            "what is missing has a command, and nothing else: {check}"
        );
    }
    for name in ["processor", "cargo", "rustc", "linker of components"] {
        assert_eq!(check(&output, name)["is-fine"], true, "{name}");
    }
    let text = doctor(folder.path(), &[], None);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    for words in ["training:", "NVIDIA cards (optional):", "plugins in Rust (optional):", "processor", "cores of"] {
        assert!(text.contains(words), "`{text}` does not say `{words}`");
    }
}

#[test]
#[cfg(unix)]
fn a_cache_that_others_can_write_to_ends_with_1() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = lab();
    fs::create_dir_all(folder.path().join("cache/plugins")).expect("writable");
    fs::set_permissions(folder.path().join("cache/plugins"), fs::Permissions::from_mode(0o777)).expect("it is ours");
    let output = doctor(folder.path(), &["--json"], None);
    assert_eq!(output.status.code(), Some(1));
    let mend = check(&output, "cache of compiled plugins")["mend"].as_str().expect("text").to_owned();
    // The command that it names mends it.
    let mended = Command::new("sh").args(["-c", &mend]).status().expect("a shell");
    assert!(mended.success(), "{mend}");
    assert_eq!(doctor(folder.path(), &["--json"], None).status.code(), Some(0));
}

/// A library with the driver's functions, as `cuda.h` declares them: two cards, or the failure of `cuInit`.
#[cfg(target_os = "linux")]
const STAND_IN: &str = r#"
use std::ffi::{c_char, c_int, c_uint};
#[no_mangle] pub extern "C" fn cuInit(_: c_uint) -> c_int { FAILURE }
#[no_mangle] pub extern "C" fn cuDriverGetVersion(v: *mut c_int) -> c_int { unsafe { *v = 12080 }; 0 }
#[no_mangle] pub extern "C" fn cuDeviceGetCount(n: *mut c_int) -> c_int { unsafe { *n = 2 }; 0 }
#[no_mangle] pub extern "C" fn cuDeviceGet(d: *mut c_int, i: c_int) -> c_int { unsafe { *d = 40 + i }; 0 }
#[no_mangle] pub extern "C" fn cuDeviceGetName(t: *mut c_char, n: c_int, d: c_int) -> c_int {
    // No end within the buffer, and a colour for the terminal.
    for i in 0..n { unsafe { *t.add(i as usize) = if i == 0 { 27 } else { (b'A' + (d - 40) as u8) as c_char } } }
    0
}
#[no_mangle] pub extern "C" fn cuDeviceTotalMem_v2(b: *mut usize, _: c_int) -> c_int { unsafe { *b = 80 << 30 }; 0 }
#[no_mangle] pub extern "C" fn cuDeviceGetAttribute(v: *mut c_int, a: c_int, d: c_int) -> c_int {
    unsafe { *v = match a { 75 => 9, 76 => d - 40, _ => return 1 } };
    0
}
"#;

#[test]
#[cfg(target_os = "linux")]
fn a_driver_is_asked_for_its_cards() {
    let folder = lab();
    let library = |failure: &str| {
        let source = folder.path().join("driver.rs");
        fs::write(&source, STAND_IN.replace("FAILURE", failure)).expect("writable");
        let libraries = folder.path().join(format!("failure-{failure}"));
        fs::create_dir(&libraries).expect("writable");
        let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        rustc
            .args(["--edition", "2021", "--crate-type", "cdylib", "-o"])
            .arg(libraries.join("libcuda.so.1"))
            .arg(&source);
        let built = rustc.output().expect("a compiler");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        libraries
    };
    let output = doctor(folder.path(), &["--json"], Some(&library("0")));
    assert_eq!(check(&output, "driver")["found"], "for CUDA 12.8");
    assert_eq!(
        check(&output, "cuda:0")["found"].as_str(),
        Some(&*format!("\u{1b}{}, 80.0 GiB, compute capability 9.0", "A".repeat(254)))
    );
    assert!(check(&output, "cuda:1")["found"].as_str().is_some_and(|found| found.ends_with("capability 9.1")));
    let shown = doctor(folder.path(), &[], Some(&folder.path().join("failure-0")));
    assert!(!shown.stdout.contains(&0x1b), "a card's name is escaped");

    let output = doctor(folder.path(), &["--json"], Some(&library("100")));
    let driver = check(&output, "driver");
    assert_eq!(
        (&driver["is-fine"], &driver["found"]),
        (&Value::from(false), &Value::from("the driver is there, but sees no card"))
    );
    assert_eq!(output.status.code(), Some(0), "a card is optional");
}

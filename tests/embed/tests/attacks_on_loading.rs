//! What a hostile file tries before anything of it runs. The numbers are those of the project's catalogue of attacks.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use serde_json::json;
use tunesmith_core::call::Call;
use tunesmith_core::data::Cases;
use tunesmith_embed::{bytes_of, cause, grants};
use tunesmith_plugin::{Engine, EngineOptions, Grants, Limits, LoadError, LoadOptions, Plugin, WIT_VERSION, manifest};

static ENGINE: LazyLock<Engine> =
    LazyLock::new(|| Engine::new(&EngineOptions::default()).expect("this machine runs WebAssembly"));

const MANIFEST: &str = r#"
name = "text"
version = "1.0.0"
license = "MIT"
description = "Written as text."
stages = ["judge"]
"#;

fn load(bytes: &[u8], options: LoadOptions) -> Result<Plugin, LoadError> {
    Plugin::load(&ENGINE, "p", bytes, options)
}

/// A component of these parts that exports the stage `judge` in name.
fn component(parts: &str) -> Vec<u8> {
    let text =
        format!(r#"(component {parts} (instance $none) (export "tunesmith:method/judge@0.1.0" (instance $none)))"#);
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn check(bytes: &[u8], options: LoadOptions, expected: &str) {
    let error = load(bytes, options).map(|_| ()).expect_err("a file that the host refuses");
    assert!(cause(&error).contains(expected), "`{}` does not say `{expected}`", cause(&error));
    assert!(cause(&error).contains("`p`"), "the plugin is named: {}", cause(&error));
}

#[test]
fn attack_04_a_table_bomb_is_refused() {
    let module = r"(core module $m (table 9000000 funcref)) (core instance (instantiate $m))";
    let bytes = honest_judge(module);
    // A pool refuses it when it is compiled; without one it is refused when it is instantiated.
    check(&bytes, LoadOptions::default(), "table");
    let engine = Engine::new(&EngineOptions { is_pooled: false, ..EngineOptions::default() }).expect("an engine");
    let plugin = Plugin::load(&engine, "p", &bytes, LoadOptions::default()).expect("tables are made with instances");
    let judge = plugin.judge().expect("exported");
    let error = judge.judge(Arc::new(Cases::default()), &mut Call::new(1, 0)).expect_err("a table bomb");
    assert!(cause(&error).contains("a table of 9000000 elements is over the limit of 100000"), "{}", cause(&error));
}

#[test]
fn attack_03_a_memory_that_starts_too_large_is_refused() {
    let module = r"(core module $m (memory 20000)) (core instance (instantiate $m))";
    let plugin = load(&honest_judge(module), LoadOptions::default()).expect("memories are made when instances are");
    let judge = plugin.judge().expect("exported");
    let error = judge.judge(Arc::new(Cases::default()), &mut Call::new(1, 0)).expect_err("a memory bomb");
    assert!(cause(&error).contains("out of memory"), "{}", cause(&error));
}

/// A component with a judge of the right type that answers nothing to nothing, and these parts beside it.
fn honest_judge(parts: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            (import "tunesmith:method/types@0.1.0" (instance $types
                (type (variant (case "bad-settings" string) (case "unsupported" string) (case "other" string)))
                (export "error" (type (eq 0)))))
            (alias export $types "error" (type $error))
            (import "tunesmith:method/answers@0.1.0" (instance $answers
                (export "cases" (type (sub resource)))
                (type (variant (case "right") (case "wrong") (case "partly" f32) (case "undecided" string)))
                (export "verdict" (type (eq 1)))))
            (alias export $answers "cases" (type $cases))
            (alias export $answers "verdict" (type $verdict))
            {parts}
            (core func $drop (canon resource.drop $cases))
            (core module $code
                (import "host" "drop" (func $drop (param i32)))
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
                (func (export "judge") (param i32) (result i32)
                    (call $drop (local.get 0))
                    i32.const 16))
            (core instance $host (export "drop" (func $drop)))
            (core instance $code (instantiate $code (with "host" (instance $host))))
            (type $judge (func (param "cases" (borrow $cases)) (result (result (list $verdict) (error $error)))))
            (func $judge (type $judge) (canon lift (core func $code "judge") (memory (core memory $code "memory"))
                (realloc (core func $code "realloc"))))
            (instance $export (export "judge" (func $judge)))
            (export "tunesmith:method/judge@0.1.0" (instance $export)))"#
    );
    let bytes = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"));
    manifest::embed(&bytes, MANIFEST).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn attack_13_more_modules_than_the_limit_are_refused() {
    let bytes = component(&"(core module)".repeat(200));
    check(&bytes, LoadOptions::default(), "101 nested modules, over the limit of 100");
}

#[test]
fn attack_13_more_instances_than_the_limit_are_refused() {
    let parts = format!("(core module $m) {}", "(core instance (instantiate $m))".repeat(150));
    let plugin = load(&honest_judge(&parts), LoadOptions::default());
    let error = match plugin {
        Err(error) => cause(&error),
        Ok(plugin) => {
            let judge = plugin.judge().expect("exported");
            cause(&judge.judge(Arc::new(Cases::default()), &mut Call::new(1, 0)).expect_err("too many instances"))
        }
    };
    assert!(error.contains("instance"), "{error}");
}

#[test]
fn attack_14_a_damaged_component_never_panics() {
    let bytes = bytes_of("bare");
    let mut seed = 17_u64;
    let limits = Limits::default();
    for _ in 0..300 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut broken = bytes.clone();
        let at = (seed >> 33) as usize % broken.len();
        broken[at] ^= 1 << (seed >> 30 & 7);
        let _ = tunesmith_plugin::inspect(&broken, &limits);
        let _ = manifest::Manifest::read(&broken, &limits);
        let _ = tunesmith_plugin::inspect(&bytes[..at], &limits);
    }
    check(&bytes[..bytes.len() / 2], LoadOptions::default(), "not a valid component");
}

#[test]
fn attack_15_an_ungranted_import_is_told_with_the_line_to_add() {
    let some = LoadOptions { grants: Grants::parse(["judge"]).expect("a grant"), ..LoadOptions::default() };
    let error = load(&bytes_of("hostile"), some).map(|_| ()).expect_err("not granted");
    let LoadError::Ungranted { missing, .. } = &error else { panic!("{}", cause(&error)) };
    assert_eq!(missing.to_string(), r#"["model.generate", "model.forward"]"#);
    let told = error.to_string();
    assert!(told.contains("`model.[method]language-model.generate`"), "{told}");
    assert!(told.contains(r#"p = { path = "...", grants = ["model.generate", "model.forward", "judge"] }"#), "{told}");
}

#[test]
fn attack_15_what_is_outside_the_contract_does_not_exist() {
    let wasi = component(r#"(import "wasi:cli/environment@0.2.0" (instance))"#);
    check(&wasi, LoadOptions::default(), "imports `wasi:cli/environment@0.2.0`, which does not exist here");
    let odd = component(r#"(import "env" (func))"#);
    check(&odd, LoadOptions::default(), "imports `env`");
}

#[test]
fn attack_15_a_capability_that_the_manifest_hides_is_told() {
    let toml = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../components/hostile/plugin.toml"));
    let toml = toml.expect("in the repository").replace(r#", "judge"]"#, "]");
    let error = manifest::embed(&bytes_of("hostile"), &toml).expect_err("not what the code does").to_string();
    assert!(error.contains("the manifest does not ask for `judge`"), "{error}");
    // The same in a file that was tampered with afterwards: spaces in place of the word, so that no length changes.
    let mut bytes = bytes_of("hostile");
    let word = br#","judge"]"#;
    let at = bytes.windows(word.len()).position(|window| window == word).expect("in the manifest");
    bytes[at..at + word.len()].copy_from_slice(b"        ]");
    let all = LoadOptions { grants: grants(), ..LoadOptions::default() };
    check(&bytes, all, "the manifest does not ask for `judge`");
}

#[test]
fn a_file_that_is_no_plugin_of_this_host_is_told_apart() {
    check(b"hello", LoadOptions::default(), "it is not WebAssembly: it starts with 68 65 6c 6c 6f");
    check(&wat::parse_str("(module)").expect("text"), LoadOptions::default(), "a core WebAssembly module");
    check(&wat::parse_str("(component)").expect("text"), LoadOptions::default(), "exports no stage");
    check(&component(""), LoadOptions::default(), "no section `tunesmith:manifest`");
    let new = r#"(component (instance $none) (export "tunesmith:method/judge@0.2.0" (instance $none)))"#;
    check(&wat::parse_str(new).expect("text"), LoadOptions::default(), "`tunesmith:method/judge@0.2.0`, a version");
    let untyped = manifest::embed(&component(""), MANIFEST).expect("a component");
    check(&untyped, LoadOptions::default(), "`judge` has no function `judge`");
}

#[test]
fn an_export_of_another_type_is_refused_before_any_call() {
    let text = r#"(component
        (core module $code (func (export "judge")))
        (core instance $code (instantiate $code))
        (func $judge (canon lift (core func $code "judge")))
        (instance $export (export "judge" (func $judge)))
        (export "tunesmith:method/judge@0.1.0" (instance $export)))"#;
    let bytes = manifest::embed(&wat::parse_str(text).expect("text"), MANIFEST).expect("a component");
    check(&bytes, LoadOptions::default(), "`judge.judge` has another type");
}

#[test]
fn settings_that_break_the_schema_are_told_before_anything_is_compiled() {
    let given = |settings: serde_json::Value| LoadOptions {
        grants: grants(),
        settings: settings.as_object().cloned().expect("an object"),
        ..LoadOptions::default()
    };
    check(&bytes_of("bare"), given(json!({"party": 1})), "did you mean `partly`?");
    check(&bytes_of("bare"), given(json!({"partly": 2})), "`partly` is 2");
}

#[test]
fn attack_17_a_compile_bomb_is_refused_before_it_is_compiled() {
    let functions = format!("(core module {})", "(func)".repeat(50_000));
    let few = LoadOptions { limits: Limits { functions: 10_000, ..Limits::default() }, ..LoadOptions::default() };
    let started = Instant::now();
    check(&component(&functions), few, "over the limit of 10000");
    let long = format!("(core module (func {}))", "i32.const 1 drop ".repeat(600_000));
    check(&component(&long), LoadOptions::default(), "bytes in one function");
    let types = format!("(core module {})", "(type (func (param i32)))".repeat(300_000));
    check(&component(&types), LoadOptions::default(), "types, over the limit");
    let small =
        LoadOptions { limits: Limits { component_bytes: 1_000, ..Limits::default() }, ..LoadOptions::default() };
    check(&bytes_of("bare"), small, "over the limit of 1000");
    assert!(started.elapsed() < Duration::from_mins(1));
}

#[test]
fn attack_25_types_nested_without_end_are_refused() {
    let nested: Vec<String> = (0..300).map(|depth| format!("(type $t{} (list $t{depth}))", depth + 1)).collect();
    check(
        &component(&format!("(type $t0 (list u8)) {}", nested.concat())),
        LoadOptions::default(),
        "not a valid component",
    );
    let empty = b"\0asm\x0d\0\x01\0".to_vec();
    let nested = (0..150).fold(empty.clone(), |inner, _| {
        let mut outer = empty.clone();
        outer.extend([4, (inner.len() & 0x7f | 0x80) as u8, (inner.len() >> 7) as u8]);
        outer.extend(inner);
        outer
    });
    check(&nested, LoadOptions::default(), "nested modules");
}

#[test]
fn attack_26_a_plugin_reaches_nothing_but_what_it_is_granted() {
    // The whole list of what an honest host offers: whoever adds to it must come here and think.
    let outline = tunesmith_plugin::inspect(&bytes_of("bare"), &Limits::default()).expect("a component");
    let mut interfaces: Vec<&str> = outline.imports.iter().map(|import| import.name.as_str()).collect();
    interfaces.sort_unstable();
    let expected = [
        "answers",
        "batches",
        "cache",
        "data",
        "judging",
        "log",
        "model",
        "parameters",
        "random",
        "settings",
        // Numbers by example, each plugin its own: bounded by `limits.stored-numbers`, and what is written is in the trace.
        "store",
        "tensors",
        "types",
    ];
    assert_eq!(interfaces, expected.map(|name| format!("tunesmith:method/{name}@{WIT_VERSION}")));
    assert_eq!(
        tunesmith_plugin::needed(&outline).iter().count(),
        5,
        "all but `model.forward`, which `bare` does not use"
    );
}

fn with_cache(folder: &Path) -> Engine {
    let options = EngineOptions { cache: Some(folder.into()), ..EngineOptions::default() };
    Engine::new(&options).unwrap_or_else(|error| panic!("{}", cause(&error)))
}

fn is_from_cache(engine: &Engine, name: &str) -> bool {
    let options = LoadOptions { grants: grants(), ..LoadOptions::default() };
    Plugin::load(engine, name, &bytes_of(name), options)
        .unwrap_or_else(|error| panic!("{}", cause(&error)))
        .is_from_cache()
}

fn entries(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

#[test]
fn attack_30_the_cache_is_private_and_a_damaged_entry_is_compiled_anew() {
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join("compiled");
    let engine = with_cache(&folder);
    assert!(!is_from_cache(&engine, "hostile"));
    assert!(is_from_cache(&engine, "hostile"));
    assert!(is_from_cache(&with_cache(&folder), "hostile"), "also in the next process");
    let strict = EngineOptions { cache: Some(folder.clone()), is_strict: true, ..EngineOptions::default() };
    let strict = Engine::new(&strict).expect("an engine");
    assert!(!is_from_cache(&strict, "hostile"), "another engine's code is not taken");
    assert_eq!(fs::metadata(&folder).expect("a folder").permissions().mode() & 0o777, 0o700);

    for entry in entries(&folder) {
        assert_eq!(fs::metadata(&entry).expect("a file").permissions().mode() & 0o777, 0o600);
        let mut bytes = fs::read(&entry).expect("an entry");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&entry, bytes).expect("a write");
    }
    assert!(!is_from_cache(&engine, "hostile"), "damaged");
    assert!(is_from_cache(&engine, "hostile"), "mended");
    for entry in entries(&folder) {
        let bytes = fs::read(&entry).expect("an entry");
        fs::write(&entry, &bytes[..bytes.len() / 2]).expect("a write");
    }
    assert!(!is_from_cache(&engine, "hostile"), "cut short");
}

#[test]
fn attack_30_an_entry_cannot_stand_in_for_another() {
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join("compiled");
    let engine = with_cache(&folder);
    assert!(!is_from_cache(&engine, "hostile"));
    let hostile = entries(&folder).remove(0);
    assert!(!is_from_cache(&engine, "bare"));
    let bare = entries(&folder).into_iter().find(|entry| *entry != hostile).expect("a second entry");
    fs::copy(&hostile, &bare).expect("a copy");
    assert!(!is_from_cache(&engine, "bare"));
}

#[test]
fn attack_30_a_folder_or_file_that_others_can_write_is_refused() {
    let home = tempfile::tempdir().expect("a folder");
    let open = home.path().join("open");
    fs::create_dir(&open).expect("a folder");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).expect("rights");
    let refused = |folder: &Path| {
        let options = EngineOptions { cache: Some(folder.into()), ..EngineOptions::default() };
        Engine::new(&options).map(|_| ()).expect_err("not private").to_string()
    };
    assert!(refused(&open).contains("its mode is 777"), "{}", refused(&open));

    let private = home.path().join("private");
    let engine = with_cache(&private);
    let link = home.path().join("link");
    symlink(&private, &link).expect("a link");
    assert!(refused(&link).contains("only a link"), "{}", refused(&link));

    assert!(!is_from_cache(&engine, "hostile"));
    let entry = entries(&private).remove(0);
    fs::set_permissions(&entry, fs::Permissions::from_mode(0o666)).expect("rights");
    assert!(!is_from_cache(&engine, "hostile"), "a file that others can write");
    let moved = home.path().join("moved");
    fs::rename(&entry, &moved).expect("a move");
    symlink(&moved, &entry).expect("a link");
    assert!(!is_from_cache(&engine, "hostile"), "a link");
    fs::set_permissions(&private, fs::Permissions::from_mode(0o755)).expect("rights");
    assert!(!is_from_cache(&engine, "hostile"), "a folder that was opened up meanwhile");
}

#[test]
fn an_engine_without_a_pool_gives_the_same_answers() {
    let engine = Engine::new(&EngineOptions { is_pooled: false, ..EngineOptions::default() }).expect("an engine");
    assert!(!engine.is_pooled());
    let plugin = Plugin::load(&engine, "p", &honest_judge(""), LoadOptions::default()).expect("a plugin");
    let verdicts = plugin.judge().expect("exported").judge(Arc::new(Cases::default()), &mut Call::new(1, 0));
    assert_eq!(verdicts.unwrap_or_else(|error| panic!("{}", cause(&error))), []);
}

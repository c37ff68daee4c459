//! What a hostile plugin tries while it runs. The numbers are those of the project's catalogue of attacks.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use serde_json::json;
use tunesmith_core::call::{Call, Services};
use tunesmith_core::data::{Case, Cases, TokenBatch, TokenRow, Verdict};
use tunesmith_core::error::{CallError, ServiceError};
use tunesmith_core::stage::{Judge, Judging};
use tunesmith_core::tensors::Tensors as _;
use tunesmith_embed::{Halves, Letters, OneBatch, Parrot, Plain, bytes_of, cause, examples, grants, services};
use tunesmith_plugin::{Cause, Engine, EngineOptions, Fault, Limits, LoadOptions, Plugin};

static ENGINE: LazyLock<Engine> =
    LazyLock::new(|| Engine::new(&EngineOptions::default()).expect("this machine runs WebAssembly"));

/// Limits under which attacks end soon.
fn tight() -> Limits {
    Limits { fuel: 2_000_000_000, memory_bytes: 32 << 20, deadline_ms: 10_000, ..Limits::default() }
}

fn hostile(attack: &str, count: u64, limits: Limits) -> Plugin {
    let settings = json!({"attack": attack, "count": count}).as_object().cloned().expect("an object");
    let options = LoadOptions { grants: grants(), settings, limits };
    Plugin::load(&ENGINE, "hostile", &bytes_of("hostile"), options).unwrap_or_else(|error| panic!("{}", cause(&error)))
}

fn cases() -> Arc<Cases> {
    let pool = examples(&[("a", Some("4")), ("b", None)]);
    let case = |example: &Arc<_>| Case { example: Arc::clone(example), answer: "4".into(), rival: None };
    Arc::new(Cases { cases: pool.rows.iter().map(case).collect() })
}

fn judge(plugin: &Plugin) -> Result<Vec<Verdict>, CallError> {
    plugin.judge().expect("exported").judge(cases(), &mut Call::new(17, 0))
}

fn objective(plugin: &Plugin, engine: &Arc<Plain>) -> Result<f32, CallError> {
    let parrot = Parrot::new(engine.clone());
    let mut call = Call::with(17, 0, services(&parrot));
    let loss = plugin.objective().expect("exported").objective(Arc::new(OneBatch(engine.clone())), &mut call)?;
    let value = engine.read_floats(loss).expect("a live handle")[0];
    engine.release(loss);
    Ok(value)
}

fn curate(plugin: &Plugin) -> Result<(), CallError> {
    let parrot = Parrot::new(Arc::default());
    let mut call = Call::with(17, 0, services(&parrot));
    plugin.curate().expect("exported").curate(examples(&[("a", Some("*")), ("b", Some("b"))]), &mut call).map(|_| ())
}

#[track_caller]
fn fault(result: Result<impl std::fmt::Debug, CallError>) -> Fault {
    match result.expect_err("an attack that the host stops") {
        CallError::Broken { source, .. } => *source.downcast::<Fault>().expect("a fault"),
        other => panic!("not the plugin's fault: {}", cause(&other)),
    }
}

#[track_caller]
fn broken(result: Result<impl std::fmt::Debug, CallError>, expected: &str) {
    let error = result.expect_err("an answer that the host refuses");
    assert!(matches!(error, CallError::Broken { .. }), "{}", cause(&error));
    assert!(cause(&error).contains(expected), "`{}` does not say `{expected}`", cause(&error));
}

#[test]
fn attack_01_an_endless_loop_runs_out_of_fuel() {
    let fault = fault(judge(&hostile("loop", 0, Limits { fuel: 100_000_000, ..tight() })));
    assert_eq!(fault.cause, Cause::Fuel(100_000_000));
    assert!(!fault.frames.is_empty(), "the report names the plugin's functions");
}

#[test]
fn attack_01_an_endless_loop_with_fuel_without_end_meets_the_deadline_and_others_go_on() {
    let plugin = hostile("loop", 0, Limits { fuel: u64::MAX, deadline_ms: 300, ..tight() });
    let honest = hostile("none", 0, tight());
    let started = Instant::now();
    std::thread::scope(|scope| {
        let looping = scope.spawn(|| judge(&plugin));
        while !looping.is_finished() {
            assert_eq!(judge(&honest).expect("an honest answer").len(), 2);
        }
        let fault = fault(looping.join().expect("the host's thread lives"));
        assert_eq!(fault.cause, Cause::Deadline(300));
    });
    assert!(started.elapsed() < Duration::from_secs(8), "took {:?}", started.elapsed());
}

#[test]
fn attack_02_a_loop_of_host_calls_meets_the_deadline() {
    let plugin = hostile("loop-in-host", 0, Limits { fuel: u64::MAX, deadline_ms: 200, ..tight() });
    assert_eq!(fault(judge(&plugin)).cause, Cause::Deadline(200));
}

#[test]
fn attack_02_time_in_services_has_its_own_limit() {
    struct Slow;
    impl tunesmith_core::model::Models for Slow {
        fn open(&self, _: &str) -> Result<Arc<dyn tunesmith_core::model::LanguageModel>, ServiceError> {
            std::thread::sleep(Duration::from_millis(30));
            Ok(Parrot::new(Arc::default()))
        }
    }
    let plugin = hostile("model-loop", 0, Limits { service_ms: 100, deadline_ms: 60_000, ..tight() });
    let mut call = Call::with(17, 0, Services { models: Some(Arc::new(Slow)), judging: None, ..Services::default() });
    let result = plugin.curate().expect("exported").curate(examples(&[("a", None)]), &mut call);
    assert_eq!(fault(result).cause, Cause::Spent { what: "milliseconds in models and judges", limit: 100 });
    assert!(Duration::from_millis(100) < call.report.in_services);
}

#[test]
fn attack_02_time_in_services_is_not_the_plugins() {
    struct Slow;
    impl Judging for Slow {
        fn verdicts(&self, cases: Arc<Cases>) -> Result<Vec<Verdict>, ServiceError> {
            std::thread::sleep(Duration::from_millis(400));
            Ok(vec![Verdict::Right; cases.cases.len()])
        }
    }
    let plugin = hostile("ask-judge", 0, Limits { deadline_ms: 200, ..tight() });
    let mut call = Call::with(17, 0, Services { models: None, judging: Some(Arc::new(Slow)), ..Services::default() });
    let result = plugin.curate().expect("exported").curate(examples(&[("a", Some("4"))]), &mut call);
    result.unwrap_or_else(|error| panic!("{}", cause(&error)));
}

#[test]
fn attack_02_tensor_operations_have_their_own_budget() {
    let plugin = hostile("drop", 1_000, Limits { tensor_ops: 100, ..tight() });
    let fault = fault(objective(&plugin, &Arc::default()));
    assert_eq!(fault.cause, Cause::Spent { what: "tensor operations", limit: 100 });
}

#[test]
fn attack_03_a_memory_bomb_is_refused_at_the_limit() {
    let Cause::Memory { wanted, limit } = fault(judge(&hostile("memory", 0, tight()))).cause else {
        panic!("not a fault of memory");
    };
    assert!(limit < wanted && limit == 32 << 20);
}

#[test]
fn attack_05_a_recursion_without_end_traps_and_the_process_lives() {
    let plugin = hostile("stack", 0, tight());
    let deep = fault(judge(&plugin));
    assert_eq!((deep.cause, deep.frames), (Cause::Stack, vec!["hostile::recurse_without_end (20 times)".to_owned()]));
    let small = std::thread::Builder::new().stack_size(1 << 20);
    let thread = small.spawn(move || fault(judge(&plugin)).cause).expect("a thread");
    assert_eq!(thread.join().expect("no abort"), Cause::Stack);
}

#[test]
fn attack_06_a_huge_string_or_list_is_refused_before_it_is_copied() {
    let limits = Limits { hostcall_bytes: 1 << 20, ..tight() };
    for (attack, count) in [("huge-string", 2 << 20), ("long-list", 200_000)] {
        let fault = fault(judge(&hostile(attack, count, limits.clone())));
        assert!(matches!(&fault.cause, Cause::Trap(what) if what.contains("fuel")), "{attack}: {fault}");
    }
    let fault = fault(judge(&hostile("random-bomb", 0, tight())));
    assert!(matches!(&fault.cause, Cause::Misuse(what) if what.contains("random numbers")), "{fault}");
}

#[test]
fn attack_06_builders_cannot_fill_the_hosts_memory() {
    let limits = Limits { held_bytes: 8 << 20, ..tight() };
    for attack in ["builder-bomb", "prompt-bomb"] {
        let fault = fault(curate(&hostile(attack, 0, limits.clone())));
        assert_eq!(fault.cause, Cause::Spent { what: "bytes held by the host", limit: 8 << 20 }, "{attack}");
    }
}

#[test]
fn attack_07_numbers_that_are_none_are_the_plugins_fault() {
    broken(judge(&hostile("nan", 0, tight())), "verdict 0 is partly right by NaN");
    broken(judge(&hostile("infinity", 0, tight())), "verdict 0 is partly right by inf");
    assert_eq!(judge(&hostile("negative-zero", 0, tight())).expect("a number").len(), 2);
    broken(objective(&hostile("nan-loss", 0, tight()), &Arc::default()), "NaN");
    broken(weigh("nan"), "the weight of token 0");
    broken(weigh("negative"), "the weight of token 0");
}

fn weigh(attack: &str) -> Result<Vec<f32>, CallError> {
    let example = examples(&[("a", None)]).rows[0].clone();
    let row = TokenRow {
        example,
        tokens: vec![1, 2],
        mask: vec![false, true],
        texts: vec!["a".into(), "b".into()],
        role: String::new(),
    };
    let row_texts = Arc::new(Letters(vec![("a", 0)]));
    let batch = Arc::new(TokenBatch { rows: vec![row], logprobs: Arc::new(Halves(2)), row_texts, step: 0 });
    hostile(attack, 0, tight()).weigh().expect("exported").weigh(batch, &mut Call::new(17, 0))
}

#[test]
fn attack_08_a_wrong_length_is_told_with_both_counts() {
    broken(judge(&hostile("too-few", 0, tight())), "0 verdicts for 2 cases");
    broken(judge(&hostile("long-list", 5, tight())), "5 verdicts for 2 cases");
    broken(weigh("too-many"), "3 weights for 2 tokens");
    let fault = fault(curate(&hostile("lengths", 0, tight())));
    assert_eq!(fault.cause, Cause::Misuse("judging: 2 rows, 1 answers, 1 rivals".into()));
}

#[test]
fn attack_09_rows_that_do_not_exist_or_come_twice_are_told() {
    let fault = fault(curate(&hostile("row-out-of-range", 0, tight())));
    assert_eq!(fault.cause, Cause::Misuse("row 2 of 2 rows".into()));
    broken(curate(&hostile("twice", 0, tight())), "row 0 was decided twice");
}

#[test]
fn attack_10_a_panic_is_told_with_its_message_and_functions_and_the_plugin_stays_usable() {
    let plugin = hostile("panic", 0, tight());
    for _ in 0..2 {
        let fault = fault(judge(&plugin));
        assert_eq!(fault.cause, Cause::Panic);
        assert!(fault.frames.iter().any(|frame| frame.contains("panic_in_the_middle")), "{fault}");
        let line = fault.last_line.expect("the panic message was logged");
        assert!(line.contains("a panic in the plugin") && !line.contains('\u{1b}'), "{line}");
    }
}

#[test]
fn attack_11_leaked_handles_are_released_when_the_call_ends() {
    let engine = Arc::new(Plain::default());
    assert_eq!(objective(&hostile("leak", 100, tight()), &engine).expect("under the cap").to_string(), "1");
    assert_eq!(engine.live(), 0);
    let plugin = hostile("leak", 100, Limits { tensor_handles: 50, ..tight() });
    assert_eq!(fault(objective(&plugin, &engine)).cause, Cause::Spent { what: "live tensor handles", limit: 50 });
    assert_eq!(engine.live(), 0);
    // Dropped handles are released at once, so any number of them is fine.
    let plugin = hostile("drop", 1_000, Limits { tensor_handles: 50, ..tight() });
    objective(&plugin, &engine).unwrap_or_else(|error| panic!("{}", cause(&error)));
}

#[test]
fn attack_12_forged_and_stale_handles_trap() {
    let engine = Arc::new(Plain::default());
    for attack in ["forged", "forged-loss", "use-after-drop", "wrong-kind"] {
        let fault = fault(objective(&hostile(attack, 0, tight()), &engine));
        assert!(matches!(fault.cause, Cause::Trap(_)), "{attack}: {fault}");
        assert_eq!(engine.live(), 0, "{attack}");
    }
}

#[test]
fn tensors_that_do_not_fit_are_told_with_the_operation_and_the_shapes() {
    let told = |attack: &str| fault(objective(&hostile(attack, 0, tight()), &Arc::default())).cause;
    assert_eq!(told("misuse"), Cause::Misuse("matmul: shapes [2, 3] and [2, 3]".into()));
    assert_eq!(told("ragged"), Cause::Misuse("from-floats: 5 elements as [2, 3]".into()));
    assert_eq!(told("ragged-bytes"), Cause::Misuse("from-float-bytes: 7 bytes are no whole floats".into()));
    broken(objective(&hostile("vector-loss", 0, tight()), &Arc::default()), "shape [2], not one element");
    broken(objective(&hostile("int-loss", 0, tight()), &Arc::default()), "an integer tensor");
}

#[test]
fn huge_tensors_are_refused_before_the_engine_sees_them() {
    let engine = Arc::new(Plain::default());
    for attack in ["huge", "huge-expand", "huge-outer", "huge-arange"] {
        let fault = fault(objective(&hostile(attack, 0, Limits { tensor_bytes: 1 << 30, ..tight() }), &engine));
        assert_eq!(fault.cause, Cause::Spent { what: "bytes of live tensors", limit: 1 << 30 }, "{attack}");
    }
    let plugin = hostile("read", 10, Limits { read_bytes: 20 << 20, ..tight() });
    assert_eq!(fault(objective(&plugin, &engine)).cause, Cause::Spent { what: "bytes read", limit: 20 << 20 });
    assert_eq!(engine.live(), 0);
}

#[test]
fn a_forward_pass_outlives_the_handles_it_was_asked_with() {
    let engine = Arc::new(Plain::default());
    // 1 x 3 x 4 logits and 1 x 3 x 2 hidden numbers of 0.5.
    assert_eq!(objective(&hostile("forward", 0, tight()), &engine).expect("a loss").to_string(), "9");
    assert_eq!(engine.live(), 0);
    let fault = fault(objective(&hostile("unrequested", 0, tight()), &engine));
    assert_eq!(fault.cause, Cause::Misuse("forward-pass.hidden of layer 3 was not requested".into()));
    assert_eq!(engine.live(), 0);
}

#[test]
fn attack_22_two_runs_of_a_call_are_the_same_to_the_bit() {
    for attack in ["random", "uninitialised", "nan-bits"] {
        let plugin = hostile(attack, 0, tight());
        let mut fuel = Vec::new();
        let answers = [0, 0].map(|number| {
            let mut call = Call::new(17, number);
            plugin.set_state(None);
            let verdicts = plugin.judge().expect("exported").judge(cases(), &mut call).expect("an answer");
            fuel.push(call.report.fuel);
            verdicts
        });
        assert_eq!(answers[0], answers[1], "{attack}");
        assert_eq!(fuel[0], fuel[1], "{attack}");
    }
    let random = |seed, number| {
        let plugin = hostile("random", 0, tight());
        plugin.judge().expect("exported").judge(cases(), &mut Call::new(seed, number)).expect("an answer")
    };
    assert_ne!(random(17, 0), random(17, 1));
    assert_ne!(random(17, 0), random(18, 0));
}

#[test]
fn attack_22_a_strict_engine_has_one_nan() {
    let engine = Engine::new(&EngineOptions { is_strict: true, ..EngineOptions::default() }).expect("an engine");
    let settings = json!({"attack": "nan-bits"}).as_object().cloned().expect("an object");
    let options = LoadOptions { grants: grants(), settings, limits: tight() };
    let plugin = Plugin::load(&engine, "hostile", &bytes_of("hostile"), options).expect("a plugin");
    assert_eq!(judge(&plugin).expect("an answer")[0], Verdict::Undecided("7fc00000".into()));
}

#[test]
fn attack_23_a_log_flood_is_capped_counted_and_escaped() {
    let limits = Limits { log_lines: 10, names: 5, ..tight() };
    let mut call = Call::new(17, 0);
    let judge = hostile("log-flood", 1_000, limits).judge().expect("exported");
    judge.judge(cases(), &mut call).expect("an answer");
    let report = &call.report;
    assert_eq!((report.lines.len(), report.metrics.len(), report.skipped.len()), (10, 5, 5));
    assert_eq!(report.suppressed, 990 + 995 + 995);
    assert_eq!(report.lines[0].text, "\\u{1b}[2Jline 0");
    let mut call = Call::new(17, 0);
    let judge = hostile("log-line", 100_000, Limits { log_line_bytes: 100, ..tight() }).judge().expect("exported");
    judge.judge(cases(), &mut call).expect("an answer");
    assert_eq!(call.report.lines[0].text.len(), 103);
}

#[test]
fn attack_23_reasons_and_refusals_are_escaped() {
    let verdicts = judge(&hostile("escape", 0, tight())).expect("an answer");
    assert_eq!(verdicts[0], Verdict::Undecided("\\u{1b}]0;title\\u{7}".into()));
    let error = judge(&hostile("decline", 0, tight())).expect_err("declined").to_string();
    assert_eq!(error, "plugin `hostile` declined in stage `judge`: bad settings: \\u{1b}[31mred");
}

/// A judge that is a plugin, as the recipe wires it.
struct Wired(Arc<dyn Judge>);

impl Judging for Wired {
    fn verdicts(&self, cases: Arc<Cases>) -> Result<Vec<Verdict>, ServiceError> {
        let verdicts = self.0.judge(cases, &mut Call::new(17, 0));
        verdicts.map_err(|error| ServiceError::Failed(cause(&error)))
    }
}

#[test]
fn attack_24_a_plugin_with_state_that_is_its_own_judge_does_not_wait_for_itself() {
    let plugin = hostile("ask-judge", 0, tight());
    let judging: Arc<dyn Judging> = Arc::new(Wired(plugin.judge().expect("exported")));
    let mut call = Call::with(17, 0, Services { models: None, judging: Some(judging), ..Services::default() });
    let started = Instant::now();
    let error = plugin.curate().expect("exported").curate(examples(&[("a", Some("4"))]), &mut call);
    let told = cause(&error.expect_err("its judge is busy"));
    assert!(told.contains("a call of this plugin is still running"), "{told}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn attack_24_one_plugin_may_judge_for_another() {
    let (plugin, other) = (hostile("ask-judge", 0, tight()), hostile("none", 0, tight()));
    let judging: Arc<dyn Judging> = Arc::new(Wired(other.judge().expect("exported")));
    let mut call = Call::with(17, 0, Services { models: None, judging: Some(judging), ..Services::default() });
    let curated = plugin.curate().expect("exported").curate(examples(&[("a", Some("4"))]), &mut call);
    curated.unwrap_or_else(|error| panic!("{}", cause(&error)));
    assert_eq!(call.report.metrics["verdicts"], (1.0, 1));
}

#[test]
fn a_call_without_a_free_slot_is_the_hosts_failure_not_the_plugins() {
    let engine = Engine::new(&EngineOptions { slots: 1, ..EngineOptions::default() }).expect("an engine");
    let load = |attack: &str| {
        let settings = json!({"attack": attack}).as_object().cloned().expect("an object");
        let options = LoadOptions { grants: grants(), settings, limits: tight() };
        Plugin::load(&engine, "hostile", &bytes_of("hostile"), options).expect("a plugin")
    };
    let (plugin, other) = (load("ask-judge"), load("none"));
    let judging: Arc<dyn Judging> = Arc::new(Wired(other.judge().expect("exported")));
    let mut call = Call::with(17, 0, Services { models: None, judging: Some(judging), ..Services::default() });
    let error = plugin.curate().expect("exported").curate(examples(&[("a", Some("4"))]), &mut call);
    let told = cause(&error.expect_err("both calls need a slot"));
    assert!(told.contains("the host failed") && told.contains("all slots for plugin calls are taken"), "{told}");
}

#[test]
fn attack_27_models_and_judges_cannot_be_burned_without_end() {
    let judged = fault(curate(&hostile("judge-burn", 0, Limits { verdicts: 5_000, ..tight() })));
    assert_eq!(judged.cause, Cause::Spent { what: "judged answers", limit: 5_000 });
    let generated = fault(curate(&hostile("generate-burn", 0, Limits { sequences: 100_000, ..tight() })));
    assert_eq!(generated.cause, Cause::Spent { what: "sequences", limit: 100_000 });
}

#[test]
fn attack_29_a_plugin_remembers_nothing_but_its_state() {
    let plugin = hostile("remember", 0, tight());
    let first = judge(&plugin).expect("an answer");
    assert_eq!(first, judge(&plugin).expect("an answer"), "static memory does not outlive a call");
}

#[test]
fn attack_29_state_is_kept_hashed_and_restored() {
    let plugin = hostile("count-calls", 0, tight());
    let count = || {
        let mut call = Call::new(17, 0);
        let verdicts = plugin.judge().expect("exported").judge(cases(), &mut call).expect("an answer");
        let Verdict::Undecided(count) = verdicts[0].clone() else { panic!("{verdicts:?}") };
        (count, call.report.state.expect("a digest"))
    };
    let (first, second) = (count(), count());
    assert_eq!((first.0.as_str(), second.0.as_str()), ("1", "2"));
    assert_ne!(first.1, second.1);
    let checkpoint = plugin.state().expect("a state");
    assert_eq!(checkpoint, 2_u64.to_le_bytes());
    assert_eq!(count().0, "3");
    plugin.set_state(Some(checkpoint));
    assert_eq!(count().0, "3");
    plugin.set_state(None);
    assert_eq!(count(), first);
}

#[test]
fn attack_29_a_state_that_is_too_large_or_broken_fails_the_call_and_is_not_kept() {
    let plugin = hostile("state-bomb", 2 << 20, Limits { state_bytes: 1 << 20, ..tight() });
    assert_eq!(fault(judge(&plugin)).cause, Cause::Spent { what: "bytes of state", limit: 1 << 20 });
    assert_eq!(plugin.state(), None);
    let plugin = hostile("none", 0, tight());
    plugin.set_state(Some(vec![1, 2, 3]));
    let error = judge(&plugin).expect_err("a broken state").to_string();
    assert!(error.contains("the state is broken"), "{error}");
}

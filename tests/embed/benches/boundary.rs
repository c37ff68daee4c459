//! What a call across the boundary costs, beside the same call in raw wasmtime: `cargo bench --profile dev -p tunesmith-embed`.
//!
//! The raw side has the host's engine settings (fuel, deadline, pooled slots), a component written as text and nothing else: no limits,
//! no grants, no report, no check of the answer. Its numbers are the floor, and what a plugin's call costs above it is the host's work.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::Map;
use tunesmith_core::call::Call;
use tunesmith_core::data::{Case, Cases, Rollout, Rollouts};
use tunesmith_core::tensors::Tensors as _;
use tunesmith_embed::{Halves, OneBatch, Plain, bytes_of, examples, grants};
use tunesmith_plugin::{Engine, EngineOptions, LoadOptions, Plugin};
use wasmtime::component::{Component, Instance, InstancePre, Linker, TypedFunc};
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

/// As many as a large batch of rollouts.
const ROWS: usize = 1024;

/// One function that does nothing, and one that gives a list of numbers back.
const RAW: &str = r#"(component
    (core module $module
        (memory (export "memory") 17)
        (func (export "empty"))
        (func (export "place") (param i32 i32 i32 i32) (result i32) i32.const 65536)
        (func (export "scores") (param i32 i32) (result i32)
            (i32.store (i32.const 16) (local.get 0))
            (i32.store (i32.const 20) (local.get 1))
            i32.const 16))
    (core instance $core (instantiate $module))
    (alias core export $core "memory" (core memory $memory))
    (alias core export $core "place" (core func $place))
    (alias core export $core "empty" (core func $empty))
    (alias core export $core "scores" (core func $scores))
    (type $empty-type (func))
    (type $scores-type (func (param "lengths" (list f32)) (result (list f32))))
    (func (export "empty") (type $empty-type) (canon lift (core func $empty)))
    (func (export "scores") (type $scores-type)
        (canon lift (core func $scores) (memory $memory) (realloc $place))))"#;

/// Raw wasmtime.
struct Raw {
    engine: wasmtime::Engine,
    pre: InstancePre<()>,
}

impl Raw {
    fn new() -> Self {
        let mut pool = PoolingAllocationConfig::new();
        pool.linear_memory_keep_resident(64 << 10).table_keep_resident(64 << 10).total_component_instances(64);
        let mut config = Config::new();
        config
            .consume_fuel(true)
            .epoch_interruption(true)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = wasmtime::Engine::new(&config).expect("this machine runs WebAssembly");
        let bytes = wat::parse_str(RAW).expect("valid text");
        let component = Component::from_binary(&engine, &bytes).expect("a valid component");
        let pre = Linker::new(&engine).instantiate_pre(&component).expect("it imports nothing");
        Self { engine, pre }
    }

    fn store(&self) -> Store<()> {
        let mut store = Store::new(&self.engine, ());
        store.set_fuel(u64::MAX).expect("fuel is metered");
        store.set_epoch_deadline(u64::MAX / 2);
        store
    }

    fn instance(&self) -> (Store<()>, Instance) {
        let mut store = self.store();
        let instance = self.pre.instantiate(&mut store).expect("a free slot");
        (store, instance)
    }
}

fn empty(store: &mut Store<()>, instance: &Instance) -> TypedFunc<(), ()> {
    instance.get_typed_func(store, "empty").expect("it is exported")
}

fn scores(store: &mut Store<()>, instance: &Instance) -> TypedFunc<(Vec<f32>,), (Vec<f32>,)> {
    instance.get_typed_func(store, "scores").expect("it is exported")
}

fn engine() -> Engine {
    Engine::new(&EngineOptions::default()).expect("this machine runs WebAssembly")
}

fn bare(engine: &Engine) -> Plugin {
    let options = LoadOptions { grants: grants(), settings: Map::new(), ..LoadOptions::default() };
    Plugin::load(engine, "bare", &bytes_of("bare"), options).expect("it is a plugin")
}

fn rollouts(count: usize) -> Arc<Rollouts> {
    let examples = examples(&[("What is 2 + 2?", Some("4"))]);
    let rollout = |_| Rollout {
        example: Arc::clone(&examples.rows[0]),
        group: 0,
        completion: "It is 4.".into(),
        tokens: vec![7; 4],
        is_finished: true,
        is_off_policy: false,
    };
    Arc::new(Rollouts::new((0..count).map(rollout).collect(), Arc::new(Halves(4 * count)), 0))
}

fn cases(count: usize) -> Arc<Cases> {
    let examples = examples(&[("What is 2 + 2?", Some("4"))]);
    let case = |_| Case { example: Arc::clone(&examples.rows[0]), answer: "It is 4.".into(), rival: None };
    Arc::new(Cases { cases: (0..count).map(case).collect() })
}

/// Nothing in, nothing out.
fn empty_call(criterion: &mut Criterion) {
    let raw = Raw::new();
    let plugin = bare(&engine()).judge().expect("it is exported");
    let cases = cases(0);
    let mut group = criterion.benchmark_group("empty call");
    let (mut store, instance) = raw.instance();
    let function = empty(&mut store, &instance);
    group.bench_function("raw, warm", |bencher| {
        bencher.iter(|| function.call(&mut store, ()).expect("it returns"));
    });
    group.bench_function("raw, fresh instance", |bencher| {
        bencher.iter(|| {
            let (mut store, instance) = raw.instance();
            empty(&mut store, &instance).call(&mut store, ()).expect("it returns");
        });
    });
    group.bench_function("plugin, fresh instance", |bencher| {
        bencher.iter(|| plugin.judge(Arc::clone(&cases), &mut Call::new(17, 0)).expect("it answers"));
    });
}

/// A list of 1024 in, a list of 1024 out.
fn many_scores(criterion: &mut Criterion) {
    let raw = Raw::new();
    let plugin = bare(&engine());
    let (reward, judge) = (plugin.reward().expect("exported"), plugin.judge().expect("exported"));
    let (rollouts, cases) = (rollouts(ROWS), cases(ROWS));
    let mut group = criterion.benchmark_group("1024 rows");
    group.throughput(Throughput::Elements(ROWS as u64));
    let (mut store, instance) = raw.instance();
    let function = scores(&mut store, &instance);
    let lengths = vec![4.0_f32; ROWS];
    group.bench_function("raw numbers, warm", |bencher| {
        bencher.iter(|| function.call(&mut store, (lengths.clone(),)).expect("it returns"));
    });
    group.bench_function("raw numbers, fresh instance", |bencher| {
        bencher.iter(|| {
            let (mut store, instance) = raw.instance();
            scores(&mut store, &instance).call(&mut store, (lengths.clone(),)).expect("it returns")
        });
    });
    group.bench_function("plugin, rewards of numbers", |bencher| {
        bencher.iter(|| reward.reward(Arc::clone(&rollouts), &mut Call::new(17, 0)).expect("it answers"));
    });
    group.bench_function("plugin, verdicts on texts", |bencher| {
        bencher.iter(|| judge.judge(Arc::clone(&cases), &mut Call::new(17, 0)).expect("it answers"));
    });
}

/// An objective of a handful of operations on tensors of three numbers: all that is not arithmetic.
fn objective(criterion: &mut Criterion) {
    let plugin = bare(&engine()).objective().expect("it is exported");
    let tensors = Arc::new(Plain::default());
    criterion.bench_function("objective through handles, three tokens", |bencher| {
        bencher.iter_batched(
            || Arc::new(OneBatch(Arc::clone(&tensors))),
            |batch| {
                let loss = plugin.objective(batch, &mut Call::new(17, 0)).expect("it answers");
                tensors.release(loss);
            },
            BatchSize::SmallInput,
        );
    });
}

/// From the cache of compiled code to a plugin that can be called.
fn load(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = EngineOptions { cache: Some(folder.path().join("cache")), ..EngineOptions::default() };
    let engine = Engine::new(&options).expect("this machine runs WebAssembly");
    let bytes = bytes_of("bare");
    bare(&engine);
    let raw = Raw::new();
    let code = Component::from_binary(&raw.engine, &bytes).and_then(|component| component.serialize()).expect("valid");
    let mut group = criterion.benchmark_group("load");
    group.throughput(Throughput::Bytes(bytes.len() as u64)).measurement_time(Duration::from_secs(3));
    group.bench_function("raw, deserialize", |bencher| bencher.iter(|| deserialize(&raw.engine, &code)));
    group.bench_function("plugin, from the cache", |bencher| {
        bencher.iter(|| {
            let plugin = bare(&engine);
            assert!(plugin.is_from_cache(), "the cache has it");
        });
    });
}

#[expect(unsafe_code, reason = "wasmtime cannot check compiled code")]
fn deserialize(engine: &wasmtime::Engine, code: &[u8]) -> Component {
    // SAFETY: the code was made by this process, of this engine, just before.
    unsafe { Component::deserialize(engine, code) }.expect("compiled by this engine")
}

criterion_group!(benches, empty_call, many_scores, objective, load);
criterion_main!(benches);

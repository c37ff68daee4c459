//! What it costs to reward 10,000 rollouts with `answer-match`: through the plugin, and by the same code as ordinary Rust, on one core and on all.
//! `cargo bench --profile dev -p tunesmith-embed --bench rewards`; `tests/python/rewards.py` runs it beside Python's multiprocessing.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use answer_match::AnswerMatch;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rayon::prelude::*;
use serde_json::Map;
use tunesmith_core::call::Call;
use tunesmith_core::data::{Rollout, Rollouts};
use tunesmith_embed::{Halves, examples};
use tunesmith_plugin::{Engine, EngineOptions, LoadOptions, Plugin};
use tunesmith_sdk_test::{Case, PretendHost, Row};

const ROLLOUTS: usize = 10_000;
/// Rollouts of a call, as the trainer makes them.
const PART: usize = 256;
const PROMPT: &str = "Ann buys some eggs and eats some. How many are left?";

/// A worked answer of the length that such answers have.
fn answer(at: usize) -> String {
    let (bought, eaten) = (17 * at % 1_000, at % 13);
    format!(
        "Ann has {bought} eggs at first. She buys 1,200 more, which makes {bought} + 1,200 = {}. She eats {eaten} of them in $2.50 omelettes, so {} are left.\n#### {}",
        bought + 1_200,
        bought + 1_200 - eaten,
        if at.is_multiple_of(3) { 7 } else { bought + 1_200 - eaten }
    )
}

fn gold(at: usize) -> String {
    (17 * at % 1_000 + 1_200 - at % 13).to_string()
}

fn plugin() -> Plugin {
    let engine = Engine::new(&EngineOptions::default()).expect("this machine runs WebAssembly");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/answer-match.wasm");
    let bytes =
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; `cargo xtask plugins` builds it", path.display()));
    let options = LoadOptions { settings: Map::new(), ..LoadOptions::default() };
    Plugin::load(&engine, "answer-match", &bytes, options).expect("it is a plugin")
}

fn parts() -> Vec<Arc<Rollouts>> {
    let rollout = |at: usize| {
        let mut example = examples(&[(PROMPT, None)]).rows[0].as_ref().clone();
        example.columns.insert("answer".into(), gold(at).into());
        Rollout {
            example: Arc::new(example),
            group: (at / 8) as u32,
            completion: answer(at),
            tokens: vec![7; 60],
            is_finished: true,
            is_off_policy: false,
        }
    };
    let all: Vec<Rollout> = (0..ROLLOUTS).map(rollout).collect();
    all.chunks(PART).map(|part| Arc::new(Rollouts::new(part.to_vec(), Arc::new(Halves(0)), 0))).collect()
}

fn rewards(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("10000 rollouts");
    group.throughput(Throughput::Elements(ROLLOUTS as u64)).sample_size(10);
    let reward = plugin().reward().expect("it is exported");
    let parts = parts();
    let of_plugin = |part: &Arc<Rollouts>| {
        reward.reward(Arc::clone(part), &mut Call::new(0, 0)).expect("it answers").iter().flatten().sum::<f32>()
    };
    group.bench_function("plugin, one core", |bencher| {
        bencher.iter(|| parts.iter().map(of_plugin).sum::<f32>());
    });
    group.bench_function("plugin, all cores", |bencher| {
        bencher.iter(|| parts.par_iter().map(of_plugin).sum::<f32>());
    });
    let case = |at| Row::new(PROMPT).column("answer", gold(at)).answered(answer(at)).group(at as u32 / 8);
    let cases: Vec<Case> = (0..ROLLOUTS).map(case).collect();
    let native = |part: &[Case]| {
        let host =
            PretendHost::of(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/answer-match/plugin.toml"));
        host.reward::<AnswerMatch>(part).expect("it answers").iter().flatten().sum::<f32>()
    };
    group.bench_function("Rust, one core", |bencher| {
        bencher.iter(|| cases.chunks(PART).map(native).sum::<f32>());
    });
    group.bench_function("Rust, all cores", |bencher| {
        bencher.iter(|| cases.par_chunks(PART).map(native).sum::<f32>());
    });
    group.finish();
}

criterion_group!(benches, rewards);
criterion_main!(benches);

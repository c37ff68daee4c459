//! Tokens per second of training and generation at the size of SmolLM2-135M, and what an objective costs as a plugin.
//!
//! `cargo xtask demo` fetches the model; then `cargo bench --profile dev -p tunesmith-tests --bench throughput`, with any of the cases
//! `full`, `lora`, `generate`, `objective` after `--`, and `--device cuda`. `tests/python/throughput.py` runs the same in PyTorch and
//! compares. A model takes seconds per step, so this is no work for a statistics of thousands of runs: after one run to warm up, the
//! fastest and the middle of [`RUNS`] are printed, one JSON object per line.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::collections::BTreeMap;
use std::env;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use burn::module::Module as _;
use burn::tensor::Tensor;
use serde_json::{Map, json};
use tunesmith_core::call::Call;
use tunesmith_core::data::Example;
use tunesmith_core::model::Message;
use tunesmith_core::plan::TrainPlan;
use tunesmith_core::recipe::Schedule;
use tunesmith_core::stage::Objective;
use tunesmith_plugin::{Engine, EngineOptions, LoadOptions, Plugin};
use tunesmith_train::batch::{PolicyPair, TensorBatch, Totals};
use tunesmith_train::batching::{EncodedRow, MicroBatch};
use tunesmith_train::device;
use tunesmith_train::generate::{Generator, Prompt, Sampling};
use tunesmith_train::lora::LoraSettings;
use tunesmith_train::model::{Decoder, LanguageModel};
use tunesmith_train::objective::Nll;
use tunesmith_train::optimizer::{AdamW, NamedGradients};
use tunesmith_train::tensors::{Budget, BurnTensors};

/// Runs that are timed.
const RUNS: usize = 5;

const CASES: [&str; 4] = ["full", "lora", "generate", "objective"];

fn main() -> Result<()> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folder = root.join("models/smollm2-135m-instruct");
    let mut device = "cpu".to_owned();
    let mut cases = Vec::new();
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("`{argument}` needs a value"));
        match argument.as_str() {
            "--bench" => {}
            "--model" => folder = value()?.into(),
            "--device" => device = value()?,
            case if CASES.contains(&case) => cases.push(argument),
            other => bail!("`{other}` is none of {CASES:?}, `--model FOLDER`, `--device NAME`"),
        }
    }
    if !folder.is_dir() {
        println!(
            "throughput: nothing to measure, there is no model in {}; `cargo xtask demo` fetches it",
            folder.display()
        );
        return Ok(());
    }
    let bench = Bench { model: LanguageModel::load(&folder, &device::open(&device)?)?, device, root };
    for case in CASES {
        if cases.is_empty() || cases.iter().any(|wanted| wanted == case) {
            bench.run(case)?;
        }
    }
    Ok(())
}

struct Bench {
    model: LanguageModel,
    device: String,
    root: PathBuf,
}

impl Bench {
    fn run(&self, case: &str) -> Result<()> {
        match case {
            "full" => self.train(case, &self.model.decoder),
            "lora" => {
                let adapted = self.model.decoder.clone().with_adapter(&LoraSettings::new(8, 16.0), 17)?;
                self.train(case, &adapted)
            }
            "generate" => self.generate(),
            _ => self.objective(),
        }
    }

    /// Steps of training: forward, backward, clipping, `AdamW`. 4 rows of 128 tokens, a loss on all but the first.
    fn train(&self, case: &str, decoder: &Decoder) -> Result<()> {
        let micro = rows(4, 128, self.model.config().vocab_size);
        let mut policy = decoder.clone().train();
        let mut optimizer = AdamW::new(&plan());
        let times = timed(|| {
            let loss = plain_nll(&policy, &micro)?;
            let gradients = NamedGradients::of(&policy, loss.backward());
            let norm = gradients.norm();
            let only = mem::replace(&mut policy, decoder.clone());
            policy = optimizer.update(only, gradients.clipped(norm, 1.0), 1e-5);
            Ok(())
        })?;
        self.print(case, "tokens of training", micro.tokens(), &times);
        Ok(())
    }

    /// Greedy answers of 64 tokens to 8 prompts of 64.
    fn generate(&self) -> Result<()> {
        let vocabulary = self.model.config().vocab_size;
        let ids = |row| tokens(row, 64, vocabulary);
        let prompts: Vec<Prompt> = (0..8).map(|row| Prompt { ids: ids(row), stream: row as u64 }).collect();
        // Nothing ends an answer early, so that each run has the same tokens.
        let sampling = Sampling { batch: 8, ..Sampling::greedy(64, &[]) };
        let generator = Generator::new(&self.model.decoder, &self.model.tokenizer);
        let times = timed(|| {
            generator.generate(&prompts, &sampling, &mut |_| {})?;
            Ok(())
        })?;
        self.print("generate", "new tokens", 8 * 64, &times);
        Ok(())
    }

    /// Forward and backward with the same loss in plain Rust and by a component, in turn: 8 rows of 512 tokens.
    fn objective(&self) -> Result<()> {
        let micro = rows(8, 512, self.model.config().vocab_size);
        let models = PolicyPair { policy: self.model.decoder.clone().train(), reference: self.model.decoder.clone() };
        let path = self.root.join("plugins/nll.wasm");
        let bytes = std::fs::read(&path).with_context(|| format!("{}\nhint: `cargo xtask setup`", path.display()))?;
        let engine = Engine::new(&EngineOptions::default())?;
        let options = LoadOptions { settings: Map::new(), ..LoadOptions::default() };
        let plugin = Plugin::load(&engine, "nll", &bytes, options)?;
        let plugin = plugin.objective().ok_or_else(|| anyhow!("`nll` exports no objective"))?;
        let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for run in 0..=RUNS {
            for name in ["objective in plain Rust", "objective built in", "objective by a plugin"] {
                let start = Instant::now();
                match name {
                    "objective in plain Rust" => drop(plain_nll(&models.policy, &micro)?.backward()),
                    "objective built in" => backward(&models, &micro, &Nll)?,
                    _ => backward(&models, &micro, &*plugin)?,
                }
                if 0 < run {
                    times.entry(name).or_default().push(start.elapsed().as_secs_f64());
                }
            }
        }
        for (name, times) in &mut times {
            times.sort_by(f64::total_cmp);
            self.print(name, "tokens, forward and backward", micro.tokens(), times);
        }
        Ok(())
    }

    fn print(&self, case: &str, what: &str, tokens: usize, times: &[f64]) {
        let (best, middle) = (times[0], times[times.len() / 2]);
        let line = json!({
            "case": case,
            "what": what,
            "device": self.device,
            "tokens": tokens,
            "seconds": best,
            "seconds-median": middle,
            "tokens-per-second": tokens as f64 / best,
        });
        println!("{line}");
    }
}

/// Seconds of each run after the first, the fastest first.
fn timed(mut run: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    run()?;
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// Ids that look random and are the same everywhere; never the first 100, among which are the special ones.
fn tokens(row: usize, count: usize, vocabulary: usize) -> Vec<u32> {
    (0..count).map(|at| 100 + ((row * 7919 + at * 104_729 + at * at * 31) % (vocabulary - 100)) as u32).collect()
}

fn rows(count: usize, length: usize, vocabulary: usize) -> Arc<MicroBatch> {
    let example = Arc::new(Example { messages: vec![Message::user("q")], ..Example::default() });
    let row = |row| EncodedRow {
        example: Arc::clone(&example),
        tokens: tokens(row, length, vocabulary),
        mask: (0..length).map(|at| 0 < at).collect(),
        role: String::new(),
        sampled: None,
        source: None,
    };
    Arc::new(MicroBatch { rows: (0..count).map(|at| Arc::new(row(at))).collect(), groups: (0..count as i32).collect() })
}

/// The mean over the tokens, written with burn's tensors.
fn plain_nll(policy: &Decoder, micro: &MicroBatch) -> Result<Tensor<1>> {
    let logprobs = policy.token_logprobs(&micro.layout()?)?;
    Ok(logprobs.sum().mul_scalar(-1.0 / micro.loss_tokens() as f64))
}

fn backward(models: &PolicyPair, micro: &Arc<MicroBatch>, objective: &dyn Objective) -> Result<()> {
    let engine = Arc::new(BurnTensors::new(&models.policy.device(), Budget::default()));
    let totals = Totals {
        weight: micro.loss_tokens() as f64,
        rows: micro.rows.len(),
        groups: micro.groups(),
        micro_batches: 1,
        step: 0,
    };
    let weights = vec![1.0; micro.tokens()];
    let batch = TensorBatch::new(Arc::clone(&engine), models.clone(), Arc::clone(micro), &weights, totals)?;
    let loss = objective.objective(Arc::new(batch), &mut Call::new(17, 0))?;
    let loss = engine.scalar(loss)?;
    drop(loss.backward());
    Ok(())
}

fn plan() -> TrainPlan {
    TrainPlan {
        steps: 1,
        batch: 4,
        micro_batch: 4,
        learning_rate: 1e-5,
        schedule: Schedule::Constant,
        warmup: 0,
        weight_decay: 0.0,
        betas: [0.9, 0.999],
        epsilon: 1e-8,
        clip: 1.0,
        max_length: 0,
        truncate: false,
        checkpoint_every: 0,
        keep_checkpoints: 1,
        digest_every: 1,
        packing: false,
        buckets: 0,
    }
}

//! Time and memory of each fused operation against its plain form: one forward and backward pass, at the sizes of SmolLM2-135M.
//!
//! Run with `cargo bench --profile dev -p tunesmith-train --bench fused`. Every measurement is a process of its own, so that the
//! peak of resident memory (Linux only) is its own too.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::env;
use std::error::Error;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::tensor::{Device, Distribution, Tensor};
use tunesmith_train::fused::{self, plain};

/// Runs of one measurement; the fastest counts.
const RUNS: usize = 5;

const CASES: [&str; 5] = ["token_logprobs", "rms_norm", "rope", "silu_mul", "causal_softmax"];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().collect();
    if let [_, case, form] = &arguments[..]
        && CASES.contains(&case.as_str())
    {
        let (time, memory) = measured(case, form == "fused");
        println!("{} {memory}", time.as_secs_f64() * 1000.0);
        return Ok(());
    }
    println!(
        "{:<16}{:>12}{:>12}{:>8}{:>12}{:>12}{:>8}",
        "", "plain ms", "fused ms", "ratio", "plain MB", "fused MB", "ratio"
    );
    for case in CASES {
        let [plain_time, plain_memory] = in_a_process(case, "plain")?;
        let [fused_time, fused_memory] = in_a_process(case, "fused")?;
        let (time, memory) = (plain_time / fused_time, plain_memory / fused_memory);
        println!(
            "{case:<16}{plain_time:>12.1}{fused_time:>12.1}{time:>8.2}{plain_memory:>12.0}{fused_memory:>12.0}{memory:>8.2}"
        );
    }
    Ok(())
}

/// Milliseconds and megabytes.
fn in_a_process(case: &str, form: &str) -> Result<[f64; 2], Box<dyn Error>> {
    let output = Command::new(env::current_exe()?).args([case, form]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let (milliseconds, megabytes) = text.trim().split_once(' ').ok_or("a measurement did not end")?;
    Ok([milliseconds.parse()?, megabytes.parse()?])
}

/// The fastest of [`RUNS`], and how many megabytes more the process held at its peak than before.
fn measured(case: &str, is_fused: bool) -> (Duration, f64) {
    let run = prepared(case, is_fused);
    let before = peak_megabytes();
    let times = (0..RUNS).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed()
    });
    (times.min().unwrap_or_default(), peak_megabytes() - before)
}

/// A tensor that wants its gradient.
fn leaf<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), &Device::flex().autodiff()).require_grad()
}

fn prepared(case: &str, is_fused: bool) -> Box<dyn Fn()> {
    let (rows, columns, hidden, heads, width) = (4, 512, 576, 9, 64);
    match case {
        "token_logprobs" => {
            let (x, weight) = (leaf([512, hidden]), leaf([49152, hidden]));
            let targets: Vec<u32> = (0..512).map(|row| row * 91).collect();
            Box::new(move || {
                let logprobs = if is_fused {
                    fused::token_logprobs(x.clone(), weight.clone(), &targets, None)
                } else {
                    plain::token_logprobs(&x, weight.clone(), &targets, None)
                };
                logprobs.sum().backward();
            })
        }
        "rms_norm" => {
            let (x, weight) = (leaf([rows, columns, hidden]), leaf([hidden]));
            let form = if is_fused { fused::rms_norm } else { plain::rms_norm };
            Box::new(move || drop(form(x.clone(), weight.clone(), 1e-5).sum().backward()))
        }
        "rope" => {
            let x = leaf([rows, columns, heads, width]);
            let angles = leaf([1, columns, 1, width / 2]).inner();
            let form = if is_fused { fused::rope } else { plain::rope };
            // The argument is fresh, as it is in a model.
            Box::new(move || {
                drop(form(x.clone().mul_scalar(1.5), angles.clone().cos(), angles.clone().sin()).sum().backward());
            })
        }
        "silu_mul" => {
            let (gate, up) = (leaf([rows, columns, 1536]), leaf([rows, columns, 1536]));
            let form = if is_fused { fused::silu_mul } else { plain::silu_mul };
            Box::new(move || drop(form(gate.clone(), up.clone()).sum().backward()))
        }
        _ => {
            let scores = leaf([rows, heads, columns, columns]);
            let first_keys: Arc<[u32]> = vec![0; rows * columns].into();
            Box::new(move || {
                let scores = scores.clone().mul_scalar(0.125);
                let map = if is_fused {
                    fused::causal_softmax(scores, &first_keys, 0)
                } else {
                    plain::causal_softmax(scores, &first_keys, 0)
                };
                map.sum().backward();
            })
        }
    }
}

/// The largest resident memory of this process so far; 0 where the system does not say.
fn peak_megabytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) / 1024.0
}

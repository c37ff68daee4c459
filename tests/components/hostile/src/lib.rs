//! Tries what hostile plugins try. Each attack is one arm below, chosen by the setting `attack`.
// Export names of components are no names for a native linker, so there is nothing here for other targets.
#![cfg(target_arch = "wasm32")]
#![allow(unsafe_code, missing_docs, clippy::pedantic, reason = "the generated bindings need it, and so do attacks")]

wit_bindgen::generate!({
    inline: "
        package tests:hostile;

        world hostile {
            include tunesmith:method/curate-plugin@0.1.2;
            include tunesmith:method/judge-plugin@0.1.2;
            include tunesmith:method/weigh-plugin@0.1.2;
            include tunesmith:method/objective-plugin@0.1.2;
            include tunesmith:method/state-plugin@0.1.2;
        }
    ",
    path: "../../../wit",
    world: "tests:hostile/hostile",
    generate_all,
});

use std::cell::Cell;
use std::hint::black_box;
use std::mem;

use exports::tunesmith::method::{curate, judge, objective, state, weigh};
use tunesmith::method::answers::{Cases, Verdict};
use tunesmith::method::batches::{Batch, TokenBatch};
use tunesmith::method::data::{Examples, TrainingSet};
use tunesmith::method::model::{ForwardRequest, LanguageModel, Prompts, Sampling};
use tunesmith::method::tensors::Tensor;
use tunesmith::method::types::Error;
use tunesmith::method::{judging, log, random, settings};

struct Hostile;

export!(Hostile);

thread_local! {
    /// Calls that this instance has seen, and what `state` keeps.
    static CALLS: Cell<u64> = const { Cell::new(0) };
    static SAVED: Cell<u64> = const { Cell::new(0) };
}

fn setting(key: &str) -> String {
    let json = settings::json();
    let after = json.split(&format!("\"{key}\":")).nth(1).unwrap_or_default();
    after.split([',', '}']).next().unwrap_or_default().trim_matches('"').to_owned()
}

fn count() -> usize {
    setting("count").parse().unwrap_or(0)
}

#[inline(never)]
fn recurse_without_end(depth: u64) -> u64 {
    let deeper = black_box(depth) + 1;
    // Never so, but the compiler must not know; and the addition keeps it from being a loop.
    if deeper == 0 { 0 } else { recurse_without_end(deeper) + black_box(deeper) }
}

#[inline(never)]
fn panic_in_the_middle() {
    panic!("\u{1b}[31ma panic in the plugin");
}

impl judge::Guest for Hostile {
    fn judge(cases: &Cases) -> Result<Vec<Verdict>, Error> {
        CALLS.set(CALLS.get() + 1);
        SAVED.set(SAVED.get() + 1);
        let honest = || vec![Verdict::Right; cases.len() as usize];
        Ok(match setting("attack").as_str() {
            "loop" => loop {
                black_box(());
            },
            "loop-in-host" => loop {
                black_box(cases.prompts());
            },
            "memory" => {
                let mut hoard: Vec<Vec<u8>> = Vec::new();
                loop {
                    hoard.push(black_box(vec![1; 1 << 20]));
                }
            }
            "stack" => vec![Verdict::Partly(recurse_without_end(0) as f32)],
            "panic" => {
                std::panic::set_hook(Box::new(|panic| log::write(log::Level::Warn, &panic.to_string())));
                panic_in_the_middle();
                honest()
            }
            "long-list" => vec![Verdict::Right; count()],
            "huge-string" => vec![Verdict::Undecided("x".repeat(count()))],
            "nan" => vec![Verdict::Partly(f32::NAN); cases.len() as usize],
            "infinity" => vec![Verdict::Partly(f32::INFINITY); cases.len() as usize],
            "negative-zero" => vec![Verdict::Partly(-0.0); cases.len() as usize],
            "too-few" => vec![],
            "escape" => vec![Verdict::Undecided("\u{1b}]0;title\u{7}".into()); cases.len() as usize],
            "decline" => return Err(Error::BadSettings("\u{1b}[31mred".into())),
            "log-flood" => {
                for line in 0..count() {
                    log::write(log::Level::Info, &format!("\u{1b}[2Jline {line}"));
                    log::metric(&format!("metric-{line}"), 1.0);
                    log::skip(0, &format!("reason {line}"));
                }
                honest()
            }
            "log-line" => {
                log::write(log::Level::Info, &"y".repeat(count()));
                honest()
            }
            "random-bomb" => {
                black_box(random::integers(u32::MAX));
                honest()
            }
            "random" => vec![Verdict::Undecided(format!("{:?}", random::integers(2))); cases.len() as usize],
            // Static memory: a label seen once must not be there in the next call.
            "remember" => vec![if CALLS.get() == 1 { Verdict::Wrong } else { Verdict::Right }; cases.len() as usize],
            "count-calls" => vec![Verdict::Undecided(SAVED.get().to_string()); cases.len() as usize],
            "uninitialised" => {
                // Heap addresses and contents must not differ between two calls.
                let page = vec![0_u8; 100_000];
                vec![
                    Verdict::Undecided(format!(
                        "{:p} {}",
                        page.as_ptr(),
                        page.iter().map(|&byte| u64::from(byte)).sum::<u64>()
                    ));
                    cases.len() as usize
                ]
            }
            "nan-bits" => {
                let bits = (black_box(0.0_f32) / black_box(0.0_f32)).to_bits();
                vec![Verdict::Undecided(format!("{bits:x}")); cases.len() as usize]
            }
            _ => honest(),
        })
    }
}

impl weigh::Guest for Hostile {
    fn weigh(batch: &TokenBatch) -> Result<Vec<f32>, Error> {
        let tokens = batch.tokens().len();
        Ok(match setting("attack").as_str() {
            "negative" => vec![-1.0; tokens],
            "nan" => vec![f32::NAN; tokens],
            "too-many" => vec![1.0; tokens + 1],
            "long-list" => vec![1.0; count()],
            _ => vec![1.0; tokens],
        })
    }
}

impl curate::Guest for Hostile {
    fn curate(pool: &Examples, chosen: &TrainingSet) -> Result<(), Error> {
        match setting("attack").as_str() {
            "builder-bomb" => loop {
                chosen.add("p", &"z".repeat(1 << 16), "synthetic", None);
            },
            "prompt-bomb" => {
                let prompts = Prompts::new();
                loop {
                    prompts.add_rows(pool, &vec![0; 10_000]);
                }
            }
            "row-out-of-range" => chosen.keep(pool.len(), "gold"),
            "twice" => {
                chosen.keep(0, "gold");
                chosen.omit(0, "changed my mind");
            }
            "ask-judge" => {
                let verdicts = judging::judge(pool, &[0], &["answer".to_owned()])?;
                log::metric("verdicts", verdicts.len() as f64);
                chosen.keep(0, "gold");
            }
            "judge-burn" => loop {
                black_box(judging::judge(pool, &vec![0; 1_000], &vec!["answer".to_owned(); 1_000])?);
            },
            "generate-burn" => {
                let (prompts, sampling) = (Prompts::new(), Sampling::new());
                prompts.add_rows(pool, &[0]);
                sampling.set_samples(60_000);
                let policy = LanguageModel::open("policy")?;
                loop {
                    black_box(policy.generate(&prompts, &sampling)?);
                }
            }
            "lengths" => {
                black_box(judging::judge(pool, &[0, 0], &["answer".to_owned()])?);
            }
            "model-loop" => loop {
                black_box(LanguageModel::open("policy")?);
            },
            _ => (0..pool.len()).for_each(|row| chosen.keep(row, "gold")),
        }
        Ok(())
    }
}

impl objective::Guest for Hostile {
    fn objective(batch: &Batch) -> Result<Tensor, Error> {
        let loss = || Tensor::full(1.0, &[]);
        Ok(match setting("attack").as_str() {
            "leak" => {
                (0..count()).for_each(|_| mem::forget(Tensor::full(1.0, &[4])));
                loss()
            }
            "drop" => {
                (0..count()).for_each(|_| drop(Tensor::full(1.0, &[4])));
                loss()
            }
            "huge" => Tensor::full(1.0, &[65_535, 65_535, 65_535]),
            "huge-expand" => Tensor::full(1.0, &[1, 1]).expand(&[1 << 20, 1 << 20]),
            "huge-outer" => {
                let wide = Tensor::full(1.0, &[1 << 18, 1]);
                wide.add(&wide.reshape(&[1, 1 << 18]))
            }
            "huge-arange" => Tensor::arange(i32::MIN, i32::MAX),
            "misuse" => Tensor::full(1.0, &[2, 3]).matmul(&Tensor::full(1.0, &[2, 3])),
            "ragged" => Tensor::from_floats(&[1.0; 5], &[2, 3]),
            "ragged-bytes" => Tensor::from_float_bytes(&[0; 7], &[2]),
            "read" => {
                let tensor = Tensor::full(1.0, &[1 << 20]);
                (0..count()).for_each(|_| {
                    black_box(tensor.read());
                });
                loss()
            }
            "nan-loss" => Tensor::full(f32::from_bits(0xffc0_1234), &[]),
            "vector-loss" => Tensor::full(1.0, &[2]),
            "int-loss" => Tensor::from_ints(&[1], &[1]),
            "forged" => unsafe { Tensor::from_handle(123_456) }.neg(),
            "forged-loss" => unsafe { Tensor::from_handle(123_456) },
            "use-after-drop" => {
                let tensor = Tensor::full(1.0, &[]);
                let stale = unsafe { Tensor::from_handle(tensor.handle()) };
                drop(tensor);
                stale.neg()
            }
            "wrong-kind" => {
                // A batch's handle used as a tensor's.
                let forged = mem::ManuallyDrop::new(unsafe { Tensor::from_handle(batch.handle()) });
                forged.neg()
            }
            "forward" => {
                let (tokens, mask) = (batch.tokens(), batch.mask());
                let request = ForwardRequest::from_tokens(&tokens, &mask);
                drop((tokens, mask));
                request.want_logits();
                request.want_hidden(0);
                let pass = LanguageModel::open("policy")?.forward(&request)?;
                pass.logits().sum().add(&pass.hidden(0).sum())
            }
            "unrequested" => {
                let (tokens, mask) = (batch.tokens(), batch.mask());
                let request = ForwardRequest::from_tokens(&tokens, &mask);
                request.want_logits();
                LanguageModel::open("policy")?.forward(&request)?.hidden(3).sum()
            }
            _ => loss(),
        })
    }
}

impl state::Guest for Hostile {
    fn save() -> Vec<u8> {
        match setting("attack").as_str() {
            "state-bomb" => vec![0; count()],
            _ => SAVED.get().to_le_bytes().to_vec(),
        }
    }

    fn restore(blob: Vec<u8>) -> Result<(), Error> {
        let bytes = blob.try_into().map_err(|_| Error::Other("the state is broken".into()))?;
        SAVED.set(u64::from_le_bytes(bytes));
        Ok(())
    }
}

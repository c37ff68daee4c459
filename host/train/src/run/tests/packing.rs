//! Packed and bucketed batches against plain ones.
//!
//! The same numbers are added in another order, in float32: losses agree within 1e-5 of themselves, gradients within 1e-4 of the norm of all.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tunesmith_core::data::TokenLogprobs;
use tunesmith_core::plan::Plan;
use tunesmith_core::set::{Named, Stages};
use tunesmith_core::trace::{Record, StepRecord};

use super::losses::{Composed, close, losses, training};
use super::traces::{Surprise, records, timeless};
use super::{LORA, example, inputs, plan, run_with};
use crate::batch::{BatchLogprobs, PolicyPair};
use crate::batching::{EncodedRow, Lines, MicroBatch};
use crate::model::Decoder;
use crate::optimizer::NamedGradients;
use crate::test_folder::{FAMILIES, decoder};

const LOSS: f64 = 1e-5;
const GRADIENT: f64 = 1e-4;

/// Rows of these lengths, of which the later two thirds are trained on, with gaps.
fn micro(lengths: &[u32]) -> Arc<MicroBatch> {
    let row = |(number, len): (usize, &u32)| {
        let tokens: Vec<u32> = (0..*len).map(|place| 3 + (number as u32 * 31 + place * 17) % 60).collect();
        let mask = (0..*len).map(|place| place > 0 && place >= len / 3 && place % 5 != 3).collect();
        Arc::new(EncodedRow {
            example: example(number as u64, "q", None),
            tokens,
            mask,
            role: String::new(),
            sampled: None,
            source: None,
        })
    };
    let rows: Vec<_> = lengths.iter().enumerate().map(row).collect();
    Arc::new(MicroBatch { groups: (0..rows.len() as i32).collect(), rows })
}

const LENGTHS: [u32; 8] = [19, 4, 7, 24, 2, 11, 5, 8];

#[test]
fn rows_share_lines_only_if_they_are_packed() {
    let micro = micro(&LENGTHS);
    let plain = Lines::new(&micro, false).expect("there are rows");
    assert_eq!((plain.layout.rows(), plain.layout.width()), (8, 24));
    assert_eq!(plain.layout, micro.layout().expect("there are rows"));
    let packed = Lines::new(&micro, true).expect("there are rows");
    assert_eq!((packed.layout.rows(), packed.layout.width()), (4, 24), "80 tokens on lines of 24");
    for (row, start) in micro.rows.iter().zip(&packed.starts) {
        assert_eq!(packed.layout.tokens()[*start..start + row.tokens.len()], row.tokens);
        let segments = packed.layout.segments(start / 24);
        assert!(segments.contains(&(start % 24..start % 24 + row.tokens.len())));
    }
}

/// The norm of the difference of two gradients, over all parameters.
fn difference(one: &NamedGradients, other: &NamedGradients) -> f64 {
    let (one, other) = (one.values(), other.values());
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    let squares =
        one.values().flatten().zip(other.values().flatten()).map(|(one, other)| f64::from(one - other).powi(2));
    squares.sum::<f64>().sqrt()
}

#[track_caller]
fn check(name: &str, decoder: &Decoder, stages: &Stages) {
    let (plain, packed) = (plan(Path::new("."), "", ""), plan(Path::new("."), "", "[train]\npacking = true\n"));
    let inputs = inputs(Stages::default());
    let host = super::super::host(&plain, &inputs);
    let made = |plan: &Plan, micro: &[Arc<MicroBatch>]| losses(&training(plan, stages, &host, decoder), micro);
    let whole = [micro(&LENGTHS)];
    let (expected, gradients) = made(&plain, &whole);
    let (found, others) = made(&packed, &whole);
    close(name, f64::from(found[0]), f64::from(expected[0]), LOSS);
    let norm = gradients.norm();
    for ((name_of, found), expected) in others.norms().into_iter().zip(gradients.norms().into_values()) {
        assert!((found - expected).abs() <= GRADIENT * norm, "{name} {name_of}: {found} is not {expected}");
    }
    // The whole gradient, not only its length.
    let gap = difference(&gradients, &others);
    assert!(gap <= GRADIENT * norm, "{name}: gradients differ by {gap} of {norm}");
    let (again, _) = made(&packed, &whole);
    assert_eq!(again[0].to_bits(), found[0].to_bits(), "{name}: twice the same is not the same");
    let (apart, sum) = made(&packed, &[micro(&LENGTHS[..3]), micro(&LENGTHS[..5])]);
    let (both, plain_sum) = made(&plain, &[micro(&LENGTHS[..3]), micro(&LENGTHS[..5])]);
    close(name, apart.iter().map(|loss| f64::from(*loss)).sum(), both.iter().map(|loss| f64::from(*loss)).sum(), LOSS);
    assert!(difference(&sum, &plain_sum) <= GRADIENT * plain_sum.norm(), "{name}: accumulated gradients differ");
}

#[test]
fn packed_losses_and_gradients_are_those_of_plain_rows_in_every_family() {
    for name in FAMILIES {
        check(name, &decoder(name), &Stages::default());
    }
}

#[test]
fn weights_and_objectives_of_plugins_see_packed_rows_as_plain_ones() {
    let stages = Stages {
        weigh: Some(Named::new("surprise", Arc::new(Surprise) as _)),
        objective: Some(Named::new("composed", Arc::new(Composed) as _)),
        ..Stages::default()
    };
    check("tiny-llama", &decoder("tiny-llama"), &stages);
}

#[test]
fn a_row_does_not_see_its_neighbours_on_the_line() {
    for name in ["tiny-llama", "tiny-mistral-window", "tiny-gemma3", "tiny-phi3-longrope"] {
        let model = decoder(name);
        let models = PolicyPair { policy: model.clone(), reference: model };
        let logprobs = |micro: &Arc<MicroBatch>| {
            let logprobs = BatchLogprobs::new(models.clone(), Arc::clone(micro)).with_packing(true);
            logprobs.token_logprobs("reference").expect("a model")
        };
        let before = micro(&LENGTHS);
        let mut after = (*before).clone();
        let mut row = (*after.rows[2]).clone();
        row.tokens.iter_mut().for_each(|token| *token = 63 - *token);
        after.rows[2] = Arc::new(row);
        let (before, after) = (logprobs(&before), logprobs(&Arc::new(after)));
        let own = 19 + 4..19 + 4 + 7;
        for (place, (before, after)) in before.iter().zip(&after).enumerate() {
            assert!(own.contains(&place) || before.to_bits() == after.to_bits(), "{name}: token {place} has changed");
        }
        assert_ne!(before[own.clone()], after[own]);
    }
}

fn steps(tables: &str) -> (tempfile::TempDir, Vec<StepRecord>) {
    let stages = Stages { weigh: Some(Named::new("surprise", Arc::new(Surprise) as _)), ..Stages::default() };
    let (folder, made) = run_with(stages, LORA, tables);
    made.expect("it runs");
    let steps = records(folder.path()).into_iter().filter_map(|record| match record {
        Record::Step(step) => Some(step),
        _ => None,
    });
    let steps = steps.collect();
    (folder, steps)
}

const TABLES: &str = "steps = 4\nbatch = 4\nmicro-batch = 2\nlearning-rate = 0.01\n[generate]\nmax-tokens = 6\n";

#[test]
fn runs_with_packing_and_buckets_of_one_step_are_the_plain_run() {
    let (_, plain) = steps(&format!("[train]\n{TABLES}"));
    for keys in ["packing = true", "buckets = 1", "packing = true\nbuckets = 1"] {
        let (folder, found) = steps(&format!("[train]\n{keys}\n{TABLES}"));
        for (found, plain) in found.iter().zip(&plain) {
            let rows = |step: &StepRecord| step.rows.iter().copied().collect::<BTreeSet<_>>();
            assert_eq!(rows(found), rows(plain), "{keys}: step {} has other rows", plain.step);
            assert_eq!((found.tokens, found.loss_tokens), (plain.tokens, plain.loss_tokens));
            // Differences of rounding grow a little with each step.
            close(keys, f64::from(found.loss), f64::from(plain.loss), 1e-4);
            close(keys, f64::from(found.grad_norm), f64::from(plain.grad_norm), 1e-3);
        }
        close(keys, f64::from(found[0].loss), f64::from(plain[0].loss), LOSS);
        let (other, _) = steps(&format!("[train]\n{keys}\n{TABLES}"));
        assert_eq!(timeless(folder.path()), timeless(other.path()), "{keys}: twice the same is not the same");
    }
}

#[test]
fn buckets_of_several_steps_draw_every_row_once() {
    let (_, found) =
        steps("[train]\nbuckets = 8\nbatch = 2\nmicro-batch = 1\nlearning-rate = 0.01\n[generate]\nmax-tokens = 6\n");
    let mut rows: Vec<u64> = found.iter().flat_map(|step| step.rows.clone()).collect();
    assert!(
        found.iter().all(|step| step.rows[0].abs_diff(step.rows[1]) == 1),
        "rows grow by one token with their number"
    );
    rows.sort_unstable();
    assert_eq!(rows, (0..6).collect::<Vec<_>>());
}

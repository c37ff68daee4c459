//! Each fused operation against its plain form, forwards and backwards, with and without a graph.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use super::{lanes, plain};
use crate::tensor_values;

/// Both forms round in float32, in different orders.
const TOLERANCE: f32 = 1e-5;

/// Numbers between -2 and 2 that look random.
fn numbers(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 * 4.0 - 2.0
    };
    (0..len).map(|_| next()).collect()
}

fn leaf<const D: usize>(shape: [usize; D], seed: u32) -> Tensor<D> {
    let data = TensorData::new(numbers(shape.iter().product(), seed), shape);
    Tensor::from_data(data, &Device::flex().autodiff()).require_grad()
}

#[track_caller]
fn check_close(what: &str, got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!(
            (got - expected).abs() <= TOLERANCE * (1.0 + expected.abs()),
            "{what}, element {at}: {got} is not {expected}"
        );
    }
}

/// The gradients of `sum(result * weights)` in both leaves.
fn gradients<const A: usize, const B: usize, const D: usize>(
    result: Tensor<D>,
    left: &Tensor<A>,
    right: &Tensor<B>,
) -> [Vec<f32>; 2] {
    let shape = result.dims();
    let weights = Tensor::<D>::from_data(TensorData::new(numbers(shape.iter().product(), 99), shape), &Device::flex());
    let grads = (result * weights).sum().backward();
    [left.grad(&grads).map_or_else(Vec::new, tensor_values), right.grad(&grads).map_or_else(Vec::new, tensor_values)]
}

/// Checks a function of two tensors: its result and both gradients, and the result without autodiff.
#[track_caller]
fn check<const A: usize, const B: usize, const D: usize>(
    (left, right): (Tensor<A>, Tensor<B>),
    fused: impl Fn(Tensor<A>, Tensor<B>) -> Tensor<D>,
    plain: impl Fn(Tensor<A>, Tensor<B>) -> Tensor<D>,
) {
    let got = fused(left.clone(), right.clone());
    let expected = plain(left.clone(), right.clone());
    assert_eq!(got.dims(), expected.dims());
    let values = tensor_values(expected.clone());
    check_close("result", &tensor_values(got.clone()), &values);
    let without = fused(left.clone().inner(), right.clone().inner());
    assert!(!without.is_autodiff());
    check_close("result without autodiff", &without.into_data().try_into_vec_as().expect("floats"), &values);
    let [got_left, got_right] = gradients(got, &left, &right);
    let [left, right] = gradients(expected, &left, &right);
    check_close("gradient of the first", &got_left, &left);
    check_close("gradient of the second", &got_right, &right);
}

#[test]
fn rms_norm_is_the_plain_one() {
    // More rows than one task takes, and a width that is no multiple of the lanes.
    for (rows, width) in [(1, 1), (3, 7), (70, 37), (130, 576)] {
        check(
            (leaf([2, rows, width], 1), leaf([width], 2)),
            |x, weight| super::rms_norm(x, weight, 1e-5),
            |x, weight| plain::rms_norm(x, weight, 1e-5),
        );
    }
}

#[test]
fn rope_is_the_plain_one() {
    for (rows, angle_rows) in [(1, 1), (3, 1), (3, 3)] {
        let angles = leaf([angle_rows, 5, 1, 4], 4).inner();
        // A second leaf that the operation does not use, so that the same check serves.
        check(
            (leaf([rows, 5, 3, 8], 3), angles),
            |x, angles| super::rope(x, angles.clone().cos(), angles.sin()),
            |x, angles| plain::rope(x, angles.clone().cos(), angles.sin()),
        );
    }
}

#[test]
fn a_rotation_of_a_view_leaves_the_original_alone() {
    let x = leaf([2, 3, 4, 6], 5).inner();
    let view = x.clone().swap_dims(1, 2);
    let angles = Tensor::<4>::full([1, 4, 1, 3], 0.7, &Device::flex());
    let before = tensor_values(x.clone().autodiff());
    let turned = super::rope(view.clone(), angles.clone().cos(), angles.clone().sin());
    let expected = plain::rope(view, angles.clone().cos(), angles.sin());
    check_close("view", &tensor_values(turned.autodiff()), &tensor_values(expected.autodiff()));
    check_close("original", &tensor_values(x.autodiff()), &before);
}

#[test]
fn silu_mul_is_the_plain_one() {
    for shape in [[1, 1, 1], [2, 3, 5], [2, 33, 300]] {
        check((leaf(shape, 6), leaf(shape, 7)), super::silu_mul, plain::silu_mul);
    }
    let far = Tensor::<1>::from_floats([-200.0, 200.0, f32::NAN], &Device::flex());
    let values: Vec<f32> = super::silu_mul(far.clone(), far).into_data().try_into_vec_as().expect("floats");
    assert_eq!(values[..2], [0.0, 40000.0]);
    assert!(values[2].is_nan());
}

#[test]
fn causal_softmax_is_the_plain_one() {
    // Rows with padding on the left, with packed segments, and queries that continue a cache.
    let cases: [(usize, usize, usize, Vec<u32>); 4] = [
        (1, 1, 0, vec![0]),
        (2, 3, 0, vec![0; 6]),
        (2, 4, 0, vec![0, 0, 0, 0, 0, 1, 1, 3]),
        (2, 2, 5, vec![0, 0, 3, 3]),
    ];
    for (rows, queries, offset, first_keys) in cases {
        let first_keys: Arc<[u32]> = first_keys.into();
        let scores = leaf([rows, 3, queries, offset + queries], 8);
        let unused = leaf([1], 9);
        check(
            (scores, unused),
            |scores, _| super::causal_softmax(scores, &first_keys, offset),
            |scores, _| plain::causal_softmax(scores, &first_keys, offset),
        );
    }
}

#[test]
fn token_logprobs_are_the_plain_ones() {
    // The last but one has several parts of the vocabulary and several blocks of rows, the last more logits than are kept.
    for (rows, width, vocabulary) in [(1, 3, 2), (5, 8, 300), (17, 16, 1000), (1100, 4, 9000), (1700, 2, 40_000)] {
        let targets: Vec<u32> = (0..rows as u32).map(|row| (row * 7919) % vocabulary as u32).collect();
        check(
            (leaf([rows, width], 10), leaf([vocabulary, width], 11)),
            |hidden, weight| super::token_logprobs(hidden, weight, &targets, None),
            |hidden, weight| plain::token_logprobs(&hidden, weight, &targets, None),
        );
    }
}

#[test]
fn token_logprobs_of_limited_logits_are_the_plain_ones() {
    // A cap below the size of the logits, and one far above.
    for (rows, vocabulary, cap) in [(5, 300, 2.0), (700, 5000, 1.5), (3, 40, 1000.0)] {
        let targets: Vec<u32> = (0..rows as u32).map(|row| (row * 7919) % vocabulary as u32).collect();
        check(
            (leaf([rows, 8], 22), leaf([vocabulary, 8], 23)),
            |hidden, weight| super::token_logprobs(hidden, weight, &targets, Some(cap)),
            |hidden, weight| plain::token_logprobs(&hidden, weight, &targets, Some(cap)),
        );
    }
}

#[test]
fn candidate_logprobs_are_the_plain_ones() {
    // With a candidate that comes twice; the last has several parts of the vocabulary and several blocks of rows.
    for (rows, each, vocabulary, cap) in
        [(1, 1, 2, None), (5, 4, 300, Some(2.0)), (3, 7, 40, None), (700, 3, 9000, Some(1.5))]
    {
        let mut candidates: Vec<u32> =
            (0..(rows * each) as u32).map(|number| (number * 7919) % vocabulary as u32).collect();
        let last = candidates.len() - 1;
        candidates[last] = candidates[(rows - 1) * each];
        check(
            (leaf([rows, 8], 26), leaf([vocabulary, 8], 27)),
            |hidden, weight| super::candidate_logprobs(hidden, weight, &candidates, cap),
            |hidden, weight| plain::candidate_logprobs(&hidden, weight, &candidates, cap),
        );
    }
}

#[test]
fn one_candidate_each_is_the_target_bit_for_bit() {
    let (hidden, weight) = (leaf([600, 16], 28).inner(), leaf([5000, 16], 29).inner());
    let targets: Vec<u32> = (0..600).map(|row| (row * 7919) % 5000).collect();
    let one = super::token_logprobs(hidden.clone(), weight.clone(), &targets, None);
    let each = super::candidate_logprobs(hidden, weight, &targets, None);
    assert_eq!(each.dims(), [600, 1]);
    assert_eq!(tensor_values(one.autodiff()), tensor_values(each.autodiff()));
}

#[test]
fn gelu_mul_is_the_plain_one() {
    for shape in [[1, 1, 1], [2, 3, 5], [2, 33, 300]] {
        check((leaf(shape, 24), leaf(shape, 25)), super::gelu_mul, plain::gelu_mul);
    }
}

#[test]
fn token_logprobs_take_a_transposed_weight_and_skip_a_frozen_one() {
    let targets = [3, 0, 3];
    check(
        (leaf([3, 8], 12), leaf([8, 50], 13)),
        |hidden, weight| super::token_logprobs(hidden, weight.transpose(), &targets, None),
        |hidden, weight| plain::token_logprobs(&hidden, weight.transpose(), &targets, None),
    );
    let frozen = leaf([50, 8], 14).inner();
    check(
        (leaf([3, 8], 15), leaf([1], 16)),
        |hidden, _| super::token_logprobs(hidden, frozen.clone(), &targets, None),
        |hidden, _| plain::token_logprobs(&hidden, frozen.clone(), &targets, None),
    );
    assert_eq!(super::token_logprobs(Tensor::zeros([0, 8], &Device::flex()), frozen, &[], None).dims(), [0]);
}

#[test]
fn a_rows_logprob_does_not_depend_on_its_neighbours() {
    let (hidden, weight) = (leaf([700, 32], 20).inner(), leaf([5000, 32], 21).inner());
    let together = tensor_values(super::token_logprobs(hidden.clone(), weight.clone(), &[9; 700], None).autodiff());
    for row in [0, 1, 511, 512, 699] {
        let alone = super::token_logprobs(
            hidden.clone().narrow(0, row, 8.min(700 - row)),
            weight.clone(),
            &vec![9; 8.min(700 - row)],
            None,
        );
        check_close("row", &tensor_values(alone.autodiff())[..1], &together[row..=row]);
    }
}

#[test]
fn token_logprobs_do_not_overflow() {
    let hidden = Tensor::<2>::from_floats([[1000.0], [-1000.0]], &Device::flex());
    let weight = Tensor::<2>::from_floats([[1.0], [0.0], [-1.0]], &Device::flex());
    let values: Vec<f32> =
        super::token_logprobs(hidden, weight, &[0, 0], None).into_data().try_into_vec_as().expect("floats");
    assert_eq!(values, [0.0, -2000.0]);
}

#[test]
fn half_precision_falls_back_to_the_plain_form() {
    let x = leaf([1, 2, 8], 17).inner().cast(burn::tensor::DType::BF16);
    let out = super::silu_mul(x.clone(), x);
    assert_eq!(out.dtype(), burn::tensor::DType::BF16);
}

#[test]
#[expect(clippy::float_cmp, reason = "the ends are exact")]
fn the_exponential_is_exact_to_two_units() {
    for step in 0..87_000 {
        let x = -(step as f32) / 1000.0;
        let (got, exact) = (f64::from(lanes::exp_negative(x)), f64::from(x).exp());
        assert!((got - exact).abs() <= 2.0 * f64::from(f32::EPSILON) * exact, "{x}: {got} is not {exact}");
    }
    assert_eq!([f32::NEG_INFINITY, -1e30, -88.0, 0.0].map(lanes::exp_negative), [0.0, 0.0, 0.0, 1.0]);
    assert!(lanes::exp_negative(f32::NAN).is_nan());
    for x in [-50.0_f32, -1.0, 0.0, 0.3, 20.0] {
        let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
        assert!((f64::from(lanes::sigmoid(x)) - exact).abs() <= 3e-7 * exact);
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let result = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| {
            let (x, weight) = (leaf([4, 100, 96], 18), leaf([96], 19));
            let out = super::rms_norm(x.clone(), weight.clone(), 1e-6);
            let values = tensor_values(out.clone());
            (values, gradients(out, &x, &weight))
        })
    };
    assert_eq!(result(1), result(3));
}

#[test]
fn adamw_has_the_bits_of_the_plain_one_and_leaves_shared_memory_alone() {
    let tensor = |seed| leaf([40_000], seed).inner();
    let step =
        super::AdamStep { betas: [0.9, 0.999], rests: [0.1, 0.001], root: 1.5, epsilon: 1e-8, rate: 0.01, keep: 0.99 };
    for keep in [1.0, 0.99] {
        let step = super::AdamStep { keep, ..step };
        let state = [tensor(21), tensor(22), tensor(23).square()];
        let before = state.clone().map(tensor_values);
        let got = super::adamw(state.clone(), tensor(24), &step).map(tensor_values);
        let expected = plain::adamw(state.clone(), tensor(24), &step).map(tensor_values);
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        for (got, expected) in got.iter().zip(&expected) {
            assert_eq!(bits(got), bits(expected));
        }
        assert_eq!(state.map(tensor_values), before);
        assert_ne!(got[0], before[0]);
    }
}

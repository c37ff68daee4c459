//! Values against literal small cases, each computed from the formula in the WIT, in double precision.

use super::*;

const TOLERANCE: f32 = 1e-6;

#[track_caller]
#[expect(clippy::float_cmp, reason = "infinities are equal or not")]
fn check(engine: &BurnTensors, id: TensorId, shape: &[usize], expected: &[f32]) {
    assert_eq!(engine.shape(id).expect("live"), shape);
    let read = engine.read_floats(id).expect("within the budget");
    assert_eq!(read.len(), expected.len());
    for (at, (&got, &want)) in read.iter().zip(expected).enumerate() {
        let same = got == want || got.is_nan() && want.is_nan() || (got - want).abs() <= TOLERANCE * (1.0 + want.abs());
        assert!(same, "element {at}: {got} is not {want} in {read:?}");
    }
}

/// One tensor of shape [2, 3] with a tie, a zero and both signs.
const SMALL: [f32; 6] = [1.0, -2.0, 0.0, 0.5, 3.0, 3.0];

#[track_caller]
fn check_small(op: impl Fn(TensorId) -> Op, shape: &[usize], expected: &[f32]) {
    let engine = engine();
    let small = floats(&engine, &SMALL, &[2, 3]);
    let out = done(&engine, &op(small));
    check(&engine, out, shape, expected);
}

#[track_caller]
fn check_small_ints(op: impl Fn(TensorId) -> Op, shape: &[usize], expected: &[f32]) {
    let engine = engine();
    let small = ints(&engine, &[1, -2, 0, 5, 3, 5], &[2, 3]);
    let out = done(&engine, &op(small));
    check(&engine, out, shape, expected);
}

#[track_caller]
fn check_binary(op: Binary, right: &[f32], right_shape: &[usize], shape: &[usize], expected: &[f32]) {
    let engine = engine();
    let left = floats(&engine, &SMALL, &[2, 3]);
    let right = floats(&engine, right, right_shape);
    let out = done(&engine, &binary(op)(left, right));
    check(&engine, out, shape, expected);
}

#[test]
fn tensors_are_made_from_numbers() {
    let engine = engine();
    let rank_0 = floats(&engine, &[7.0], &[]);
    check(&engine, rank_0, &[], &[7.0]);
    let full = done(&engine, &Op::Full { value: 2.5, shape: vec![2, 2] });
    check(&engine, full, &[2, 2], &[2.5; 4]);
    let range = done(&engine, &Op::Arange { start: -1, end: 3 });
    assert_eq!(engine.read_ints(range), Ok(vec![-1, 0, 1, 2]));
    let rank_5 = floats(&engine, &[1.0, 2.0], &[1, 1, 1, 1, 2]);
    check(&engine, rank_5, &[1, 1, 1, 1, 2], &[1.0, 2.0]);
    let none = done(&engine, &Op::Arange { start: 5, end: 5 });
    assert_eq!(engine.read_ints(none), Ok(vec![]));
}

#[test]
fn kinds_convert() {
    check_small_ints(Op::ToFloat, &[2, 3], &[1.0, -2.0, 0.0, 5.0, 3.0, 5.0]);
    let engine = engine();
    let some = floats(&engine, &[1.9, -1.9, f32::NAN, 3e10, f32::NEG_INFINITY], &[5]);
    let whole = done(&engine, &Op::ToInt(some));
    assert_eq!(engine.read_ints(whole), Ok(vec![1, -1, 0, i32::MAX, i32::MIN]));
}

#[test]
fn views_move_elements() {
    check_small(|id| Op::Reshape(id, vec![3, 2]), &[3, 2], &SMALL);
    check_small(|id| Op::Reshape(id, vec![1, 6, 1]), &[1, 6, 1], &SMALL);
    check_small(|id| Op::Permute(id, vec![1, 0]), &[3, 2], &[1.0, 0.5, -2.0, 3.0, 0.0, 3.0]);
    check_small(|id| Op::Slice { input: id, dim: 1, start: 1, end: 3 }, &[2, 2], &[-2.0, 0.0, 3.0, 3.0]);
    check_small(|id| Op::Slice { input: id, dim: 0, start: 1, end: 1 }, &[0, 3], &[]);
    let engine = engine();
    let column = floats(&engine, &[1.0, 2.0], &[2, 1]);
    let wide = done(&engine, &Op::Expand(column, vec![2, 2, 3]));
    check(&engine, wide, &[2, 2, 3], &[1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
    let one = floats(&engine, &[4.0], &[]);
    let many = done(&engine, &Op::Expand(one, vec![3]));
    check(&engine, many, &[3], &[4.0; 3]);
    let swapped = done(&engine, &Op::Permute(wide, vec![2, 0, 1]));
    check(&engine, swapped, &[3, 2, 2], &[1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0]);
}

#[test]
fn tensors_are_joined_empty_ones_included() {
    let engine = engine();
    let left = floats(&engine, &[1.0, 2.0], &[2, 1]);
    let right = floats(&engine, &[3.0, 4.0, 5.0, 6.0], &[2, 2]);
    let empty = floats(&engine, &[], &[2, 0]);
    let joined = done(&engine, &Op::Concat { parts: vec![left, empty, right], dim: 1 });
    check(&engine, joined, &[2, 3], &[1.0, 3.0, 4.0, 2.0, 5.0, 6.0]);
    let none = done(&engine, &Op::Concat { parts: vec![empty, empty], dim: 1 });
    check(&engine, none, &[2, 0], &[]);
}

#[test]
fn elements_are_picked_by_index() {
    let engine = engine();
    let small = floats(&engine, &SMALL, &[2, 3]);
    let index = ints(&engine, &[2, 0, 1, 1], &[2, 2]);
    let picked = done(&engine, &Op::Gather { input: small, dim: 1, index });
    check(&engine, picked, &[2, 2], &[0.0, 1.0, 3.0, 3.0]);
    let order = ints(&engine, &[1, 1, 0], &[3]);
    let rows = done(&engine, &Op::IndexSelect { input: small, dim: 0, index: order });
    check(&engine, rows, &[3, 3], &[0.5, 3.0, 3.0, 0.5, 3.0, 3.0, 1.0, -2.0, 0.0]);
    let tokens = ints(&engine, &[7, 8, 9], &[3]);
    let again = done(&engine, &Op::Gather { input: tokens, dim: 0, index: order });
    assert_eq!(engine.read_ints(again), Ok(vec![8, 8, 7]));
}

#[test]
fn elements_are_picked_by_condition() {
    let engine = engine();
    let small = floats(&engine, &SMALL, &[2, 3]);
    let mask = ints(&engine, &[1, 0, 7], &[3]);
    let zero = floats(&engine, &[0.0], &[]);
    let chosen = done(&engine, &Op::Choose { input: small, condition: mask, otherwise: zero });
    check(&engine, chosen, &[2, 3], &[1.0, 0.0, 0.0, 0.5, 0.0, 3.0]);
    let mask = floats(&engine, &[0.0, -0.5, f32::NAN], &[3]);
    let filled = done(&engine, &Op::MaskedFill { input: small, mask, value: f32::NEG_INFINITY });
    let low = f32::NEG_INFINITY;
    check(&engine, filled, &[2, 3], &[1.0, low, low, 0.5, low, low]);
}

#[test]
fn arithmetic_broadcasts() {
    check_binary(Binary::Add, &[1.0, 2.0, 3.0], &[3], &[2, 3], &[2.0, 0.0, 3.0, 1.5, 5.0, 6.0]);
    check_binary(Binary::Sub, &[1.0, 2.0], &[2, 1], &[2, 3], &[0.0, -3.0, -1.0, -1.5, 1.0, 1.0]);
    check_binary(Binary::Mul, &[2.0], &[], &[2, 3], &[2.0, -4.0, 0.0, 1.0, 6.0, 6.0]);
    check_binary(
        Binary::Mul,
        &[1.0, 2.0],
        &[2, 1, 1],
        &[2, 2, 3],
        &[1.0, -2.0, 0.0, 0.5, 3.0, 3.0, 2.0, -4.0, 0.0, 1.0, 6.0, 6.0],
    );
    check_binary(Binary::Div, &[2.0, 4.0, 0.0], &[3], &[2, 3], &[0.5, -0.5, f32::NAN, 0.25, 0.75, f32::INFINITY]);
    check_binary(Binary::Add, &[], &[0, 1, 3], &[0, 2, 3], &[]);
}

#[test]
fn extremes_and_comparisons_take_two_tensors() {
    let nan = f32::NAN;
    check_binary(Binary::Maximum, &[0.0, 0.0, nan], &[3], &[2, 3], &[1.0, 0.0, nan, 0.5, 3.0, nan]);
    check_binary(Binary::Minimum, &[0.0, 0.0, nan], &[3], &[2, 3], &[0.0, -2.0, nan, 0.0, 0.0, nan]);
    check_binary(Binary::Maximum, &[f32::INFINITY], &[1], &[2, 3], &[f32::INFINITY; 6]);
    check_binary(Binary::Equal, &[1.0, 3.0, nan], &[3], &[2, 3], &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    check_binary(Binary::Greater, &[0.5], &[], &[2, 3], &[1.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    check_binary(Binary::GreaterEqual, &[0.5], &[], &[2, 3], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
}

#[test]
fn integers_have_arithmetic_and_wrap() {
    let engine = engine();
    let left = ints(&engine, &[i32::MAX, -7, 3], &[3]);
    let right = ints(&engine, &[1, 2, 3], &[3]);
    for (op, expected) in [
        (Binary::Add, [i32::MIN, -5, 6]),
        (Binary::Sub, [i32::MAX - 1, -9, 0]),
        (Binary::Mul, [i32::MAX, -14, 9]),
        (Binary::Maximum, [i32::MAX, 2, 3]),
        (Binary::Minimum, [1, -7, 3]),
    ] {
        let out = done(&engine, &binary(op)(left, right));
        assert_eq!(engine.read_ints(out), Ok(expected.to_vec()), "{op:?}");
    }
    for (op, expected) in
        [(Binary::Equal, [0.0, 0.0, 1.0]), (Binary::Greater, [1.0, 0.0, 0.0]), (Binary::GreaterEqual, [1.0, 0.0, 1.0])]
    {
        let out = done(&engine, &binary(op)(left, right));
        check(&engine, out, &[3], &expected);
    }
    let least = ints(&engine, &[i32::MIN], &[1]);
    for op in [Unary::Neg, Unary::Abs] {
        let out = done(&engine, &unary(op)(least));
        assert_eq!(engine.read_ints(out), Ok(vec![i32::MIN]), "{op:?}");
    }
    let big = ints(&engine, &[i32::MAX, i32::MAX, i32::MAX], &[3]);
    let running = done(&engine, &along(Along::Cumsum, 0)(big));
    assert_eq!(engine.read_ints(running), Ok(vec![i32::MAX, -2, i32::MAX - 2]));
    let total = done(&engine, &Op::Sum(big));
    assert_eq!(engine.read_ints(total), Ok(vec![i32::MAX - 2]));
}

#[test]
fn scalars_meet_floats() {
    check_small(scalar(Scalar::Add, 1.5), &[2, 3], &[2.5, -0.5, 1.5, 2.0, 4.5, 4.5]);
    check_small(scalar(Scalar::Mul, -2.0), &[2, 3], &[-2.0, 4.0, 0.0, -1.0, -6.0, -6.0]);
    check_small(scalar(Scalar::Pow, 2.0), &[2, 3], &[1.0, 4.0, 0.0, 0.25, 9.0, 9.0]);
    check_small(scalar(Scalar::Pow, 0.0), &[2, 3], &[1.0; 6]);
    check_small(scalar(Scalar::Pow, -1.0), &[2, 3], &[1.0, -0.5, f32::INFINITY, 2.0, 1.0 / 3.0, 1.0 / 3.0]);
    check_small(scalar(Scalar::Equal, 3.0), &[2, 3], &[0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    check_small(scalar(Scalar::Greater, 0.5), &[2, 3], &[1.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    check_small(scalar(Scalar::GreaterEqual, 0.5), &[2, 3], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    check_small(|id| Op::Clamp { input: id, low: -1.0, high: 0.75 }, &[2, 3], &[0.75, -1.0, 0.0, 0.5, 0.75, 0.75]);
    check_small(|id| Op::Clamp { input: id, low: f32::NEG_INFINITY, high: f32::INFINITY }, &[2, 3], &SMALL);
}

#[test]
fn scalars_meet_integers_exactly() {
    check_small_ints(scalar(Scalar::Add, 2.0), &[2, 3], &[3.0, 0.0, 2.0, 7.0, 5.0, 7.0]);
    check_small_ints(scalar(Scalar::Mul, -1.0), &[2, 3], &[-1.0, 2.0, 0.0, -5.0, -3.0, -5.0]);
    check_small_ints(scalar(Scalar::Greater, 2.5), &[2, 3], &[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    check_small_ints(scalar(Scalar::GreaterEqual, -2.0), &[2, 3], &[1.0; 6]);
    check_small_ints(scalar(Scalar::GreaterEqual, 0.5), &[2, 3], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    check_small_ints(scalar(Scalar::Equal, 5.0), &[2, 3], &[0.0, 0.0, 0.0, 1.0, 0.0, 1.0]);
    check_small_ints(scalar(Scalar::Equal, 5.5), &[2, 3], &[0.0; 6]);
    check_small_ints(scalar(Scalar::Equal, f32::NAN), &[2, 3], &[0.0; 6]);
    check_small_ints(scalar(Scalar::Greater, f32::NEG_INFINITY), &[2, 3], &[1.0; 6]);
    check_small_ints(scalar(Scalar::Greater, 3e9), &[2, 3], &[0.0; 6]);
    check_small_ints(scalar(Scalar::GreaterEqual, -3e9), &[2, 3], &[1.0; 6]);
    check_small_ints(|id| Op::Clamp { input: id, low: -0.5, high: 3.5 }, &[2, 3], &[1.0, 0.0, 0.0, 3.0, 3.0, 3.0]);
    check_small_ints(unary(Unary::Relu), &[2, 3], &[1.0, 0.0, 0.0, 5.0, 3.0, 5.0]);
    check_small_ints(unary(Unary::Abs), &[2, 3], &[1.0, 2.0, 0.0, 5.0, 3.0, 5.0]);
    // 2^24 + 1 is no float32: a comparison by way of floats would call it equal to 2^24.
    let engine = engine();
    let fine = ints(&engine, &[16_777_217], &[1]);
    let out = done(&engine, &scalar(Scalar::Greater, 16_777_216.0)(fine));
    check(&engine, out, &[1], &[1.0]);
}

#[test]
fn functions_of_one_tensor() {
    check_small(unary(Unary::Neg), &[2, 3], &[-1.0, 2.0, 0.0, -0.5, -3.0, -3.0]);
    check_small(unary(Unary::Abs), &[2, 3], &[1.0, 2.0, 0.0, 0.5, 3.0, 3.0]);
    check_small(unary(Unary::Relu), &[2, 3], &[1.0, 0.0, 0.0, 0.5, 3.0, 3.0]);
    check_small(unary(Unary::Exp), &[2, 3], &SMALL.map(f32::exp));
    check_small(unary(Unary::Log), &[2, 3], &SMALL.map(f32::ln));
    check_small(unary(Unary::Sqrt), &[2, 3], &SMALL.map(f32::sqrt));
    check_small(unary(Unary::Tanh), &[2, 3], &SMALL.map(f32::tanh));
    check_small(unary(Unary::Sigmoid), &[2, 3], &SMALL.map(|x| 1.0 / (1.0 + (-x).exp())));
    check_small(unary(Unary::Softplus), &[2, 3], &SMALL.map(|x| x.exp().ln_1p()));
    let engine = engine();
    let far = floats(&engine, &[-1000.0, -20.0, 20.0, 1000.0], &[4]);
    let soft = done(&engine, &unary(Unary::Softplus)(far));
    // log1p(exp(-20)) in double precision.
    check(&engine, soft, &[4], &[0.0, 2.061_153_6e-9, 20.0, 1000.0]);
    let soft = engine.read_floats(soft).expect("live");
    assert!((soft[1] / 2.061_153_6e-9 - 1.0).abs() < 1e-5, "small values keep their digits");
}

#[test]
fn everything_is_summed() {
    check_small(Op::Sum, &[], &[5.5]);
    check_small(Op::Mean, &[], &[5.5 / 6.0]);
    check_small(along(Along::Sum, 1), &[2, 1], &[-1.0, 6.5]);
    check_small(along(Along::Sum, 0), &[1, 3], &[1.5, 1.0, 3.0]);
    check_small(along(Along::Mean, 1), &[2, 1], &[-1.0 / 3.0, 6.5 / 3.0]);
    check_small(along(Along::Cumsum, 1), &[2, 3], &[1.0, -1.0, -1.0, 0.5, 3.5, 6.5]);
    check_small(along(Along::Cumsum, 0), &[2, 3], &[1.0, -2.0, 0.0, 1.5, 1.0, 3.0]);
    check_small_ints(Op::Sum, &[], &[12.0]);
    check_small_ints(along(Along::Sum, 0), &[1, 3], &[6.0, 1.0, 5.0]);
}

#[test]
fn the_first_of_equals_is_the_largest() {
    check_small(along(Along::Max, 1), &[2, 1], &[1.0, 3.0]);
    check_small(along(Along::Min, 1), &[2, 1], &[-2.0, 0.5]);
    check_small(along(Along::Argmax, 1), &[2, 1], &[0.0, 1.0]);
    check_small(along(Along::Argmax, 0), &[1, 3], &[0.0, 1.0, 1.0]);
    check_small_ints(along(Along::Max, 1), &[2, 1], &[1.0, 5.0]);
    check_small_ints(along(Along::Min, 1), &[2, 1], &[-2.0, 3.0]);
    check_small_ints(along(Along::Argmax, 1), &[2, 1], &[0.0, 0.0]);
    let engine = engine();
    let with_nan =
        floats(&engine, &[1.0, f32::NAN, 5.0, f32::NEG_INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY], &[2, 3]);
    let index = done(&engine, &along(Along::Argmax, 1)(with_nan));
    assert_eq!(engine.read_ints(index), Ok(vec![1, 0]));
    let largest = done(&engine, &along(Along::Max, 1)(with_nan));
    check(&engine, largest, &[2, 1], &[f32::NAN, f32::NEG_INFINITY]);
    let extremes = ints(&engine, &[i32::MIN, i32::MAX, i32::MIN], &[3]);
    let least = done(&engine, &along(Along::Min, 0)(extremes));
    assert_eq!(engine.read_ints(least), Ok(vec![i32::MIN]));
}

#[test]
fn probabilities_are_normalised() {
    // exp(x) / sum(exp(x)) in double precision.
    let softmax = [0.705_384_5, 0.035_119_03, 0.259_496_46, 0.039_424_42, 0.480_287_8, 0.480_287_8];
    check_small(along(Along::Softmax, 1), &[2, 3], &softmax);
    check_small(along(Along::LogSoftmax, 1), &[2, 3], &softmax.map(f32::ln));
    check_small(along(Along::Logsumexp, 1), &[2, 1], &[1.349_012_3, 3.733_369_8]);
    let engine = engine();
    let low = f32::NEG_INFINITY;
    let rows = floats(&engine, &[low, low, low, 0.0, 1000.0, 1000.0, 1.0, f32::INFINITY], &[4, 2]);
    let sums = done(&engine, &along(Along::Logsumexp, 1)(rows));
    check(&engine, sums, &[4, 1], &[low, 0.0, 1000.0 + 2.0_f32.ln(), f32::INFINITY]);
}

#[test]
fn matrices_multiply_and_batches_broadcast() {
    let engine = engine();
    let left = floats(&engine, &SMALL, &[2, 3]);
    let right = floats(&engine, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[3, 2]);
    let out = done(&engine, &Op::Matmul(left, right));
    check(&engine, out, &[2, 2], &[-5.0, -6.0, 24.5, 31.0]);
    let batch = floats(&engine, &[1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0], &[2, 1, 2, 2]);
    let out = done(&engine, &Op::Matmul(batch, left));
    check(&engine, out, &[2, 1, 2, 3], &[1.0, -2.0, 0.0, 0.5, 3.0, 3.0, 0.5, 3.0, 3.0, 1.0, -2.0, 0.0]);
    let none = floats(&engine, &[], &[2, 0]);
    let none_2 = floats(&engine, &[], &[0, 3]);
    let out = done(&engine, &Op::Matmul(none, none_2));
    check(&engine, out, &[2, 3], &[0.0; 6]);
}

#[test]
fn sorting_is_stable_and_nan_is_largest() {
    let engine = engine();
    let row = floats(&engine, &[3.0, f32::NAN, -0.0, 3.0, 0.0, f32::INFINITY], &[6]);
    let (values, index) = pair(&engine, &PairOp::Sort { input: row, dim: 0, descending: false });
    check(&engine, values, &[6], &[0.0, 0.0, 3.0, 3.0, f32::INFINITY, f32::NAN]);
    assert_eq!(engine.read_ints(index), Ok(vec![2, 4, 0, 3, 5, 1]));
    let (_, index) = pair(&engine, &PairOp::Sort { input: row, dim: 0, descending: true });
    assert_eq!(engine.read_ints(index), Ok(vec![1, 5, 0, 3, 2, 4]));
    let (values, index) = pair(&engine, &PairOp::TopK { input: row, dim: 0, count: 3 });
    check(&engine, values, &[3], &[f32::NAN, f32::INFINITY, 3.0]);
    assert_eq!(engine.read_ints(index), Ok(vec![1, 5, 0]));
    let table = ints(&engine, &[3, i32::MIN, 1, 2, i32::MAX, 1], &[3, 2]);
    let (values, index) = pair(&engine, &PairOp::Sort { input: table, dim: 0, descending: false });
    assert_eq!(engine.read_ints(values), Ok(vec![1, i32::MIN, 3, 1, i32::MAX, 2]));
    assert_eq!(engine.read_ints(index), Ok(vec![1, 0, 0, 2, 2, 1]));
    let (values, _) = pair(&engine, &PairOp::TopK { input: table, dim: 1, count: 0 });
    assert_eq!(engine.shape(values), Ok(vec![3, 0]));
}

#[test]
fn the_sum_of_nothing_is_zero() {
    let engine = engine();
    let none = floats(&engine, &[], &[2, 0]);
    let cases: [(Op, &[usize], f32); 5] = [
        (Op::Sum(none), &[], 0.0),
        (Op::Mean(none), &[], f32::NAN),
        (Op::Along(Along::Sum, none, 1), &[2, 1], 0.0),
        (Op::Along(Along::Mean, none, 1), &[2, 1], f32::NAN),
        (Op::Along(Along::Logsumexp, none, 1), &[2, 1], f32::NEG_INFINITY),
    ];
    for (op, shape, expected) in cases {
        let out = done(&engine, &op);
        let elements = shape.iter().product::<usize>();
        check(&engine, out, shape, &vec![expected; elements]);
    }
}

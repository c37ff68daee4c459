//! Gradients against central differences, and the rules where a function has no derivative.

use burn::tensor::{Tensor, TensorData};

use super::*;

/// Central differences of float32 with steps of 0.01 are this exact, relative to 1 + |gradient|.
const TOLERANCE: f32 = 4e-3;

/// The weighted sum of an operation's result: every element's gradient is seen, with its own weight.
fn loss(engine: &BurnTensors, inputs: &[TensorId], build: &dyn Fn(&BurnTensors, &[TensorId]) -> TensorId) -> TensorId {
    let out = build(engine, inputs);
    let shape = engine.shape(out).expect("live");
    let weights: Vec<f32> =
        (0..shape.iter().product::<usize>()).map(|at| 0.3 + 0.7 * (at as f32 * 1.7).sin()).collect();
    let weights = floats(engine, &weights, &shape);
    let weighed = done(engine, &binary(Binary::Mul)(out, weights));
    done(engine, &Op::Sum(weighed))
}

fn gradients(inputs: &[(&[f32], &[usize])], build: &dyn Fn(&BurnTensors, &[TensorId]) -> TensorId) -> Vec<Vec<f32>> {
    let device = test_device().autodiff();
    let engine = BurnTensors::new(&device, Budget::default());
    let leaves: Vec<Tensor<1>> = inputs
        .iter()
        .map(|(values, _)| Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &device).require_grad())
        .collect();
    let ids: Vec<TensorId> = leaves
        .iter()
        .zip(inputs)
        .map(|(leaf, (_, shape))| {
            let flat = engine.insert_float(leaf.clone());
            done(&engine, &Op::Reshape(flat, shape.to_vec()))
        })
        .collect();
    let loss = loss(&engine, &ids, build);
    assert!(engine.is_tracked(loss).expect("live"), "the loss hangs on the graph");
    let grads = engine.scalar(loss).expect("one number").backward();
    leaves
        .iter()
        .map(|leaf| leaf.grad(&grads).map_or_else(|| vec![0.0; leaf.dims()[0]], crate::tensor_values))
        .collect()
}

/// Checks the gradient of every element of every input.
#[track_caller]
fn check(inputs: &[(&[f32], &[usize])], build: impl Fn(&BurnTensors, &[TensorId]) -> TensorId) {
    let exact = gradients(inputs, &build);
    let step = 1e-2;
    for (which, (values, _)) in inputs.iter().enumerate() {
        for at in 0..values.len() {
            let moved = |by: f32| {
                let engine = engine();
                let ids: Vec<TensorId> = inputs
                    .iter()
                    .enumerate()
                    .map(|(other, (values, shape))| {
                        let mut values = values.to_vec();
                        if other == which {
                            values[at] += by;
                        }
                        floats(&engine, &values, shape)
                    })
                    .collect();
                let id = loss(&engine, &ids, &build);
                engine.read_floats(id).expect("live")[0]
            };
            let approximate = (moved(step) - moved(-step)) / (2.0 * step);
            let got = exact[which][at];
            assert!(
                (got - approximate).abs() <= TOLERANCE * (1.0 + got.abs()),
                "input {which}, element {at}: {got} is not {approximate}"
            );
        }
    }
}

#[track_caller]
fn check_one(op: impl Fn(TensorId) -> Op) {
    check(&[(&PLAIN, &[2, 3])], |engine, ids| done(engine, &op(ids[0])));
}

#[track_caller]
fn check_two(op: impl Fn(TensorId, TensorId) -> Op) {
    check(&[(&PLAIN, &[2, 3]), (&[0.7, -0.4, 1.3], &[3])], |engine, ids| done(engine, &op(ids[0], ids[1])));
}

/// Positive, distinct, away from every kink.
const PLAIN: [f32; 6] = [0.6, 1.4, 0.9, 2.1, 0.3, 1.1];

#[test]
fn arithmetic_has_gradients() {
    for op in [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Maximum, Binary::Minimum] {
        check_two(binary(op));
    }
    check_one(scalar(Scalar::Add, 3.0));
    check_one(scalar(Scalar::Mul, -0.5));
    for exponent in [2.0, 3.0, 0.5, -1.0, -2.0, 0.0, 1.0, 1.5] {
        check_one(scalar(Scalar::Pow, exponent));
    }
    check_one(|id| Op::Clamp { input: id, low: 0.5, high: 1.25 });
}

#[test]
fn functions_have_gradients() {
    for op in [
        Unary::Neg,
        Unary::Abs,
        Unary::Exp,
        Unary::Log,
        Unary::Sqrt,
        Unary::Tanh,
        Unary::Sigmoid,
        Unary::Softplus,
        Unary::Relu,
    ] {
        check_one(unary(op));
    }
    for op in [Unary::Abs, Unary::Tanh, Unary::Sigmoid, Unary::Softplus, Unary::Relu] {
        check(&[(&[-0.4, 0.8, -2.0, -7.0], &[4])], |engine, ids| done(engine, &unary(op)(ids[0])));
    }
}

#[test]
fn reductions_have_gradients() {
    check_one(Op::Sum);
    check_one(Op::Mean);
    for op in [
        Along::Sum,
        Along::Mean,
        Along::Max,
        Along::Min,
        Along::Cumsum,
        Along::Softmax,
        Along::LogSoftmax,
        Along::Logsumexp,
    ] {
        for dim in [0, 1] {
            check_one(along(op, dim));
        }
    }
}

#[test]
fn views_have_gradients() {
    check_one(|id| Op::Reshape(id, vec![3, 2]));
    check_one(|id| Op::Permute(id, vec![1, 0]));
    check_one(|id| Op::Slice { input: id, dim: 1, start: 1, end: 3 });
    check_one(|id| Op::Expand(id, vec![2, 2, 3]));
    check(&[(&[0.5, 2.0], &[2, 1])], |engine, ids| done(engine, &Op::Expand(ids[0], vec![4, 2, 3])));
    check(&[(&[0.5], &[])], |engine, ids| done(engine, &Op::Expand(ids[0], vec![2, 2])));
    check(&[(&PLAIN, &[2, 3]), (&[1.0, 2.0], &[2, 1])], |engine, ids| {
        done(engine, &Op::Concat { parts: vec![ids[1], ids[0], ids[1]], dim: 1 })
    });
}

#[test]
fn selections_have_gradients() {
    check(&[(&PLAIN, &[2, 3])], |engine, ids| {
        let index = ints(engine, &[2, 2, 0, 1], &[2, 2]);
        done(engine, &Op::Gather { input: ids[0], dim: 1, index })
    });
    check(&[(&PLAIN, &[2, 3])], |engine, ids| {
        let index = ints(engine, &[1, 1, 0], &[3]);
        done(engine, &Op::IndexSelect { input: ids[0], dim: 0, index })
    });
    check(&[(&PLAIN, &[2, 3]), (&[0.1, 0.2, 0.3], &[3])], |engine, ids| {
        let condition = ints(engine, &[1, 0], &[2, 1]);
        done(engine, &Op::Choose { input: ids[0], condition, otherwise: ids[1] })
    });
    check(&[(&PLAIN, &[2, 3])], |engine, ids| {
        let mask = floats(engine, &[0.0, 1.0, 0.0], &[3]);
        done(engine, &Op::MaskedFill { input: ids[0], mask, value: 9.0 })
    });
    for descending in [false, true] {
        check(&[(&PLAIN, &[2, 3])], |engine, ids| pair(engine, &PairOp::Sort { input: ids[0], dim: 1, descending }).0);
    }
    check(&[(&PLAIN, &[2, 3])], |engine, ids| pair(engine, &PairOp::TopK { input: ids[0], dim: 0, count: 1 }).0);
}

#[test]
fn matrix_products_have_gradients() {
    check(&[(&PLAIN, &[2, 3]), (&[0.2, -0.7, 0.4, 1.1, 0.6, -0.3], &[3, 2])], |engine, ids| {
        done(engine, &Op::Matmul(ids[0], ids[1]))
    });
    check(&[(&PLAIN, &[3, 1, 2]), (&[0.2, -0.7, 0.4, 1.1, 0.6, -0.3, 0.5, 0.9], &[2, 1, 2, 2])], |engine, ids| {
        done(engine, &Op::Matmul(ids[0], ids[1]))
    });
}

#[track_caller]
fn check_exact(
    inputs: &[(&[f32], &[usize])],
    expected: &[&[f32]],
    build: impl Fn(&BurnTensors, &[TensorId]) -> TensorId,
) {
    // The weights of `loss` are undone, so that the plain gradient is seen.
    let plain = |engine: &BurnTensors, ids: &[TensorId]| {
        let out = build(engine, ids);
        let sum = done(engine, &Op::Sum(out));
        done(engine, &scalar(Scalar::Mul, 1.0 / 0.3)(sum))
    };
    let got = gradients(inputs, &plain);
    for (got, expected) in got.iter().zip(expected) {
        for (got, expected) in got.iter().zip(*expected) {
            assert!((got - expected).abs() < 1e-5, "{got} is not {expected}");
        }
    }
}

#[test]
fn equals_share_the_gradient_of_maximum_and_minimum() {
    for op in [Binary::Maximum, Binary::Minimum] {
        check_exact(&[(&[1.0], &[1]), (&[1.0], &[1])], &[&[0.5], &[0.5]], |engine, ids| {
            done(engine, &binary(op)(ids[0], ids[1]))
        });
    }
}

#[test]
fn the_first_of_equals_has_the_gradient_of_max_dim() {
    for op in [Along::Max, Along::Min] {
        check_exact(&[(&[2.0, 2.0, 2.0], &[3])], &[&[1.0, 0.0, 0.0]], |engine, ids| {
            done(engine, &along(op, 0)(ids[0]))
        });
    }
}

#[test]
fn kinks_have_the_gradients_of_pytorch() {
    check_exact(&[(&[0.0], &[1])], &[&[0.5]], |engine, ids| done(engine, &unary(Unary::Softplus)(ids[0])));
    check_exact(&[(&[0.0], &[1])], &[&[0.0]], |engine, ids| done(engine, &unary(Unary::Relu)(ids[0])));
    check_exact(&[(&[0.0], &[1])], &[&[0.0]], |engine, ids| done(engine, &unary(Unary::Abs)(ids[0])));
}

/// The contract says that the gradient is 0 outside; a bound is not. `PyTorch` 2.15 has none at the very bounds.
#[test]
fn the_bounds_of_clamp_have_a_gradient() {
    check_exact(&[(&[0.0, 1.0, 2.0, -3.0], &[4])], &[&[1.0, 1.0, 0.0, 0.0]], |engine, ids| {
        done(engine, &Op::Clamp { input: ids[0], low: 0.0, high: 1.0 })
    });
}

#[test]
fn a_detached_tensor_is_a_constant() {
    check_exact(&[(&[3.0], &[1])], &[&[3.0]], |engine, ids| {
        let constant = done(engine, &Op::Detach(ids[0]));
        assert!(!engine.is_tracked(constant).expect("live"));
        done(engine, &binary(Binary::Mul)(ids[0], constant))
    });
}

//! Tests of the tensor engine: values, gradients, misuse, budgets, and a sweep that must not panic.

mod budgets;
mod gradients;
mod misuse;
mod pytorch;
mod sweep;
mod values;

use burn::tensor::Device;
use tunesmith_core::tensors::{Along, Binary, Op, PairOp, Scalar, TensorError, TensorId, Tensors, Unary};

use super::{Budget, BurnTensors};
use crate::device;

/// The device that the engine is tested on: `TUNESMITH_TEST_DEVICE`, named as in a recipe, or the CPU.
fn test_device() -> Device {
    let name = std::env::var("TUNESMITH_TEST_DEVICE").unwrap_or_else(|_| "cpu".into());
    device::open(&name).unwrap_or_else(|error| panic!("{error}"))
}

fn engine() -> BurnTensors {
    BurnTensors::new(&test_device(), Budget::default())
}

fn floats(engine: &BurnTensors, values: &[f32], shape: &[usize]) -> TensorId {
    engine.apply(&Op::FromFloats { values: values.to_vec(), shape: shape.to_vec() }).expect("the values fill the shape")
}

fn ints(engine: &BurnTensors, values: &[i32], shape: &[usize]) -> TensorId {
    engine.apply(&Op::FromInts { values: values.to_vec(), shape: shape.to_vec() }).expect("the values fill the shape")
}

#[track_caller]
fn done(engine: &BurnTensors, op: &Op) -> TensorId {
    engine.apply(op).expect("the operation fits")
}

fn binary(op: Binary) -> impl Fn(TensorId, TensorId) -> Op {
    move |left, right| Op::Binary(op, left, right)
}

fn along(op: Along, dim: usize) -> impl Fn(TensorId) -> Op {
    move |input| Op::Along(op, input, dim)
}

fn unary(op: Unary) -> impl Fn(TensorId) -> Op {
    move |input| Op::Unary(op, input)
}

fn scalar(op: Scalar, number: f32) -> impl Fn(TensorId) -> Op {
    move |input| Op::Scalar(op, input, number)
}

fn pair(engine: &BurnTensors, op: &PairOp) -> (TensorId, TensorId) {
    engine.apply_pair(op).expect("the operation fits")
}

fn refused(result: Result<impl std::fmt::Debug, TensorError>) -> String {
    result.expect_err("the operation does not fit").to_string()
}

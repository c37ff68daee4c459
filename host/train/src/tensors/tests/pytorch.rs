//! Every operation against `PyTorch`, in values and gradients: `tests/fixtures/tensor-ops`; see its README.

use std::collections::BTreeSet;
use std::path::PathBuf;

use burn::tensor::{Tensor, TensorData};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::*;

/// Relative to 1 + |expected|. Both sides round each float32 operation; sums of up to 18 terms and `exp` differ in the last bits.
const TOLERANCE: f64 = 2e-6;
/// `PyTorch` takes the gradient of `logsumexp` from the rounded result: at 1000 it is 5e-6 off, where the engine is exact.
const LOGSUMEXP_TOLERANCE: f64 = 1e-5;

#[derive(Deserialize)]
struct Case {
    op: String,
    arguments: Map<String, Value>,
    inputs: Vec<Given>,
    outputs: Vec<Given>,
    gradients: Vec<Option<Vec<f64>>>,
}

#[derive(Deserialize)]
struct Given {
    shape: Vec<usize>,
    floats: Option<Vec<f32>>,
    ints: Option<Vec<i32>>,
}

impl Case {
    fn number(&self, name: &str) -> f64 {
        self.arguments[name].as_f64().unwrap_or_else(|| panic!("{}: `{name}` is no number", self.op))
    }

    fn size(&self, name: &str) -> usize {
        self.number(name) as usize
    }

    fn list<T: serde::de::DeserializeOwned>(&self, name: &str) -> Vec<T> {
        serde_json::from_value(self.arguments[name].clone()).expect("a list of numbers")
    }

    /// The operation on these inputs, if it gives one tensor.
    fn single(&self, ids: &[TensorId]) -> Option<Op> {
        let two = |op| Op::Binary(op, ids[0], ids[1]);
        let one = |op| Op::Unary(op, ids[0]);
        let with = |op| Op::Scalar(op, ids[0], self.number("value") as f32);
        let over = |op| Op::Along(op, ids[0], self.size("dim"));
        Some(match self.op.as_str() {
            "add" => two(Binary::Add),
            "sub" => two(Binary::Sub),
            "mul" => two(Binary::Mul),
            "div" => two(Binary::Div),
            "maximum" => two(Binary::Maximum),
            "minimum" => two(Binary::Minimum),
            "equal" => two(Binary::Equal),
            "greater" => two(Binary::Greater),
            "greater-equal" => two(Binary::GreaterEqual),
            "neg" => one(Unary::Neg),
            "abs" => one(Unary::Abs),
            "exp" => one(Unary::Exp),
            "log" => one(Unary::Log),
            "sqrt" => one(Unary::Sqrt),
            "tanh" => one(Unary::Tanh),
            "sigmoid" => one(Unary::Sigmoid),
            "softplus" => one(Unary::Softplus),
            "relu" => one(Unary::Relu),
            "add-scalar" => with(Scalar::Add),
            "mul-scalar" => with(Scalar::Mul),
            "pow-scalar" => with(Scalar::Pow),
            "equal-scalar" => with(Scalar::Equal),
            "greater-scalar" => with(Scalar::Greater),
            "greater-equal-scalar" => with(Scalar::GreaterEqual),
            "sum-dim" => over(Along::Sum),
            "mean-dim" => over(Along::Mean),
            "max-dim" => over(Along::Max),
            "min-dim" => over(Along::Min),
            "argmax" => over(Along::Argmax),
            "cumsum" => over(Along::Cumsum),
            "softmax" => over(Along::Softmax),
            "log-softmax" => over(Along::LogSoftmax),
            "logsumexp" => over(Along::Logsumexp),
            _ => return self.other(ids),
        })
    }

    /// The operations that are in no family.
    fn other(&self, ids: &[TensorId]) -> Option<Op> {
        Some(match self.op.as_str() {
            "sum" => Op::Sum(ids[0]),
            "mean" => Op::Mean(ids[0]),
            "clamp" => Op::Clamp { input: ids[0], low: self.number("low") as f32, high: self.number("high") as f32 },
            "to-float" => Op::ToFloat(ids[0]),
            "to-int" => Op::ToInt(ids[0]),
            "detach" => Op::Detach(ids[0]),
            "reshape" => Op::Reshape(ids[0], self.list("shape")),
            "permute" => Op::Permute(ids[0], self.list("dims")),
            "slice" => {
                Op::Slice { input: ids[0], dim: self.size("dim"), start: self.size("start"), end: self.size("end") }
            }
            "expand" => Op::Expand(ids[0], self.list("shape")),
            "concat" => Op::Concat { parts: ids.to_vec(), dim: self.size("dim") },
            "gather" => Op::Gather { input: ids[0], dim: self.size("dim"), index: ids[1] },
            "index-select" => Op::IndexSelect { input: ids[0], dim: self.size("dim"), index: ids[1] },
            "choose" => Op::Choose { input: ids[0], condition: ids[1], otherwise: ids[2] },
            "masked-fill" => Op::MaskedFill { input: ids[0], mask: ids[1], value: self.number("value") as f32 },
            "matmul" => Op::Matmul(ids[0], ids[1]),
            "from-floats" => Op::FromFloats { values: self.list("values"), shape: self.list("shape") },
            "from-ints" => Op::FromInts { values: self.list("values"), shape: self.list("shape") },
            "full" => Op::Full { value: self.number("value") as f32, shape: self.list("shape") },
            "arange" => Op::Arange { start: self.number("start") as i32, end: self.number("end") as i32 },
            _ => return None,
        })
    }

    fn run(&self, engine: &BurnTensors, ids: &[TensorId]) -> Vec<TensorId> {
        if let Some(op) = self.single(ids) {
            return vec![done(engine, &op)];
        }
        let (input, dim) = (ids[0], self.size("dim"));
        let op = match self.op.as_str() {
            "topk" => PairOp::TopK { input, dim, count: self.size("count") },
            "sort" => PairOp::Sort { input, dim, descending: self.arguments["descending"] == true },
            unknown => panic!("the fixture has an operation `{unknown}`"),
        };
        let (values, indices) = pair(engine, &op);
        vec![values, indices]
    }

    fn check(&self) {
        let device = test_device().autodiff();
        let engine = BurnTensors::new(&device, Budget::default());
        let leaf = |given: &Given| {
            let values = given.floats.clone()?;
            let count = values.len();
            Some(Tensor::<1>::from_data(TensorData::new(values, [count]), &device).require_grad())
        };
        let leaves: Vec<Option<Tensor<1>>> = self.inputs.iter().map(leaf).collect();
        let ids: Vec<TensorId> = leaves
            .iter()
            .zip(&self.inputs)
            .map(|(leaf, given)| match leaf {
                Some(leaf) => engine.insert_flat(leaf.clone(), &given.shape).expect("the shape is filled"),
                None => ints(&engine, given.ints.as_ref().expect("floats or integers"), &given.shape),
            })
            .collect();
        let outputs = self.run(&engine, &ids);
        assert_eq!(outputs.len(), self.outputs.len(), "{}", self.title());
        for (output, expected) in outputs.iter().zip(&self.outputs) {
            self.check_values(&engine, *output, expected);
        }
        self.check_gradients(&engine, outputs[0], &leaves);
    }

    fn check_values(&self, engine: &BurnTensors, output: TensorId, expected: &Given) {
        assert_eq!(engine.shape(output).expect("live"), expected.shape, "{}", self.title());
        match (&expected.floats, &expected.ints) {
            (Some(floats), _) => {
                assert_eq!(engine.kind(output), Ok(tunesmith_core::tensors::Kind::Float), "{}", self.title());
                let expected: Vec<f64> = floats.iter().map(|value| f64::from(*value)).collect();
                self.close("values", &engine.read_floats(output).expect("live"), &expected);
            }
            (None, ints) => assert_eq!(engine.read_ints(output).ok().as_ref(), ints.as_ref(), "{}", self.title()),
        }
    }

    fn check_gradients(&self, engine: &BurnTensors, output: TensorId, leaves: &[Option<Tensor<1>>]) {
        if self.gradients.iter().all(Option::is_none) {
            assert!(!engine.is_tracked(output).expect("live"), "{}: nothing to go back to", self.title());
            return;
        }
        let shape = engine.shape(output).expect("live");
        let weights: Vec<f32> =
            (0..shape.iter().product::<usize>()).map(|at| (0.3 + 0.7 * (1.7 * at as f64).sin()) as f32).collect();
        let weights = floats(engine, &weights, &shape);
        let loss = done(engine, &Op::Sum(done(engine, &binary(Binary::Mul)(output, weights))));
        let gradients = engine.scalar(loss).expect("one number").backward();
        for (leaf, expected) in leaves.iter().zip(&self.gradients) {
            let (Some(leaf), Some(expected)) = (leaf, expected) else { continue };
            let found = leaf.grad(&gradients).map_or_else(|| vec![0.0; leaf.dims()[0]], crate::tensor_values);
            self.close("gradient", &found, expected);
        }
    }

    fn close(&self, what: &str, found: &[f32], expected: &[f64]) {
        assert_eq!(found.len(), expected.len(), "{}: {what}", self.title());
        let tolerance = if self.op == "logsumexp" { LOGSUMEXP_TOLERANCE } else { TOLERANCE };
        for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
            let fault = (f64::from(*found) - expected).abs() / (1.0 + expected.abs());
            assert!(fault <= tolerance, "{}: {what}[{at}] is {found}, not {expected} ({fault:e})", self.title());
        }
    }

    fn title(&self) -> String {
        let shapes: Vec<&Vec<usize>> = self.inputs.iter().map(|input| &input.shape).collect();
        format!("{} {shapes:?} {}", self.op, Value::Object(self.arguments.clone()))
    }
}

/// The static functions and methods of the WIT resource that give tensors, in its own words.
fn operations_of_the_contract() -> BTreeSet<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../wit/tensors.wit");
    let text = std::fs::read_to_string(path).expect("the contract is in the repository");
    let gives_a_tensor = |line: &&str| {
        line.contains("func(") && (line.ends_with("-> tensor;") || line.ends_with("tuple<tensor, tensor>;"))
    };
    let name = |line: &str| line.trim().split(':').next().unwrap_or_default().to_owned();
    text.lines().filter(gives_a_tensor).map(name).collect()
}

#[test]
fn every_operation_is_that_of_pytorch() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tensor-ops/ops.json");
    let text = std::fs::read_to_string(path).expect("the fixture is in the repository");
    let cases: Vec<Case> = serde_json::from_str(&text).expect("the fixture is as its README says");
    // All of them are tried: on another device the list of what differs says more than the first.
    let fails = |case: &&Case| std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case.check())).is_err();
    let failed: Vec<String> = cases.iter().filter(fails).map(Case::title).collect();
    assert!(failed.is_empty(), "the faults stand above: {failed:#?}");
    let mut seen: BTreeSet<String> = cases.into_iter().map(|case| case.op).collect();
    // The same operation from other bytes.
    seen.insert("from-float-bytes".into());
    assert_eq!(seen, operations_of_the_contract());
}

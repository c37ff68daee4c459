//! What does not fit is the plugin's fault, by name and shape, and never a panic.

use super::*;

#[track_caller]
fn check(op: impl Fn(&BurnTensors, &Known) -> Op, expected: &str) {
    let engine = engine();
    let known = Known::new(&engine);
    let op = op(&engine, &known);
    let live = engine.live();
    let error = refused(engine.apply(&op));
    assert!(error.contains(expected), "{error:?} does not say {expected:?}");
    assert_eq!(engine.live(), live, "a refused operation leaves no handle");
}

#[track_caller]
fn check_pair(op: impl Fn(&Known) -> PairOp, expected: &str) {
    let engine = engine();
    let error = refused(engine.apply_pair(&op(&Known::new(&engine))));
    assert!(error.contains(expected), "{error:?} does not say {expected:?}");
}

/// Tensors to misuse.
struct Known {
    /// Floats [2, 3].
    floats: TensorId,
    /// Integers [2, 3], elements 0 to 5.
    ints: TensorId,
    /// Floats [4].
    row: TensorId,
    /// Integers [2], elements 0 and 1.
    index: TensorId,
    /// Floats [2, 0].
    none: TensorId,
    /// A float of rank 0.
    one: TensorId,
}

impl Known {
    fn new(engine: &BurnTensors) -> Self {
        Self {
            floats: floats(engine, &[1.0; 6], &[2, 3]),
            ints: ints(engine, &[0, 1, 2, 3, 4, 5], &[2, 3]),
            row: floats(engine, &[1.0; 4], &[4]),
            index: ints(engine, &[0, 1], &[2]),
            none: floats(engine, &[], &[2, 0]),
            one: floats(engine, &[1.0], &[]),
        }
    }
}

#[test]
fn making_wants_as_many_elements_as_the_shape() {
    check(
        |_, _| Op::FromFloats { values: vec![1.0; 5], shape: vec![2, 3] },
        "from-floats: 5 elements do not fill shape [2, 3]",
    );
    check(|_, _| Op::FromInts { values: vec![1], shape: vec![0] }, "from-ints: 1 elements do not fill shape [0]");
    check(|_, _| Op::Full { value: 1.0, shape: vec![1; 6] }, "full: rank 6 of shape [1, 1, 1, 1, 1, 1] is more than 5");
    check(
        |_, _| Op::Full { value: 1.0, shape: vec![usize::MAX, 2] },
        "full: shape [18446744073709551615, 2] has more than",
    );
    check(|_, _| Op::Full { value: 1.0, shape: vec![0, usize::MAX, usize::MAX] }, "has more than");
    check(
        |_, _| Op::Full { value: 1.0, shape: vec![1 << 16, 1 << 16] },
        "full: shape [65536, 65536] has more than 2147483647 elements",
    );
    check(|_, _| Op::Arange { start: 3, end: 2 }, "arange: the end 2 is before the start 3");
    check(|_, _| Op::Arange { start: i32::MIN, end: i32::MAX }, "arange: shape [4294967295] has more than");
}

#[test]
fn views_want_shapes_that_fit() {
    check(|_, known| Op::Reshape(known.floats, vec![4]), "reshape: shape [2, 3] has 6 elements, shape [4] has not");
    check(|_, known| Op::Reshape(known.floats, vec![usize::MAX, 3]), "reshape:");
    check(|_, known| Op::Reshape(known.floats, vec![]), "reshape:");
    check(
        |_, known| Op::Permute(known.floats, vec![0, 0]),
        "permute: [0, 0] is not an order of the dimensions of shape [2, 3]",
    );
    check(|_, known| Op::Permute(known.floats, vec![0, 2]), "permute:");
    check(|_, known| Op::Permute(known.floats, vec![0]), "permute:");
    check(
        |_, known| Op::Slice { input: known.floats, dim: 2, start: 0, end: 1 },
        "slice: dimension 2 of shape [2, 3] does not exist",
    );
    check(
        |_, known| Op::Slice { input: known.floats, dim: 1, start: 2, end: 1 },
        "slice: 2 to 1 is no part of dimension 1 of shape [2, 3]",
    );
    check(|_, known| Op::Slice { input: known.floats, dim: 1, start: 0, end: usize::MAX }, "slice:");
    check(|_, known| Op::Expand(known.floats, vec![2, 4]), "expand: shape [2, 3] does not expand to [2, 4]");
    check(|_, known| Op::Expand(known.floats, vec![3]), "expand:");
    check(|_, known| Op::Expand(known.one, vec![usize::MAX; 5]), "expand:");
    check(|_, known| Op::Expand(known.one, vec![1; 6]), "expand: rank 6");
}

#[test]
fn joining_wants_parts_that_fit() {
    check(|_, _| Op::Concat { parts: vec![], dim: 0 }, "concat: no tensors to join");
    check(
        |_, known| Op::Concat { parts: vec![known.one, known.one], dim: 0 },
        "concat: dimension 0 of shape [] does not exist",
    );
    check(
        |_, known| Op::Concat { parts: vec![known.floats, known.row], dim: 0 },
        "concat: shapes [2, 3] and [4] do not join along dimension 0",
    );
    check(|_, known| Op::Concat { parts: vec![known.floats, known.none], dim: 0 }, "concat:");
    check(
        |_, known| Op::Concat { parts: vec![known.floats, known.ints], dim: 0 },
        "concat: float of shape [2, 3] with int of shape [2, 3]",
    );
}

#[test]
fn indices_must_be_in_range() {
    check(
        |_, known| Op::Gather { input: known.floats, dim: 1, index: known.ints },
        "gather: indices from 0 to 5 do not fit a dimension of size 3",
    );
    check(
        |engine, known| Op::Gather { input: known.row, dim: 0, index: ints(engine, &[-1], &[1]) },
        "gather: indices from -1 to -1 do not fit a dimension of size 4",
    );
    check(|_, known| Op::Gather { input: known.floats, dim: 1, index: known.floats }, "gather: integers are wanted");
    check(
        |_, known| Op::Gather { input: known.floats, dim: 1, index: known.index },
        "gather: an index of shape [2] does not fit shape [2, 3]",
    );
    check(|_, known| Op::Gather { input: known.floats, dim: 7, index: known.ints }, "gather: dimension 7");
    check(|_, known| Op::Gather { input: known.one, dim: 0, index: known.index }, "gather: dimension 0 of shape []");
    check(
        |_, known| Op::IndexSelect { input: known.none, dim: 1, index: known.index },
        "do not fit a dimension of size 0",
    );
    check(
        |_, known| Op::IndexSelect { input: known.floats, dim: 0, index: known.ints },
        "index-select: the index has shape [2, 3] and not rank 1",
    );
    check(
        |_, known| Op::IndexSelect { input: known.floats, dim: 0, index: known.row },
        "index-select: integers are wanted",
    );
    check(
        |engine, known| {
            let computed = done(engine, &binary(Binary::Mul)(known.index, known.index));
            let far = done(engine, &scalar(Scalar::Add, 2e9)(computed));
            Op::IndexSelect { input: known.floats, dim: 0, index: far }
        },
        "index-select: indices from 2000000000 to 2000000001 do not fit a dimension of size 2",
    );
}

#[test]
fn an_index_is_judged_by_its_own_elements() {
    let engine = engine();
    let known = Known::new(&engine);
    // A part of a tensor whose other part is out of range.
    let mixed = ints(&engine, &[1, 0, -100, 7], &[4]);
    let part = done(&engine, &Op::Slice { input: mixed, dim: 0, start: 0, end: 2 });
    let picked = done(&engine, &Op::IndexSelect { input: known.floats, dim: 0, index: part });
    assert_eq!(engine.shape(picked), Ok(vec![2, 3]));
    // That the part fits must not make the whole fit.
    let error = refused(engine.apply(&Op::IndexSelect { input: known.floats, dim: 0, index: mixed }));
    assert!(error.contains("from -100 to 7"), "{error}");
    let joined = done(&engine, &Op::Concat { parts: vec![part, mixed], dim: 0 });
    refused(engine.apply(&Op::IndexSelect { input: known.floats, dim: 0, index: joined }));
}

#[test]
fn kinds_must_agree() {
    check(
        |_, known| Op::Binary(Binary::Add, known.floats, known.ints),
        "add: float of shape [2, 3] with int of shape [2, 3]; hint: `to-float`",
    );
    check(|_, known| Op::Binary(Binary::Equal, known.ints, known.floats), "equal: int of shape");
    check(
        |_, known| Op::Binary(Binary::Div, known.ints, known.ints),
        "div: floats are wanted, not integers of shape [2, 3]",
    );
    check(|_, known| Op::Choose { input: known.floats, condition: known.ints, otherwise: known.ints }, "choose: float");
    check(
        |_, known| Op::MaskedFill { input: known.ints, mask: known.ints, value: 0.5 },
        "masked-fill: 0.5 is not a 32-bit integer",
    );
    check(|_, known| Op::Mean(known.ints), "mean: floats are wanted");
    check(|_, known| Op::Matmul(known.ints, known.ints), "matmul: floats are wanted");
    for op in [Unary::Exp, Unary::Log, Unary::Sqrt, Unary::Tanh, Unary::Sigmoid, Unary::Softplus] {
        check(|_, known| Op::Unary(op, known.ints), "floats are wanted");
    }
    for op in [Along::Mean, Along::Softmax, Along::LogSoftmax, Along::Logsumexp] {
        check(|_, known| Op::Along(op, known.ints, 0), "floats are wanted");
    }
    for (op, number) in [(Scalar::Add, 0.5), (Scalar::Mul, f32::NAN), (Scalar::Add, 3e9), (Scalar::Mul, f32::INFINITY)]
    {
        check(|_, known| Op::Scalar(op, known.ints, number), "is not a 32-bit integer");
    }
    check(|_, known| Op::Scalar(Scalar::Pow, known.ints, 2.0), "pow-scalar: floats are wanted");
}

#[test]
fn shapes_must_broadcast() {
    for op in [
        Binary::Add,
        Binary::Sub,
        Binary::Mul,
        Binary::Div,
        Binary::Maximum,
        Binary::Minimum,
        Binary::Equal,
        Binary::Greater,
        Binary::GreaterEqual,
    ] {
        check(|_, known| Op::Binary(op, known.floats, known.row), "shapes do not broadcast: [2, 3], [4]");
    }
    check(|_, known| Op::Binary(Binary::Add, known.floats, known.none), "add: shapes do not broadcast: [2, 3], [2, 0]");
    check(
        |_, known| Op::Choose { input: known.floats, condition: known.row, otherwise: known.floats },
        "choose: shapes do not broadcast",
    );
    check(
        |_, known| Op::MaskedFill { input: known.floats, mask: known.row, value: 0.0 },
        "masked-fill: shapes do not broadcast",
    );
    check(
        |engine, _| {
            let tall = done(engine, &Op::Full { value: 1.0, shape: vec![1 << 20, 1] });
            let wide = done(engine, &Op::Full { value: 1.0, shape: vec![1, 1 << 20] });
            Op::Binary(Binary::Add, tall, wide)
        },
        "add: shape [1048576, 1048576] has more than",
    );
}

#[test]
fn ranges_and_exponents_are_numbers() {
    check(|_, known| Op::Clamp { input: known.floats, low: 1.0, high: 0.0 }, "clamp: 1 to 0 is no range");
    check(|_, known| Op::Clamp { input: known.floats, low: f32::NAN, high: 0.0 }, "clamp: NaN to 0 is no range");
    check(
        |_, known| Op::Clamp { input: known.ints, low: 0.2, high: 0.8 },
        "clamp: there is no integer from 0.2 to 0.8",
    );
    for exponent in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30] {
        check(|_, known| Op::Scalar(Scalar::Pow, known.floats, exponent), "pow-scalar: the exponent");
    }
}

#[test]
fn dimensions_must_exist_and_have_a_largest_element() {
    for op in [
        Along::Sum,
        Along::Mean,
        Along::Max,
        Along::Min,
        Along::Argmax,
        Along::Cumsum,
        Along::Softmax,
        Along::LogSoftmax,
        Along::Logsumexp,
    ] {
        check(|_, known| Op::Along(op, known.floats, 2), "dimension 2 of shape [2, 3] does not exist");
        check(|_, known| Op::Along(op, known.one, 0), "dimension 0 of shape [] does not exist");
    }
    for op in [Along::Max, Along::Min, Along::Argmax] {
        check(|_, known| Op::Along(op, known.none, 1), "dimension 1 of shape [2, 0] is empty");
    }
    check_pair(|known| PairOp::Sort { input: known.floats, dim: 2, descending: true }, "sort: dimension 2");
    check_pair(|known| PairOp::Sort { input: known.one, dim: 0, descending: true }, "sort: dimension 0");
    check_pair(
        |known| PairOp::TopK { input: known.floats, dim: 1, count: 4 },
        "topk: dimension 1 of shape [2, 3] has no 4 elements",
    );
    check_pair(|known| PairOp::TopK { input: known.floats, dim: 1, count: usize::MAX }, "topk:");
}

#[test]
fn matrices_must_fit() {
    check(|_, known| Op::Matmul(known.floats, known.floats), "matmul: shapes [2, 3] and [2, 3] do not multiply");
    check(|_, known| Op::Matmul(known.floats, known.row), "matmul: shapes [2, 3] and [4] do not multiply");
    check(|_, known| Op::Matmul(known.one, known.one), "matmul:");
    check(
        |engine, known| {
            let batch = floats(engine, &[1.0; 12], &[2, 3, 2]);
            let other = floats(engine, &[1.0; 18], &[3, 2, 3]);
            let _ = known;
            Op::Matmul(batch, other)
        },
        "matmul: shapes [2, 3, 2] and [3, 2, 3] do not multiply",
    );
}

#[test]
fn handles_must_be_known() {
    let engine = engine();
    let gone = floats(&engine, &[1.0], &[1]);
    engine.release(gone);
    engine.release(gone);
    assert_eq!(engine.apply(&Op::Sum(gone)), Err(TensorError::Unknown(gone)));
    assert_eq!(engine.shape(gone), Err(TensorError::Unknown(gone)));
    assert_eq!(engine.read_floats(TensorId(99)), Err(TensorError::Unknown(TensorId(99))));
    assert_eq!(engine.share(gone), Err(TensorError::Unknown(gone)));
    let fresh = floats(&engine, &[1.0], &[1]);
    assert_ne!(fresh, gone, "ids are never used twice");
}

#[test]
fn the_host_gets_what_it_asks_for() {
    let engine = engine();
    let known = Known::new(&engine);
    assert!(
        refused(engine.float::<1>(known.floats).map(|_| ()))
            .contains("Float of rank 1 was expected, not Float of shape [2, 3]")
    );
    assert!(refused(engine.float::<2>(known.ints).map(|_| ())).contains("not Int"));
    assert!(refused(engine.scalar(known.row).map(|_| ())).contains("one float was expected"));
    assert!(refused(engine.read_ints(known.floats)).contains("read-ints"));
    assert_eq!(engine.float::<2>(known.none).expect("a float").dims(), [2, 0]);
    assert_eq!(engine.int::<2>(known.ints).expect("an int").dims(), [2, 3]);
    assert_eq!(engine.scalar(known.one).expect("one").dims(), [1]);
}

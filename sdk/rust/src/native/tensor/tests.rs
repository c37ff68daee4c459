//! Every operation against numbers worked out by hand or by numpy, and every derivative against a difference quotient.

use std::f32::consts::{LN_2, SQRT_2};

use super::{Kind, Tensor};

fn matrix() -> Tensor {
    Tensor::from_floats(&[1.0, -2.0, 3.0, 0.5, 4.0, -1.0], &[2, 3])
}

fn floats(values: &[f32]) -> Tensor {
    Tensor::from_floats(values, &[values.len() as u32])
}

#[track_caller]
fn check(tensor: &Tensor, shape: &[u32], values: &[f32]) {
    assert_eq!(tensor.shape(), shape);
    let near = |(left, right): (&f32, &f32)| (left - right).abs() <= 1e-6 * right.abs().max(1.0);
    let found = tensor.read();
    assert!(found.len() == values.len() && found.iter().zip(values).all(near), "{found:?} is not {values:?}");
}

#[test]
fn tensors_are_made_of_elements() {
    check(&Tensor::full(2.0, &[2, 2]), &[2, 2], &[2.0; 4]);
    check(&Tensor::full(2.0, &[]), &[], &[2.0]);
    assert_eq!(Tensor::arange(-1, 2).read_ints(), [-1, 0, 1]);
    assert_eq!(Tensor::from_ints(&[i32::MAX], &[1]).read_ints(), [i32::MAX]);
    assert_eq!(floats(&[1.9, -1.9, f32::NAN]).to_int().read_ints(), [1, -1, 0]);
    assert_eq!(Tensor::arange(0, 2).to_float().kind(), Kind::Float);
}

#[test]
fn elements_are_moved() {
    let m = matrix();
    check(&m.reshape(&[3, 2]), &[3, 2], &[1.0, -2.0, 3.0, 0.5, 4.0, -1.0]);
    check(&m.permute(&[1, 0]), &[3, 2], &[1.0, 0.5, -2.0, 4.0, 3.0, -1.0]);
    check(&m.slice(1, 1, 3), &[2, 2], &[-2.0, 3.0, 4.0, -1.0]);
    check(&m.slice(0, 1, 1), &[0, 3], &[]);
    check(&floats(&[1.0, 2.0]).reshape(&[2, 1]).expand(&[2, 2]), &[2, 2], &[1.0, 1.0, 2.0, 2.0]);
    check(&m.gather(1, &Tensor::from_ints(&[2, 0], &[2, 1])), &[2, 1], &[3.0, 0.5]);
    check(&m.gather(0, &Tensor::from_ints(&[1, 0, 1], &[1, 3])), &[1, 3], &[0.5, -2.0, -1.0]);
    check(&m.index_select(1, &Tensor::from_ints(&[2, 2], &[2])), &[2, 2], &[3.0, 3.0, -1.0, -1.0]);
    check(&m.index_select(0, &Tensor::from_ints(&[1], &[1])), &[1, 3], &[0.5, 4.0, -1.0]);
    check(&Tensor::concat(&[&m.slice(1, 2, 3), &m.slice(1, 0, 1)], 1), &[2, 2], &[3.0, 1.0, -1.0, 0.5]);
    check(&Tensor::concat(&[&m, &m.slice(0, 0, 1)], 0).slice(1, 0, 1), &[3, 1], &[1.0, 0.5, 1.0]);
    let cube = Tensor::arange(0, 12).to_float().reshape(&[2, 3, 2]);
    check(&cube.permute(&[2, 0, 1]).slice(0, 1, 2), &[1, 2, 3], &[1.0, 3.0, 5.0, 7.0, 9.0, 11.0]);
}

#[test]
fn operations_broadcast_as_in_numpy() {
    check(&matrix().add(&floats(&[1.0, 2.0, 3.0])), &[2, 3], &[2.0, 0.0, 6.0, 1.5, 6.0, 2.0]);
    let column = floats(&[2.0, 10.0]).reshape(&[2, 1]);
    check(&matrix().mul(&column), &[2, 3], &[2.0, -4.0, 6.0, 5.0, 40.0, -10.0]);
    check(&column.sub(&floats(&[1.0, 2.0])), &[2, 2], &[1.0, 0.0, 9.0, 8.0]);
    check(&floats(&[1.0, 2.0]).div(&Tensor::full(4.0, &[])), &[2], &[0.25, 0.5]);
    check(&matrix().maximum(&Tensor::full(0.7, &[1])), &[2, 3], &[1.0, 0.7, 3.0, 0.7, 4.0, 0.7]);
    check(&matrix().minimum(&Tensor::full(0.7, &[1])), &[2, 3], &[0.7, -2.0, 0.7, 0.5, 0.7, -1.0]);
}

#[test]
fn elements_are_changed_one_by_one() {
    let x = floats(&[-1.0, 0.0, 2.0]);
    check(&x.exp(), &[3], &[0.367_879_45, 1.0, 7.389_056]);
    check(&floats(&[1.0, 2.0]).log(), &[2], &[0.0, LN_2]);
    check(&floats(&[4.0, 2.0]).sqrt(), &[2], &[2.0, SQRT_2]);
    check(&x.tanh(), &[3], &[-0.761_594_2, 0.0, 0.964_027_6]);
    check(&x.sigmoid(), &[3], &[0.268_941_43, 0.5, 0.880_797_1]);
    check(&x.softplus(), &[3], &[0.313_261_7, LN_2, 2.126_928]);
    check(&floats(&[-200.0, 200.0]).softplus(), &[2], &[0.0, 200.0]);
    check(&x.relu(), &[3], &[0.0, 0.0, 2.0]);
    check(&x.neg().abs(), &[3], &[1.0, 0.0, 2.0]);
    check(&x.clamp(-0.5, 1.0), &[3], &[-0.5, 0.0, 1.0]);
    check(&x.pow_scalar(2.0).add_scalar(1.0).mul_scalar(3.0), &[3], &[6.0, 3.0, 15.0]);
}

#[test]
fn comparisons_are_ones_and_zeros() {
    let (x, y) = (floats(&[1.0, 2.0, 3.0]), floats(&[2.0, 2.0, 2.0]));
    check(&x.equal(&y), &[3], &[0.0, 1.0, 0.0]);
    check(&x.greater(&y), &[3], &[0.0, 0.0, 1.0]);
    check(&x.greater_equal(&y), &[3], &[0.0, 1.0, 1.0]);
    check(&x.equal_scalar(2.0), &[3], &[0.0, 1.0, 0.0]);
    check(&x.greater_scalar(2.0), &[3], &[0.0, 0.0, 1.0]);
    check(&x.greater_equal_scalar(2.0), &[3], &[0.0, 1.0, 1.0]);
    check(&x.choose(&x.greater_scalar(1.5), &y.neg()), &[3], &[-2.0, 2.0, 3.0]);
    check(&x.masked_fill(&x.greater_scalar(1.5), 9.0), &[3], &[1.0, 9.0, 9.0]);
    assert_eq!(Tensor::arange(0, 2).equal_scalar(1.0).kind(), Kind::Float);
}

#[test]
fn lanes_are_reduced_and_sorted() {
    let m = matrix();
    check(&m.sum(), &[], &[5.5]);
    check(&m.mean(), &[], &[5.5 / 6.0]);
    check(&m.sum_dim(0), &[1, 3], &[1.5, 2.0, 2.0]);
    check(&m.mean_dim(1), &[2, 1], &[2.0 / 3.0, 3.5 / 3.0]);
    check(&m.max_dim(1), &[2, 1], &[3.0, 4.0]);
    check(&m.min_dim(0), &[1, 3], &[0.5, -2.0, -1.0]);
    assert_eq!(m.argmax(1).read_ints(), [2, 1]);
    assert_eq!(floats(&[1.0, 3.0, 3.0]).argmax(0).read_ints(), [1]);
    check(&m.cumsum(1), &[2, 3], &[1.0, -1.0, 2.0, 0.5, 4.5, 3.5]);
    let (values, places) = m.topk(1, 2);
    check(&values, &[2, 2], &[3.0, 1.0, 4.0, 0.5]);
    assert_eq!(places.read_ints(), [2, 0, 1, 0]);
    let (values, places) = m.sort(0, false);
    check(&values, &[2, 3], &[0.5, -2.0, -1.0, 1.0, 4.0, 3.0]);
    assert_eq!(places.read_ints(), [1, 0, 1, 0, 1, 0]);
}

#[test]
fn probabilities_are_normalised() {
    let x = floats(&[1.0, 2.0, 3.0]);
    check(&x.softmax(0), &[3], &[0.090_030_57, 0.244_728_48, 0.665_240_94]);
    check(&x.log_softmax(0), &[3], &[-2.407_606, -1.407_606, -0.407_606]);
    check(&x.logsumexp(0), &[1], &[3.407_606]);
    check(&floats(&[1000.0, 1000.0]).logsumexp(0), &[1], &[1000.0 + LN_2]);
    check(&matrix().softmax(0).sum_dim(0), &[1, 3], &[1.0; 3]);
}

#[test]
fn matrices_are_multiplied() {
    let columns = matrix().permute(&[1, 0]);
    check(&matrix().matmul(&columns), &[2, 2], &[14.0, -10.5, -10.5, 17.25]);
    let stack = matrix().reshape(&[1, 2, 3]).expand(&[2, 2, 3]);
    check(&stack.matmul(&columns).slice(0, 1, 2), &[1, 2, 2], &[14.0, -10.5, -10.5, 17.25]);
}

/// Compares the derivative of the sum of `squares` of the result, along a fixed direction, with a difference quotient.
#[track_caller]
fn check_derivative(name: &str, operation: impl Fn(&Tensor) -> Tensor) {
    let start = [0.7_f32, -1.3, 2.1, 0.9, 1.6, -0.8];
    let direction = [1.0, 0.5, -0.25, 2.0, -1.0, 0.75];
    let result = |x: &Tensor| {
        let y = operation(x);
        y.mul(&y).sum()
    };
    let at = |step: f32| {
        let moved: Vec<f32> = start.iter().zip(direction).map(|(value, slope)| value + step * slope as f32).collect();
        f64::from(result(&Tensor::from_floats(&moved, &[2, 3])).read()[0])
    };
    let quotient = (at(1e-2) - at(-1e-2)) / 2e-2;
    let tangent = result(&Tensor::from_floats(&start, &[2, 3]).with_tangents(direction.to_vec()))
        .tangents()
        .expect("tangents")[0];
    assert!((tangent - quotient).abs() <= 5e-3 * quotient.abs().max(1.0), "{name}: {tangent}, not {quotient}");
}

#[test]
fn derivatives_agree_with_difference_quotients() {
    let other = matrix();
    check_derivative("add", |x| x.add(&other));
    check_derivative("sub", |x| other.sub(x));
    check_derivative("mul", |x| x.mul(x));
    check_derivative("div", |x| other.div(x));
    check_derivative("maximum", |x| x.maximum(&other));
    check_derivative("minimum", |x| x.minimum(&other));
    check_derivative("scalars", |x| x.add_scalar(1.0).mul_scalar(-0.5).pow_scalar(3.0));
    check_derivative("neg abs", |x| x.neg().abs());
    check_derivative("exp", Tensor::exp);
    check_derivative("log", |x| x.abs().log());
    check_derivative("sqrt", |x| x.abs().sqrt());
    check_derivative("tanh", Tensor::tanh);
    check_derivative("sigmoid", Tensor::sigmoid);
    check_derivative("softplus", Tensor::softplus);
    check_derivative("relu", Tensor::relu);
    check_derivative("clamp", |x| x.clamp(-0.5, 1.8));
    check_derivative("choose", |x| x.choose(&x.greater_scalar(0.0), &x.exp()));
    check_derivative("masked-fill", |x| x.masked_fill(&other.greater_scalar(0.0), 2.0).exp());
    check_derivative("sum mean", |x| x.sum().add(&x.mean()));
    check_derivative("along", |x| x.sum_dim(0).mul(&x.mean_dim(1)));
    check_derivative("max-dim min-dim", |x| x.max_dim(1).sub(&x.min_dim(1)));
    check_derivative("cumsum", |x| x.cumsum(1));
    check_derivative("topk", |x| x.topk(1, 2).0);
    check_derivative("sort", |x| x.sort(1, true).0.mul(&other));
    check_derivative("softmax", |x| x.softmax(1));
    check_derivative("log-softmax", |x| x.log_softmax(0));
    check_derivative("logsumexp", |x| x.logsumexp(1));
    check_derivative("matmul", |x| x.matmul(&x.permute(&[1, 0])));
    check_derivative("gather", |x| x.gather(1, &Tensor::from_ints(&[2, 0], &[2, 1])));
    check_derivative("concat", |x| Tensor::concat(&[x, &other, &x.exp()], 1));
    check_derivative("expand", |x| x.slice(1, 0, 1).expand(&[2, 3]).mul(&x.reshape(&[2, 3])));
}

#[test]
fn nothing_flows_through_a_detached_tensor() {
    let x = floats(&[2.0]).with_tangents(vec![1.0]);
    assert_eq!(x.detach().mul(&x).tangents(), Some(&[2.0][..]));
    assert!(x.detach().tangents().is_none());
    assert!(x.to_int().tangents().is_none());
    assert!(x.greater_scalar(0.0).tangents().is_none());
    assert!(x.argmax(0).tangents().is_none());
}

#[test]
fn an_infinite_slope_without_a_tangent_is_no_nan() {
    let x = floats(&[0.0, 4.0]).with_tangents(vec![0.0, 1.0]);
    assert_eq!(x.sqrt().tangents(), Some(&[0.0, 0.25][..]));
}

#[track_caller]
fn check_misuse(expected: &str, operation: impl FnOnce() -> Tensor + std::panic::UnwindSafe) {
    let panic = std::panic::catch_unwind(operation).expect_err("misuse panics");
    let text =
        panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
    let text = text.unwrap_or_default();
    assert!(text.contains(expected), "`{text}` does not say `{expected}`");
}

#[test]
fn misuse_names_the_operation_and_the_shapes() {
    check_misuse("tensors.mul: shapes [2, 3] and [2]", || matrix().mul(&floats(&[1.0, 2.0])));
    check_misuse("tensors.add: a float and an integer tensor", || matrix().add(&Tensor::arange(0, 3)));
    check_misuse("tensors.exp: an integer tensor of shape [3]", || Tensor::arange(0, 3).exp());
    check_misuse("tensors.reshape: shape [2, 3] to [4]", || matrix().reshape(&[4]));
    check_misuse("tensors.permute: dimensions [0, 0] of shape [2, 3]", || matrix().permute(&[0, 0]));
    check_misuse("tensors.slice: 1 to 4 of dimension 1 of shape [2, 3]", || matrix().slice(1, 1, 4));
    check_misuse("tensors.sum-dim: dimension 2 of shape [2, 3]", || matrix().sum_dim(2));
    check_misuse("tensors.gather: index 3 of 3 entries", || matrix().gather(1, &Tensor::from_ints(&[3, 0], &[2, 1])));
    check_misuse("tensors.gather: a float index", || matrix().gather(1, &matrix()));
    check_misuse("tensors.index-select: an index of shape [1, 1]", || {
        matrix().index_select(0, &Tensor::from_ints(&[0], &[1, 1]))
    });
    check_misuse("tensors.expand: shape [2, 3] to [4, 3]", || matrix().expand(&[4, 3]));
    check_misuse("tensors.concat: shapes [2, 3] and [3]", || {
        Tensor::concat(&[&matrix(), &floats(&[1.0, 2.0, 3.0])], 0)
    });
    check_misuse("tensors.matmul: shapes [2, 3] and [2, 3]", || matrix().matmul(&matrix()));
    check_misuse("tensors.topk: 4 elements along 1 of shape [2, 3]", || matrix().topk(1, 4).0);
    check_misuse("tensors.from-floats: 1 elements for shape [2]", || Tensor::from_floats(&[1.0], &[2]));
    check_misuse("more than 5 dimensions", || Tensor::full(0.0, &[1; 6]));
    check_misuse("tensors.clamp: 1 is not at most 0", || matrix().clamp(1.0, 0.0));
}

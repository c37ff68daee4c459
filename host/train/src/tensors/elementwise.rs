//! Arithmetic and comparison, element by element.

use burn::backend::ops::{ActivationOps, BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn::backend::{Dispatch, DispatchTensor};
use tunesmith_core::tensors::{Binary, Kind, Scalar, TensorError, Unary};

use super::check::{self, misuse};
use super::raw;
use super::value::{Place, Step, Value, on_device, zeros};

/// Powers beyond this are no use in float32, and burn refuses exponents that are not 64-bit numbers.
const MAX_EXPONENT: f32 = 1e9;

pub(super) fn binary_name(op: Binary) -> &'static str {
    match op {
        Binary::Add => "add",
        Binary::Sub => "sub",
        Binary::Mul => "mul",
        Binary::Div => "div",
        Binary::Maximum => "maximum",
        Binary::Minimum => "minimum",
        Binary::Equal => "equal",
        Binary::Greater => "greater",
        Binary::GreaterEqual => "greater-equal",
    }
}

pub(super) fn scalar_name(op: Scalar) -> &'static str {
    match op {
        Scalar::Add => "add-scalar",
        Scalar::Mul => "mul-scalar",
        Scalar::Pow => "pow-scalar",
        Scalar::Equal => "equal-scalar",
        Scalar::Greater => "greater-scalar",
        Scalar::GreaterEqual => "greater-equal-scalar",
    }
}

pub(super) fn unary_name(op: Unary) -> &'static str {
    match op {
        Unary::Neg => "neg",
        Unary::Abs => "abs",
        Unary::Exp => "exp",
        Unary::Log => "log",
        Unary::Sqrt => "sqrt",
        Unary::Tanh => "tanh",
        Unary::Sigmoid => "sigmoid",
        Unary::Softplus => "softplus",
        Unary::Relu => "relu",
    }
}

pub(super) fn binary(name: &'static str, op: Binary, left: &Value, right: &Value) -> Result<Step, TensorError> {
    check::one_kind(name, left, right)?;
    if op == Binary::Div {
        check::floats(name, left)?;
    }
    let shape = check::broadcast(name, &[&left.shape, &right.shape])?;
    let compares = matches!(op, Binary::Equal | Binary::Greater | Binary::GreaterEqual);
    let kind = left.kind;
    let out = if compares { Kind::Float } else { kind };
    let wide = on_device(&shape);
    let tensors = left.tensor.clone().zip(right.tensor.clone());
    Ok(Step::new(shape, out, move |place| {
        let Some((left, right)) = tensors else { return zeros(place, out, &wide) };
        let (left, right) = (raw::expand(kind, left, &wide), raw::expand(kind, right, &wide));
        match kind {
            Kind::Float => binary_floats(op, left, right, place),
            Kind::Int => binary_ints(op, left, right, place),
        }
    }))
}

fn binary_floats(op: Binary, left: DispatchTensor, right: DispatchTensor, place: &Place) -> DispatchTensor {
    match op {
        Binary::Add => Dispatch::float_add(left, right),
        Binary::Sub => Dispatch::float_sub(left, right),
        Binary::Mul => Dispatch::float_mul(left, right),
        Binary::Div => Dispatch::float_div(left, right),
        Binary::Maximum => extreme(left, right, place, Dispatch::float_greater),
        Binary::Minimum => extreme(left, right, place, Dispatch::float_lower),
        Binary::Equal => raw::as_floats(Dispatch::float_equal(raw::constant(left), raw::constant(right), place.bools)),
        Binary::Greater => {
            raw::as_floats(Dispatch::float_greater(raw::constant(left), raw::constant(right), place.bools))
        }
        Binary::GreaterEqual => {
            raw::as_floats(Dispatch::float_greater_equal(raw::constant(left), raw::constant(right), place.bools))
        }
    }
}

/// The one that wins. Equals share value and gradient half and half; NaN, which never wins or loses, stays NaN through the same sum.
fn extreme(
    left: DispatchTensor,
    right: DispatchTensor,
    place: &Place,
    wins: fn(DispatchTensor, DispatchTensor, burn::tensor::BoolDType) -> DispatchTensor,
) -> DispatchTensor {
    let left_wins = wins(raw::constant(left.clone()), raw::constant(right.clone()), place.bools);
    let right_wins = wins(raw::constant(right.clone()), raw::constant(left.clone()), place.bools);
    let half = |tensor: &DispatchTensor| Dispatch::float_mul_scalar(tensor.clone(), 0.5_f32.into());
    let shared = Dispatch::float_add(half(&left), half(&right));
    let out = Dispatch::float_mask_where(shared, left_wins, left);
    Dispatch::float_mask_where(out, right_wins, right)
}

fn binary_ints(op: Binary, left: DispatchTensor, right: DispatchTensor, place: &Place) -> DispatchTensor {
    match op {
        Binary::Add => Dispatch::int_add(left, right),
        Binary::Sub => Dispatch::int_sub(left, right),
        Binary::Mul => Dispatch::int_mul(left, right),
        Binary::Maximum | Binary::Minimum => {
            let mask = Dispatch::int_greater(left.clone(), right.clone(), place.bools);
            let (yes, no) = if op == Binary::Maximum { (left, right) } else { (right, left) };
            Dispatch::int_mask_where(no, mask, yes)
        }
        Binary::Equal => raw::as_floats(Dispatch::int_equal(left, right, place.bools)),
        Binary::Greater => raw::as_floats(Dispatch::int_greater(left, right, place.bools)),
        // Division of integers is refused before.
        Binary::GreaterEqual | Binary::Div => raw::as_floats(Dispatch::int_greater_equal(left, right, place.bools)),
    }
}

pub(super) fn scalar(name: &'static str, op: Scalar, input: &Value, number: f32) -> Result<Step, TensorError> {
    if op == Scalar::Pow {
        check::floats(name, input)?;
        if !number.is_finite() || MAX_EXPONENT < number.abs() {
            return Err(misuse(name, format!("the exponent {number} is not a number within {MAX_EXPONENT}")));
        }
    }
    let changes = matches!(op, Scalar::Add | Scalar::Mul | Scalar::Pow);
    let whole = if changes && input.kind == Kind::Int { check::whole(name, number)? } else { 0 };
    let kind = input.kind;
    let out = if changes { kind } else { Kind::Float };
    let shape = input.shape.clone();
    Ok(Step::on(input, input.shape.clone(), out, move |place, tensor| match (kind, op) {
        (Kind::Float, _) => scalar_floats(op, tensor, number, place),
        (Kind::Int, Scalar::Add) => Dispatch::int_add_scalar(tensor, whole.into()),
        (Kind::Int, Scalar::Mul) => Dispatch::int_mul_scalar(tensor, whole.into()),
        (Kind::Int, _) => compare_ints(op, tensor, number, place, &shape),
    }))
}

fn scalar_floats(op: Scalar, tensor: DispatchTensor, number: f32, place: &Place) -> DispatchTensor {
    match op {
        Scalar::Add => Dispatch::float_add_scalar(tensor, number.into()),
        Scalar::Mul => Dispatch::float_mul_scalar(tensor, number.into()),
        Scalar::Pow => Dispatch::float_powf_scalar(tensor, number.into()),
        Scalar::Equal => raw::as_floats(Dispatch::float_equal_elem(raw::constant(tensor), number.into(), place.bools)),
        Scalar::Greater => {
            raw::as_floats(Dispatch::float_greater_elem(raw::constant(tensor), number.into(), place.bools))
        }
        Scalar::GreaterEqual => {
            raw::as_floats(Dispatch::float_greater_equal_elem(raw::constant(tensor), number.into(), place.bools))
        }
    }
}

/// Integers against any float, exactly: the float is moved to the next integer that gives the same answers.
fn compare_ints(op: Scalar, tensor: DispatchTensor, number: f32, place: &Place, shape: &[usize]) -> DispatchTensor {
    let wide = f64::from(number);
    let (least, most) = (f64::from(i32::MIN), f64::from(i32::MAX));
    let all = |truth: bool| place.full(f32::from(u8::from(truth)), shape);
    match op {
        _ if wide.is_nan() => all(false),
        Scalar::Equal if wide.fract() != 0.0 || wide < least || most < wide => all(false),
        Scalar::Equal => raw::as_floats(Dispatch::int_equal_elem(tensor, (wide as i32).into(), place.bools)),
        Scalar::Greater if wide < least => all(true),
        Scalar::Greater if most <= wide => all(false),
        Scalar::Greater => {
            raw::as_floats(Dispatch::int_greater_elem(tensor, (wide.floor() as i32).into(), place.bools))
        }
        _ if wide <= least => all(true),
        _ if most < wide => all(false),
        _ => raw::as_floats(Dispatch::int_greater_equal_elem(tensor, (wide.ceil() as i32).into(), place.bools)),
    }
}

pub(super) fn unary(name: &'static str, op: Unary, input: &Value) -> Result<Step, TensorError> {
    let kind = input.kind;
    if !matches!(op, Unary::Neg | Unary::Abs | Unary::Relu) {
        check::floats(name, input)?;
    }
    Ok(Step::on(input, input.shape.clone(), kind, move |place, tensor| match kind {
        Kind::Float => unary_floats(op, tensor, place),
        Kind::Int => match op {
            Unary::Neg => Dispatch::int_neg(tensor),
            Unary::Abs => Dispatch::int_abs(tensor),
            _ => Dispatch::int_clamp_min(tensor, 0_i32.into()),
        },
    }))
}

fn unary_floats(op: Unary, tensor: DispatchTensor, place: &Place) -> DispatchTensor {
    match op {
        Unary::Neg => Dispatch::float_neg(tensor),
        Unary::Abs => Dispatch::float_abs(tensor),
        Unary::Exp => Dispatch::float_exp(tensor),
        Unary::Log => Dispatch::float_log(tensor),
        Unary::Sqrt => Dispatch::float_sqrt(tensor),
        Unary::Tanh => Dispatch::float_tanh(tensor),
        Unary::Sigmoid => Dispatch::sigmoid(tensor),
        Unary::Softplus => softplus(tensor, place),
        Unary::Relu => Dispatch::relu(tensor),
    }
}

/// `max(x, 0) + log1p(exp(-|x|))`. The two branches meet at 0 such that the gradient there is 1/2, where preference losses start.
fn softplus(tensor: DispatchTensor, place: &Place) -> DispatchTensor {
    let positive = Dispatch::float_greater_elem(raw::constant(tensor.clone()), 0.0_f32.into(), place.bools);
    let negative_size =
        Dispatch::float_mask_where(tensor.clone(), positive.clone(), Dispatch::float_neg(tensor.clone()));
    let positive_part = Dispatch::float_mask_fill(tensor, Dispatch::bool_not(positive), 0.0_f32.into());
    Dispatch::float_add(positive_part, Dispatch::float_log1p(Dispatch::float_exp(negative_size)))
}

pub(super) fn clamp(name: &'static str, input: &Value, low: f32, high: f32) -> Result<Step, TensorError> {
    if low.is_nan() || high.is_nan() || high < low {
        return Err(misuse(name, format!("{low} to {high} is no range")));
    }
    let kind = input.kind;
    // Casts saturate: a bound beyond 32 bits never binds.
    let (least, most) = (f64::from(low).ceil() as i32, f64::from(high).floor() as i32);
    if kind == Kind::Int && most < least {
        return Err(misuse(name, format!("there is no integer from {low} to {high}")));
    }
    Ok(Step::on(input, input.shape.clone(), kind, move |_, tensor| match kind {
        Kind::Float => Dispatch::float_clamp(tensor, low.into(), high.into()),
        Kind::Int => Dispatch::int_clamp(tensor, least.into(), most.into()),
    }))
}

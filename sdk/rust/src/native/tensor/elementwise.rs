//! Operations element by element: each says its value and its derivative.
#![expect(clippy::float_cmp, reason = "the contract's `equal` is exact")]

use super::{Kind, Tensor};

/// The shape to which two shapes broadcast.
///
/// # Panics
///
/// Panics if they do not.
pub(super) fn broadcast(op: &str, left: &[usize], right: &[usize]) -> Vec<usize> {
    let rank = left.len().max(right.len());
    let size = |shape: &[usize], at: usize| (at + shape.len()).checked_sub(rank).map_or(1, |dim| shape[dim]);
    let joined = (0..rank).map(|at| match (size(left, at), size(right, at)) {
        (1, other) | (other, 1) => other,
        (one, other) if one == other => one,
        _ => panic!("tensors.{op}: shapes {left:?} and {right:?} do not broadcast"),
    });
    joined.collect()
}

/// For each element of `shape`, the position of the element of `from` that broadcasts to it.
pub(super) fn sources(from: &[usize], shape: &[usize]) -> Vec<usize> {
    let missing = shape.len() - from.len();
    let mut steps = vec![0; shape.len()];
    let mut step = 1;
    for (dim, &size) in from.iter().enumerate().rev() {
        if size != 1 {
            steps[missing + dim] = step;
        }
        step *= size;
    }
    let position = |mut element: usize| {
        let mut position = 0;
        for (&size, &step) in shape.iter().zip(&steps).rev() {
            position += element % size * step;
            element /= size;
        }
        position
    };
    (0..shape.iter().product()).map(position).collect()
}

/// A derivative times a tangent, where no tangent wins over an infinite derivative.
fn chain(slope: f64, tangent: f64) -> f64 {
    if tangent == 0.0 { 0.0 } else { slope * tangent }
}

impl Tensor {
    fn unary(&self, op: &str, value: impl Fn(f64) -> f64, slope: impl Fn(f64, f64) -> f64) -> Self {
        let values: Vec<f64> = self.values.iter().map(|&x| value(x)).collect();
        let tangents = self.tangents.as_ref().map(|tangents| {
            let slopes = self.values.iter().zip(&values).map(|(&x, &y)| slope(x, y));
            slopes.zip(tangents.iter()).map(|(slope, &tangent)| chain(slope, tangent)).collect()
        });
        Self::make(op, self.kind, self.shape.clone(), values, tangents)
    }

    fn float_unary(&self, op: &str, value: impl Fn(f64) -> f64, slope: impl Fn(f64, f64) -> f64) -> Self {
        self.expect_float(op);
        self.unary(op, value, slope)
    }

    /// Joins two tensors; `slopes` are the derivatives by the left and the right element.
    fn binary(
        &self,
        other: &Self,
        op: &str,
        value: impl Fn(f64, f64) -> f64,
        slopes: impl Fn(f64, f64) -> (f64, f64),
    ) -> Self {
        assert_eq!(self.kind, other.kind, "tensors.{op}: a float and an integer tensor; use to-float first");
        let shape = broadcast(op, &self.shape, &other.shape);
        let pairs: Vec<(usize, usize)> =
            sources(&self.shape, &shape).into_iter().zip(sources(&other.shape, &shape)).collect();
        let values = pairs.iter().map(|&(left, right)| value(self.values[left], other.values[right])).collect();
        let has_tangents = self.tangents.is_some() || other.tangents.is_some();
        let tangents = has_tangents.then(|| {
            let along = |&(left, right): &(usize, usize)| {
                let (by_left, by_right) = slopes(self.values[left], other.values[right]);
                chain(by_left, self.tangent(left)) + chain(by_right, other.tangent(right))
            };
            pairs.iter().map(along).collect()
        });
        Self::make(op, self.kind, shape, values, tangents)
    }

    pub(super) fn tangent(&self, element: usize) -> f64 {
        self.tangents.as_ref().map_or(0.0, |tangents| tangents[element])
    }

    /// A comparison: 1.0 or 0.0, no tangents.
    fn compare(&self, other: &Self, op: &str, holds: impl Fn(f64, f64) -> bool) -> Self {
        let mut result = self.binary(other, op, |x, y| f64::from(u8::from(holds(x, y))), |_, _| (0.0, 0.0));
        (result.kind, result.tangents) = (Kind::Float, None);
        result
    }

    fn compare_scalar(&self, op: &str, holds: impl Fn(f64) -> bool) -> Self {
        let values = self.values.iter().map(|&x| f64::from(u8::from(holds(x)))).collect();
        Self::make(op, Kind::Float, self.shape.clone(), values, None)
    }

    pub(crate) fn add(&self, other: &Self) -> Self {
        self.binary(other, "add", |x, y| x + y, |_, _| (1.0, 1.0))
    }

    pub(crate) fn sub(&self, other: &Self) -> Self {
        self.binary(other, "sub", |x, y| x - y, |_, _| (1.0, -1.0))
    }

    pub(crate) fn mul(&self, other: &Self) -> Self {
        self.binary(other, "mul", |x, y| x * y, |x, y| (y, x))
    }

    pub(crate) fn div(&self, other: &Self) -> Self {
        self.expect_float("div");
        self.binary(other, "div", |x, y| x / y, |x, y| (1.0 / y, -x / (y * y)))
    }

    pub(crate) fn maximum(&self, other: &Self) -> Self {
        self.binary(other, "maximum", f64::max, |x, y| if x >= y { (1.0, 0.0) } else { (0.0, 1.0) })
    }

    pub(crate) fn minimum(&self, other: &Self) -> Self {
        self.binary(other, "minimum", f64::min, |x, y| if x <= y { (1.0, 0.0) } else { (0.0, 1.0) })
    }

    pub(crate) fn add_scalar(&self, value: f32) -> Self {
        self.unary("add-scalar", |x| x + f64::from(value), |_, _| 1.0)
    }

    pub(crate) fn mul_scalar(&self, value: f32) -> Self {
        self.unary("mul-scalar", |x| x * f64::from(value), |_, _| value.into())
    }

    pub(crate) fn pow_scalar(&self, exponent: f32) -> Self {
        let exponent = f64::from(exponent);
        self.float_unary("pow-scalar", |x| x.powf(exponent), |x, _| exponent * x.powf(exponent - 1.0))
    }

    pub(crate) fn equal(&self, other: &Self) -> Self {
        self.compare(other, "equal", |x, y| x == y)
    }

    pub(crate) fn greater(&self, other: &Self) -> Self {
        self.compare(other, "greater", |x, y| x > y)
    }

    pub(crate) fn greater_equal(&self, other: &Self) -> Self {
        self.compare(other, "greater-equal", |x, y| x >= y)
    }

    pub(crate) fn equal_scalar(&self, value: f32) -> Self {
        self.compare_scalar("equal-scalar", |x| x == f64::from(value))
    }

    pub(crate) fn greater_scalar(&self, value: f32) -> Self {
        self.compare_scalar("greater-scalar", |x| x > f64::from(value))
    }

    pub(crate) fn greater_equal_scalar(&self, value: f32) -> Self {
        self.compare_scalar("greater-equal-scalar", |x| x >= f64::from(value))
    }

    pub(crate) fn neg(&self) -> Self {
        self.unary("neg", |x| -x, |_, _| -1.0)
    }

    pub(crate) fn abs(&self) -> Self {
        self.unary("abs", f64::abs, |x, _| if x == 0.0 { 0.0 } else { x.signum() })
    }

    pub(crate) fn exp(&self) -> Self {
        self.float_unary("exp", f64::exp, |_, y| y)
    }

    pub(crate) fn log(&self) -> Self {
        self.float_unary("log", f64::ln, |x, _| 1.0 / x)
    }

    pub(crate) fn sqrt(&self) -> Self {
        self.float_unary("sqrt", f64::sqrt, |_, y| 0.5 / y)
    }

    pub(crate) fn tanh(&self) -> Self {
        self.float_unary("tanh", f64::tanh, |_, y| 1.0 - y * y)
    }

    pub(crate) fn sigmoid(&self) -> Self {
        self.float_unary("sigmoid", sigmoid, |_, y| y * (1.0 - y))
    }

    pub(crate) fn softplus(&self) -> Self {
        self.float_unary("softplus", |x| x.max(0.0) + (-x.abs()).exp().ln_1p(), |x, _| sigmoid(x))
    }

    pub(crate) fn relu(&self) -> Self {
        self.unary("relu", |x| x.max(0.0), |x, _| f64::from(u8::from(x > 0.0)))
    }

    pub(crate) fn clamp(&self, low: f32, high: f32) -> Self {
        assert!(low <= high, "tensors.clamp: {low} is not at most {high}");
        let (low, high) = (f64::from(low), f64::from(high));
        self.unary("clamp", |x| x.clamp(low, high), |x, _| f64::from(u8::from((low..=high).contains(&x))))
    }

    pub(crate) fn choose(&self, condition: &Self, otherwise: &Self) -> Self {
        assert_eq!(self.kind, otherwise.kind, "tensors.choose: a float and an integer tensor; use to-float first");
        let shape = broadcast("choose", &broadcast("choose", &self.shape, &otherwise.shape), &condition.shape);
        let [these, conditions, others] = [self, condition, otherwise].map(|tensor| sources(&tensor.shape, &shape));
        let picked: Vec<(&Self, usize)> = these
            .into_iter()
            .zip(others)
            .zip(conditions)
            .map(|((this, other), at)| if condition.values[at] == 0.0 { (otherwise, other) } else { (self, this) })
            .collect();
        let values = picked.iter().map(|(tensor, at)| tensor.values[*at]).collect();
        let has_tangents = self.tangents.is_some() || otherwise.tangents.is_some();
        let tangents = has_tangents.then(|| picked.iter().map(|(tensor, at)| tensor.tangent(*at)).collect());
        Self::make("choose", self.kind, shape, values, tangents)
    }

    pub(crate) fn masked_fill(&self, mask: &Self, value: f32) -> Self {
        let fill = Self::make("masked-fill", self.kind, vec![], vec![value.into()], None);
        fill.choose(mask, self)
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

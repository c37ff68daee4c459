//! `+ - * /` between tensors and numbers, owned or borrowed, and the negative.

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::Tensor;

/// One operator between tensors, in the four ways of borrowing.
macro_rules! between_tensors {
    ($trait:ident, $method:ident) => {
        between_tensors!($trait, $method, Tensor, Tensor);
        between_tensors!($trait, $method, Tensor, &Tensor);
        between_tensors!($trait, $method, &Tensor, Tensor);
        between_tensors!($trait, $method, &Tensor, &Tensor);
    };
    ($trait:ident, $method:ident, $left:ty, $right:ty) => {
        impl $trait<$right> for $left {
            type Output = Tensor;

            fn $method(self, other: $right) -> Tensor {
                Tensor(self.0.$method(&other.0))
            }
        }
    };
}

/// One operator between a tensor and a number, on either side; the expressions say what is computed.
macro_rules! with_number {
    ($trait:ident, $method:ident, |$tensor:ident, $number:ident| $right:expr, $left:expr) => {
        with_number!($trait, $method, |$tensor, $number| $right, $left, Tensor);
        with_number!($trait, $method, |$tensor, $number| $right, $left, &Tensor);
    };
    ($trait:ident, $method:ident, |$tensor:ident, $number:ident| $right:expr, $left:expr, $type:ty) => {
        impl $trait<f32> for $type {
            type Output = Tensor;

            fn $method(self, $number: f32) -> Tensor {
                let $tensor = self;
                $right
            }
        }

        impl $trait<$type> for f32 {
            type Output = Tensor;

            fn $method(self, $tensor: $type) -> Tensor {
                let $number = self;
                $left
            }
        }
    };
}

between_tensors!(Add, add);
between_tensors!(Sub, sub);
between_tensors!(Mul, mul);
between_tensors!(Div, div);

with_number!(Add, add, |tensor, number| tensor.add_scalar(number), tensor.add_scalar(number));
with_number!(Sub, sub, |tensor, number| tensor.add_scalar(-number), (-tensor).add_scalar(number));
with_number!(Mul, mul, |tensor, number| tensor.mul_scalar(number), tensor.mul_scalar(number));
// Division by a number is multiplication by its inverse; the contract has no other.
with_number!(Div, div, |tensor, number| tensor.mul_scalar(1.0 / number), Tensor::full(number, &[]) / tensor);

impl Neg for Tensor {
    type Output = Tensor;

    fn neg(self) -> Tensor {
        -&self
    }
}

impl Neg for &Tensor {
    type Output = Tensor;

    fn neg(self) -> Tensor {
        Tensor(self.0.neg())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(tensor: &Tensor, expected: [f32; 2]) {
        assert_eq!(tensor.read(), expected);
    }

    #[test]
    fn operators_take_tensors_and_numbers_on_either_side() {
        let a = || Tensor::from_floats(&[1.0, 2.0], &[2]);
        let b = Tensor::from_floats(&[4.0, 8.0], &[2]);
        check(&(a() + &b), [5.0, 10.0]);
        check(&(&a() - &b), [-3.0, -6.0]);
        check(&(a() * a()), [1.0, 4.0]);
        check(&(&b / a()), [4.0, 4.0]);
        check(&(a() + 1.0), [2.0, 3.0]);
        check(&(1.0 - a()), [0.0, -1.0]);
        check(&(a() - 1.0), [0.0, 1.0]);
        check(&(2.0 * &b), [8.0, 16.0]);
        check(&(&b / 4.0), [1.0, 2.0]);
        check(&(8.0 / &b), [2.0, 1.0]);
        check(&-a(), [-1.0, -2.0]);
    }
}

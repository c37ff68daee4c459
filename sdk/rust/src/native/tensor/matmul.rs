//! The matrix product.

use super::Tensor;
use super::elementwise::{broadcast, sources};

/// The sizes of a product: `rows x inner` by `inner x columns`.
#[derive(Clone, Copy)]
struct Sizes {
    rows: usize,
    inner: usize,
    columns: usize,
}

impl Sizes {
    /// The product of two matrices, which start at these places.
    fn product(self, left: (&[f64], usize), right: (&[f64], usize)) -> Vec<f64> {
        let left = &left.0[left.1 * self.rows * self.inner..];
        let right = &right.0[right.1 * self.inner * self.columns..];
        let element = |at: usize| {
            let (row, column) = (at / self.columns, at % self.columns);
            (0..self.inner).map(|inner| left[row * self.inner + inner] * right[inner * self.columns + column]).sum()
        };
        (0..self.rows * self.columns).map(element).collect()
    }
}

impl Tensor {
    pub(crate) fn matmul(&self, other: &Self) -> Self {
        self.expect_float("matmul");
        other.expect_float("matmul");
        let ([left_batch @ .., rows, inner], [right_batch @ .., other_inner, columns]) = (&*self.shape, &*other.shape)
        else {
            panic!("tensors.matmul: shapes {:?} and {:?}, not of rank 2 or more", self.shape, other.shape);
        };
        assert_eq!(inner, other_inner, "tensors.matmul: shapes {:?} and {:?}", self.shape, other.shape);
        let sizes = Sizes { rows: *rows, inner: *inner, columns: *columns };
        let mut shape = broadcast("matmul", left_batch, right_batch);
        let pairs: Vec<(usize, usize)> =
            sources(left_batch, &shape).into_iter().zip(sources(right_batch, &shape)).collect();
        let products = |left: &[f64], right: &[f64]| -> Vec<f64> {
            pairs.iter().flat_map(|&(at, other_at)| sizes.product((left, at), (right, other_at))).collect()
        };
        let by_left = self.tangents.as_ref().map(|tangents| products(tangents, &other.values));
        let by_right = other.tangents.as_ref().map(|tangents| products(&self.values, tangents));
        let tangents = match (by_left, by_right) {
            (Some(left), Some(right)) => Some(left.into_iter().zip(right).map(|(left, right)| left + right).collect()),
            (left, right) => left.or(right),
        };
        let values = products(&self.values, &other.values);
        shape.extend([sizes.rows, sizes.columns]);
        Self::make("matmul", super::Kind::Float, shape, values, tangents)
    }
}

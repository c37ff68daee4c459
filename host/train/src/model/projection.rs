//! Linear layers and embeddings, with an optional low-rank adapter.

use burn::module::{Module, Param};
use burn::tensor::module::{embedding, linear};
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::error::ModelError;
use crate::model::weights::TensorSource;

/// A linear layer: `y = x W + b`, plus `scale (x A) B` while an adapter is attached.
///
/// The weight is held as `[input, output]`, the transpose of the file's form: its rows are then read in order when few rows
/// of `x` are multiplied, which is what generation does.
#[derive(Module, Debug)]
pub struct Projection {
    /// `[input, output]`.
    pub weight: Param<Tensor<2>>,
    /// `[output]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Projection {
    /// Takes `{name}.weight` `[output, input]` and, if wanted, `{name}.bias` `[output]` from the source.
    pub(crate) fn load(
        source: &mut dyn TensorSource,
        name: &str,
        [input, output]: [usize; 2],
        has_bias: bool,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let values = source.take(&format!("{name}.weight"), &[output, input])?;
        let values = transposed(&values, output, input);
        let bias = if has_bias { Some(vector(source.take(&format!("{name}.bias"), &[output])?, device)) } else { None };
        Ok(Self { weight: matrix(values, [input, output], device), bias })
    }

    /// Applies the layer to `[rows, columns, input]`.
    ///
    /// The adapter is applied to the activations rather than added to the weight: neither the sum nor a gradient of the
    /// weight's size is ever formed.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [rows, columns, input] = x.dims();
        // One product over all columns: with more dimensions burn may choose one product per row and read the weight each time.
        let x = x.reshape([rows * columns, input]);
        let bias = self.bias.as_ref().map(Param::val);
        let y = match self.weight.adapter() {
            None => linear(x, self.weight.base(), bias),
            Some(adapter) => {
                let narrow = linear(x.clone(), adapter.a.val(), None).mul_scalar(adapter.scale);
                linear(x, self.weight.base(), bias) + linear(narrow, adapter.b.val(), None)
            }
        };
        let output = y.dims()[1];
        y.reshape([rows, columns, output])
    }

    /// The same layer without its adapter; the weight is shared, not copied.
    pub(crate) fn without_adapter(&self) -> Self {
        Self { weight: Param::initialized(self.weight.id, self.weight.base()), bias: self.bias.clone() }
    }
}

/// A table of vectors, one per token.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[vocabulary, width]`.
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    pub(crate) fn load(
        source: &mut dyn TensorSource,
        name: &str,
        shape: [usize; 2],
        device: &Device,
    ) -> Result<Self, ModelError> {
        let values = source.take(&format!("{name}.weight"), &shape)?;
        Ok(Self { weight: matrix(values, shape, device) })
    }

    /// Looks up `[rows, columns]` ids: `[rows, columns, width]`.
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        embedding(self.weight.val(), ids)
    }

    /// The table as a linear layer from width to vocabulary: `[rows, columns, vocabulary]`.
    pub fn as_head(&self, x: Tensor<3>) -> Tensor<3> {
        let [rows, columns, width] = x.dims();
        let y = x.reshape([rows * columns, width]).matmul(self.weight.val().transpose());
        let vocabulary = y.dims()[1];
        y.reshape([rows, columns, vocabulary])
    }
}

/// A trainable matrix.
pub(crate) fn matrix(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Param<Tensor<2>> {
    Param::from_data(TensorData::new(values, shape), device)
}

/// A trainable vector.
pub(crate) fn vector(values: Vec<f32>, device: &Device) -> Param<Tensor<1>> {
    let len = values.len();
    Param::from_data(TensorData::new(values, [len]), device)
}

/// Row-major `[rows, columns]` to row-major `[columns, rows]`, in tiles that fit the cache.
pub(crate) fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    const TILE: usize = 32;
    let mut out = vec![0.0; values.len()];
    for row_start in (0..rows).step_by(TILE) {
        let row_end = rows.min(row_start + TILE);
        for column_start in (0..columns).step_by(TILE) {
            for column in column_start..columns.min(column_start + TILE) {
                for row in row_start..row_end {
                    out[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_twice_gives_the_matrix_back() {
        let values: Vec<f32> = (0..70 * 45).map(|index| index as f32).collect();
        let once = transposed(&values, 70, 45);
        assert_eq!(once[70..71], values[1..2]);
        assert_eq!(transposed(&once, 45, 70), values);
    }
}

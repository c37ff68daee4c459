//! Rotary position embedding (Su et al. 2021, arXiv 2104.09864), half-split as in Hugging Face checkpoints.

use burn::tensor::{Device, Tensor, TensorData};

/// Cosines and sines of one batch, for all layers.
///
/// Dimension `i` and `i + d/2` of a head form a pair that is turned by `position * theta^(-2i/d)`.
#[derive(Clone, Debug)]
pub struct Rope {
    /// `[rows or 1, columns, 1, head_dim / 2]`.
    pub cos: Tensor<4>,
    /// As `cos`.
    pub sin: Tensor<4>,
}

impl Rope {
    /// Computes the angles of `positions`, `rows` rows of equal length. Rows that are all alike are stored once.
    pub fn new(positions: &[u32], rows: usize, head_dim: usize, theta: f64, device: &Device) -> Self {
        let columns = positions.len() / rows.max(1);
        let alike = positions.chunks(columns.max(1)).all(|row| row == &positions[..columns]);
        let (rows, positions) = if alike { (1, &positions[..columns]) } else { (rows, positions) };
        let half = head_dim / 2;
        // In single precision, as transformers does: at high positions the product's rounding is visible.
        let frequencies: Vec<f32> =
            (0..half).map(|i| 1.0 / (theta as f32).powf((2 * i) as f32 / head_dim as f32)).collect();
        let angles = || positions.iter().flat_map(|position| frequencies.iter().map(move |f| *position as f32 * f));
        let shape = [rows, columns, 1, half];
        let tensor = |values: Vec<f32>| Tensor::from_data(TensorData::new(values, shape), device);
        Self { cos: tensor(angles().map(f32::cos).collect()), sin: tensor(angles().map(f32::sin).collect()) }
    }
}

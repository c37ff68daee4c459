//! The host's tensors, as handles: a loss reads like its formula.
//!
//! This file is a table: one method per operation of `wit/tensors.wit`.

mod operators;

use std::fmt;

use crate::host;

#[cfg(target_arch = "wasm32")]
pub use crate::bindings::imports::tunesmith::method::tensors::Kind;
#[cfg(not(target_arch = "wasm32"))]
pub use crate::native::Kind;

/// A handle to a tensor of the host. No element crosses the boundary unless the plugin asks with [`read`](Tensor::read).
///
/// Ranks 0 to 5. Floats are float32 and integers 32-bit signed towards the plugin, whatever the device computes in.
/// Gradients flow through every float operation except [`detach`](Tensor::detach), comparisons, [`argmax`](Tensor::argmax) and indices.
/// `+ - * /` take tensors and numbers on either side; two tensors broadcast as in numpy: shapes are aligned at the last dimension,
/// and sizes must be equal or 1.
///
/// A shape that does not fit is a bug of the plugin: the call traps, and the host's report names the operation and the shapes.
/// Natively it panics with the same facts. Handles, operations, bytes on the device and bytes read in one call are limited by the host.
///
/// ```
/// # use tunesmith_sdk::Tensor;
/// let logprobs = Tensor::from_floats(&[-0.5, -1.5, -1.0, 0.0], &[2, 2]);
/// let weights = Tensor::from_floats(&[1.0, 1.0, 1.0, 0.0], &[2, 2]);
/// let loss = -(&logprobs * &weights).sum() / 3.0;
/// assert_eq!(loss.item(), 1.0);
/// ```
#[must_use = "an operation gives a new tensor and leaves its inputs alone"]
pub struct Tensor(pub(crate) host::Tensor);

/// Sizes and dimensions as the contract counts them. Nothing of 2^32 elements exists inside a component.
fn narrow(sizes: &[usize]) -> Vec<u32> {
    sizes.iter().map(|&size| size as u32).collect()
}

/// Making tensors.
impl Tensor {
    /// A float tensor of this shape, from its elements in row-major order.
    pub fn from_floats(values: &[f32], shape: &[usize]) -> Self {
        Self(host::Tensor::from_floats(values, &narrow(shape)))
    }

    /// An integer tensor of this shape, from its elements in row-major order.
    pub fn from_ints(values: &[i32], shape: &[usize]) -> Self {
        Self(host::Tensor::from_ints(values, &narrow(shape)))
    }

    /// A float tensor of one repeated value.
    pub fn full(value: f32, shape: &[usize]) -> Self {
        Self(host::Tensor::full(value, &narrow(shape)))
    }

    /// The integers from `start` (included) to `end` (excluded), as rank 1.
    pub fn arange(start: i32, end: i32) -> Self {
        Self(host::Tensor::arange(start, end))
    }

    /// Joins one or more tensors of one kind along dimension `dim`.
    pub fn concat(parts: &[&Self], dim: usize) -> Self {
        let parts: Vec<&host::Tensor> = parts.iter().map(|part| &part.0).collect();
        Self(host::Tensor::concat(&parts, dim as u32))
    }
}

/// Shape and kind.
impl Tensor {
    /// The size of each dimension; empty for rank 0.
    pub fn shape(&self) -> Vec<usize> {
        self.0.shape().into_iter().map(|size| size as usize).collect()
    }

    /// What the elements are.
    pub fn kind(&self) -> Kind {
        self.0.kind()
    }

    /// The same elements as floats.
    pub fn to_float(&self) -> Self {
        Self(self.0.to_float())
    }

    /// The same elements as integers, rounded towards zero. No gradient.
    pub fn to_int(&self) -> Self {
        Self(self.0.to_int())
    }

    /// The same elements, cut from the graph: no gradient flows back.
    pub fn detach(&self) -> Self {
        Self(self.0.detach())
    }

    /// The same elements in row-major order under another shape of as many elements.
    pub fn reshape(&self, shape: &[usize]) -> Self {
        Self(self.0.reshape(&narrow(shape)))
    }

    /// Dimension `i` of the result is dimension `dims[i]` of this tensor.
    pub fn permute(&self, dims: &[usize]) -> Self {
        Self(self.0.permute(&narrow(dims)))
    }

    /// The part from `start` (included) to `end` (excluded) along dimension `dim`.
    pub fn slice(&self, dim: usize, start: usize, end: usize) -> Self {
        Self(self.0.slice(dim as u32, start as u32, end as u32))
    }

    /// This tensor repeated along dimensions of size 1 until it has `shape`.
    pub fn expand(&self, shape: &[usize]) -> Self {
        Self(self.0.expand(&narrow(shape)))
    }
}

/// Picking elements.
impl Tensor {
    /// `out[.., i, ..] = self[.., index[.., i, ..], ..]` along `dim`: `index` is an integer tensor of this rank, its other sizes equal to this tensor's.
    pub fn gather(&self, dim: usize, index: &Self) -> Self {
        Self(self.0.gather(dim as u32, &index.0))
    }

    /// The entries `index` (integers, rank 1) along `dim`.
    pub fn index_select(&self, dim: usize, index: &Self) -> Self {
        Self(self.0.index_select(dim as u32, &index.0))
    }

    /// This tensor where `condition` is not zero, `otherwise` elsewhere.
    pub fn choose(&self, condition: &Self, otherwise: &Self) -> Self {
        Self(self.0.choose(&condition.0, &otherwise.0))
    }

    /// `value` where `mask` is not zero, this tensor elsewhere.
    pub fn masked_fill(&self, mask: &Self, value: f32) -> Self {
        Self(self.0.masked_fill(&mask.0, value))
    }
}

/// Element by element. The four basic operations are operators.
impl Tensor {
    /// The larger of the two.
    pub fn maximum(&self, other: &Self) -> Self {
        Self(self.0.maximum(&other.0))
    }

    /// The smaller of the two.
    pub fn minimum(&self, other: &Self) -> Self {
        Self(self.0.minimum(&other.0))
    }

    /// Adds a number to each element: the same as `tensor + value`.
    pub fn add_scalar(&self, value: f32) -> Self {
        Self(self.0.add_scalar(value))
    }

    /// Multiplies each element by a number: the same as `tensor * value`.
    pub fn mul_scalar(&self, value: f32) -> Self {
        Self(self.0.mul_scalar(value))
    }

    /// Raises each element to a power. Floats only.
    pub fn pow_scalar(&self, exponent: f32) -> Self {
        Self(self.0.pow_scalar(exponent))
    }

    /// 1.0 where equal, else 0.0.
    pub fn equal(&self, other: &Self) -> Self {
        Self(self.0.equal(&other.0))
    }

    /// 1.0 where this is greater, else 0.0.
    pub fn greater(&self, other: &Self) -> Self {
        Self(self.0.greater(&other.0))
    }

    /// 1.0 where this is greater or equal, else 0.0.
    pub fn greater_equal(&self, other: &Self) -> Self {
        Self(self.0.greater_equal(&other.0))
    }

    /// 1.0 where this is greater than a number, else 0.0.
    pub fn greater_scalar(&self, value: f32) -> Self {
        Self(self.0.greater_scalar(value))
    }

    /// 1.0 where this is greater than or equal to a number, else 0.0.
    pub fn greater_equal_scalar(&self, value: f32) -> Self {
        Self(self.0.greater_equal_scalar(value))
    }

    /// 1.0 where equal to a number, else 0.0.
    pub fn equal_scalar(&self, value: f32) -> Self {
        Self(self.0.equal_scalar(value))
    }

    /// The absolute value.
    pub fn abs(&self) -> Self {
        Self(self.0.abs())
    }

    /// e to the power of each element.
    pub fn exp(&self) -> Self {
        Self(self.0.exp())
    }

    /// The natural logarithm.
    pub fn log(&self) -> Self {
        Self(self.0.log())
    }

    /// The square root.
    pub fn sqrt(&self) -> Self {
        Self(self.0.sqrt())
    }

    /// The hyperbolic tangent.
    pub fn tanh(&self) -> Self {
        Self(self.0.tanh())
    }

    /// `1 / (1 + exp(-x))`.
    pub fn sigmoid(&self) -> Self {
        Self(self.0.sigmoid())
    }

    /// `log(1 + exp(x))`, without overflow. `-(-x).softplus()` is the logarithm of the sigmoid.
    pub fn softplus(&self) -> Self {
        Self(self.0.softplus())
    }

    /// `max(x, 0)`.
    pub fn relu(&self) -> Self {
        Self(self.0.relu())
    }

    /// Each element moved into `low` to `high`. The gradient is 0 outside.
    pub fn clamp(&self, low: f32, high: f32) -> Self {
        Self(self.0.clamp(low, high))
    }
}

/// Over all elements or along one dimension.
impl Tensor {
    /// The sum of all elements, rank 0.
    pub fn sum(&self) -> Self {
        Self(self.0.sum())
    }

    /// The mean of all elements, rank 0. Floats only.
    pub fn mean(&self) -> Self {
        Self(self.0.mean())
    }

    /// The sum along `dim`, which stays with size 1.
    pub fn sum_dim(&self, dim: usize) -> Self {
        Self(self.0.sum_dim(dim as u32))
    }

    /// The mean along `dim`, which stays with size 1. Floats only.
    pub fn mean_dim(&self, dim: usize) -> Self {
        Self(self.0.mean_dim(dim as u32))
    }

    /// The largest element along `dim`, which stays with size 1.
    pub fn max_dim(&self, dim: usize) -> Self {
        Self(self.0.max_dim(dim as u32))
    }

    /// The smallest element along `dim`, which stays with size 1.
    pub fn min_dim(&self, dim: usize) -> Self {
        Self(self.0.min_dim(dim as u32))
    }

    /// The index of the largest element along `dim`, which stays with size 1. Integers; the first of equals.
    pub fn argmax(&self, dim: usize) -> Self {
        Self(self.0.argmax(dim as u32))
    }

    /// The running sum along `dim`.
    pub fn cumsum(&self, dim: usize) -> Self {
        Self(self.0.cumsum(dim as u32))
    }

    /// The `count` largest elements along `dim`, largest first, and their indices.
    pub fn topk(&self, dim: usize, count: usize) -> (Self, Self) {
        let (values, indices) = self.0.topk(dim as u32, count as u32);
        (Self(values), Self(indices))
    }

    /// The elements sorted along `dim`, smallest first unless `descending`, and their indices.
    pub fn sort(&self, dim: usize, descending: bool) -> (Self, Self) {
        let (values, indices) = self.0.sort(dim as u32, descending);
        (Self(values), Self(indices))
    }

    /// `exp(x) / sum(exp(x))` along `dim`.
    pub fn softmax(&self, dim: usize) -> Self {
        Self(self.0.softmax(dim as u32))
    }

    /// `x - log(sum(exp(x)))` along `dim`.
    pub fn log_softmax(&self, dim: usize) -> Self {
        Self(self.0.log_softmax(dim as u32))
    }

    /// `log(sum(exp(x)))` along `dim`, which stays with size 1.
    pub fn logsumexp(&self, dim: usize) -> Self {
        Self(self.0.logsumexp(dim as u32))
    }

    /// The matrix product over the last two dimensions; those before broadcast. Rank 2 or more.
    pub fn matmul(&self, other: &Self) -> Self {
        Self(self.0.matmul(&other.0))
    }
}

/// Reading: costs a copy from the device and counts against what a call may read.
impl Tensor {
    /// The elements in row-major order, as floats.
    pub fn read(&self) -> Vec<f32> {
        self.0.read()
    }

    /// The elements in row-major order, as integers. Integer tensors only.
    pub fn read_ints(&self) -> Vec<i32> {
        self.0.read_ints()
    }

    /// The only element.
    ///
    /// # Panics
    ///
    /// Panics if there is not exactly one.
    pub fn item(&self) -> f32 {
        match self.read().as_slice() {
            [value] => *value,
            _ => panic!("tensor.item: shape {:?} is not of one element", self.shape()),
        }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Tensor({:?}, {:?})", self.kind(), self.shape())
    }
}

/// Tests reach through to the pretend host's tensor.
#[cfg(not(target_arch = "wasm32"))]
impl Tensor {
    /// The tensor of the pretend host, with its tangents.
    pub fn native(&self) -> &crate::native::Tensor {
        &self.0
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl From<crate::native::Tensor> for Tensor {
    fn from(tensor: crate::native::Tensor) -> Self {
        Self(tensor)
    }
}

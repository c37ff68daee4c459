//! An abstract tensor engine keyed by handles, so that plugins can be run with any tensor library, or with none.

/// Names a tensor inside one [`Tensors`] engine. Ids are never reused while the engine lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub u64);

/// What a tensor's elements are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Floating point, float32 towards plugins.
    Float,
    /// 32-bit signed integers towards plugins.
    Int,
}

/// One operation that gives one tensor. Semantics are those of the WIT `tensors` interface, item by item.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant is the WIT method of its name, documented there")]
pub enum Op {
    FromFloats { values: Vec<f32>, shape: Vec<usize> },
    FromInts { values: Vec<i32>, shape: Vec<usize> },
    Full { value: f32, shape: Vec<usize> },
    Arange { start: i32, end: i32 },
    Concat { parts: Vec<TensorId>, dim: usize },
    ToFloat(TensorId),
    ToInt(TensorId),
    Detach(TensorId),
    Reshape(TensorId, Vec<usize>),
    Permute(TensorId, Vec<usize>),
    Slice { input: TensorId, dim: usize, start: usize, end: usize },
    Expand(TensorId, Vec<usize>),
    Gather { input: TensorId, dim: usize, index: TensorId },
    IndexSelect { input: TensorId, dim: usize, index: TensorId },
    Choose { input: TensorId, condition: TensorId, otherwise: TensorId },
    MaskedFill { input: TensorId, mask: TensorId, value: f32 },
    Binary(Binary, TensorId, TensorId),
    Scalar(Scalar, TensorId, f32),
    Unary(Unary, TensorId),
    Clamp { input: TensorId, low: f32, high: f32 },
    Sum(TensorId),
    Mean(TensorId),
    Along(Along, TensorId, usize),
    Matmul(TensorId, TensorId),
}

/// Element-wise operations on two tensors, with broadcasting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the WIT method of its name, documented there")]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Maximum,
    Minimum,
    Equal,
    Greater,
    GreaterEqual,
}

/// Element-wise operations on a tensor and a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the WIT method of its name, documented there")]
pub enum Scalar {
    Add,
    Mul,
    Pow,
    Equal,
    Greater,
    GreaterEqual,
}

/// Element-wise operations on one tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the WIT method of its name, documented there")]
pub enum Unary {
    Neg,
    Abs,
    Exp,
    Log,
    Sqrt,
    Tanh,
    Sigmoid,
    Softplus,
    Relu,
}

/// Operations along one dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the WIT method of its name, documented there")]
pub enum Along {
    Sum,
    Mean,
    Max,
    Min,
    Argmax,
    Cumsum,
    Softmax,
    LogSoftmax,
    Logsumexp,
}

/// One operation that gives values and their indices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PairOp {
    /// The `count` largest entries along `dim`.
    TopK {
        /// The tensor.
        input: TensorId,
        /// The dimension.
        dim: usize,
        /// How many.
        count: usize,
    },
    /// All entries sorted along `dim`.
    Sort {
        /// The tensor.
        input: TensorId,
        /// The dimension.
        dim: usize,
        /// Largest first.
        descending: bool,
    },
}

/// Why an engine did not do an operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// The shapes, kinds or indices do not fit. The plugin's bug; the text names the operation and the shapes.
    #[error("{op}: {what}")]
    Misuse {
        /// The operation, as the WIT calls it.
        op: &'static str,
        /// What does not fit, with the shapes.
        what: String,
    },
    /// The handle is not known, or was released.
    #[error("unknown tensor handle {0:?}")]
    Unknown(TensorId),
    /// A budget of the call is spent.
    #[error("the call's budget of {what} ({limit}) is spent")]
    Budget {
        /// What is budgeted: `live handles`, `operations`, `device bytes`, `bytes read`.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}

/// A tensor engine. Tensors live until they are released; gradients flow as the WIT says.
///
/// Methods take `&self`, since handles are shared between the host and one plugin call; an engine keeps its own lock.
/// No argument may make an engine panic: everything that a plugin can pass is checked and answered by [`TensorError`].
pub trait Tensors: Send + Sync {
    /// Does one operation.
    ///
    /// # Errors
    ///
    /// Fails when shapes, kinds or indices do not fit, a handle is unknown, or a budget is spent.
    fn apply(&self, op: &Op) -> Result<TensorId, TensorError>;

    /// Does one operation that gives values (first) and integer indices (second).
    ///
    /// # Errors
    ///
    /// As [`Tensors::apply`].
    fn apply_pair(&self, op: &PairOp) -> Result<(TensorId, TensorId), TensorError>;

    /// The size of each dimension; empty for rank 0.
    ///
    /// # Errors
    ///
    /// Fails when the handle is unknown.
    fn shape(&self, id: TensorId) -> Result<Vec<usize>, TensorError>;

    /// What the elements are.
    ///
    /// # Errors
    ///
    /// Fails when the handle is unknown.
    fn kind(&self, id: TensorId) -> Result<Kind, TensorError>;

    /// The elements in row-major order, as float32; integers are converted.
    ///
    /// # Errors
    ///
    /// Fails when the handle is unknown or the budget of bytes read is spent.
    fn read_floats(&self, id: TensorId) -> Result<Vec<f32>, TensorError>;

    /// The elements of an integer tensor in row-major order.
    ///
    /// # Errors
    ///
    /// As [`Tensors::read_floats`], and for a float tensor.
    fn read_ints(&self, id: TensorId) -> Result<Vec<i32>, TensorError>;

    /// Another handle to the same tensor: releasing one leaves the other.
    ///
    /// # Errors
    ///
    /// Fails when the handle is unknown.
    fn share(&self, id: TensorId) -> Result<TensorId, TensorError>;

    /// Forgets a handle. An unknown handle is ignored.
    fn release(&self, id: TensorId);
}

//! `tensors`: one line per operation. Longer than most files, since it is a table.

use tunesmith_core::tensors::{Along, Binary, Kind, Op, PairOp, Scalar, Unary};
use wasmtime::component::Resource;

use crate::wasm::fault::Cause;
use crate::wasm::v0_1::bindings::tunesmith::method::tensors;
use crate::wasm::v0_1::call::CallState;
use crate::wasm::v0_1::desk::Handle;

type Made = wasmtime::Result<Resource<Handle>>;

impl tensors::Host for CallState {}

impl tensors::HostTensor for CallState {
    fn from_floats(&mut self, values: Vec<f32>, shape: Vec<u32>) -> Made {
        self.apply(&Op::FromFloats { values: canonical(values), shape: sizes(&shape) })
    }

    fn from_ints(&mut self, values: Vec<i32>, shape: Vec<u32>) -> Made {
        self.apply(&Op::FromInts { values, shape: sizes(&shape) })
    }

    fn from_float_bytes(&mut self, bytes: Vec<u8>, shape: Vec<u32>) -> Made {
        let (numbers, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(Cause::Misuse(format!("from-float-bytes: {} bytes are no whole floats", bytes.len())).into());
        }
        let values = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
        self.apply(&Op::FromFloats { values: canonical(values), shape: sizes(&shape) })
    }

    fn full(&mut self, value: f32, shape: Vec<u32>) -> Made {
        self.apply(&Op::Full { value: quiet(value), shape: sizes(&shape) })
    }

    fn arange(&mut self, start: i32, end: i32) -> Made {
        self.apply(&Op::Arange { start, end })
    }

    fn concat(&mut self, parts: Vec<Resource<Handle>>, dim: u32) -> Made {
        let parts = parts.iter().map(|part| self.id(part)).collect::<wasmtime::Result<_>>()?;
        self.apply(&Op::Concat { parts, dim: dim as usize })
    }

    fn shape(&mut self, tensor: Resource<Handle>) -> wasmtime::Result<Vec<u32>> {
        let shape = self.look(&tensor, |engine, id| engine.shape(id))?;
        Ok(shape.into_iter().map(|size| size as u32).collect())
    }

    fn kind(&mut self, tensor: Resource<Handle>) -> wasmtime::Result<tensors::Kind> {
        Ok(match self.look(&tensor, |engine, id| engine.kind(id))? {
            Kind::Float => tensors::Kind::Float,
            Kind::Int => tensors::Kind::Int,
        })
    }

    fn reshape(&mut self, tensor: Resource<Handle>, shape: Vec<u32>) -> Made {
        let op = Op::Reshape(self.id(&tensor)?, sizes(&shape));
        self.apply(&op)
    }

    fn permute(&mut self, tensor: Resource<Handle>, dims: Vec<u32>) -> Made {
        let op = Op::Permute(self.id(&tensor)?, sizes(&dims));
        self.apply(&op)
    }

    fn slice(&mut self, tensor: Resource<Handle>, dim: u32, start: u32, end: u32) -> Made {
        let input = self.id(&tensor)?;
        self.apply(&Op::Slice { input, dim: dim as usize, start: start as usize, end: end as usize })
    }

    fn expand(&mut self, tensor: Resource<Handle>, shape: Vec<u32>) -> Made {
        let op = Op::Expand(self.id(&tensor)?, sizes(&shape));
        self.apply(&op)
    }

    fn gather(&mut self, tensor: Resource<Handle>, dim: u32, index: Resource<Handle>) -> Made {
        let (input, index) = (self.id(&tensor)?, self.id(&index)?);
        self.apply(&Op::Gather { input, dim: dim as usize, index })
    }

    fn index_select(&mut self, tensor: Resource<Handle>, dim: u32, index: Resource<Handle>) -> Made {
        let (input, index) = (self.id(&tensor)?, self.id(&index)?);
        self.apply(&Op::IndexSelect { input, dim: dim as usize, index })
    }

    fn choose(&mut self, tensor: Resource<Handle>, condition: Resource<Handle>, otherwise: Resource<Handle>) -> Made {
        let (input, condition, otherwise) = (self.id(&tensor)?, self.id(&condition)?, self.id(&otherwise)?);
        self.apply(&Op::Choose { input, condition, otherwise })
    }

    fn masked_fill(&mut self, tensor: Resource<Handle>, mask: Resource<Handle>, value: f32) -> Made {
        let (input, mask) = (self.id(&tensor)?, self.id(&mask)?);
        self.apply(&Op::MaskedFill { input, mask, value: quiet(value) })
    }

    fn clamp(&mut self, tensor: Resource<Handle>, low: f32, high: f32) -> Made {
        let input = self.id(&tensor)?;
        self.apply(&Op::Clamp { input, low: quiet(low), high: quiet(high) })
    }

    fn topk(
        &mut self,
        tensor: Resource<Handle>,
        dim: u32,
        count: u32,
    ) -> wasmtime::Result<(Resource<Handle>, Resource<Handle>)> {
        let input = self.id(&tensor)?;
        self.apply_pair(&PairOp::TopK { input, dim: dim as usize, count: count as usize })
    }

    fn sort(
        &mut self,
        tensor: Resource<Handle>,
        dim: u32,
        descending: bool,
    ) -> wasmtime::Result<(Resource<Handle>, Resource<Handle>)> {
        let input = self.id(&tensor)?;
        self.apply_pair(&PairOp::Sort { input, dim: dim as usize, descending })
    }

    fn read(&mut self, tensor: Resource<Handle>) -> wasmtime::Result<Vec<f32>> {
        self.read_back(&tensor, |engine, id| engine.read_floats(id)).map(canonical)
    }

    fn read_ints(&mut self, tensor: Resource<Handle>) -> wasmtime::Result<Vec<i32>> {
        self.read_back(&tensor, |engine, id| engine.read_ints(id))
    }

    fn read_bytes(&mut self, tensor: Resource<Handle>) -> wasmtime::Result<Vec<u8>> {
        let values = self.read_back(&tensor, |engine, id| engine.read_floats(id)).map(canonical)?;
        Ok(values.into_iter().flat_map(f32::to_le_bytes).collect())
    }

    fn drop(&mut self, tensor: Resource<Handle>) -> wasmtime::Result<()> {
        self.take(tensor)?;
        Ok(())
    }

    fn to_float(&mut self, tensor: Resource<Handle>) -> Made {
        let op = Op::ToFloat(self.id(&tensor)?);
        self.apply(&op)
    }

    fn to_int(&mut self, tensor: Resource<Handle>) -> Made {
        let op = Op::ToInt(self.id(&tensor)?);
        self.apply(&op)
    }

    fn detach(&mut self, tensor: Resource<Handle>) -> Made {
        let op = Op::Detach(self.id(&tensor)?);
        self.apply(&op)
    }

    fn sum(&mut self, tensor: Resource<Handle>) -> Made {
        let op = Op::Sum(self.id(&tensor)?);
        self.apply(&op)
    }

    fn mean(&mut self, tensor: Resource<Handle>) -> Made {
        let op = Op::Mean(self.id(&tensor)?);
        self.apply(&op)
    }

    fn neg(&mut self, tensor: Resource<Handle>) -> Made {
        self.unary(Unary::Neg, &tensor)
    }

    fn abs(&mut self, tensor: Resource<Handle>) -> Made {
        self.unary(Unary::Abs, &tensor)
    }

    fn exp(&mut self, tensor: Resource<Handle>) -> Made {
        self.unary(Unary::Exp, &tensor)
    }

    fn log(&mut self, tensor: Resource<Handle>) -> Made {
        self.unary(Unary::Log, &tensor)
    }

    fn sqrt(&mut self, tensor: Resource<Handle>) -> Made {
        self.unary(Unary::Sqrt, &tensor)
    }

    fn tanh(&mut self, tensor: Resource<Handle>) -> Made {
        self.unary(Unary::Tanh, &tensor)
    }

    fn sigmoid(&mut self, tensor: Resource<Handle>) -> Made {
        self.unary(Unary::Sigmoid, &tensor)
    }

    fn softplus(&mut self, tensor: Resource<Handle>) -> Made {
        self.unary(Unary::Softplus, &tensor)
    }

    fn relu(&mut self, tensor: Resource<Handle>) -> Made {
        self.unary(Unary::Relu, &tensor)
    }

    fn add(&mut self, tensor: Resource<Handle>, other: Resource<Handle>) -> Made {
        self.binary(Binary::Add, &tensor, &other)
    }

    fn sub(&mut self, tensor: Resource<Handle>, other: Resource<Handle>) -> Made {
        self.binary(Binary::Sub, &tensor, &other)
    }

    fn mul(&mut self, tensor: Resource<Handle>, other: Resource<Handle>) -> Made {
        self.binary(Binary::Mul, &tensor, &other)
    }

    fn div(&mut self, tensor: Resource<Handle>, other: Resource<Handle>) -> Made {
        self.binary(Binary::Div, &tensor, &other)
    }

    fn maximum(&mut self, tensor: Resource<Handle>, other: Resource<Handle>) -> Made {
        self.binary(Binary::Maximum, &tensor, &other)
    }

    fn minimum(&mut self, tensor: Resource<Handle>, other: Resource<Handle>) -> Made {
        self.binary(Binary::Minimum, &tensor, &other)
    }

    fn equal(&mut self, tensor: Resource<Handle>, other: Resource<Handle>) -> Made {
        self.binary(Binary::Equal, &tensor, &other)
    }

    fn greater(&mut self, tensor: Resource<Handle>, other: Resource<Handle>) -> Made {
        self.binary(Binary::Greater, &tensor, &other)
    }

    fn greater_equal(&mut self, tensor: Resource<Handle>, other: Resource<Handle>) -> Made {
        self.binary(Binary::GreaterEqual, &tensor, &other)
    }

    fn add_scalar(&mut self, tensor: Resource<Handle>, value: f32) -> Made {
        self.scalar(Scalar::Add, &tensor, value)
    }

    fn mul_scalar(&mut self, tensor: Resource<Handle>, value: f32) -> Made {
        self.scalar(Scalar::Mul, &tensor, value)
    }

    fn pow_scalar(&mut self, tensor: Resource<Handle>, exponent: f32) -> Made {
        self.scalar(Scalar::Pow, &tensor, exponent)
    }

    fn equal_scalar(&mut self, tensor: Resource<Handle>, value: f32) -> Made {
        self.scalar(Scalar::Equal, &tensor, value)
    }

    fn greater_scalar(&mut self, tensor: Resource<Handle>, value: f32) -> Made {
        self.scalar(Scalar::Greater, &tensor, value)
    }

    fn greater_equal_scalar(&mut self, tensor: Resource<Handle>, value: f32) -> Made {
        self.scalar(Scalar::GreaterEqual, &tensor, value)
    }

    fn sum_dim(&mut self, tensor: Resource<Handle>, dim: u32) -> Made {
        self.along(Along::Sum, &tensor, dim)
    }

    fn mean_dim(&mut self, tensor: Resource<Handle>, dim: u32) -> Made {
        self.along(Along::Mean, &tensor, dim)
    }

    fn max_dim(&mut self, tensor: Resource<Handle>, dim: u32) -> Made {
        self.along(Along::Max, &tensor, dim)
    }

    fn min_dim(&mut self, tensor: Resource<Handle>, dim: u32) -> Made {
        self.along(Along::Min, &tensor, dim)
    }

    fn argmax(&mut self, tensor: Resource<Handle>, dim: u32) -> Made {
        self.along(Along::Argmax, &tensor, dim)
    }

    fn cumsum(&mut self, tensor: Resource<Handle>, dim: u32) -> Made {
        self.along(Along::Cumsum, &tensor, dim)
    }

    fn softmax(&mut self, tensor: Resource<Handle>, dim: u32) -> Made {
        self.along(Along::Softmax, &tensor, dim)
    }

    fn log_softmax(&mut self, tensor: Resource<Handle>, dim: u32) -> Made {
        self.along(Along::LogSoftmax, &tensor, dim)
    }

    fn logsumexp(&mut self, tensor: Resource<Handle>, dim: u32) -> Made {
        self.along(Along::Logsumexp, &tensor, dim)
    }

    fn matmul(&mut self, tensor: Resource<Handle>, other: Resource<Handle>) -> Made {
        let op = Op::Matmul(self.id(&tensor)?, self.id(&other)?);
        self.apply(&op)
    }
}

impl CallState {
    fn unary(&mut self, operation: Unary, tensor: &Resource<Handle>) -> Made {
        let op = Op::Unary(operation, self.id(tensor)?);
        self.apply(&op)
    }

    fn binary(&mut self, operation: Binary, tensor: &Resource<Handle>, other: &Resource<Handle>) -> Made {
        let op = Op::Binary(operation, self.id(tensor)?, self.id(other)?);
        self.apply(&op)
    }

    fn scalar(&mut self, operation: Scalar, tensor: &Resource<Handle>, value: f32) -> Made {
        let op = Op::Scalar(operation, self.id(tensor)?, quiet(value));
        self.apply(&op)
    }

    fn along(&mut self, operation: Along, tensor: &Resource<Handle>, dim: u32) -> Made {
        let op = Op::Along(operation, self.id(tensor)?, dim as usize);
        self.apply(&op)
    }
}

fn sizes(numbers: &[u32]) -> Vec<usize> {
    numbers.iter().map(|&number| number as usize).collect()
}

/// One NaN for all: its sign and payload differ between processors, and a plugin could tell them apart.
fn quiet(value: f32) -> f32 {
    if value.is_nan() { f32::NAN } else { value }
}

fn canonical(mut values: Vec<f32>) -> Vec<f32> {
    for value in &mut values {
        *value = quiet(*value);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nan_becomes_the_same_nan() {
        let odd = f32::from_bits(0xffc0_1234);
        let bits: Vec<u32> = canonical(vec![odd, 1.0, -0.0]).into_iter().map(f32::to_bits).collect();
        assert_eq!(bits, [f32::NAN.to_bits(), 1.0_f32.to_bits(), (-0.0_f32).to_bits()]);
    }
}

//! The built-in objective: the negative log-likelihood, through the same handles as any plugin.

use std::sync::Arc;

use tunesmith_core::call::Call;
use tunesmith_core::error::{CallError, ServiceError};
use tunesmith_core::stage::{Batch, Objective, Port, checked_objective};
use tunesmith_core::tensors::{Binary, Op, Scalar, TensorError, TensorId};

/// The name of built-ins in reports and traces.
pub const BUILT_IN: &str = "built-in";

/// `L = - sum_bt w_bt log p(y_bt) / W`, with `W` the sum of weights over all micro-batches of the step: the token mean over the global count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Nll;

impl Objective for Nll {
    fn objective(&self, batch: Arc<dyn Batch>, _: &mut Call) -> Result<TensorId, CallError> {
        let tensors = batch.tensors();
        let logprobs = port(&*batch, &Port::TokenLogprobs("policy".into()))?;
        let weights = port(&*batch, &Port::Weights)?;
        // The same operations in the same order as the plugin `nll`: runs are equal bit for bit.
        let weighted = tensors.apply(&Op::Binary(Binary::Mul, logprobs, weights)).map_err(host)?;
        let sum = tensors.apply(&Op::Sum(weighted)).map_err(host)?;
        let loss = tensors.apply(&Op::Scalar(Scalar::Mul, sum, factor(batch.total_weight()))).map_err(host)?;
        checked_objective(BUILT_IN, &*batch, loss)?;
        Ok(loss)
    }
}

/// `-1 / total`, rounded once; 0.0 for a step without weight, whose loss is 0.0.
fn factor(total: f64) -> f32 {
    if total == 0.0 { 0.0 } else { (-1.0 / total) as f32 }
}

fn port(batch: &dyn Batch, port: &Port) -> Result<TensorId, CallError> {
    let tensor = batch.port(port).map_err(|error| failed(error.into()))?;
    tensor.ok_or_else(|| failed(Box::new(ServiceError::Unsupported(format!("the batch has no {port:?}")))))
}

fn host(error: TensorError) -> CallError {
    failed(error.into())
}

fn failed(source: Box<dyn std::error::Error + Send + Sync>) -> CallError {
    CallError::Host { plugin: BUILT_IN.into(), stage: "objective", source }
}

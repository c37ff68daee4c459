//! `edit`: how do parameters change outside gradient descent?

use std::sync::Arc;

use crate::call::Call;
use crate::error::{CallError, ServiceError};
use crate::tensors::{TensorId, Tensors};

/// Edits parameters. What is edited is checked at each [`Parameters::set`].
pub trait Edit: Send + Sync {
    /// Edits parameters. Called before training, every so many steps, or after training.
    ///
    /// # Errors
    ///
    /// Fails when the plugin declines or is broken.
    fn edit(&self, parameters: Arc<dyn Parameters>, call: &mut Call) -> Result<(), CallError>;
}

/// The model's parameters, by the names of the model's files.
pub trait Parameters: Send + Sync {
    /// The engine in which parameters live as handles.
    fn tensors(&self) -> Arc<dyn Tensors>;

    /// All names, sorted.
    fn names(&self) -> Vec<String>;

    /// The parameter in the policy, or in a named snapshot.
    ///
    /// # Errors
    ///
    /// Fails for unknown names.
    fn get(&self, snapshot: Option<&str>, name: &str) -> Result<TensorId, ServiceError>;

    /// Replaces the parameter in the policy.
    ///
    /// # Errors
    ///
    /// Fails for unknown names, another shape, and values that are not finite.
    fn set(&self, name: &str, value: TensorId) -> Result<(), ServiceError>;

    /// The number of optimiser steps done.
    fn step(&self) -> u32;
}

//! The model's parameters, for `edit`.

use crate::host;
use crate::{Error, Tensor};

/// The parameters of the policy and of named snapshots. Names are those of the model's files. Needs the grant `parameters`.
#[derive(Clone, Copy)]
pub struct ParameterSet<'a>(&'a host::ParameterSet);

impl<'a> ParameterSet<'a> {
    #[doc(hidden)]
    pub fn from_host(parameters: &'a host::ParameterSet) -> Self {
        Self(parameters)
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.0.names()
    }

    /// The parameter as it is in the policy.
    ///
    /// # Errors
    ///
    /// Fails when there is no parameter of this name.
    pub fn get(&self, name: &str) -> Result<Tensor, Error> {
        host::result(self.0.get(name)).map(Tensor)
    }

    /// The parameter as it was in a named snapshot; `base` is the model at the start.
    ///
    /// # Errors
    ///
    /// Fails when there is no such snapshot or parameter.
    pub fn get_from(&self, snapshot: &str, name: &str) -> Result<Tensor, Error> {
        host::result(self.0.get_from(snapshot, name)).map(Tensor)
    }

    /// Replaces the parameter in the policy by a tensor of the same shape.
    ///
    /// # Errors
    ///
    /// Fails when there is no parameter of this name or the shapes differ.
    pub fn set(&self, name: &str, value: &Tensor) -> Result<(), Error> {
        host::result(self.0.set(name, &value.0))
    }

    /// The number of optimiser steps done.
    pub fn step(&self) -> u32 {
        self.0.step()
    }
}

//! Parameters for `edit`, and a cache block for `retain`.

use std::cell::RefCell;
use std::collections::BTreeMap;

use tunesmith_sdk::Error;
use tunesmith_sdk::native::{self, Tensor};

/// The parameters of a policy and of its snapshots.
#[derive(Debug, Default)]
pub struct Parameters {
    policy: RefCell<BTreeMap<String, Tensor>>,
    snapshots: BTreeMap<String, BTreeMap<String, Tensor>>,
    step: u32,
}

impl Parameters {
    /// The parameters with one more.
    #[must_use]
    pub fn with(mut self, name: &str, values: &[f32], shape: &[u32]) -> Self {
        self.policy.get_mut().insert(name.into(), Tensor::from_floats(values, shape));
        self
    }

    /// The parameters with one more in a snapshot, such as `base`.
    #[must_use]
    pub fn with_snapshot(mut self, snapshot: &str, name: &str, values: &[f32], shape: &[u32]) -> Self {
        self.snapshots.entry(snapshot.into()).or_default().insert(name.into(), Tensor::from_floats(values, shape));
        self
    }

    /// The parameters after this many optimiser steps.
    #[must_use]
    pub fn at_step(mut self, step: u32) -> Self {
        self.step = step;
        self
    }

    /// The elements of a parameter of the policy; empty if there is none of this name.
    pub fn read(&self, name: &str) -> Vec<f32> {
        self.policy.borrow().get(name).map_or_else(Vec::new, Tensor::read)
    }
}

fn find(parameters: Option<&BTreeMap<String, Tensor>>, name: &str) -> Result<Tensor, Error> {
    parameters
        .and_then(|parameters| parameters.get(name))
        .cloned()
        .ok_or_else(|| Error::unsupported(format!("no parameter `{name}`")))
}

impl native::ParameterSet for Parameters {
    fn names(&self) -> Vec<String> {
        self.policy.borrow().keys().cloned().collect()
    }

    fn get(&self, name: &str) -> Result<Tensor, Error> {
        find(Some(&self.policy.borrow()), name)
    }

    fn get_from(&self, snapshot: &str, name: &str) -> Result<Tensor, Error> {
        find(self.snapshots.get(snapshot), name)
    }

    fn set(&self, name: &str, value: &Tensor) -> Result<(), Error> {
        let old = self.get(name)?;
        if old.shape() != value.shape() {
            return Err(Error::other(format!("`{name}` has shape {:?}, not {:?}", old.shape(), value.shape())));
        }
        self.policy.borrow_mut().insert(name.into(), value.clone());
        Ok(())
    }

    fn step(&self) -> u32 {
        self.step
    }
}

/// One layer's cache of one sequence.
#[derive(Debug, Clone)]
pub struct Block {
    /// The layer, from 1.
    pub layer: u32,
    /// Keys [kv-heads, length, head-size].
    pub keys: Tensor,
    /// Values [kv-heads, length, head-size].
    pub values: Tensor,
    /// How many entries may stay.
    pub budget: u32,
}

impl native::CacheBlock for Block {
    fn layer(&self) -> u32 {
        self.layer
    }

    fn keys(&self) -> Tensor {
        self.keys.clone()
    }

    fn values(&self) -> Tensor {
        self.values.clone()
    }

    fn budget(&self) -> u32 {
        self.budget
    }
}

//! Blocks of a key-value cache, for `retain`.

use crate::{Tensor, host};

/// One layer's cache of one sequence.
#[derive(Clone, Copy)]
pub struct CacheBlock<'a>(&'a host::CacheBlock);

impl<'a> CacheBlock<'a> {
    #[doc(hidden)]
    pub fn from_host(block: &'a host::CacheBlock) -> Self {
        Self(block)
    }

    /// The layer, from 1.
    pub fn layer(&self) -> usize {
        self.0.layer() as usize
    }

    /// Keys [kv-heads, length, head-size].
    pub fn keys(&self) -> Tensor {
        Tensor(self.0.keys())
    }

    /// Values [kv-heads, length, head-size].
    pub fn values(&self) -> Tensor {
        Tensor(self.0.values())
    }

    /// How many entries may stay.
    pub fn budget(&self) -> usize {
        self.0.budget() as usize
    }
}

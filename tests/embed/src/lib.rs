//! What an embedder without burn brings along: a small tensor engine in plain Rust, a model that looks answers up, a judge.
//!
//! Everything here is what the plugin host needs from outside, in the fewest lines that are right; the tests beside it run real
//! components on it.

mod ops;
mod plain;
mod world;

pub use self::plain::Plain;
pub use self::world::{
    Equality, Halves, Letters, OneBatch, Parrot, SquareBlock, TwoParameters, bytes_of, cause, examples, grants,
    rollouts, services,
};

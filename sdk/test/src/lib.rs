//! Runs a plugin natively against a pretend host, in milliseconds and without a component, a model or a GPU.
//!
//! ```
//! use tunesmith_sdk::{Cases, Error, Judge, NoSettings, Plugin, Verdict};
//! use tunesmith_sdk_test::{PretendHost, Row};
//!
//! struct Exact;
//!
//! impl Plugin for Exact {
//!     type Settings = NoSettings;
//!
//!     fn new(_: NoSettings) -> Result<Self, Error> {
//!         Ok(Self)
//!     }
//! }
//!
//! impl Judge for Exact {
//!     fn judge(&self, cases: &Cases) -> Result<Vec<Verdict>, Error> {
//!         let pairs = cases.answers().into_iter().zip(cases.references());
//!         Ok(pairs.map(|(answer, gold)| Verdict::from(gold == Some(answer))).collect())
//!     }
//! }
//!
//! let sum = Row::new("2 + 2 =").completion("4");
//! let verdicts = PretendHost::new().judge::<Exact>(&[sum.clone().answered("4"), sum.answered("5")]);
//! assert_eq!(verdicts, Ok(vec![Verdict::Right, Verdict::Wrong]));
//! ```
//!
//! * [`PretendHost`] holds settings, models, a judge and a seed, and has one method per stage. It checks each answer as the real host does.
//! * [`Row`], [`Case`], [`Evaluation`] and [`TokenRow`] are what stages are given.
//! * [`PretendHost::gradient`] gives the exact gradient of an objective by the policy's log-probabilities.
//! * [`check_manifest`] compares `plugin.toml` with the code.
//!
//! It pretends in three ways: tensors are exact and small, models say what the test tells them, and nothing is metered.

mod batch;
mod curated;
mod edit;
mod host;
mod manifest;
mod model;
mod rows;
mod token_row;

#[cfg(test)]
mod tests;

pub use self::curated::{Choice, Curated};
pub use self::edit::{Block, Parameters};
pub use self::host::{Judged, PretendHost, Report};
pub use self::manifest::check_manifest;
pub use self::model::PretendModel;
pub use self::rows::{Case, Evaluation, Row};
pub use self::token_row::TokenRow;

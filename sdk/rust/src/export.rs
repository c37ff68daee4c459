//! How the bindings call a plugin: one implementation per stage, for whatever type implements the stage's trait.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::thread::LocalKey;

/// Where the plugin lives while its component does. The export macro makes one per plugin.
pub trait Slot: Sized + 'static {
    /// The place; empty until the first call.
    fn slot() -> &'static LocalKey<RefCell<Option<Self>>>;
}

/// A plugin as the bindings see it: a type whose functions are the exports.
pub struct Component<P>(PhantomData<P>);

#[cfg(target_arch = "wasm32")]
mod calls {
    use super::{Component, Slot};
    use crate::bindings::imports::tunesmith::method;
    use crate::bindings::{answer, credit, curate, edit, judge, measure, objective, retain, reward, state, weigh};
    use crate::{Advantages, Error, Plugin, Verdict};

    /// Runs `call` on the plugin, which is made first if this is the component's first call.
    fn with<P: Plugin + Slot, T>(call: impl FnOnce(&mut P) -> Result<T, Error>) -> Result<T, method::types::Error> {
        let answer = P::slot().with_borrow_mut(|slot| {
            if slot.is_none() {
                report_panics();
                *slot = Some(P::from_json(&method::settings::json())?);
            }
            call(slot.as_mut().expect("the plugin was just made"))
        });
        answer.map_err(|error| match error {
            Error::BadSettings(text) => method::types::Error::BadSettings(text),
            Error::Unsupported(text) => method::types::Error::Unsupported(text),
            Error::Other(text) => method::types::Error::Other(text),
        })
    }

    /// Logs what a panic says before the trap ends the component, so that the host's report has more than `unreachable`.
    fn report_panics() {
        std::panic::set_hook(Box::new(|panic| crate::log::warn(&panic.to_string())));
    }

    impl<P: crate::Curate + Slot> curate::exports::tunesmith::method::curate::Guest for Component<P> {
        fn curate(
            pool: &method::data::Examples,
            chosen: &method::data::TrainingSet,
        ) -> Result<(), method::types::Error> {
            with(|plugin: &mut P| {
                plugin.curate(&crate::Examples::from_host(pool), &crate::TrainingSet::from_host(chosen))
            })
        }
    }

    impl<P: crate::Judge + Slot> judge::exports::tunesmith::method::judge::Guest for Component<P> {
        fn judge(cases: &method::answers::Cases) -> Result<Vec<method::answers::Verdict>, method::types::Error> {
            let verdicts = with(|plugin: &mut P| plugin.judge(&crate::Cases::from_host(cases)))?;
            let lower = |verdict| match verdict {
                Verdict::Right => method::answers::Verdict::Right,
                Verdict::Wrong => method::answers::Verdict::Wrong,
                Verdict::Partly(score) => method::answers::Verdict::Partly(score),
                Verdict::Undecided(why) => method::answers::Verdict::Undecided(why),
            };
            Ok(verdicts.into_iter().map(lower).collect())
        }
    }

    impl<P: crate::Reward + Slot> reward::exports::tunesmith::method::reward::Guest for Component<P> {
        fn reward(rollouts: &method::answers::Rollouts) -> Result<Vec<Option<f32>>, method::types::Error> {
            with(|plugin: &mut P| plugin.reward(&crate::Rollouts::from_host(rollouts)))
        }
    }

    impl<P: crate::Credit + Slot> credit::exports::tunesmith::method::credit::Guest for Component<P> {
        fn credit(
            rollouts: &method::answers::Rollouts,
            rewards: Vec<Option<f32>>,
        ) -> Result<credit::exports::tunesmith::method::credit::Advantages, method::types::Error> {
            use credit::exports::tunesmith::method::credit::Advantages as Lowered;
            with(|plugin: &mut P| plugin.credit(&crate::Rollouts::from_host(rollouts), &rewards)).map(|advantages| {
                match advantages {
                    Advantages::PerRollout(values) => Lowered::PerRollout(values),
                    Advantages::PerToken(values) => Lowered::PerToken(values),
                }
            })
        }
    }

    impl<P: crate::Weigh + Slot> weigh::exports::tunesmith::method::weigh::Guest for Component<P> {
        fn weigh(batch: &method::batches::TokenBatch) -> Result<Vec<f32>, method::types::Error> {
            with(|plugin: &mut P| plugin.weigh(&crate::TokenBatch::from_host(batch)))
        }
    }

    impl<P: crate::Objective + Slot> objective::exports::tunesmith::method::objective::Guest for Component<P> {
        fn objective(batch: &method::batches::Batch) -> Result<method::tensors::Tensor, method::types::Error> {
            with(|plugin: &mut P| plugin.objective(&crate::Batch::from_host(batch))).map(|loss| loss.0)
        }
    }

    impl<P: crate::Edit + Slot> edit::exports::tunesmith::method::edit::Guest for Component<P> {
        fn edit(parameters: &method::parameters::ParameterSet) -> Result<(), method::types::Error> {
            with(|plugin: &mut P| plugin.edit(&crate::ParameterSet::from_host(parameters)))
        }
    }

    impl<P: crate::Measure + Slot> measure::exports::tunesmith::method::measure::Guest for Component<P> {
        fn measure(evaluation: &method::answers::Evaluation) -> Result<Vec<(String, f64)>, method::types::Error> {
            with(|plugin: &mut P| plugin.measure(&crate::Evaluation::from_host(evaluation)))
        }
    }

    impl<P: crate::Answer + Slot> answer::exports::tunesmith::method::answer::Guest for Component<P> {
        fn answer(examples: &method::data::Examples) -> Result<Vec<String>, method::types::Error> {
            with(|plugin: &mut P| plugin.answer(&crate::Examples::from_host(examples)))
        }
    }

    impl<P: crate::Retain + Slot> retain::exports::tunesmith::method::retain::Guest for Component<P> {
        fn retain(block: &method::cache::CacheBlock) -> Result<method::tensors::Tensor, method::types::Error> {
            with(|plugin: &mut P| plugin.retain(&crate::CacheBlock::from_host(block))).map(|scores| scores.0)
        }
    }

    impl<P: crate::Remember + Slot> state::exports::tunesmith::method::state::Guest for Component<P> {
        fn save() -> Vec<u8> {
            P::slot().with_borrow(|slot| slot.as_ref().map_or_else(Vec::new, P::save))
        }

        fn restore(blob: Vec<u8>) -> Result<(), method::types::Error> {
            with(|plugin: &mut P| plugin.restore(&blob))
        }
    }
}

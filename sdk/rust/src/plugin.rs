//! What a plugin is, and the macro that makes it a component.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::Error;

/// A plugin: a value made from the recipe's settings. The stages that it takes part in are traits of their own.
pub trait Plugin: Sized + 'static {
    /// The settings. Field names are the keys of the recipe; give the struct `#[serde(rename_all = "kebab-case", deny_unknown_fields)]`.
    ///
    /// Defaults belong into `plugin.toml`, beside types and ranges: the host fills them in before the plugin sees the settings.
    type Settings: DeserializeOwned;

    /// Makes the plugin. Called once per call of a stage, since every call runs in a fresh component; so keep it cheap.
    ///
    /// # Errors
    ///
    /// Declines with [`Error::BadSettings`] when settings contradict each other in a way that the schema cannot say.
    fn new(settings: Self::Settings) -> Result<Self, Error>;

    /// Makes the plugin from settings as JSON.
    ///
    /// # Errors
    ///
    /// Declines with [`Error::BadSettings`] when the text does not fit [`Plugin::Settings`], and as [`Plugin::new`].
    fn from_json(settings: &str) -> Result<Self, Error> {
        Self::new(serde_json::from_str(settings).map_err(|error| Error::bad_settings(error.to_string()))?)
    }
}

/// The settings of a plugin that has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// What [`export!`](crate::export) says about a plugin.
pub trait Exports: Plugin {
    /// The stages that the component exports, and `state` if the plugin has memory, as named in the macro.
    const STAGES: &'static [&'static str];
}

/// Makes a plugin a component that exports exactly the named stages, and `state` if the plugin keeps memory between calls.
///
/// `tunesmith_sdk::export!(MyPlugin: curate, judge);` exports two stages; the README's first program is whole.
///
/// Call it once per crate, at its root. It asks the compiler whether the plugin implements each stage, and does nothing else outside WebAssembly.
#[macro_export]
macro_rules! export {
    ($plugin:ident: $($stage:ident),+ $(,)?) => {
        impl $crate::Exports for $plugin {
            const STAGES: &'static [&'static str] = &[$(stringify!($stage)),+];
        }

        const _: () = {
            $($crate::__check_stage!($plugin $stage);)+

            #[cfg(target_arch = "wasm32")]
            const _: () = {
                impl $crate::Slot for $plugin {
                    fn slot() -> &'static ::std::thread::LocalKey<::std::cell::RefCell<Option<Self>>> {
                        ::std::thread_local! {
                            static SLOT: ::std::cell::RefCell<Option<$plugin>> = const { ::std::cell::RefCell::new(None) };
                        }
                        &SLOT
                    }
                }

                type Component = $crate::Component<$plugin>;
                $($crate::__export_stage!(Component $stage);)+
            };
        };
    };
}

/// Asks whether a plugin implements a stage.
#[doc(hidden)]
#[macro_export]
macro_rules! __check_stage {
    ($plugin:ident curate) => { $crate::__check_stage!(@ $plugin Curate); };
    ($plugin:ident judge) => { $crate::__check_stage!(@ $plugin Judge); };
    ($plugin:ident reward) => { $crate::__check_stage!(@ $plugin Reward); };
    ($plugin:ident credit) => { $crate::__check_stage!(@ $plugin Credit); };
    ($plugin:ident weigh) => { $crate::__check_stage!(@ $plugin Weigh); };
    ($plugin:ident objective) => { $crate::__check_stage!(@ $plugin Objective); };
    ($plugin:ident edit) => { $crate::__check_stage!(@ $plugin Edit); };
    ($plugin:ident measure) => { $crate::__check_stage!(@ $plugin Measure); };
    ($plugin:ident answer) => { $crate::__check_stage!(@ $plugin Answer); };
    ($plugin:ident retain) => { $crate::__check_stage!(@ $plugin Retain); };
    ($plugin:ident state) => { $crate::__check_stage!(@ $plugin Remember); };
    ($plugin:ident $other:ident) => {
        compile_error!(concat!(
            "unknown stage `", stringify!($other),
            "`; there are curate, judge, reward, credit, weigh, objective, edit, measure, answer, retain, and state"
        ));
    };
    (@ $plugin:ident $trait:ident) => {
        const _: fn() = || {
            fn implements<T: $crate::$trait>() {}
            implements::<$plugin>();
        };
    };
}

/// Writes the exports of one stage.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_stage {
    ($component:ident curate) => { $crate::bindings::curate::export_curate!($component with_types_in $crate::bindings::curate); };
    ($component:ident judge) => { $crate::bindings::judge::export_judge!($component with_types_in $crate::bindings::judge); };
    ($component:ident reward) => { $crate::bindings::reward::export_reward!($component with_types_in $crate::bindings::reward); };
    ($component:ident credit) => { $crate::bindings::credit::export_credit!($component with_types_in $crate::bindings::credit); };
    ($component:ident weigh) => { $crate::bindings::weigh::export_weigh!($component with_types_in $crate::bindings::weigh); };
    ($component:ident objective) => { $crate::bindings::objective::export_objective!($component with_types_in $crate::bindings::objective); };
    ($component:ident edit) => { $crate::bindings::edit::export_edit!($component with_types_in $crate::bindings::edit); };
    ($component:ident measure) => { $crate::bindings::measure::export_measure!($component with_types_in $crate::bindings::measure); };
    ($component:ident answer) => { $crate::bindings::answer::export_answer!($component with_types_in $crate::bindings::answer); };
    ($component:ident retain) => { $crate::bindings::retain::export_retain!($component with_types_in $crate::bindings::retain); };
    ($component:ident state) => { $crate::bindings::state::export_state!($component with_types_in $crate::bindings::state); };
    ($component:ident $other:ident) => {};
}

//! Models beside the one that is trained: checked when a recipe is opened, loaded when its work begins.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tunesmith_core::plan::{GeneratePlan, ModelPlace, NamedModelPlan, Plan, ServerPlan};
use tunesmith_core::recipe::TapeMode;
use tunesmith_core::set::Observer;
use tunesmith_train::server::{Key, ServerModel, can_speak_to};
use tunesmith_train::service::{self, NamedModels};

use crate::error::{Error, Fault};
use crate::model;
use crate::wire;
use crate::written::Written;

/// Where keys of servers come from: a recipe names a variable, this gives its value. Nothing here reads the environment by itself.
#[derive(Clone, Default)]
pub struct Keys(Option<Arc<Lookup>>);

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Keys {
    /// Keys that this function finds by the names that recipes call them by.
    pub fn new(find: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(find)))
    }

    fn find(&self, name: &str) -> Option<String> {
        self.0.as_ref().and_then(|find| find(name))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Keys(..)")
    }
}

/// The keys of a plan's models, by the names of the models.
pub(crate) type ModelKeys = BTreeMap<String, Key>;

/// Checks the plan's named models without loading or asking any, notes their digests, and gives the keys.
pub(crate) fn check(written: &Written, plan: &mut Plan, keys: &Keys) -> Result<ModelKeys, Error> {
    let mut found = ModelKeys::new();
    for NamedModelPlan { name, place, .. } in &mut plan.models {
        let field = format!("models.{name}");
        match place {
            ModelPlace::Folder(folder) => {
                folder.digest = model::check_folder(written, &format!("{field}.path"), &folder.path)?;
            }
            ModelPlace::Server(server) => {
                if !can_speak_to(&server.server) && server.mode == TapeMode::Record {
                    let fault = written.fault(&format!("{field}.server"), "this build does not speak https");
                    return Err(Error::recipe(fault.hint("build Tunesmith with `--features https`")));
                }
                expect_tape(written, &field, server)?;
                if let Some(key) = key(written, &field, server, keys)? {
                    found.insert(name.clone(), key);
                }
            }
        }
    }
    Ok(found)
}

fn expect_tape(written: &Written, field: &str, server: &ServerPlan) -> Result<(), Error> {
    match &server.tape {
        Some(tape) if server.mode == TapeMode::Replay && !tape.is_file() => {
            let what = format!("there is no tape `{}` to replay", tape.display());
            let fault = written.fault(&format!("{field}.tape"), what);
            Err(Error::recipe(fault.hint("record one first, with `mode = \"record\"` and the server")))
        }
        _ => Ok(()),
    }
}

/// The server's key. A replay needs none.
fn key(written: &Written, field: &str, server: &ServerPlan, keys: &Keys) -> Result<Option<Key>, Error> {
    let Some(name) = server.key.as_ref().filter(|_| server.mode == TapeMode::Record) else { return Ok(None) };
    let fault = |what: String| written.fault(&format!("{field}.key"), what);
    let text = keys.find(name).ok_or_else(|| {
        let hint = "export it before the run, or remove `key` if the server wants none";
        Error::recipe(fault(format!("the environment variable `{name}` is not set")).hint(hint))
    })?;
    Key::new(&text).map(Some).map_err(|error| {
        Error::recipe(fault(format!("the environment variable `{name}` cannot be used")).because(error))
    })
}

/// Loads the models in folders and reads the tapes of the others.
pub(crate) fn load(plan: &Plan, keys: &ModelKeys, observer: &mut dyn Observer) -> Result<NamedModels, Error> {
    let mut models = NamedModels::new();
    for NamedModelPlan { name, max_tokens, place } in &plan.models {
        let model = match place {
            ModelPlace::Folder(folder) => {
                let generate = GeneratePlan { max_tokens: *max_tokens, ..plan.generate.clone() };
                service::open(&wire::load(&folder.path, &plan.model.device, observer)?, &generate)
            }
            ModelPlace::Server(server) => {
                let model = ServerModel::open(name, server, *max_tokens, keys.get(name).cloned());
                Arc::new(model.map_err(|error| {
                    let tape = server.tape.clone().unwrap_or_default();
                    Error::model(Fault::of_file(&tape, "the tape cannot be used").because(error))
                })?)
            }
        };
        models.insert(name.clone(), model);
    }
    Ok(models)
}

//! `[models.NAME]` with every choice made that needs no file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::fault;
use crate::recipe::{NamedModel, Recipe, RecipeError, TapeMode};

/// The models that every run has. No other may be called so.
const TAKEN: [&str; 2] = ["policy", "reference"];

/// Requests under way at once: each has a thread.
const PARALLEL: std::ops::RangeInclusive<u32> = 1..=256;

/// A model beside the one that is trained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NamedModelPlan {
    /// The name by which plugins open it.
    pub name: String,
    /// The longest completion in tokens.
    pub max_tokens: u32,
    /// Where it is.
    #[serde(flatten)]
    pub place: ModelPlace,
}

/// Where a model beside the one that is trained is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ModelPlace {
    /// In a folder.
    Folder(FolderPlan),
    /// Behind a server.
    Server(ServerPlan),
}

/// A model in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FolderPlan {
    /// The folder.
    pub path: PathBuf,
    /// The digest of its files.
    pub digest: String,
}

/// A model behind an OpenAI-compatible server.
///
/// Of all this only the model's name and whether log-probabilities are asked for belong to the plan's digest: the same run may be repeated
/// from a tape, with another server, or with other budgets. What the server answered is not a choice of the recipe; it shows in the digests of calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServerPlan {
    /// The address, without a slash at its end.
    pub server: String,
    /// The name by which the server knows the model.
    pub model: String,
    /// Whether the server is asked for the log-probability of each token.
    pub logprobs: bool,
    /// The environment variable that holds the key. The key itself is in no plan.
    pub key: Option<String>,
    /// At most this many requests.
    pub requests: Option<u64>,
    /// No request once so many tokens were counted.
    pub tokens: Option<u64>,
    /// How often a request is sent again.
    pub retries: u32,
    /// Seconds until a request counts as failed.
    pub timeout: u32,
    /// Requests that are under way at once.
    pub parallel: u32,
    /// The file that keeps answers.
    pub tape: Option<PathBuf>,
    /// What happens to a request that the tape does not hold.
    pub mode: TapeMode,
}

/// All models of the recipe, sorted by name.
pub(super) fn plan(
    recipe: &Recipe,
    text: &str,
    base: &Path,
    max_tokens: u32,
) -> Result<Vec<NamedModelPlan>, RecipeError> {
    let mut models: Vec<NamedModelPlan> = Vec::new();
    for (name, model) in &recipe.models {
        let table = Table { name, model, text };
        let max_tokens = model.max_tokens.unwrap_or(max_tokens);
        let place = table.place(base)?;
        if let Some(other) = place.tape().and_then(|tape| models.iter().find(|it| it.place.tape() == Some(tape))) {
            let hint = "give each model a tape of its own".to_owned();
            return Err(table.fault("tape", &format!("is the tape of `{}` as well", other.name), Some(hint)));
        }
        models.push(NamedModelPlan { name: name.clone(), max_tokens, place });
    }
    Ok(models)
}

/// A table as it is written, and where.
struct Table<'a> {
    name: &'a str,
    model: &'a NamedModel,
    text: &'a str,
}

impl Table<'_> {
    fn fault(&self, key: &str, what: &str, hint: Option<String>) -> RecipeError {
        let dot = if key.is_empty() { "" } else { "." };
        fault(self.text, &format!("models.{}{dot}{key}", self.name), what, hint)
    }

    fn place(&self, base: &Path) -> Result<ModelPlace, RecipeError> {
        if TAKEN.contains(&self.name) {
            let hint = "every run has models `policy` and `reference`: choose another name".to_owned();
            return Err(self.fault("", "is the name of a model that every run has", Some(hint)));
        }
        if self.model.max_tokens == Some(0) {
            return Err(self.fault("max-tokens", "must be at least 1", None));
        }
        match (&self.model.path, &self.model.server) {
            (Some(path), None) => self.folder(&base.join(path)),
            (None, Some(server)) => Ok(ModelPlace::Server(self.server(server, base)?)),
            (Some(_), Some(_)) => {
                Err(self.fault("server", "stands beside `path`", Some("write one of the two".to_owned())))
            }
            (None, None) => {
                let hint =
                    "write `path = \"folder\"`, or `server = \"http://127.0.0.1:8080/v1\"` with `model = \"name\"`";
                Err(self.fault("", "has neither `path` nor `server`", Some(hint.to_owned())))
            }
        }
    }

    fn folder(&self, path: &Path) -> Result<ModelPlace, RecipeError> {
        let model = self.model;
        let alone = [
            ("model", model.model.is_some()),
            ("key", model.key.is_some()),
            ("requests", model.requests.is_some()),
            ("tokens", model.tokens.is_some()),
            ("retries", model.retries.is_some()),
            ("timeout", model.timeout.is_some()),
            ("parallel", model.parallel.is_some()),
            ("logprobs", model.logprobs.is_some()),
            ("tape", model.tape.is_some()),
            ("mode", model.mode.is_some()),
        ];
        match alone.into_iter().find(|(_, is_there)| *is_there) {
            Some((key, _)) => Err(self.fault(key, "is for a model behind a `server`, not in a folder", None)),
            None => Ok(ModelPlace::Folder(FolderPlan { path: path.to_owned(), digest: String::new() })),
        }
    }

    fn server(&self, server: &str, base: &Path) -> Result<ServerPlan, RecipeError> {
        if let Some((what, hint)) = fault_of_address(server) {
            return Err(self.fault("server", what, Some(hint.to_owned())));
        }
        let model = self.model;
        let name = model.model.clone().filter(|name| !name.is_empty()).ok_or_else(|| {
            let hint = "add `model = \"name\"`, the name by which the server knows the model".to_owned();
            self.fault("model", "is missing", Some(hint))
        })?;
        let at_least_1 = [
            ("requests", model.requests.is_none_or(|it| 1 <= it)),
            ("tokens", model.tokens.is_none_or(|it| 1 <= it)),
            ("timeout", model.timeout.is_none_or(|it| 1 <= it)),
            ("key", model.key.as_ref().is_none_or(|it| !it.is_empty())),
        ];
        if let Some((key, _)) = at_least_1.into_iter().find(|(_, holds)| !holds) {
            let what = if key == "key" { "names no environment variable" } else { "must be at least 1" };
            return Err(self.fault(key, what, None));
        }
        if model.parallel.is_some_and(|it| !PARALLEL.contains(&it)) {
            return Err(self.fault("parallel", "must be from 1 to 256", None));
        }
        let mode = model.mode.unwrap_or_default();
        if mode == TapeMode::Replay && model.tape.is_none() {
            let hint = "add `tape = \"file.jsonl\"`, the tape of an earlier run".to_owned();
            return Err(self.fault("mode", "is `replay`, and there is no tape", Some(hint)));
        }
        Ok(ServerPlan {
            server: server.trim_end_matches('/').to_owned(),
            model: name,
            logprobs: model.logprobs.unwrap_or(false),
            key: model.key.clone(),
            requests: model.requests,
            tokens: model.tokens,
            retries: model.retries.unwrap_or(4),
            timeout: model.timeout.unwrap_or(120),
            parallel: model.parallel.unwrap_or(4),
            tape: model.tape.as_ref().map(|tape| base.join(tape)),
            mode,
        })
    }
}

/// What is wrong with a server's address, and what to do.
fn fault_of_address(server: &str) -> Option<(&'static str, &'static str)> {
    let Some(rest) = server.strip_prefix("http://").or_else(|| server.strip_prefix("https://")) else {
        return Some(("does not begin with `http://` or `https://`", "write it as `http://127.0.0.1:8080/v1`"));
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() || !rest.chars().all(|sign| sign.is_ascii_graphic()) {
        return Some(("is no address", "write it as `http://127.0.0.1:8080/v1`"));
    }
    // The plan is written down; nothing secret may be in it.
    (rest.contains(['@', '?', '#'])).then_some((
        "has a user, a query or a fragment, which would be written into the run folder",
        "put the key into an environment variable and write `key = \"ITS_NAME\"`",
    ))
}

impl ModelPlace {
    fn tape(&self) -> Option<&Path> {
        match self {
            Self::Folder(_) => None,
            Self::Server(server) => server.tape.as_deref(),
        }
    }
}

impl NamedModelPlan {
    /// The places of all files.
    pub fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        match &mut self.place {
            ModelPlace::Folder(folder) => Some(&mut folder.path),
            ModelPlace::Server(server) => server.tape.as_mut(),
        }
        .into_iter()
    }

    /// Empties what does not decide the result.
    pub(super) fn make_bare(&mut self) {
        match &mut self.place {
            ModelPlace::Folder(folder) => folder.path = PathBuf::new(),
            ModelPlace::Server(server) => {
                *server = ServerPlan {
                    server: String::new(),
                    model: std::mem::take(&mut server.model),
                    logprobs: server.logprobs,
                    key: None,
                    requests: None,
                    tokens: None,
                    retries: 0,
                    timeout: 0,
                    parallel: 0,
                    tape: None,
                    mode: TapeMode::Record,
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    const SMALL: &str = "output = \"run\"\n[model]\npath = \"m\"\n[data]\ntrain = \"t.jsonl\"\n";
    const SERVER: &str = "[models.grader]\nserver = \"http://127.0.0.1:8080/v1/\"\nmodel = \"m\"\n";

    fn resolve(tables: &str) -> Result<Plan, RecipeError> {
        let text = format!("{SMALL}{tables}");
        Plan::resolve(&Recipe::parse(&text)?, &text, Path::new("/base"))
    }

    #[track_caller]
    fn check(tables: &str, expected: &str) {
        let told = resolve(tables).expect_err("the recipe is wrong").to_string();
        assert!(told.contains(expected), "`{told}` does not say `{expected}`");
    }

    #[test]
    fn models_are_resolved_with_their_defaults() {
        let tables = format!("{SERVER}tape = \"t.jsonl\"\n[models.teacher]\npath = \"big\"\nmax-tokens = 9\n");
        let models = resolve(&tables).expect("it is complete").models;
        let names: Vec<(&str, u32)> = models.iter().map(|it| (it.name.as_str(), it.max_tokens)).collect();
        assert_eq!(names, [("grader", 128), ("teacher", 9)]);
        let ModelPlace::Server(server) = &models[0].place else { panic!("a server") };
        assert_eq!((server.server.as_str(), server.retries, server.parallel), ("http://127.0.0.1:8080/v1", 4, 4));
        assert_eq!(server.tape.as_deref(), Some(Path::new("/base/t.jsonl")));
        let text = serde_json::to_string(&models).expect("JSON");
        assert_eq!(serde_json::from_str::<Vec<NamedModelPlan>>(&text).expect("it reads back"), models);
    }

    #[test]
    fn what_does_not_fit_is_named_with_line_and_hint() {
        check("[models.policy]\npath = \"m\"\n", "line 6: `models.policy`: is the name of a model that every run has");
        check("[models.reference]\npath = \"m\"\n", "hint: every run has models");
        check("[models.a]\nmax-tokens = 3\n", "`models.a`: has neither `path` nor `server`");
        check(&format!("{SERVER}path = \"m\"\n"), "line 7: `models.grader.server`: stands beside `path`");
        check(
            "[models.a]\npath = \"m\"\nretries = 3\n",
            "line 8: `models.a.retries`: is for a model behind a `server`",
        );
        check("[models.a]\nserver = \"http://h\"\n", "`models.a.model`: is missing");
        check(&format!("{SERVER}parallel = 0\n"), "line 9: `models.grader.parallel`: must be from 1 to 256");
        check(&format!("{SERVER}requests = 0\n"), "`models.grader.requests`: must be at least 1");
        check(&format!("{SERVER}key = \"\"\n"), "names no environment variable");
        check(&format!("{SERVER}mode = \"replay\"\n"), "is `replay`, and there is no tape");
        check(&format!("{SERVER}mode = \"play\"\n"), "line 9: unknown variant `play`");
        let two = format!("{SERVER}tape = \"t\"\n[models.h]\nserver = \"http://h\"\nmodel = \"m\"\ntape = \"t\"\n");
        check(&two, "`models.h.tape`: is the tape of `grader` as well");
    }

    #[test]
    fn an_address_may_hold_nothing_secret() {
        let with = |address: &str| SERVER.replace("http://127.0.0.1:8080/v1/", address);
        check(&with("127.0.0.1:8080"), "does not begin with `http://`");
        check(&with("http:///v1"), "is no address");
        check(&with("http://a b/v1"), "is no address");
        for address in ["http://me:secret@host/v1", "http://host/v1?key=secret", "http://host/v1#x"] {
            check(&with(address), "would be written into the run folder");
        }
    }

    #[test]
    fn the_digest_depends_on_the_model_and_not_on_the_way_to_it() {
        let digest = |tables: &str| resolve(tables).expect("it is complete").digest();
        let more = "key = \"K\"\nrequests = 3\ntokens = 9\nretries = 1\ntimeout = 5\nparallel = 2\ntape = \"t\"\nmode = \"replay\"\n";
        let elsewhere = SERVER.replace("127.0.0.1", "10.0.0.1");
        assert_eq!(digest(SERVER), digest(&format!("{elsewhere}{more}")));
        assert_ne!(digest(SERVER), digest(&SERVER.replace("model = \"m\"", "model = \"n\"")));
        assert_ne!(digest(SERVER), digest(&format!("{SERVER}logprobs = true\n")));
        assert_ne!(digest(SERVER), digest(""));
        let (before, mut now) = ("[models.a]\npath = \"x\"\n", resolve("[models.a]\npath = \"y\"\n").expect("a plan"));
        assert_eq!(digest(before), now.digest());
        now.models[0].place = ModelPlace::Folder(FolderPlan { path: "y".into(), digest: "1".into() });
        let told = now.differences(&resolve(before).expect("a plan"));
        assert_eq!(told, ["`models.a`: the model's files have changed"]);
    }
}

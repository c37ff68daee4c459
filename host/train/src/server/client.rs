//! Requests to a server: sent, sent again after failures that may pass, and read.

use std::fmt;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tunesmith_core::digest;
use tunesmith_core::plan::ServerPlan;
use ureq::Agent;

use super::budget::Budget;
use super::key::Key;
use super::lanes::Gate;
use super::questions::{Question, tokens};

/// The longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 32 << 20;
/// What is shown of a server's own words.
const MAX_TOLD: usize = 300;
/// The first pause before a request is sent again. Each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause, also if the server asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_mins(2);

/// Sends requests to one server.
pub(super) struct Client {
    agent: Agent,
    plan: ServerPlan,
    key: Option<Key>,
    gate: Gate,
    budget: Budget,
    first_pause: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// Why there is no answer. As text it goes behind the model's name.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server refuses this request, and would refuse it again.
    Refused { status: u16, told: String },
    /// Anything else.
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(what) => formatter.write_str(what),
            Self::Refused { status, told } => {
                let hint = match status {
                    300..=399 => "; hint: redirects are not followed: write the address that it names as `server`",
                    401 | 403 => "; hint: is `key` the environment variable with the key of this server?",
                    404 | 405 => {
                        "; hint: does `server` end as the server wants it, such as in `/v1`, and does it know the `model`?"
                    }
                    _ => "",
                };
                write!(formatter, "refused a request with status {status}{told}{hint}")
            }
        }
    }
}

/// What came of sending a request once.
enum Attempt {
    Answer(Vec<u8>),
    Failed(Failure),
    /// It may go better later: what happened, and when the server wants to be asked again.
    Passing(String, Option<Duration>),
}

impl Client {
    pub(super) fn new(plan: &ServerPlan, key: Option<Key>) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(plan.timeout.into())))
            .http_status_as_error(false)
            // The key goes to the server of the recipe and to no other, also not to a proxy that the environment names.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("tunesmith/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: config.into(),
            plan: plan.clone(),
            key,
            gate: Gate::new(plan.parallel),
            budget: Budget::new(plan.requests, plan.tokens),
            first_pause: FIRST_PAUSE,
        }
    }

    /// With other pauses: a test waits for nothing.
    #[cfg(test)]
    pub(super) fn pausing(&mut self, first: Duration) {
        self.first_pause = first;
    }

    /// Sends a request until there is an answer, and reads it.
    pub(super) fn ask<T>(
        &self,
        question: &Question,
        read: impl Fn(&Value) -> Result<Vec<T>, String>,
    ) -> Result<Vec<T>, Failure> {
        if !super::can_speak_to(&self.plan.server) {
            let what = "is asked over https, which this build does not speak; hint: build with `--features https`";
            return Err(Failure::Other(what.into()));
        }
        let text = question.text();
        let mut sent = 0;
        let bytes = loop {
            let attempt = {
                let _place = self.gate.enter();
                self.budget.take().map_err(Failure::Other)?;
                self.send(question.path(), &text)
            };
            sent += 1;
            match attempt {
                Attempt::Answer(bytes) => break bytes,
                Attempt::Failed(failure) => return Err(failure),
                Attempt::Passing(what, _) if self.plan.retries < sent => {
                    let times = if sent == 1 { "once".to_owned() } else { format!("{sent} times") };
                    return Err(Failure::Other(format!(
                        "gave no answer, asked {times}: {what}; hint: is the server at `{}` up and free? `retries` and `timeout` can be raised",
                        self.plan.server
                    )));
                }
                Attempt::Passing(_, after) => thread::sleep(self.pause(question, sent, after)),
            }
        };
        let malformed = |what: &str| Failure::Other(format!("gave an answer that cannot be read: {what}"));
        let answer: Value = serde_json::from_slice(&bytes).map_err(|error| malformed(&format!("no JSON: {error}")))?;
        self.budget.count(tokens(&text, &answer, bytes.len()));
        if self.key.as_ref().is_some_and(|key| is_in_a_text(&answer, &|text| key.is_in(text))) {
            return Err(malformed("it holds the key that was sent with the request; it goes to nobody"));
        }
        read(&answer).map_err(|what| malformed(&what))
    }

    /// How long to wait before sending number `sent + 1`: what the server asks for, or else twice as long each time, with a part that differs
    /// from request to request, so that those that failed together do not come back together.
    pub(super) fn pause(&self, question: &Question, sent: u32, after: Option<Duration>) -> Duration {
        let doubled = self.first_pause.saturating_mul(1 << (sent - 1).min(16));
        let draw = digest::seed_of([question.hash().as_bytes(), &sent.to_le_bytes()]) >> 11;
        let jitter = 0.5 + 0.5 * draw as f64 / (1_u64 << 53) as f64;
        after.unwrap_or_else(|| doubled.min(LONGEST_PAUSE).mul_f64(jitter)).min(LONGEST_PAUSE)
    }

    fn send(&self, path: &str, text: &str) -> Attempt {
        let mut request = self.agent.post(format!("{}/{path}", self.plan.server));
        request = request.header("Content-Type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("Authorization", key.header());
        }
        let mut response = match request.send(text) {
            Ok(response) => response,
            Err(error) => return self.without_answer(&error),
        };
        let status = response.status().as_u16();
        let after = response.headers().get("Retry-After").and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let bytes = match response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec() {
            Ok(bytes) => bytes,
            Err(error) if (200..300).contains(&status) => return self.without_answer(&error),
            // The status says enough.
            Err(_) => Vec::new(),
        };
        match status {
            200..300 => Attempt::Answer(bytes),
            408 | 425 | 429 | 500..600 => {
                Attempt::Passing(format!("status {status}{}", self.told(&bytes)), after.map(Duration::from_secs))
            }
            _ => Attempt::Failed(Failure::Refused { status, told: self.told(&bytes) }),
        }
    }

    fn without_answer(&self, error: &ureq::Error) -> Attempt {
        let failed = |what: String| Attempt::Failed(Failure::Other(what));
        match error {
            ureq::Error::Timeout(_) => Attempt::Passing(format!("no answer within {} s", self.plan.timeout), None),
            ureq::Error::HostNotFound => Attempt::Passing("the host is not known".into(), None),
            ureq::Error::ConnectionFailed => Attempt::Passing("no connection".into(), None),
            ureq::Error::BodyExceedsLimit(_) => too_long(),
            ureq::Error::Io(error) => Attempt::Passing(format!("the connection failed: {}", error.kind()), None),
            ureq::Error::Protocol(_) => Attempt::Passing("what came is no HTTP".into(), None),
            ureq::Error::LargeResponseHeader(..) => failed("gave a header that is too long".into()),
            ureq::Error::Tls(what) => failed(format!("cannot be asked over https: {what}")),
            // No text of other errors: it may hold what was sent.
            _ => failed("cannot be asked: the request cannot be made".into()),
        }
    }

    /// The server's own words on a failure, safe to be shown; empty if there are none.
    fn told(&self, bytes: &[u8]) -> String {
        let text = match serde_json::from_slice::<Value>(bytes) {
            Ok(answer) => {
                let places = ["/error/message", "/message", "/detail", "/error"];
                let found = places.iter().find_map(|place| answer.pointer(place)?.as_str());
                found.map_or_else(|| answer.to_string(), str::to_owned)
            }
            Err(_) => String::from_utf8_lossy(bytes).into_owned(),
        };
        if self.key.as_ref().is_some_and(|key| key.is_partly_in(&text)) {
            return ": (its message repeats the key and is not shown)".into();
        }
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let short: String = words.chars().filter(|sign| !sign.is_control()).take(MAX_TOLD).collect();
        if short.is_empty() { short } else { format!(": {short}") }
    }
}

fn too_long() -> Attempt {
    Attempt::Failed(Failure::Other(format!("gave an answer of more than {} MiB", MAX_ANSWER >> 20)))
}

/// Whether any text in a value is such, names included.
fn is_in_a_text(value: &Value, is_such: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => is_such(text),
        Value::Array(items) => items.iter().any(|item| is_in_a_text(item, is_such)),
        Value::Object(fields) => fields.iter().any(|(name, value)| is_such(name) || is_in_a_text(value, is_such)),
        _ => false,
    }
}

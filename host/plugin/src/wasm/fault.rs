//! Why a call into a component ended without an answer, told so that the plugin's author can act.

use std::fmt;

use wasmtime::{Trap, WasmBacktrace};

use crate::grants::Grant;
use crate::text;

/// Frames of a backtrace that are told.
const MAX_FRAMES: usize = 20;

/// A trap or a spent budget: the `source` of a [`CallError::Broken`](tunesmith_core::error::CallError::Broken).
#[derive(Debug)]
pub struct Fault {
    /// What happened.
    pub cause: Cause,
    /// The names of the plugin's functions that were running, innermost first; at most 20.
    pub frames: Vec<String>,
    /// The last line that the plugin logged, escaped: where a Rust plugin's panic message is.
    pub last_line: Option<String>,
}

/// What ended a call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The plugin used all its fuel.
    Fuel(u64),
    /// The plugin took longer than its deadline.
    Deadline(u64),
    /// The plugin asked for more memory than it may have.
    Memory {
        /// Bytes it would have had.
        wanted: usize,
        /// Bytes it may have.
        limit: usize,
    },
    /// The plugin asked for a larger table than it may have.
    Table {
        /// Elements it would have had.
        wanted: usize,
        /// Elements it may have.
        limit: usize,
    },
    /// The plugin's stack is full: a recursion without an end, most likely.
    Stack,
    /// The plugin gave up: a panic, an assertion, an allocation that failed.
    Panic,
    /// A budget of the call is spent.
    Spent {
        /// What is budgeted.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The plugin called the host in a way that the contract forbids: shapes that do not fit, a row that does not exist.
    Misuse(String),
    /// The plugin called a function without the grant for it.
    Ungranted(Grant),
    /// The host failed to do what it must be able to do.
    Host(String),
    /// Any other trap, in the engine's words.
    Trap(String),
}

impl Cause {
    pub(crate) fn spent(what: &'static str, limit: u64) -> Self {
        Self::Spent { what, limit }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fuel(limit) => {
                write!(formatter, "out of fuel: it burned all {limit} units, which hints at an endless loop")
            }
            Self::Deadline(limit) => write!(formatter, "out of time: it ran longer than its deadline of {limit} ms"),
            Self::Memory { wanted, limit } => {
                write!(formatter, "out of memory: it asked for {wanted} bytes, over the limit of {limit}")
            }
            Self::Table { wanted, limit } => {
                write!(formatter, "a table of {wanted} elements is over the limit of {limit}")
            }
            Self::Stack => formatter.write_str("stack overflow: a recursion without an end, most likely"),
            Self::Panic => formatter.write_str("it panicked, or reached code that must not be reached"),
            Self::Spent { what, limit } => write!(formatter, "the call's budget of {what} ({limit}) is spent"),
            Self::Misuse(what) | Self::Host(what) => formatter.write_str(what),
            Self::Ungranted(grant) => write!(formatter, "it used `{grant}`, which the recipe does not grant"),
            Self::Trap(what) => write!(formatter, "trap: {what}"),
        }
    }
}

impl std::error::Error for Cause {}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.cause)?;
        if let Some(line) = &self.last_line {
            write!(formatter, "\nlast log line: {line}")?;
        }
        if !self.frames.is_empty() {
            write!(formatter, "\nin the plugin's functions, innermost first:")?;
        }
        for frame in &self.frames {
            write!(formatter, "\n  {frame}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

impl Fault {
    /// Reads an error of the engine. `fuel` is what the call had to burn.
    pub(crate) fn of(error: &wasmtime::Error, fuel: u64) -> Self {
        let frames = error.downcast_ref::<WasmBacktrace>().map(frames).unwrap_or_default();
        let cause = match (error.downcast_ref::<Cause>(), error.downcast_ref::<Trap>()) {
            (Some(cause), _) => cause.clone(),
            (None, Some(Trap::OutOfFuel)) => Cause::Fuel(fuel),
            (None, Some(Trap::StackOverflow)) => Cause::Stack,
            (None, Some(Trap::UnreachableCodeReached)) => Cause::Panic,
            (None, Some(trap)) => Cause::Trap(trap.to_string()),
            // The root, since contexts only repeat where it happened.
            (None, None) => Cause::Trap(text::escape(&error.root_cause().to_string(), 1_000)),
        };
        // What a plugin did wrong is told with what it passed, which may be anything.
        let cause = match cause {
            Cause::Misuse(what) => Cause::Misuse(text::escape(&what, 2_000)),
            cause => cause,
        };
        Self { cause, frames, last_line: None }
    }
}

/// The names come from the component, so they are escaped and cut. A recursion is told once, with its depth as far as it was seen.
fn frames(backtrace: &WasmBacktrace) -> Vec<String> {
    let name = |frame: &wasmtime::FrameInfo| match frame.func_name() {
        Some(name) => text::escape(&demangle(name), 200),
        None => format!("function {}", frame.func_index()),
    };
    let mut told: Vec<(String, usize)> = Vec::new();
    for name in backtrace.frames().iter().take(MAX_FRAMES).map(name) {
        match told.last_mut() {
            Some((last, times)) if *last == name => *times += 1,
            _ => told.push((name, 1)),
        }
    }
    told.into_iter().map(|(name, times)| if times == 1 { name } else { format!("{name} ({times} times)") }).collect()
}

/// A Rust name as its author wrote it, without the hash; other names as they are.
fn demangle(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

//! What the plugin wants people to see. The host escapes text and caps lines and totals; what is over the cap is counted, not kept.

#[cfg(target_arch = "wasm32")]
use crate::bindings::imports::tunesmith::method::log as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::native::log as host;

#[doc(inline)]
pub use host::Level;

/// Writes a line for the plugin's author.
pub fn debug(text: &str) {
    host::write(Level::Debug, text);
}

/// Writes a line for everybody.
pub fn info(text: &str) {
    host::write(Level::Info, text);
}

/// Writes a line on which the user should act.
pub fn warn(text: &str) {
    host::write(Level::Warn, text);
}

/// Reports a named number for this call, such as `kept`. Numbers of one name are averaged over a step; NaN and infinities are dropped and counted.
pub fn metric(name: &str, value: f64) {
    host::metric(name, value);
}

/// Says that a row is left out, and why. Reasons are counted by their text, so keep it free of numbers.
pub fn skip(row: usize, why: &str) {
    host::skip(row as u32, why);
}

//! What plugins keep between their calls, for whoever saves and restores whole runs.

use std::sync::Arc;

/// The memory of one plugin. Stages that share an instance of a plugin share its memory.
pub trait Memory: Send + Sync {
    /// What the next call will start from: the blob that the last call left. None before the first call.
    fn save(&self) -> Option<Arc<Vec<u8>>>;

    /// Lets the next call start from this blob; none starts the plugin afresh. A blob that the plugin does not know fails that call.
    fn restore(&self, blob: Option<Vec<u8>>);
}

//! The state that a plugin keeps between its calls: a blob, held by one call at a time.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use tunesmith_core::stage::Stage;

/// Keeps the blob, and lets calls take turns.
#[derive(Default)]
pub(crate) struct Keeper {
    slot: Mutex<Slot>,
    freed: Condvar,
}

#[derive(Default)]
struct Slot {
    blob: Option<Arc<Vec<u8>>>,
    holder: Option<ThreadId>,
}

/// A call's turn. It ends when this is dropped.
pub(crate) struct Held<'a> {
    keeper: &'a Keeper,
}

/// What to say when there was no turn.
pub(crate) fn busy(stage: Stage) -> String {
    format!(
        "a call of this plugin is still running, and a plugin with state takes one at a time\nhint: if it is its own judge in stage `{stage}`, name another judge in the recipe"
    )
}

impl Keeper {
    /// Waits for the other calls' end. None if this thread holds the state already, which would never end, or if it takes too long.
    pub(crate) fn hold(&self, patience: Duration) -> Option<Held<'_>> {
        let me = thread::current().id();
        let slot = self.lock();
        if slot.holder == Some(me) {
            return None;
        }
        let is_held = |slot: &mut Slot| slot.holder.is_some();
        let (mut slot, wait) =
            self.freed.wait_timeout_while(slot, patience, is_held).unwrap_or_else(PoisonError::into_inner);
        if wait.timed_out() && slot.holder.is_some() {
            return None;
        }
        slot.holder = Some(me);
        Some(Held { keeper: self })
    }

    pub(crate) fn blob(&self) -> Option<Arc<Vec<u8>>> {
        self.lock().blob.clone()
    }

    pub(crate) fn set(&self, blob: Option<Vec<u8>>) {
        self.lock().blob = blob.map(Arc::new);
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        // A slot is always whole, whatever panicked while it was locked.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held<'_> {
    pub(crate) fn blob(&self) -> Option<Arc<Vec<u8>>> {
        self.keeper.blob()
    }

    pub(crate) fn keep(&mut self, blob: Vec<u8>) {
        self.keeper.set(Some(blob));
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.keeper.lock().holder = None;
        self.keeper.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_inside_a_call_is_refused_at_once() {
        let keeper = Keeper::default();
        let held = keeper.hold(Duration::from_mins(1)).expect("free");
        assert!(keeper.hold(Duration::from_mins(1)).is_none());
        drop(held);
        assert!(keeper.hold(Duration::ZERO).is_some());
    }

    #[test]
    fn another_thread_waits_for_its_turn() {
        let keeper = Keeper::default();
        let mut held = keeper.hold(Duration::ZERO).expect("free");
        thread::scope(|scope| {
            let waiting = scope.spawn(|| keeper.hold(Duration::from_mins(1)).and_then(|held| held.blob()));
            held.keep(vec![7]);
            drop(held);
            assert_eq!(waiting.join().expect("no panic"), Some(Arc::new(vec![7])));
        });
    }
}

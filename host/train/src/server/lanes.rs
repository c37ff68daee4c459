//! Work on several threads whose results are in order, and a gate that lets so many in at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

/// Does `count` pieces of work on up to `lanes` threads.
///
/// # Errors
///
/// Fails with the first failure in the order of the pieces; pieces that were not begun by then are left.
pub(super) fn in_order<T: Send, E: Send>(
    lanes: u32,
    count: usize,
    work: impl Fn(usize) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let (next, has_failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let lane = || {
        let mut made = Vec::new();
        while !has_failed.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if count <= at {
                break;
            }
            let result = work(at);
            has_failed.fetch_or(result.is_err(), Ordering::Relaxed);
            made.push((at, result));
        }
        made
    };
    let mut made = match (lanes as usize).min(count) {
        0 | 1 => lane(),
        lanes => thread::scope(|scope| {
            let threads: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("the work does not panic")).collect()
        }),
    };
    made.sort_by_key(|(at, _)| *at);
    made.into_iter().map(|(_, result)| result).collect()
}

/// Lets so many in at once.
#[derive(Debug)]
pub(super) struct Gate {
    free: Mutex<u32>,
    is_freed: Condvar,
}

/// A place behind a [`Gate`], until it is dropped.
pub(super) struct Place<'a>(&'a Gate);

impl Gate {
    pub(super) fn new(places: u32) -> Self {
        Self { free: Mutex::new(places.max(1)), is_freed: Condvar::new() }
    }

    /// Waits for a place.
    pub(super) fn enter(&self) -> Place<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.is_freed.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Place(self)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.is_freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_and_the_first_failure_counts() {
        for lanes in [0, 1, 3, 50] {
            let squares = in_order(lanes, 20, |at| Ok::<_, usize>(at * at)).expect("nothing fails");
            assert_eq!(squares, (0..20).map(|at| at * at).collect::<Vec<_>>());
            assert_eq!(in_order(lanes, 20, |at| if at < 3 { Ok(()) } else { Err(at) }), Err(3));
        }
        assert_eq!(in_order(4, 0, Err::<(), _>), Ok(Vec::new()));
    }

    #[test]
    fn no_more_than_its_places_are_behind_a_gate() {
        let (gate, inside, most) = (Gate::new(2), AtomicUsize::new(0), AtomicUsize::new(0));
        in_order(8, 64, |_| {
            let _place = gate.enter();
            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::yield_now();
            inside.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, ()>(())
        })
        .expect("nothing fails");
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
    }
}

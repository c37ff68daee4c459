//! Random numbers, a function of the run's seed, the plugin, the stage and the number of the call. There is no other source.

#[cfg(target_arch = "wasm32")]
use crate::bindings::imports::tunesmith::method::random as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::native::random as host;

/// What the host gives in one go.
const MOST: usize = 1 << 20;

/// Returns `count` numbers, uniform over all 64-bit values.
pub fn integers(count: usize) -> Vec<u64> {
    in_portions(count, host::integers)
}

/// Returns `count` numbers, uniform in 0.0 (included) to 1.0 (excluded).
pub fn uniforms(count: usize) -> Vec<f32> {
    in_portions(count, host::uniforms)
}

/// Returns `count` positions below `bound`, each uniform and independent of the others.
///
/// # Panics
///
/// Panics if `bound` is 0.
pub fn indices(count: usize, bound: usize) -> Vec<usize> {
    assert!(bound != 0, "random.indices: no position is below 0");
    integers(count).into_iter().map(|number| below(number, bound)).collect()
}

/// Brings the items into a random order; every order is equally likely.
pub fn shuffle<T>(items: &mut [T]) {
    let numbers = integers(items.len().saturating_sub(1));
    for (last, number) in (1..items.len()).rev().zip(numbers) {
        items.swap(last, below(number, last + 1));
    }
}

/// Maps a uniform 64-bit number to a position below `bound`: the high half of their product. The bias is below `bound / 2^64`.
fn below(number: u64, bound: usize) -> usize {
    ((u128::from(number) * bound as u128) >> 64) as usize
}

fn in_portions<T>(count: usize, draw: impl Fn(u32) -> Vec<T>) -> Vec<T> {
    let mut drawn = Vec::with_capacity(count);
    while drawn.len() < count {
        drawn.extend(draw((count - drawn.len()).min(MOST) as u32));
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_below_its_bound() {
        assert_eq!(below(0, 3), 0);
        assert_eq!(below(u64::MAX, 3), 2);
        assert_eq!(below(u64::MAX / 2, 3), 1);
        assert_eq!(below(u64::MAX, 1), 0);
    }

    #[test]
    fn a_large_wish_is_drawn_in_portions() {
        let portions = std::cell::RefCell::new(Vec::new());
        let drawn = in_portions(MOST + 2, |count| {
            portions.borrow_mut().push(count);
            vec![(); count as usize]
        });
        assert_eq!((drawn.len(), portions.into_inner()), (MOST + 2, vec![MOST as u32, 2]));
    }
}

//! Which demonstrations a prompt shows: a draw without replacement, decided by a number.

use serde::Deserialize;

/// How demonstrations are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Retrieval {
    /// All are equally likely.
    Random,
    /// From label to label in turn, within a label at random.
    Balanced,
}

/// The stream of a row's draw at test time: it follows from the seed, the row's prompt and the number of the draw, so that `answer` and
/// `measure` show the same demonstrations, whatever rows they are called with.
pub fn stream(seed: u64, prompt: &str, draw: usize) -> u64 {
    // FNV-1a over the prompt's bytes; splitmix64 mixes the rest in.
    let hash = prompt
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    mix(mix(hash ^ mix(seed)).wrapping_add(draw as u64))
}

/// At most `count` different positions of `labels`, in the order in which they are shown. `allowed` says which may be drawn.
pub fn draw(
    stream: u64,
    labels: &[usize],
    allowed: impl Fn(usize) -> bool,
    count: usize,
    how: Retrieval,
) -> Vec<usize> {
    let mut places: Vec<usize> = (0..labels.len()).filter(|place| allowed(*place)).collect();
    let mut state = stream;
    for last in (1..places.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        // The high half of the product: the bias is below places / 2^64.
        let other = ((u128::from(mix(state)) * (last as u128 + 1)) >> 64) as usize;
        places.swap(last, other);
    }
    if how == Retrieval::Balanced {
        // A stable sort by how many of the same label come before: first one of each label, then a second one, and so on.
        let before = |at: usize| places[..at].iter().filter(|place| labels[**place] == labels[places[at]]).count();
        let mut ranked: Vec<(usize, usize)> = (0..places.len()).map(|at| (before(at), places[at])).collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        places = ranked.into_iter().map(|(_, place)| place).collect();
    }
    places.truncate(count);
    places
}

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: [usize; 9] = [0, 0, 0, 0, 0, 0, 1, 1, 2];

    #[test]
    fn a_draw_repeats_and_draws_differ() {
        let drawn =
            |seed, prompt: &str, number| draw(stream(seed, prompt, number), &LABELS, |_| true, 4, Retrieval::Random);
        assert_eq!(drawn(0, "a", 0), drawn(0, "a", 0));
        let all = [drawn(0, "a", 0), drawn(0, "a", 1), drawn(1, "a", 0), drawn(0, "b", 0)];
        assert!(all.iter().enumerate().all(|(at, one)| all[..at].iter().all(|other| one != other)), "{all:?}");
        for places in &all {
            assert!(places.iter().enumerate().all(|(at, place)| !places[..at].contains(place)), "{places:?}");
        }
    }

    #[test]
    fn every_place_is_as_likely_as_another() {
        let mut counts = [0_u32; 9];
        for number in 0..9_000 {
            for at in draw(stream(7, "q", number), &LABELS, |_| true, 3, Retrieval::Random) {
                counts[at] += 1;
            }
        }
        // 3,000 each; five standard deviations of a binomial with p = 1/3 are 224.
        assert!(counts.iter().all(|count| count.abs_diff(3_000) < 224), "{counts:?}");
    }

    #[test]
    fn a_balanced_draw_takes_labels_in_turn() {
        for number in 0..50 {
            let places = draw(stream(7, "q", number), &LABELS, |_| true, 5, Retrieval::Balanced);
            let mut labels: Vec<usize> = places.iter().map(|place| LABELS[*place]).collect();
            labels[..3].sort_unstable();
            labels[3..].sort_unstable();
            assert_eq!(labels, [0, 1, 2, 0, 1], "three labels once, then those that are left");
        }
    }

    #[test]
    fn what_is_not_allowed_is_never_drawn_and_little_is_all() {
        let places = draw(1, &LABELS, |place| place == 2 || place == 7, 5, Retrieval::Random);
        assert_eq!((places.len(), places.contains(&2), places.contains(&7)), (2, true, true));
        assert!(draw(1, &[], |_| true, 5, Retrieval::Balanced).is_empty());
    }
}

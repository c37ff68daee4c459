//! The crate's own seeded generator: no global state, the same numbers on every machine.

/// `SplitMix64` (Steele, Lea, Flood 2014): a counter that is mixed, so that any two seeds give unrelated streams.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl Random {
    /// A stream of its own for every pair of seed and number.
    pub fn numbered(seed: u64, stream: u64) -> Self {
        Self { state: mix(mix(seed.wrapping_add(GOLDEN)) ^ stream.wrapping_mul(GOLDEN)) }
    }

    /// A stream of its own for every pair of seed and name.
    pub fn named(seed: u64, name: &str) -> Self {
        // FNV-1a: names are ours, so collisions on purpose are no concern.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self::numbered(seed, hash)
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// A number in `[0, 1)`, with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number from the standard normal distribution (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        // The first factor must not be the logarithm of zero.
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_and_repeat() {
        let first: Vec<u64> = std::iter::repeat_with({
            let mut random = Random::numbered(1, 0);
            move || random.bits()
        })
        .take(4)
        .collect();
        let mut again = Random::numbered(1, 0);
        assert!(first.iter().all(|bits| *bits == again.bits()));
        assert_ne!(first[0], Random::numbered(1, 1).bits());
        assert_ne!(first[0], Random::numbered(2, 0).bits());
        assert_ne!(Random::named(1, "a").bits(), Random::named(1, "b").bits());
    }

    #[test]
    fn normal_numbers_have_mean_zero_and_variance_one() {
        let mut random = Random::numbered(7, 0);
        let draws: Vec<f64> = (0..20_000).map(|_| random.normal()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.02, "{mean}");
        assert!((variance - 1.0).abs() < 0.03, "{variance}");
    }
}

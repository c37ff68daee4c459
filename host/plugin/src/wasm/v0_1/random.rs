//! Random numbers for plugins: a counter through the finaliser of `SplitMix64` (Steele, Lea and Flood 2014, with Stafford's mix 13).

/// The golden ratio times two to the power of 64, made odd.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A stream of random numbers that follows from its seed.
pub(crate) struct Numbers {
    state: u64,
}

impl Numbers {
    /// The stream of this seed, from its start.
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub(crate) fn integer(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        let mut bits = self.state;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }

    /// The next number in 0.0 (included) to 1.0 (excluded): the 24 highest bits.
    pub(crate) fn uniform(&mut self) -> f32 {
        (self.integer() >> 40) as f32 / 16_777_216.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_splitmix64() {
        // The first outputs of the reference implementation (Vigna, splitmix64.c) for the seed 1234567.
        let mut numbers = Numbers::new(1_234_567);
        assert_eq!(numbers.integer(), 6_457_827_717_110_365_317);
        assert_eq!(numbers.integer(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn uniforms_stay_below_one() {
        let mut numbers = Numbers::new(17);
        assert!((0..10_000).all(|_| (0.0..1.0).contains(&numbers.uniform())));
    }
}

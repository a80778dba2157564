//! `SplitMix64` as a hash of counters: G. Steele, D. Lea and C. Flood, "Fast splittable pseudorandom number generators"
//! (2014).

/// The step of its counter: 2^64 over the golden ratio, rounded to an odd number.
pub(crate) const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser: every bit of the result depends on every bit of `x`.
#[inline]
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The output that follows the state `counter`.
#[inline]
pub(crate) fn next(counter: u64) -> u64 {
    mix(counter.wrapping_add(GAMMA))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_outputs_of_seed_1234567() {
        let outputs = [0, 1, 2].map(|step: u64| next(GAMMA.wrapping_mul(step).wrapping_add(1_234_567)));
        assert_eq!(outputs, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }
}

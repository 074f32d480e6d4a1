//! Random streams of a run: one for each purpose.
//!
//! Invariant: a stream depends on (seed, purpose, number) and on how much was
//! drawn from it, and on nothing else. So taking a fault off the list does not
//! change what the others draw, and lists shrink.

use std::ops::Range;

/// Bytes that are made at a time: most draws are of eight, and a block is 64.
const AHEAD_BYTES: usize = 1024;

/// One stream: BLAKE3 in its extendable-output mode.
#[derive(Clone)]
pub struct Stream {
    source: blake3::OutputReader,
    ahead: [u8; AHEAD_BYTES],
    used: usize,
}

impl Stream {
    /// The stream of this purpose; `number` tells apart many of one purpose.
    pub fn new(seed: u64, purpose: &str, number: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("nuthatch simulation stream");
        hasher.update(&seed.to_le_bytes()).update(&number.to_le_bytes()).update(purpose.as_bytes());
        Self { source: hasher.finalize_xof(), ahead: [0; AHEAD_BYTES], used: AHEAD_BYTES }
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            if self.used == AHEAD_BYTES {
                self.source.fill(&mut self.ahead);
                self.used = 0;
            }
            let ready = &self.ahead[self.used..];
            let taken = ready.len().min(bytes.len());
            let (now, later) = bytes.split_at_mut(taken);
            now.copy_from_slice(&ready[..taken]);
            self.used += taken;
            bytes = later;
        }
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A number below `bound`; 0 if that is 0. The bias is below 2^-32 for the
    /// small bounds of a simulation.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(bound)) >> 64) as u64
    }

    /// A number of `range`; its start if it is empty.
    pub fn within(&mut self, range: &Range<u64>) -> u64 {
        range.start + self.below(range.end.saturating_sub(range.start))
    }

    /// True in `ppm` of a million cases.
    pub fn chance(&mut self, ppm: u32) -> bool {
        self.below(1_000_000) < u64::from(ppm)
    }

    /// One of `choices`; none if there are none.
    pub fn choose<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(usize::try_from(self.below(choices.len() as u64)).ok()?)
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stream")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ_by_seed_purpose_and_number() {
        let draw = |seed, purpose, number| Stream::new(seed, purpose, number).number();
        assert_eq!(draw(1, "a", 0), draw(1, "a", 0));
        assert_ne!(draw(1, "a", 0), draw(2, "a", 0));
        assert_ne!(draw(1, "a", 0), draw(1, "b", 0));
        assert_ne!(draw(1, "a", 0), draw(1, "a", 1));
    }

    #[test]
    fn what_is_drawn_does_not_depend_on_the_size_of_the_draws() {
        let mut whole = vec![0; 5 * AHEAD_BYTES / 2];
        Stream::new(1, "a", 0).fill(&mut whole);
        let mut stream = Stream::new(1, "a", 0);
        let mut parts = vec![0; whole.len()];
        parts.chunks_mut(700).for_each(|part| stream.fill(part));
        assert_eq!(parts, whole);
    }

    #[test]
    fn numbers_stay_in_range_and_reach_its_ends() {
        let mut stream = Stream::new(7, "range", 0);
        let drawn: Vec<u64> = (0..1000).map(|_| stream.within(&(3..6))).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&3), Some(&5)));
        assert_eq!(stream.within(&(4..4)), 4);
        assert!(!(0..1000).any(|_| stream.chance(0)) && (0..1000).all(|_| stream.chance(1_000_000)));
    }
}

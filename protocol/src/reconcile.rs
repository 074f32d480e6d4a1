//! How two nodes find out what the sets of the one and the other differ in: range-based
//! set reconciliation (A. Meyer, "Range-Based Set Reconciliation", SRDS 2023), whose
//! ranges are the branches of a trie.
//!
//! The caller sends fingerprints of ranges; where the callee's are others, it answers
//! with what lies below: the fingerprints of sixteen smaller ranges, or the hashes
//! themselves once they are few. The callee remembers nothing between two calls.
//!
//! Invariant: fingerprints are Merkle hashes, not sums. A sum of hashes could be
//! computed for any range, but someone who may add to the set can make two sets of
//! one sum (D. Wagner, "A Generalized Birthday Problem", CRYPTO 2002).

use serde::{Deserialize, Serialize};

use crate::{ids::Hash, limits};

/// Into how many ranges a range is divided: by its next hexadecimal digit.
pub const FANOUT: usize = 16;

/// A range: all hashes that begin with the same hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Prefix {
    digits: u8,
    value: u64,
}

impl Prefix {
    /// More digits than this are not looked at: nobody finds many hashes that share them.
    pub const DIGITS_MAX: u8 = 16;
    /// The range of all hashes.
    pub const ALL: Self = Self { digits: 0, value: 0 };

    /// How many digits it has.
    pub const fn digits(self) -> u8 {
        self.digits
    }

    /// Its digit at a place, from 0.
    pub const fn digit(self, place: u8) -> usize {
        (self.value >> (4 * (self.digits - 1 - place)) & 0xf) as usize
    }

    /// The range one digit longer. None for one that has as many as there may be.
    pub fn child(self, digit: usize) -> Option<Self> {
        let is_one = digit < FANOUT && self.digits < Self::DIGITS_MAX;
        is_one.then(|| Self { digits: self.digits + 1, value: self.value << 4 | digit as u64 })
    }

    /// Its sixteen parts, in order. None of one that has as many digits as there may be.
    pub fn children(self) -> impl DoubleEndedIterator<Item = Self> {
        (0..FANOUT).filter_map(move |digit| self.child(digit))
    }

    /// Whether a hash lies in it.
    pub fn holds(self, hash: &Hash) -> bool {
        (0..self.digits).all(|place| self.digit(place) == digit_of(hash, place))
    }

    /// Whether a peer could have meant it: there are not too many digits, and no others.
    pub fn is_valid(self) -> bool {
        self.digits <= Self::DIGITS_MAX && u128::from(self.value) >> (4 * self.digits) == 0
    }
}

/// A hexadecimal digit of a hash.
pub const fn digit_of(hash: &Hash, place: u8) -> usize {
    let byte = hash.0[(place / 2) as usize];
    (if place.is_multiple_of(2) { byte >> 4 } else { byte & 0xf }) as usize
}

/// What the caller has in a range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The range.
    pub range: Prefix,
    /// Its fingerprint at the caller.
    pub fingerprint: Hash,
}

/// What the callee has in a range whose fingerprint it has otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The range.
    pub range: Prefix,
    /// What is there.
    pub content: Content,
}

/// What there is in a range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// All its hashes, in order, at most `limits::RANGE_HASHES_MAX`.
    Hashes(Vec<Hash>),
    /// There are more. The fingerprints of its sixteen parts, in order.
    Parts(Vec<Hash>),
}

/// The fingerprint of a range with few hashes, in order: at most
/// `limits::RANGE_HASHES_MAX`, or any number in a range of `Prefix::DIGITS_MAX` digits.
pub fn fingerprint_of_hashes<'a>(hashes: impl IntoIterator<Item = &'a Hash>) -> Hash {
    fingerprint(0, hashes)
}

/// The fingerprint of a range with more, from those of its sixteen parts, in order.
pub fn fingerprint_of_parts<'a>(parts: impl IntoIterator<Item = &'a Hash>) -> Hash {
    fingerprint(1, parts)
}

/// The first byte keeps a list of hashes and a list of fingerprints apart.
fn fingerprint<'a>(kind: u8, hashes: impl IntoIterator<Item = &'a Hash>) -> Hash {
    // At most sixteen or thirty-two hashes: one call of BLAKE3 is quicker than many.
    let mut bytes = Vec::with_capacity(1 + limits::RANGE_HASHES_MAX * Hash::LEN);
    bytes.push(kind);
    hashes.into_iter().for_each(|hash| bytes.extend_from_slice(&hash.0));
    Hash(*blake3::hash(&bytes).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    fn hash(start: [u8; 3]) -> Hash {
        let mut hash = Hash([0xff; 32]);
        hash.0[..3].copy_from_slice(&start);
        hash
    }

    #[test]
    fn a_range_is_what_begins_with_its_digits() {
        let range = Prefix::ALL.child(0xa).and_then(|range| range.child(0xb)).and_then(|range| range.child(0)).unwrap();
        assert_eq!((range.digits(), range.digit(0), range.digit(1), range.digit(2)), (3, 0xa, 0xb, 0));
        assert!(range.holds(&hash([0xab, 0x0f, 0])));
        for other in [[0xab, 0x1f, 0], [0xaa, 0x0f, 0], [0xbb, 0x0f, 0]] {
            assert!(!range.holds(&hash(other)));
            assert!(Prefix::ALL.holds(&hash(other)));
        }
        assert_eq!(range.children().count(), FANOUT);
        assert!(range.children().is_sorted() && range.children().all(Prefix::is_valid));
    }

    #[test]
    fn a_range_has_only_so_many_digits() {
        let mut range = Prefix::ALL;
        while let Some(longer) = range.child(0xf) {
            assert!(longer.is_valid());
            range = longer;
        }
        assert_eq!((range.digits(), range.value), (Prefix::DIGITS_MAX, u64::MAX));
        assert_eq!(range.children().count(), 0);
        assert!(range.holds(&Hash([0xff; 32])) && !range.holds(&Hash([0; 32])));
        for (digits, value) in [(0_u8, 1), (1, 16), (15, u64::MAX), (17, 0), (255, 0), (255, u64::MAX)] {
            let sent = codec::encode(&(digits, value));
            let range: Prefix = codec::decode("range", &sent).unwrap();
            assert!(!range.is_valid(), "{digits} {value}");
        }
    }

    #[test]
    fn hashes_and_parts_have_other_fingerprints() {
        let hashes = [Hash([1; 32]), Hash([2; 32])];
        assert_ne!(fingerprint_of_hashes(&hashes), fingerprint_of_parts(&hashes));
        let by_hand = [&[0][..], &[1; 32], &[2; 32]].concat();
        assert_eq!(fingerprint_of_hashes(&hashes).0, *blake3::hash(&by_hand).as_bytes());
    }
}

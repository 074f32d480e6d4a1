//! What happened in a run, in order, as bytes.
//!
//! Invariant: the trace depends on nothing but the run. Two runs of one seed
//! have the same bytes; the hash stands for all of them, kept or not.
//!
//! Lines are in the order in which things were computed. A node that is busy is
//! ahead of the others: its lines carry the time at which it does what they say.

use std::{fmt, io::Write};

/// Bytes of a trace that are kept at most; the hash goes on. A run of five
/// minutes writes some tens of megabytes.
const KEPT_BYTES_MAX: usize = 512 << 20;

/// The log of a run and its running hash.
pub struct Trace {
    hasher: blake3::Hasher,
    kept: Option<Vec<u8>>,
    line: Vec<u8>,
    lines: u64,
}

impl Trace {
    /// An empty trace. Without `keep` only its hash and its length are known.
    pub fn new(keep: bool) -> Self {
        Self { hasher: blake3::Hasher::new(), kept: keep.then(Vec::new), line: Vec::new(), lines: 0 }
    }

    /// Adds one line: the virtual time in microseconds, and what happened.
    pub fn line(&mut self, now_ns: u64, what: fmt::Arguments<'_>) {
        self.line.clear();
        let us = now_ns / 1000;
        // Writing to memory cannot fail.
        let _ = writeln!(self.line, "{:5}.{:06} {what}", us / 1_000_000, us % 1_000_000);
        self.hasher.update(&self.line);
        self.lines += 1;
        if let Some(kept) = self.kept.as_mut().filter(|kept| kept.len() + self.line.len() <= KEPT_BYTES_MAX) {
            kept.extend_from_slice(&self.line);
        }
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> blake3::Hash {
        self.hasher.finalize()
    }

    /// How many lines there are.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// The bytes so far; empty if they are not kept.
    pub fn bytes(&self) -> &[u8] {
        self.kept.as_deref().unwrap_or_default()
    }
}

/// The number of the first line in which two traces differ, with both lines.
pub fn first_difference<'a>(one: &'a [u8], other: &'a [u8]) -> Option<(usize, &'a [u8], &'a [u8])> {
    let (mut lines, mut others) = (one.split(|byte| *byte == b'\n'), other.split(|byte| *byte == b'\n'));
    for number in 1.. {
        match (lines.next(), others.next()) {
            (None, None) => return None,
            (a, b) if a == b => {}
            (a, b) => return Some((number, a.unwrap_or_default(), b.unwrap_or_default())),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_all_bytes_kept_or_not() {
        let (mut kept, mut hashed) = (Trace::new(true), Trace::new(false));
        for trace in [&mut kept, &mut hashed] {
            trace.line(1_500_000_000, format_args!("one"));
            trace.line(1_500_000_999, format_args!("two"));
        }
        assert_eq!(kept.bytes(), b"    1.500000 one\n    1.500000 two\n");
        assert_eq!(kept.hash(), blake3::hash(kept.bytes()));
        assert_eq!(kept.hash(), hashed.hash());
        assert_eq!((hashed.bytes().len(), hashed.lines()), (0, 2));
    }

    #[test]
    fn a_difference_is_found_with_its_line() {
        assert_eq!(first_difference(b"a\nb\n", b"a\nb\n"), None);
        assert_eq!(first_difference(b"a\nb\n", b"a\nc\n"), Some((2, &b"b"[..], &b"c"[..])));
        assert_eq!(first_difference(b"a\n", b"a\nc\n"), Some((2, &b""[..], &b"c"[..])));
    }
}

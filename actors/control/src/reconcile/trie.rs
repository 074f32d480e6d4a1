//! A set of things that have hashes, as a trie with Merkle fingerprints.
//!
//! Invariant: its shape is a function of what is in it. A node has sixteen parts if
//! it holds more than `RANGE_HASHES_MAX` things, and is a sorted list otherwise, so
//! that equal sets have equal fingerprints whatever their history.

use std::{array, sync::OnceLock};

use protocol::{
    ids::Hash,
    limits::RANGE_HASHES_MAX,
    reconcile::{Content, FANOUT, Prefix, digit_of, fingerprint_of_hashes, fingerprint_of_parts},
};

/// Something that has a hash.
pub trait Hashed {
    /// Its hash, always the same.
    fn hash(&self) -> &Hash;
}

/// A set of things that have hashes, one of each hash.
#[derive(Debug, Clone)]
pub struct Trie<T>(Node<T>);

#[derive(Debug, Clone)]
struct Node<T> {
    count: usize,
    /// Kept until something below changes.
    fingerprint: OnceLock<Hash>,
    below: Below<T>,
}

#[derive(Debug, Clone)]
enum Below<T> {
    /// Sorted by hash.
    Few(Vec<T>),
    /// By the next digit.
    Parts(Box<[Node<T>; FANOUT]>),
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Self(Node::default())
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { count: 0, fingerprint: OnceLock::new(), below: Below::Few(Vec::new()) }
    }
}

impl<T: Hashed> Trie<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The one with this hash.
    pub fn get(&self, hash: &Hash) -> Option<&T> {
        let mut node = &self.0;
        let mut digits = 0;
        loop {
            match &node.below {
                Below::Few(few) => return few.get(place(few, hash).ok()?),
                Below::Parts(parts) => node = &parts[digit_of(hash, digits)],
            }
            digits += 1;
        }
    }

    /// Adds one. False if one with its hash is there, which then stays.
    pub fn insert(&mut self, item: T) -> bool {
        self.0.insert(item, 0)
    }

    /// Takes out the one with this hash.
    pub fn remove(&mut self, hash: &Hash) -> Option<T> {
        self.0.remove(hash, 0)
    }

    /// All in a range, by hash.
    pub fn range(&self, range: Prefix) -> impl Iterator<Item = &T> {
        // A list may reach beyond the range.
        self.node(range).0.iter().filter(move |item| range.holds(item.hash()))
    }

    /// The fingerprint of a range.
    pub fn fingerprint(&self, range: Prefix) -> Hash {
        match self.node(range) {
            (node, true) => node.fingerprint(),
            _ => fingerprint_of_hashes(self.range(range).map(Hashed::hash)),
        }
    }

    /// What there is in a range: its hashes if they are few, and otherwise the
    /// fingerprints of its parts.
    pub fn content(&self, range: Prefix) -> Content {
        match self.node(range) {
            (Node { below: Below::Parts(parts), .. }, true) => {
                Content::Parts(parts.iter().map(Node::fingerprint).collect())
            }
            _ => Content::Hashes(self.range(range).map(|item| *item.hash()).collect()),
        }
    }

    /// The lowest node that holds all of a range, and whether it holds nothing else.
    fn node(&self, range: Prefix) -> (&Node<T>, bool) {
        let mut node = &self.0;
        for place in 0..range.digits() {
            match &node.below {
                Below::Few(_) => return (node, false),
                Below::Parts(parts) => node = &parts[range.digit(place)],
            }
        }
        (node, true)
    }
}

fn place<T: Hashed>(few: &[T], hash: &Hash) -> Result<usize, usize> {
    few.binary_search_by(|item| item.hash().cmp(hash))
}

impl<T: Hashed> Node<T> {
    /// `digits`: how many of a hash lead to this node.
    fn insert(&mut self, item: T, digits: u8) -> bool {
        let inserted = match &mut self.below {
            Below::Few(few) => match place(few, item.hash()) {
                Ok(_) => false,
                Err(place) => {
                    few.insert(place, item);
                    true
                }
            },
            Below::Parts(parts) => parts[digit_of(item.hash(), digits)].insert(item, digits + 1),
        };
        if inserted {
            self.count += 1;
            self.fingerprint.take();
            self.divide(digits);
        }
        inserted
    }

    fn remove(&mut self, hash: &Hash, digits: u8) -> Option<T> {
        let removed = match &mut self.below {
            Below::Few(few) => few.remove(place(few, hash).ok()?),
            Below::Parts(parts) => parts[digit_of(hash, digits)].remove(hash, digits + 1)?,
        };
        self.count -= 1;
        self.fingerprint.take();
        self.gather();
        Some(removed)
    }

    /// A list that has become too long becomes sixteen.
    fn divide(&mut self, digits: u8) {
        if let Below::Few(few) = &mut self.below
            && few.len() > RANGE_HASHES_MAX
            && digits < Prefix::DIGITS_MAX
        {
            let mut parts = Box::new(array::from_fn(|_| Self::default()));
            for item in few.drain(..) {
                parts[digit_of(item.hash(), digits)].insert(item, digits + 1);
            }
            self.below = Below::Parts(parts);
        }
    }

    /// Sixteen lists that have become short become one.
    fn gather(&mut self) {
        if let Below::Parts(parts) = &mut self.below
            && self.count <= RANGE_HASHES_MAX
        {
            let mut all = Vec::with_capacity(self.count);
            for part in parts.iter_mut() {
                // A part of so few is a list itself.
                if let Below::Few(few) = &mut part.below {
                    all.append(few);
                }
            }
            self.below = Below::Few(all);
        }
    }

    fn fingerprint(&self) -> Hash {
        *self.fingerprint.get_or_init(|| match &self.below {
            Below::Few(few) => fingerprint_of_hashes(few.iter().map(Hashed::hash)),
            Below::Parts(parts) => {
                let parts: [Hash; FANOUT] = array::from_fn(|digit| parts[digit].fingerprint());
                fingerprint_of_parts(&parts)
            }
        })
    }

    fn iter(&self) -> Box<dyn Iterator<Item = &T> + '_> {
        match &self.below {
            Below::Few(few) => Box::new(few.iter()),
            Below::Parts(parts) => Box::new(parts.iter().flat_map(Self::iter)),
        }
    }
}

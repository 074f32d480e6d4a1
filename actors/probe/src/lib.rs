//! Where the simulator looks into the product, and where it meddles: interesting
//! paths that were taken (`sometimes`), rare but legal behaviour (`buggify`), and
//! faults that are there to be found (`planted`).
//!
//! Invariant: without `debug_assertions` none of it exists: the three functions are
//! constants there, and what stands behind an `if` on them is not compiled in. With
//! them, nothing happens either until somebody switches it on, which only the simulator
//! does: it runs one seed in a process, so the switches are the process's.
//!
//! A name that is written at a place in the product is used at no other, so that a report
//! names the place.

#[cfg(not(debug_assertions))]
mod absent;
mod names;
mod plant;
mod point;
#[cfg(debug_assertions)]
mod switches;

#[cfg(not(debug_assertions))]
use absent as switches;
pub use plant::Plant;
pub use point::Point;
/// What the simulator switches, and what it reads afterwards.
pub use switches::{buggified, loosen, plant, reached, struck};

/// Whether this build has probes at all.
pub const LIVE: bool = cfg!(debug_assertions);

/// Shares are given in millionths.
pub const ALWAYS_PPM: u32 = 1_000_000;

/// Paths that a good set of runs takes now and then, each recorded by `sometimes` at
/// one place in the product.
pub const PATHS: &[&str] = &[
    "a client fails over",
    "a commit comes after its lease has ended",
    "a commit is proposed again after it was decided",
    "a lease is asked for again, by the same attempt",
    "a lease is closed, since its time is over",
    "a lease is refused, since another backup has begun",
    "a look at the leader is shared",
    "a pack that a dead lease left is adopted",
    "a rebuild begins in one more incarnation",
    "a rebuild finds that an earlier one has handed over everything",
    "a stranger turns out to be known, after a look at the leader",
    "a token is redeemed again by the same keys",
    "a token is shown by more keys than it has uses",
    "a voter gets the ledger as a snapshot",
    "an entry of the log has several commands",
    "an object is condemned",
    "an object is tried again, after no clear answer",
    "entries that were never decided are cut off the log",
    "index segments are merged",
    "segments are published under a claim that has ended",
    "what a crash left of a ledger's snapshot is removed",
    "a database that a crash left unmade is made",
    "entries travel for longer than a heartbeat interval",
    "a database that a full disk stopped goes on",
];

/// Records that an interesting path was taken. `name` is one of `PATHS`.
#[inline(always)]
pub fn sometimes(name: &'static str) {
    switches::reach(name);
}

/// Whether to do here what is rare but legal. Asked each time: a share of the answers is yes.
#[must_use]
#[inline(always)]
pub fn buggify(point: Point) -> bool {
    switches::draw(point)
}

/// Whether to do here what is wrong.
#[must_use]
#[inline(always)]
pub fn planted(plant: Plant) -> bool {
    switches::strikes(plant)
}

#[cfg(test)]
mod tests;

//! The decisions of Nuthatch, pure: state and events in, decisions out.
//!
//! Invariant: nothing here waits, does I/O, reads a clock or draws randomness.
//! Time and random numbers are arguments, so that every replica decides alike,
//! and every run replays.

pub mod archive;
pub mod commit_check;
pub mod failover;
pub mod ledger;
pub mod promises;
pub mod publishing;
pub mod reconcile;
pub mod records;
pub mod standing;
pub mod tickets;
pub mod voters;

pub use ledger::{Ledger, OpenLease};
pub use records::{Inserted, RecordSet};
pub use standing::{Standing, may};
pub use voters::{Step, Voters};

#[cfg(test)]
mod testing;

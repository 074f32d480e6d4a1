//! Every byte of Nuthatch that leaves a process: identifiers, limits, signed
//! records, the commands of the log, wire messages, tokens, error codes and the
//! on-storage formats.
//!
//! Invariant: nothing here does I/O, reads a clock or draws randomness. Whoever
//! needs either passes the result in. `WIRE.md` and `FORMAT.md` beside this
//! crate describe the bytes well enough to write another implementation.

pub mod audit;
pub mod codec;
pub mod commands;
pub mod failure;
pub mod format;
pub mod ids;
pub mod ledger;
pub mod levels;
pub mod limits;
pub mod names;
pub mod reconcile;
pub mod records;
pub mod sealed;
pub mod sign;
pub mod time;
pub mod token;
pub mod wire;

//! What a node keeps of itself, and the groups that its tasks live in. What needs a
//! network or several nodes is played in `sim`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of this is tests, their helpers included"
)]

mod disk;
mod identity;
mod profile;
mod tasks;

//! The wire: golden bytes, round trips, garbage, and its document.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of this is tests, their helpers included"
)]

mod by_hand;
mod document;
mod garbage;
mod golden;
mod pages;
mod samples;

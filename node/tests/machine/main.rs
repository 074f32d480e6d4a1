//! The seams on this machine, and the built-in storage, as they really behave.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "helpers of tests fail by panic, and tests look at the machine from outside the seams"
)]

mod built_in;
mod cache;
mod data_dir;
mod files;
mod net;
mod odd_files;
mod pool;
mod probing;
mod ranks;
mod raw;
mod suite;
mod tls;
mod unwell;

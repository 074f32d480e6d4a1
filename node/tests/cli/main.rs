//! The program as its users meet it: real processes, real sockets, exit codes and words.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says by a panic that it failed")]

mod bad_input;
mod demo;
mod fleet;
mod main_job;
mod usage;

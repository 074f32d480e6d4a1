//! The program as its users meet it: real processes, real sockets, exit codes and words.

#![allow(clippy::disallowed_methods, reason = "a test uses the machine as any program would")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says by a panic that it failed")]

mod admins;
mod bad_input;
mod cluster;
mod demo;
mod deploy;
mod fleet;
mod hostile;
mod interrupted;
mod lists;
mod main_job;
mod readme;
mod rebuild;
mod restored;
mod returns;
mod shared;
mod sources;
mod storage;
mod usage;

//! The actor system of a node: thin shells around `control` and `repo`, and their
//! supervision. Every seam of `env` is injected; nothing here knows whether it
//! runs on a machine or in a simulation.

pub mod client;
pub mod db;
pub mod identity;
pub mod log;
pub mod net;
pub mod operator;
pub mod orchestrator;
pub mod shared;
pub(crate) mod small_file;
pub mod system;
pub mod tasks;
#[cfg(test)]
mod testing;

/// This program and its version, as it introduces itself.
pub const AGENT: &str = concat!("nuthatch/", env!("CARGO_PKG_VERSION"));

//! Whole clusters of the real actor system in one thread, from one seed.
//!
//! Each node is an unmodified tokio runtime on a simulated machine: its clocks,
//! entropy, network, disk, files and object storage are the `kernel`'s and the
//! `env`'s here. A `World` holds machines and lets faults strike; a `scenario`
//! says what they do and what must hold.
//!
//! Invariant: a run is a function of its seed. The same seed twice, in two
//! processes, writes the same trace byte for byte (`sim meta` proves it).

pub mod campaign;
pub mod env;
pub mod history;
pub mod journal;
pub mod kernel;
pub mod planted;
pub mod process;
mod rare;
pub mod scenario;
pub mod shrink;
pub mod timeline;
pub mod world;

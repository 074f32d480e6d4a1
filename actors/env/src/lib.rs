//! The seams of Nuthatch: everything a node takes from the world outside its own
//! memory. `node` implements them on a real machine, `sim` in a simulated one.
//!
//! Invariant: traits and plain data only, no implementation. Product code gets
//! time, randomness, network, disk, files, storage and threads from here and
//! from nowhere else; `clippy.toml` refuses the rest.

pub mod blocking;
pub mod cache;
pub mod clock;
pub mod disk;
pub mod files;
pub mod net;
pub mod store;

use std::sync::Arc;

pub use blocking::{Blocking, run_blocking};
pub use cache::Cache;
pub use clock::{Clock, Rng};
pub use disk::Disk;
pub use files::Files;
pub use net::Net;
pub use store::{Carrier, Steward, Storages};

/// Everything a node is given at its start.
#[derive(Clone)]
pub struct Env {
    /// Wall clock, monotonic clock, timers.
    pub clock: Arc<dyn Clock>,
    /// Randomness fit for keys.
    pub rng: Arc<dyn Rng>,
    /// UDP sockets for QUIC.
    pub net: Arc<dyn Net>,
    /// The node's own data directory.
    pub disk: Arc<dyn Disk>,
    /// Source and target trees.
    pub files: Arc<dyn Files>,
    /// Connections to object storage.
    pub storages: Arc<dyn Storages>,
    /// Index pages that were read before.
    pub cache: Arc<dyn Cache>,
    /// Threads for work that computes or waits for a disk.
    pub blocking: Arc<dyn Blocking>,
}

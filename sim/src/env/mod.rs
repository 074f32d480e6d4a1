//! `env` for a simulated machine.
//!
//! Invariant: every handle knows the life it was given to, and does nothing once
//! that life is over. What outlives a life (disk, files, storage) belongs to the
//! world.

pub mod cache;
pub mod clock;
pub mod disk;
pub mod files;
pub mod net;
pub mod store;

use std::sync::Arc;

use crate::kernel::{Life, interpose};

/// What of a machine survives its crashes.
#[derive(Debug, Clone)]
pub struct Belongings {
    /// Its data directory.
    pub disk: Arc<disk::Drive>,
    /// Its source and target trees.
    pub files: Arc<files::FileSystem>,
}

/// Everything that a node is given at its start.
pub fn assemble(life: &Life, belongings: &Belongings, store: &Arc<store::ObjectStore>) -> env::Env {
    env::Env {
        clock: Arc::new(clock::SimClock::new(life.clone())),
        rng: Arc::new(clock::SimRng::new(life)),
        net: Arc::new(net::SimNet::new(life.clone())),
        disk: Arc::new(disk::SimDisk::new(life.clone(), Arc::clone(&belongings.disk))),
        files: Arc::new(files::SimFiles::new(life.clone(), Arc::clone(&belongings.files))),
        storages: Arc::new(store::SimStorages::new(life.clone(), Arc::clone(store))),
        cache: Arc::new(cache::MemoryCache::default()),
        blocking: Arc::new(Inline),
    }
}

/// Runs jobs at once, on the one thread that there is.
#[derive(Debug)]
struct Inline;

impl env::Blocking for Inline {
    fn start(&self, job: env::blocking::Job) {
        job();
    }
    fn parallelism(&self) -> usize {
        interpose::PROCESSORS
    }
}

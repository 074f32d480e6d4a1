//! The seams of `env` on a real machine.
//!
//! Invariant: each file implements one trait and keeps no state that another
//! needs; `RealEnv` only puts them together.

mod blocking;
mod cache;
mod clock;
mod directory;
mod disk;
mod files;
mod net;

use std::{io, path::PathBuf, sync::Arc};

use ::env::{Clock, Env};

pub use self::{
    blocking::ThreadPool,
    cache::{CacheSettings, PageCache},
    clock::{OsRandom, SystemClock},
    directory::{FileLock, lock_file, private_dir, sync_dir},
    disk::DataDir,
    files::HostFiles,
    net::UdpNet,
};
use crate::store::S3Storages;

/// What has to be known to make an `Env`.
#[derive(Debug, Clone)]
pub struct EnvSettings {
    /// The node's own data directory. Made if it does not exist.
    pub data: PathBuf,
    /// The cache for index pages.
    pub cache: CacheSettings,
}

/// The `Env` of a real machine, with what has to be closed at the end.
pub struct RealEnv {
    env: Env,
    cache: Arc<PageCache>,
}

impl RealEnv {
    /// Opens the data directory and the cache. Call it within a tokio runtime.
    /// An unusable cache directory is no error: the cache is then in memory only.
    pub async fn open(settings: &EnvSettings) -> io::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let blocking = Arc::new(ThreadPool::new()?);
        let cache = Arc::new(PageCache::open(&settings.cache).await?);
        let env = Env {
            clock: clock.clone(),
            rng: Arc::new(OsRandom),
            net: Arc::new(UdpNet),
            disk: Arc::new(DataDir::open(&settings.data)?),
            files: Arc::new(HostFiles::new()),
            storages: Arc::new(S3Storages::new(clock, blocking.clone())),
            cache: cache.clone(),
            blocking,
        };
        Ok(Self { env, cache })
    }

    /// The seams, to be handed to every actor.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// Writes what the cache still holds back. Nothing is lost without it but time.
    pub async fn close(self) {
        self.cache.close().await;
    }
}

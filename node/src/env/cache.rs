//! The page cache: foyer, in memory and in a directory.
//!
//! Invariant: no trouble with the directory ever reaches a caller. One that is
//! unusable is warned of once, and the cache is then in memory only, as it is for the
//! second of two processes.

use std::{io, path::PathBuf};

use ::env::Cache;
use async_trait::async_trait;
use bytes::Bytes;
use foyer::{
    BlockEngineConfig, Code, DeviceBuilder as _, FsDeviceBuilder, HybridCache, HybridCacheBuilder, HybridCachePolicy,
};

use super::directory::{FileLock, lock_file, private_dir};

/// How large the cache may be, and where it lies.
#[derive(Debug, Clone)]
pub struct CacheSettings {
    /// Where pages lie on disk. None: in memory only.
    pub directory: Option<PathBuf>,
    /// Bytes of pages in memory.
    pub memory_bytes: usize,
    /// Bytes of pages on disk, at least `BLOCK_BYTES` times four to be of any use.
    pub disk_bytes: usize,
}

/// What foyer evicts at once; a page must fit into it.
const BLOCK_BYTES: usize = 16 << 20;
/// Independently locked parts of the memory, at most: more than the cores of most
/// machines.
const SHARDS_MAX: usize = 16;
/// Least memory of one part: a part that holds few pages evicts badly.
const SHARD_BYTES_MIN: usize = 1 << 20;

/// A page's key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PageKey([u8; 32]);

impl Code for PageKey {
    fn encode(&self, writer: &mut impl io::Write) -> foyer::Result<()> {
        writer.write_all(&self.0).map_err(foyer::Error::io_error)
    }
    fn decode(reader: &mut impl io::Read) -> foyer::Result<Self> {
        let mut key = [0; 32];
        reader.read_exact(&mut key).map_err(foyer::Error::io_error)?;
        Ok(Self(key))
    }
    fn estimated_size(&self) -> usize {
        self.0.len()
    }
}

/// Pages that were read before.
#[derive(Debug)]
pub struct PageCache {
    pages: HybridCache<PageKey, Bytes>,
    // Two processes would write over each other's blocks.
    _lock: Option<FileLock>,
}

impl PageCache {
    /// Opens the cache, with what it kept from before.
    pub async fn open(settings: &CacheSettings) -> io::Result<Self> {
        if let Some(directory) = &settings.directory {
            match Self::on_disk(settings, directory).await {
                Ok(cache) => return Ok(cache),
                // Another command of this client has it: both may run.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tracing::debug!(
                    directory = %directory.display(),
                    "the cache directory is in use by another process; index pages are kept in memory only"
                ),
                Err(error) => tracing::warn!(
                    directory = %directory.display(),
                    %error,
                    "the cache directory cannot be used; index pages are kept in memory only, and later runs start slower"
                ),
            }
        }
        let pages = memory(settings).storage().build().await.map_err(io::Error::other)?;
        Ok(Self { pages, _lock: None })
    }

    async fn on_disk(settings: &CacheSettings, directory: &PathBuf) -> io::Result<Self> {
        private_dir(directory)?;
        let lock = lock_file(&directory.join("lock"))?;
        let device = FsDeviceBuilder::new(directory)
            .with_capacity(settings.disk_bytes.max(BLOCK_BYTES))
            .build()
            .map_err(io::Error::other)?;
        let pages = memory(settings)
            .storage()
            .with_engine_config(BlockEngineConfig::new(device).with_block_size(BLOCK_BYTES))
            .build()
            .await
            .map_err(io::Error::other)?;
        Ok(Self { pages, _lock: Some(lock) })
    }

    /// Whether pages outlive the process.
    pub fn is_on_disk(&self) -> bool {
        self.pages.is_hybrid()
    }

    /// Waits until what was inserted is on disk, and takes no more.
    pub async fn close(&self) {
        if let Err(error) = self.pages.close().await {
            tracing::warn!(%error, "the page cache was not closed; pages may have to be fetched again");
        }
    }
}

fn memory(settings: &CacheSettings) -> foyer::HybridCacheBuilderPhaseMemory<PageKey, Bytes, foyer::DefaultHasher> {
    HybridCacheBuilder::new()
        .with_name("nuthatch-pages")
        // On eviction, pages that are hot to the end would never reach the disk.
        .with_policy(HybridCachePolicy::WriteOnInsertion)
        .memory(settings.memory_bytes)
        .with_shards((settings.memory_bytes / SHARD_BYTES_MIN).clamp(1, SHARDS_MAX))
        .with_weighter(|key: &PageKey, page: &Bytes| key.0.len() + page.len())
}

#[async_trait]
impl Cache for PageCache {
    async fn get(&self, key: &[u8; 32]) -> Option<Bytes> {
        match self.pages.get(&PageKey(*key)).await {
            Ok(entry) => entry.map(|entry| entry.value().clone()),
            Err(error) => {
                tracing::debug!(%error, "a cached page could not be read");
                None
            }
        }
    }

    fn insert(&self, key: [u8; 32], page: Bytes) {
        self.pages.insert(PageKey(key), page);
    }
}

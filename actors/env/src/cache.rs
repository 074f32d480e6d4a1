//! A bounded cache for pages of index segments, in memory and on disk.

use async_trait::async_trait;
use bytes::Bytes;

/// Keeps pages that were read before. It may forget any of them at any time;
/// what it returns is what was inserted under that key, or damaged, so callers
/// keep only bytes that authenticate themselves.
#[async_trait]
pub trait Cache: Send + Sync {
    /// The page of this key, if it is still there.
    async fn get(&self, key: &[u8; 32]) -> Option<Bytes>;
    /// Keeps a page, perhaps.
    fn insert(&self, key: [u8; 32], page: Bytes);
}

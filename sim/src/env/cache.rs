//! A cache in memory: it forgets the oldest pages first, and all of them in a crash.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Mutex,
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::kernel::lock;

/// Bytes that a simulated node caches: little, so that runs also meet misses.
const BYTES_MAX: usize = 4 << 20;

/// The cache of one life.
#[derive(Debug, Default)]
pub struct MemoryCache(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    pages: BTreeMap<[u8; 32], Bytes>,
    order: VecDeque<[u8; 32]>,
    bytes: usize,
}

#[async_trait]
impl env::Cache for MemoryCache {
    async fn get(&self, key: &[u8; 32]) -> Option<Bytes> {
        lock(&self.0).pages.get(key).cloned()
    }

    fn insert(&self, key: [u8; 32], page: Bytes) {
        if page.len() > BYTES_MAX {
            return;
        }
        let mut cache = lock(&self.0);
        cache.bytes += page.len();
        match cache.pages.insert(key, page) {
            Some(old) => cache.bytes -= old.len(),
            None => cache.order.push_back(key),
        }
        while cache.bytes > BYTES_MAX {
            let Some(page) = cache.order.pop_front().and_then(|oldest| cache.pages.remove(&oldest)) else { break };
            cache.bytes -= page.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use env::Cache;

    use super::*;

    #[test]
    fn it_stays_within_its_bound_and_forgets_the_oldest() {
        let cache = MemoryCache::default();
        let page = Bytes::from(vec![0; BYTES_MAX / 4]);
        for key in 0..6 {
            cache.insert([key; 32], page.clone());
        }
        let kept: Vec<u8> = lock(&cache.0).pages.keys().map(|key| key[0]).collect();
        assert_eq!(kept, [2, 3, 4, 5]);
        cache.insert([9; 32], Bytes::from(vec![0; BYTES_MAX + 1]));
        assert_eq!(lock(&cache.0).pages.len(), 4);
        let found = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(cache.get(&[5; 32]));
        assert_eq!(found, Some(page));
    }
}

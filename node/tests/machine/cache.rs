//! The page cache.

use bytes::Bytes;
use env::Cache as _;
use node::env::{CacheSettings, PageCache};
use tempfile::TempDir;

fn settings(directory: Option<&std::path::Path>) -> CacheSettings {
    CacheSettings { directory: directory.map(Into::into), memory_bytes: 1 << 20, disk_bytes: 64 << 20 }
}

fn page(number: u8) -> Bytes {
    vec![number; 64 << 10].into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_outlive_the_process_and_the_memory() {
    let directory = TempDir::new().unwrap();
    let cache = PageCache::open(&settings(Some(directory.path()))).await.unwrap();
    assert!(cache.is_on_disk());
    // Twice what the memory holds.
    for number in 0..32 {
        cache.insert([number; 32], page(number));
    }
    cache.close().await;
    drop(cache);
    let cache = PageCache::open(&settings(Some(directory.path()))).await.unwrap();
    for number in 0..32 {
        assert_eq!(cache.get(&[number; 32]).await, Some(page(number)), "page {number}");
    }
    assert_eq!(cache.get(&[99; 32]).await, None);
    cache.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_cannot_be_used_leaves_the_memory() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let in_use = PageCache::open(&settings(Some(directory.path()))).await.unwrap();
    for path in [Some(file.as_path()), Some(directory.path()), None] {
        let cache = PageCache::open(&settings(path)).await.unwrap();
        assert!(!cache.is_on_disk());
        cache.insert([1; 32], page(1));
        assert_eq!(cache.get(&[1; 32]).await, Some(page(1)));
        cache.close().await;
    }
    in_use.close().await;
}

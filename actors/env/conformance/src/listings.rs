//! Listings are whole and in order; what was deleted is gone.

use env::store::StoreError;
use futures_util::{StreamExt as _, stream};

use crate::{Bench, body};

/// More than a page of any S3 holds.
const MANY: usize = 1030;
const AT_ONCE: usize = 32;

pub async fn run(bench: &Bench) {
    order(bench).await;
    pages(bench).await;
    deleting(bench).await;
}

async fn order(bench: &Bench) {
    let mut expected = vec!["list/a", "list/a-", "list/a.b", "list/a/b", "list/a/c/d", "list/a0", "list/b/a", "list/z"];
    for (path, len) in expected.iter().zip(1..) {
        bench.put(path, &body(len, 0)).await.unwrap();
    }
    bench.put("listed-too", &body(9, 0)).await.unwrap();
    let listed = bench.steward.list("list").await.unwrap();
    assert_eq!(listed.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), expected);
    assert_eq!(listed.iter().map(|(_, len)| *len).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8]);
    expected.retain(|path| path.starts_with("list/a/"));
    let below: Vec<String> = bench.steward.list("list/a/").await.unwrap().into_iter().map(|(path, _)| path).collect();
    assert_eq!(below, expected);
    assert!(bench.steward.list("nothing").await.unwrap().is_empty());
    assert!(bench.steward.list("").await.unwrap().len() > listed.len());
}

async fn pages(bench: &Bench) {
    let paths: Vec<String> = (0..MANY).map(|number| format!("pages/{:02x}/{number:04}", number % 7)).collect();
    let puts = paths.iter().cloned().map(|path| async move { bench.put(&path, &body(1, 1)).await });
    let results: Vec<_> = stream::iter(puts).buffer_unordered(AT_ONCE).collect().await;
    let failed: Vec<StoreError> = results.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{failed:?}");
    let mut expected: Vec<(String, u64)> = paths.into_iter().map(|path| (path, 1)).collect();
    expected.sort();
    assert!(bench.steward.list("pages").await.unwrap() == expected, "the listing is not what was stored");
}

async fn deleting(bench: &Bench) {
    let good = body(10, 1);
    bench.put("deleted", &good).await.unwrap();
    bench.put("deleted/below", &good).await.unwrap();
    bench.steward.delete("deleted").await.unwrap();
    bench.absent("deleted").await;
    assert_eq!(bench.steward.list("deleted").await.unwrap(), [("deleted/below".to_string(), 10)]);
    // It is no error that it is gone, and nothing keeps its name.
    bench.steward.delete("deleted").await.unwrap();
    bench.put("deleted", &good).await.unwrap();
    assert_eq!(bench.get("deleted", None).await.unwrap(), good);
}

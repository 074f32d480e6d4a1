//! What was stored comes back: whole, in parts, and as long as it was.

use env::store::StoreError;

use crate::{Bench, body};

pub async fn run(bench: &Bench) {
    whole(bench).await;
    parts(bench).await;
    nothing(bench).await;
}

async fn whole(bench: &Bench) {
    for (path, len) in [("whole/1", 1), ("whole/70000", 70_000), ("whole/16m", 16 << 20)] {
        let body = body(len, 1);
        bench.put(path, &body).await.unwrap();
        assert_eq!(bench.steward.head(path).await.unwrap(), len as u64);
        // Compared without printing megabytes.
        assert!(bench.get(path, None).await.unwrap() == body, "{path} came back changed");
        assert!(bench.steward.get(path, len).await.unwrap() == body, "{path} came back changed");
        let short = bench.steward.get(path, len - 1).await;
        assert!(matches!(short, Err(StoreError::Invalid { .. })), "{path} is longer than that");
    }
    let own = body(5000, 2);
    bench.steward.put_new("whole/own", own.clone()).await.unwrap();
    assert_eq!(bench.get("whole/own", None).await.unwrap(), own);
}

async fn parts(bench: &Bench) {
    let (path, whole) = ("parts", body(70_000, 3));
    bench.put(path, &whole).await.unwrap();
    for (range, expected) in [
        (0..1, 0..1),
        (1000..5000, 1000..5000),
        (69_999..70_000, 69_999..70_000),
        (0..70_000, 0..70_000),
        (60_000..90_000, 60_000..70_000),
        (70_000..70_001, 70_000..70_000),
        (90_000..91_000, 70_000..70_000),
        (5..5, 5..5),
    ] {
        let got = bench.get(path, Some(range.clone())).await.unwrap();
        assert!(got == whole.slice(expected), "bytes {range:?} came back as {} others", got.len());
    }
}

async fn nothing(bench: &Bench) {
    for range in [None, Some(0..9)] {
        let got = bench.get("nothing/here", range).await;
        assert!(matches!(got, Err(StoreError::NotFound { .. })), "{got:?}");
    }
    bench.absent("nothing/here").await;
}

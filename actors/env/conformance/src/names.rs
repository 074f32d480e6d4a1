//! Names: which can be used, and that they are kept as they are.

use env::store::StoreError;

use crate::{Bench, body, hash};

pub async fn run(bench: &Bench) {
    let long = "n".repeat(200);
    let deep = format!("names/{}end", "d/".repeat(24));
    let long = format!("names/{long}/{long}");
    let paths =
        ["names/a-b/c_d.e~f", "names/...", "names/..a", "names/a.", "names/-", "names/Aa", "names/aA", &deep, &long];
    for (path, seed) in paths.iter().zip(1..) {
        bench.put(path, &body(10, seed)).await.unwrap();
    }
    for (path, seed) in paths.iter().zip(1..) {
        assert_eq!(bench.get(path, None).await.unwrap(), body(10, seed), "{path}");
    }
    let endless = "a/".repeat(600) + "a";
    for path in
        ["", "/", "/a", "a/", "a//b", "../a", "a/./b", "a/..", "a b", "a?b", "a%41", "a#b", "ä", "a\n", &endless]
    {
        let refused = [
            bench.steward.mint_put(path, 1, &hash(b"a"), bench.now()).map(drop),
            bench.steward.mint_get(path, bench.now()).map(drop),
            bench.steward.put_new(path, body(1, 1)).await,
            bench.steward.get(path, 1).await.map(drop),
            bench.steward.get_range(path, 0..1).await.map(drop),
            bench.steward.head(path).await.map(drop),
            bench.steward.delete(path).await,
        ];
        for refused in refused {
            assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{path:?}: {refused:?}");
        }
    }
}

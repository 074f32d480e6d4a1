//! A name is written once, whoever tries again, and however many try at once.

use bytes::Bytes;
use env::store::StoreError;
use futures_util::future::join_all;

use crate::{Bench, body};

pub async fn run(bench: &Bench) {
    again(bench).await;
    at_once(bench).await;
}

async fn again(bench: &Bench) {
    let (first, second) = (body(5000, 2), body(5000, 3));
    bench.put("once", &first).await.unwrap();
    let again = [
        bench.put("once", &first).await,
        bench.put("once", &second).await,
        bench.steward.put_new("once", second).await,
    ];
    for again in again {
        assert!(matches!(again, Err(StoreError::Exists { .. })), "{again:?}");
    }
    assert_eq!(bench.get("once", None).await.unwrap(), first);
    let ticket = bench.put_ticket("replayed", &first);
    bench.carrier.put(&ticket, first.clone()).await.unwrap();
    let replayed = bench.carrier.put(&ticket, first).await;
    assert!(matches!(replayed, Err(StoreError::Exists { .. })), "{replayed:?}");
}

async fn at_once(bench: &Bench) {
    let bodies: Vec<Bytes> = (0..8).map(|seed| body(200_000, 10 + seed)).collect();
    let results = join_all(bodies.iter().map(|body| bench.put("raced", body))).await;
    let winners: Vec<_> = results.iter().enumerate().filter(|(_, result)| result.is_ok()).collect();
    assert_eq!(winners.len(), 1, "{results:?}");
    assert!(bench.get("raced", None).await.unwrap() == bodies[winners[0].0], "the winner's bytes are not there");
}

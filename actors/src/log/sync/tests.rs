use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use futures_util::future::join_all;
use protocol::failure::Failure;
use tokio::sync::Semaphore;

use super::Syncs;

/// Counts looks, and lets each finish when it is given a permit.
struct Looks {
    syncs: Syncs,
    begun: AtomicU32,
    finish: Semaphore,
}

impl Looks {
    fn new() -> Arc<Self> {
        Arc::new(Self { syncs: Syncs::default(), begun: AtomicU32::new(0), finish: Semaphore::new(0) })
    }

    async fn join(self: Arc<Self>, works: bool) -> Result<(), Failure> {
        let look = || async {
            self.begun.fetch_add(1, Ordering::SeqCst);
            self.finish.acquire().await.unwrap().forget();
            if works { Ok(()) } else { Err(Failure::retry("no")) }
        };
        self.syncs.join(look).await
    }
}

#[tokio::test]
async fn a_crowd_that_came_during_a_look_shares_the_next() {
    let looks = Looks::new();
    let first = tokio_spawn(looks.clone().join(true));
    while looks.begun.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let crowd: Vec<_> = (0..50).map(|_| tokio_spawn(looks.clone().join(true))).collect();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    looks.finish.add_permits(100);
    assert!(first.await.unwrap().is_ok());
    assert!(join_all(crowd).await.into_iter().all(|joined| joined.unwrap().is_ok()));
    // The first look began before the crowd came: it has not seen what they must see.
    assert_eq!(looks.begun.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn each_that_comes_alone_looks_for_itself() {
    let looks = Looks::new();
    looks.finish.add_permits(3);
    for _ in 0..3 {
        looks.clone().join(true).await.unwrap();
    }
    assert_eq!(looks.begun.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_look_that_failed_serves_nobody() {
    let looks = Looks::new();
    looks.finish.add_permits(3);
    assert!(looks.clone().join(false).await.is_err());
    assert!(looks.clone().join(true).await.is_ok());
    assert_eq!(looks.begun.load(Ordering::SeqCst), 2);
}

#[expect(clippy::disallowed_methods, reason = "the tasks of a test end with its runtime")]
fn tokio_spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    tokio::spawn(task)
}

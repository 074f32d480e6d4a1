//! The thread pool.

use std::{
    collections::BTreeSet,
    sync::{Arc, Barrier, Mutex, mpsc::sync_channel},
    thread,
};

use env::{Blocking, run_blocking};
use node::env::ThreadPool;

#[tokio::test]
async fn jobs_run_beside_each_other_on_few_threads() {
    let pool = ThreadPool::new().unwrap();
    let together = pool.parallelism() * 2;
    let barrier = Arc::new(Barrier::new(together));
    let threads = Arc::new(Mutex::new(BTreeSet::new()));
    let mut waiting = Vec::new();
    // Jobs that wait for each other end only if they run at the same time.
    for _ in 0..together {
        let barrier = barrier.clone();
        waiting.push(run_blocking(&pool, move || {
            barrier.wait();
        }));
    }
    for _ in 0..1000 {
        let threads = threads.clone();
        waiting.push(run_blocking(&pool, move || {
            threads.lock().unwrap().insert(format!("{:?}", thread::current().id()));
        }));
    }
    for job in waiting {
        job.await;
    }
    assert!(threads.lock().unwrap().len() <= pool.parallelism() * 4);
}

#[tokio::test]
async fn a_panic_reaches_its_caller_and_costs_no_thread() {
    let pool = ThreadPool::new().unwrap();
    for _ in 0..100 {
        let job = run_blocking(&pool, || -> u32 { panic!("on purpose") });
        assert!(futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(job)).await.is_err());
    }
    assert_eq!(run_blocking(&pool, || 7).await, 7);
}

#[test]
fn what_was_accepted_runs_although_the_pool_is_gone() {
    let pool = ThreadPool::new().unwrap();
    let (say, hear) = sync_channel(100);
    for number in 0..100 {
        let say = say.clone();
        pool.start(Box::new(move || say.send(number).unwrap()));
    }
    drop((pool, say));
    assert_eq!(hear.iter().collect::<BTreeSet<_>>(), (0..100).collect());
}

use std::sync::Arc;

use actors::tasks::Tasks;
use tokio::sync::oneshot;

/// Lets all that is ready run, on the runtime's one thread.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn tasks_end_with_their_group() {
    let tasks = Tasks::new();
    let alive = Arc::new(());
    let held = alive.clone();
    tasks.spawn(async move {
        let _held = held;
        std::future::pending::<()>().await;
    });
    settle().await;
    assert_eq!((Arc::strong_count(&alive), tasks.len()), (2, 1));
    let other_handle = tasks.clone();
    drop(tasks);
    settle().await;
    assert_eq!(Arc::strong_count(&alive), 2, "one handle is left");
    drop(other_handle);
    settle().await;
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[tokio::test]
async fn a_group_of_a_group_ends_with_it() {
    let (give, take) = oneshot::channel::<()>();
    let outer = Tasks::new();
    outer.spawn(async move {
        let inner = Tasks::new();
        inner.spawn(async move {
            std::future::pending::<()>().await;
            drop(give);
        });
        std::future::pending::<()>().await;
    });
    settle().await;
    drop(outer);
    // The inner task is gone, and its half of the channel with it.
    assert!(take.await.is_err());
}

#[tokio::test]
async fn finished_tasks_are_not_kept() {
    let tasks = Tasks::new();
    for _ in 0..100 {
        tasks.spawn(async {});
        settle().await;
    }
    assert!(tasks.len() <= 1, "{}", tasks.len());
}

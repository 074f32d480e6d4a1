//! Threads for work that computes or waits for a disk.

use std::{panic, pin::Pin};

/// A unit of work that may block its thread.
pub type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs off the asynchronous threads. A simulated node runs them inline.
pub trait Blocking: Send + Sync {
    /// Starts `job`; it runs to its end even if nobody waits for it.
    fn start(&self, job: Job);
    /// How many jobs compute at the same time with profit: the number of cores.
    fn parallelism(&self) -> usize;
}

/// Runs `work` on `blocking` and waits for its result. A panic in `work` is
/// resumed in the caller.
pub fn run_blocking<T, F>(blocking: &dyn Blocking, work: F) -> Pin<Box<dyn Future<Output = T> + Send>>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (give, take) = futures_channel::oneshot::channel();
    blocking.start(Box::new(move || {
        // A caller that gave up drops its half; the result is then of no use.
        let _ = give.send(panic::catch_unwind(panic::AssertUnwindSafe(work)));
    }));
    Box::pin(async move {
        match take.await {
            Ok(Ok(value)) => value,
            Ok(Err(payload)) => panic::resume_unwind(payload),
            Err(futures_channel::oneshot::Canceled) => {
                panic::resume_unwind(Box::new("the thread pool dropped a job: the process is shutting down"))
            }
        }
    })
}

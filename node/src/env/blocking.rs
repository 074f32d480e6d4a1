//! A bounded pool of threads.
//!
//! Invariant: there are never more threads than `THREADS_PER_CORE` times the
//! cores, and a job that was accepted runs, in the order of arrival. The queue
//! is bounded by its producers: each waits for its job, or works on credit.

use std::{
    collections::VecDeque,
    io,
    num::NonZero,
    panic,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use ::env::{Blocking, blocking::Job};

/// Threads for each core: jobs that wait for a disk leave room for those that
/// compute, and few enough that a full pool does not thrash.
const THREADS_PER_CORE: usize = 4;

/// Threads that run jobs. They are started as they are needed, and end when the
/// pool is dropped and its jobs are done.
#[derive(Debug)]
pub struct ThreadPool {
    shared: Arc<Shared>,
    cores: usize,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    threads_max: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State({} jobs, {} threads, {} idle)", self.jobs.len(), self.threads, self.idle)
    }
}

impl ThreadPool {
    /// A pool for all cores that this process may use, with its first thread, so
    /// that a machine out of threads is noticed here.
    pub fn new() -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let shared =
            Arc::new(Shared { state: Mutex::default(), wake: Condvar::new(), threads_max: cores * THREADS_PER_CORE });
        let pool = Self { shared, cores };
        pool.shared.lock().threads = 1;
        pool.grow()?;
        Ok(pool)
    }

    /// Starts the thread that the caller has already counted.
    fn grow(&self) -> io::Result<()> {
        let shared = self.shared.clone();
        thread::Builder::new().name("blocking".into()).spawn(move || shared.work())?;
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What one thread does all its life.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                // Whoever waits for a job learns of its panic by itself; the thread stays.
                let _ = panic::catch_unwind(panic::AssertUnwindSafe(job));
                state = self.lock();
            } else if state.closed {
                state.threads -= 1;
                return;
            } else {
                state.idle += 1;
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }
}

impl Blocking for ThreadPool {
    fn start(&self, job: Job) {
        let mut state = self.shared.lock();
        state.jobs.push_back(job);
        // A woken thread counts as idle until it runs: compare with what waits.
        let grow = state.jobs.len() > state.idle && state.threads < self.shared.threads_max;
        state.threads += usize::from(grow);
        drop(state);
        if grow && let Err(error) = self.grow() {
            // The threads that there are will come to the job, only later.
            tracing::warn!(%error, "the machine gives no further thread");
            self.shared.lock().threads -= 1;
        }
        self.shared.wake.notify_one();
    }

    fn parallelism(&self) -> usize {
        self.cores
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
    }
}

//! Tasks that belong to someone.
//!
//! Invariant: no task outlives its group. Dropping the group ends them all, so an
//! actor that fails leaves nothing behind.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::{AbortHandle, JoinSet};

/// A set of tasks that end when the last handle to it is dropped.
#[derive(Clone, Default)]
pub struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    /// An empty group.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task in the group, on the runtime of the caller.
    pub fn spawn<F>(&self, task: F) -> AbortHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut set = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Finished tasks are reaped here, so the set stays as small as what runs.
        while set.try_join_next().is_some() {}
        set.spawn(task)
    }

    /// How many tasks have not been reaped yet.
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether nothing runs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends all tasks.
    pub fn abort_all(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl std::fmt::Debug for Tasks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tasks({})", self.len())
    }
}

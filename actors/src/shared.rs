//! State that one actor writes and many read.
//!
//! Invariant: only the actor that made it calls `write`; a reader holds the lock
//! for one look and never across an await.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// A value with one writer.
pub struct Shared<T>(Arc<RwLock<T>>);

impl<T> Shared<T> {
    /// A shared value.
    pub fn new(value: T) -> Self {
        Self(Arc::new(RwLock::new(value)))
    }

    /// Looks at the value.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the value. For its writer alone.
    pub(crate) fn write<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> std::fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::any::type_name::<Self>())
    }
}

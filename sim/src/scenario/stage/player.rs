//! One process on the stage, and what it does again and again: look into the script,
//! wait, and repeat what may be repeated.

use std::{fmt, sync::MutexGuard, time::Duration};

use env::Env;
use protocol::failure::{Code, Failure};
use repo::{Kind, RepoError};

use super::Shared;
use crate::{kernel::lock, world::BootInfo};

/// Between two looks at something that others must do first, or after something failed.
const PAUSE: Duration = Duration::from_millis(200);

/// One life of one process, with the script that it shares with the others.
pub struct Player<S> {
    /// Its environment.
    pub env: Env,
    /// Where it runs.
    pub info: BootInfo,
    script: Shared<S>,
}

impl<S> Player<S> {
    pub(super) fn new(env: Env, info: BootInfo, script: Shared<S>) -> Self {
        Self { env, info, script }
    }

    /// The script.
    pub fn script(&self) -> MutexGuard<'_, S> {
        lock(&self.script)
    }

    /// Adds a line to the trace.
    pub fn note(&self, what: fmt::Arguments<'_>) {
        self.info.tracer.note(what);
    }

    /// Waits for a moment.
    pub async fn pause(&self) {
        self.env.clock.sleep(PAUSE).await;
    }

    /// Waits until something is so.
    pub async fn until(&self, reached: impl Fn(&S) -> bool) {
        while !reached(&lock(&self.script)) {
            self.pause().await;
        }
    }

    /// Waits until something is told.
    pub async fn told<T>(&self, look: impl Fn(&S) -> Option<T>) -> T {
        loop {
            if let Some(told) = look(&lock(&self.script)) {
                return told;
            }
            self.pause().await;
        }
    }

    /// Repeats what may be repeated until it is clear what came of it.
    pub async fn persist<T, E, A>(&self, mut attempt: impl FnMut() -> A) -> Result<T, E>
    where
        E: MayRetry,
        A: Future<Output = Result<T, E>>,
    {
        loop {
            match attempt().await {
                Err(error) if error.may_retry() => self.pause().await,
                done => return done,
            }
        }
    }
}

/// An error that tells whether what failed may be tried again.
pub trait MayRetry {
    /// Whether it may.
    fn may_retry(&self) -> bool;
}

impl MayRetry for Failure {
    fn may_retry(&self) -> bool {
        self.code == Code::Retry
    }
}

impl MayRetry for RepoError {
    fn may_retry(&self) -> bool {
        matches!(self.kind, Kind::Retry | Kind::Fenced)
    }
}

impl MayRetry for anyhow::Error {
    fn may_retry(&self) -> bool {
        self.downcast_ref::<RepoError>().is_some_and(MayRetry::may_retry)
            || self.downcast_ref::<Failure>().is_some_and(MayRetry::may_retry)
    }
}

//! What a job of the data plane is given of the world.

use std::sync::Arc;

use env::{Blocking, Cache, Clock, Env, Files, Rng, run_blocking};

use crate::{distrust::Distrust, keys::Keys, objects::Objects};

/// The seams and keys of a job.
#[derive(Clone)]
pub struct Context {
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness: the object ids of packs, segments and manifests.
    pub rng: Arc<dyn Rng>,
    /// Source and target trees.
    pub files: Arc<dyn Files>,
    /// Index pages, trees and chunk references that were seen before.
    pub cache: Arc<dyn Cache>,
    /// Threads.
    pub blocking: Arc<dyn Blocking>,
    /// The store.
    pub objects: Arc<dyn Objects>,
    /// The client's keys.
    pub keys: Arc<Keys>,
    /// What the job found lost, damaged or false.
    pub distrust: Arc<Distrust>,
}

impl Context {
    /// Takes what it needs of a node's environment.
    pub fn new(env: &Env, objects: Arc<dyn Objects>, keys: Arc<Keys>) -> Self {
        Self {
            clock: env.clock.clone(),
            rng: env.rng.clone(),
            files: env.files.clone(),
            cache: env.cache.clone(),
            blocking: env.blocking.clone(),
            objects,
            keys,
            distrust: Arc::default(),
        }
    }

    /// Runs blocking work and waits for it.
    pub(crate) async fn run<T, F>(&self, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        run_blocking(&*self.blocking, work).await
    }

    /// How many jobs compute at the same time with profit.
    pub(crate) fn cores(&self) -> usize {
        self.blocking.parallelism().clamp(1, 64)
    }
}

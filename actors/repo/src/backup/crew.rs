//! Several actors that do the same work; the least busy gets the next piece.
//!
//! Mailboxes are unbounded: what bounds them is the byte credit in every message.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use ractor::{ActorRef, Message};

use crate::error::RepoError;

/// How many bytes of work a worker still has.
#[derive(Debug, Clone, Default)]
pub struct Load(Arc<AtomicU64>);

impl Load {
    /// Says that work is done.
    pub fn done(&self, len: u64) {
        self.0.fetch_sub(len, Ordering::Relaxed);
    }
}

/// The workers.
pub struct Crew<M> {
    workers: Vec<(ActorRef<M>, Load)>,
}

impl<M: Message> Crew<M> {
    /// Without workers yet.
    pub fn new() -> Self {
        Self { workers: Vec::new() }
    }

    /// Takes in a worker that reports to this load.
    pub fn add(&mut self, worker: ActorRef<M>, load: Load) {
        self.workers.push((worker, load));
    }

    /// Gives `len` bytes of work to the least busy.
    pub fn give(&self, message: M, len: u64) -> Result<(), RepoError> {
        let gone = || RepoError::internal("a worker of the backup is gone");
        let (worker, load) =
            self.workers.iter().min_by_key(|(_, load)| load.0.load(Ordering::Relaxed)).ok_or_else(gone)?;
        load.0.fetch_add(len, Ordering::Relaxed);
        worker.send_message(message).map_err(|_| gone())
    }
}

/// What a supervisor does about its children: one that ends before the backup
/// does takes the whole backup with it, by its own error.
pub fn propagate(event: ractor::SupervisionEvent) -> Result<(), ractor::ActorProcessingErr> {
    match event {
        ractor::SupervisionEvent::ActorFailed(_, error) => Err(error),
        ractor::SupervisionEvent::ActorTerminated(..) => {
            Err(Box::new(RepoError::internal("a part of the backup ended before its time")))
        }
        _ => Ok(()),
    }
}

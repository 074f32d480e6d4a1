//! What voters have promised each other, and whether this one has forgotten any of it.
//!
//! Invariant: before a message of replication passes between this node and another, in
//! either direction, that one was asked in this life what it remembers of this voter. Once
//! somebody remembers more than this disk holds, no such message passes any more. If the
//! disk is in doubt, all are asked before the first such message to or from anyone.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use control::promises::{Promises, is_forgotten};
use probe::Plant;
use protocol::{
    failure::{Code, Failure},
    ids::NodeId,
    wire::{Promise, Recall},
};
use tokio::sync::watch;

use crate::net::Peers;

/// How long another may take to remember: it looks it up in memory.
const PATIENCE: Duration = Duration::from_millis(1500);

/// What this node remembers of others, and others of it. Clones share it.
#[derive(Clone)]
pub struct Memory(Arc<Inner>);

struct Inner {
    voter: u64,
    /// What this disk held when this life began.
    kept: Promise,
    others: Mutex<Others>,
    /// Who was asked in this life.
    met: Mutex<BTreeSet<NodeId>>,
    /// Who remembers what this disk does not hold.
    verdict: watch::Sender<Option<String>>,
    /// Whether this disk may be an old one, so that everybody has to be asked.
    doubt: watch::Sender<bool>,
}

struct Others {
    promises: Promises,
    unsaved: bool,
}

impl Memory {
    /// The memory of a voter whose disk holds `kept`, with what it remembers of others.
    pub fn new(voter: u64, kept: Promise, promises: Promises) -> Self {
        let others = Mutex::new(Others { promises, unsaved: false });
        let (verdict, doubt) = (watch::Sender::new(None), watch::Sender::new(false));
        Self(Arc::new(Inner { voter, kept, others, met: Mutex::default(), verdict, doubt }))
    }

    /// Says whether this disk may be an old one.
    pub fn doubt_disk(&self, doubtful: bool) {
        self.0.doubt.send_replace(doubtful);
    }

    /// Whether it may be, still.
    pub fn doubt(&self) -> watch::Receiver<bool> {
        self.0.doubt.subscribe()
    }

    /// Remembers another voter's promise.
    pub fn note(&self, voter: u64, promise: Promise) {
        if voter != self.0.voter {
            let mut others = lock(&self.0.others);
            others.unsaved |= others.promises.note(voter, promise);
        }
    }

    /// What is remembered of a voter.
    pub fn of(&self, voter: u64) -> Option<Promise> {
        lock(&self.0.others).promises.of(voter)
    }

    /// What is to be written to disk, if anything has changed since the last time.
    pub fn unsaved(&self) -> Option<Promises> {
        let mut others = lock(&self.0.others);
        std::mem::take(&mut others.unsaved).then(|| others.promises.clone())
    }

    /// Why this node may not vote, once it is known.
    pub fn verdict(&self) -> watch::Receiver<Option<String>> {
        self.0.verdict.subscribe()
    }

    /// Asks a node what it remembers, if it was not asked yet; all of them, if this disk is
    /// in doubt. Fails if one does not answer, or if this disk is an old one.
    pub async fn meet(&self, peers: &Peers, node: NodeId) -> Result<(), Failure> {
        if *self.0.doubt.borrow() {
            for other in peers.others() {
                self.ask(peers, other.id()).await?;
            }
            self.0.doubt.send_replace(false);
        }
        self.ask(peers, node).await
    }

    async fn ask(&self, peers: &Peers, node: NodeId) -> Result<(), Failure> {
        if let Some(why) = &*self.0.verdict.borrow() {
            return Err(Failure::retry(why));
        }
        if lock(&self.0.met).contains(&node) {
            return Ok(());
        }
        let remembered = match peers.call(node, Recall { voter: self.0.voter }, PATIENCE).await {
            // A program from before there was this question.
            Err(failure) if failure.code == Code::Invalid => None,
            answer => answer?,
        };
        let kept = self.0.kept;
        let mut met = lock(&self.0.met);
        // Two may ask at the same time. Once one of them knew, promises of this life were
        // made, and what the other heard may be those.
        if met.contains(&node) {
            return Ok(());
        }
        if is_forgotten(kept, remembered) && !probe::planted(Plant::OldDiskVotes) {
            let Promise { term, index, .. } = remembered.unwrap_or_default();
            let why = format!(
                "orchestrator {node} has this one's word for entry {index} of the log in term {term}, and its disk \
                 holds only entry {} in term {}: it was put back to an earlier state",
                kept.index, kept.term
            );
            self.0.verdict.send_replace(Some(why.clone()));
            return Err(Failure::retry(why));
        }
        met.insert(node);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The orchestrators of the roster, as one orchestrator dials them.
//!
//! Invariant: at most one connection is dialed to a node at a time, in a task of
//! its own, so that a caller that gives up never aborts a handshake; the callee's
//! key is pinned to what the newest keyset says.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use control::records::RecordSet;
use protocol::{failure::Failure, ids::NodeId, records::Orchestrator, wire::Call};
use tokio::sync::watch;

use super::{Endpoint, Pace, Peer, peer::CLOSE_SILENT};
use crate::{shared::Shared, tasks::Tasks};

/// How long one dial may take.
const DIAL_PATIENCE: Duration = Duration::from_millis(1500);
/// Calls in a row without an answer after which a connection is given up: the peer
/// may have restarted without our noticing.
const SILENCES_MAX: u32 = 3;

#[derive(Debug, Clone)]
enum Dial {
    Never,
    UnderWay,
    Ready(Peer),
    Failed(Failure),
}

struct Slot {
    dial: watch::Sender<Dial>,
    silences: u32,
}

struct Inner {
    endpoint: Endpoint,
    records: Shared<RecordSet>,
    me: NodeId,
    slots: Mutex<BTreeMap<NodeId, Slot>>,
    tasks: Tasks,
}

/// Dials orchestrators. Clones share the connections.
#[derive(Clone)]
pub struct Peers(Arc<Inner>);

impl Peers {
    /// The peers of `me`, as the roster in `records` names them.
    pub fn new(endpoint: Endpoint, records: Shared<RecordSet>, me: NodeId) -> Self {
        Self(Arc::new(Inner { endpoint, records, me, slots: Mutex::default(), tasks: Tasks::new() }))
    }

    /// The roster without this node.
    pub fn others(&self) -> Vec<Orchestrator> {
        let records = self.0.records.read();
        let roster = records.keyset().map(|(_, keyset)| keyset.orchestrators.clone()).unwrap_or_default();
        roster.into_iter().filter(|other| other.id() != self.0.me).collect()
    }

    /// Calls a node of the roster.
    pub async fn call<C: Call>(&self, node: NodeId, call: C, patience: Duration) -> Result<C::Reply, Failure> {
        let called = tokio::time::timeout(patience, async {
            // Leave the inner time-out to the outer one: both end at the same moment.
            self.peer(node).await?.ask(call, patience).await
        })
        .await
        .unwrap_or_else(|_| Err(Failure::retry(format!("orchestrator {node} did not answer within {patience:?}"))));
        // A peer that asks us to try again is not silent.
        self.note(node, called.is_err());
        called?
    }

    /// Sends a gossip message, or loses it.
    pub fn gossip(&self, node: NodeId, message: Vec<u8>) {
        let this = self.clone();
        self.0.tasks.spawn(async move {
            let _ = tokio::time::timeout(DIAL_PATIENCE, async {
                if let Ok(peer) = this.peer(node).await {
                    peer.gossip(&message).await;
                }
            })
            .await;
        });
    }

    fn with_slot<R>(&self, node: NodeId, look: impl FnOnce(&mut Slot) -> R) -> R {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        look(slots.entry(node).or_insert_with(|| Slot { dial: watch::Sender::new(Dial::Never), silences: 0 }))
    }

    /// Counts silences, and gives up a connection that has been silent too often.
    fn note(&self, node: NodeId, silent: bool) {
        self.with_slot(node, |slot| {
            slot.silences = if silent { slot.silences + 1 } else { 0 };
            if slot.silences >= SILENCES_MAX {
                slot.silences = 0;
                if let Dial::Ready(peer) = &*slot.dial.borrow() {
                    peer.connection().close(CLOSE_SILENT, b"silent");
                }
            }
        });
    }

    /// Whether the newest keyset names the holder of a key. One that it does not name
    /// any more is hung up on.
    fn in_roster(&self, peer: &Peer) -> bool {
        let records = self.0.records.read();
        let named =
            records.keyset().is_some_and(|(_, keyset)| keyset.orchestrators.iter().any(|o| o.key == *peer.key()));
        if !named {
            peer.close();
        }
        named
    }

    async fn peer(&self, node: NodeId) -> Result<Peer, Failure> {
        let mut dial = self.with_slot(node, |slot| {
            let idle = match &*slot.dial.borrow() {
                Dial::Never | Dial::Failed(_) => true,
                Dial::UnderWay => false,
                Dial::Ready(peer) => !peer.is_open() || !self.in_roster(peer),
            };
            if idle {
                slot.dial.send_replace(Dial::UnderWay);
                self.dial(node, slot.dial.clone());
            }
            slot.dial.subscribe()
        });
        let done = dial.wait_for(|dial| matches!(dial, Dial::Ready(_) | Dial::Failed(_))).await;
        match done.as_deref() {
            Ok(Dial::Ready(peer)) => Ok(peer.clone()),
            Ok(Dial::Failed(failure)) => Err(failure.clone()),
            _ => Err(Failure::retry("this orchestrator is shutting down")),
        }
    }

    fn dial(&self, node: NodeId, done: watch::Sender<Dial>) {
        let this = self.clone();
        self.0.tasks.spawn(async move {
            let found = this.others().into_iter().find(|other| other.id() == node);
            let dialed = match found {
                Some(other) => this.0.endpoint.dial(&other.address, Some(other.key), Pace::Busy, DIAL_PATIENCE).await,
                None => Err(Failure::denied(format!("{node} is not in the roster"))),
            };
            done.send_replace(dialed.map_or_else(Dial::Failed, Dial::Ready));
        });
    }
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Peers of {}", self.0.me)
    }
}

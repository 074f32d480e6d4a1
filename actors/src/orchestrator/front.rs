//! What others meet first: answers by itself before the adoption, and passes calls
//! on to the desk after it.
//!
//! Invariant: once `close` has returned, no call holds anything of the seat that
//! was closed.

use std::sync::Arc;

use async_trait::async_trait;
use control::Standing;
use protocol::{
    failure::Failure,
    ids::{ClusterId, PublicKey},
    levels::Levels,
    records::{Payload, Record},
    sign::Signed,
    wire::{self, Answer, Reply, Request},
};
use ractor::ActorRef;
use tokio::sync::{Semaphore, watch};

use super::{Message, desk::Desk};
use crate::{
    AGENT,
    identity::Identity,
    net::{Incoming, Meter, Rank, Ranks, Service},
    shared::Shared,
};

/// More than there can be calls: their number is bounded where they come in.
const VISITS_MAX: u32 = u32::MAX >> 4;

/// What others meet first.
pub struct Front {
    identity: Identity,
    levels: Levels,
    seat: Shared<Option<Seat>>,
    /// The keyset that does not name this node any more.
    removed_by: Shared<Option<Signed>>,
    /// Why this node does not take part, if its disk is not one to vote with, or fails.
    unfit: Shared<Option<String>>,
    client_bytes: Arc<Meter>,
    actor: ActorRef<Message>,
}

/// A seat that is open.
#[derive(Clone)]
struct Seat {
    desk: Desk,
    /// Set when it is to be closed.
    ended: watch::Sender<bool>,
    /// One permit is taken by each call under way.
    visits: Arc<Semaphore>,
}

impl Front {
    /// A front without a seat.
    pub fn new(identity: Identity, levels: Levels, client_bytes: Arc<Meter>, actor: ActorRef<Message>) -> Self {
        let (seat, removed_by, unfit) = (Shared::new(None), Shared::new(None), Shared::new(None));
        Self { identity, levels, seat, removed_by, unfit, client_bytes, actor }
    }

    /// From now on calls are passed to this desk.
    pub fn open(&self, desk: Desk) {
        let visits = Arc::new(Semaphore::new(VISITS_MAX as usize));
        let seat = Seat { desk, ended: watch::Sender::new(false), visits };
        self.removed_by.write(|keyset| *keyset = None);
        self.unfit.write(|unfit| *unfit = None);
        self.seat.write(|open| *open = Some(seat));
    }

    /// From now on callers hear that this node was removed, and by which keyset: it
    /// names those to ask instead.
    pub fn removed(&self, keyset: Signed) {
        self.removed_by.write(|removed_by| *removed_by = Some(keyset));
    }

    /// From now on, until a desk opens, callers hear why this node cannot take part.
    pub fn unfit(&self, why: String) {
        self.unfit.write(|unfit| *unfit = Some(why));
    }

    /// From now on there is no desk. Calls under way are given up.
    pub async fn close(&self) {
        let Some(Seat { desk, ended, visits }) = self.seat.write(Option::take) else { return };
        drop(desk);
        ended.send_replace(true);
        // It fails only if the semaphore is closed, which nobody does.
        let _ = visits.acquire_many(VISITS_MAX).await;
    }

    fn desk(&self) -> Option<Desk> {
        self.seat.read().as_ref().map(|seat| seat.desk.clone())
    }

    fn welcome(&self) -> wire::Welcome {
        let keyset = self
            .desk()
            .and_then(|desk| desk.records.set().read().keyset_record().map(|record| record.signed().clone()))
            .or_else(|| self.removed_by.read().clone());
        wire::Welcome { agent: AGENT.into(), card: self.identity.card(), keyset }
    }

    fn speech(&self) -> wire::Speech {
        let desk = self.desk();
        let active = desk.as_ref().map(|desk| desk.log.ledger().read().level());
        let statement = desk.map(|desk| desk.statement);
        wire::Speech { levels: self.levels, active, statement }
    }

    async fn adopt(&self, adopt: wire::Adopt) -> Result<(), Failure> {
        // Here, where many can be checked at a time, so that strangers cannot keep the actor busy.
        check_adoption(&adopt, &self.identity)?;
        ractor::call!(self.actor, |reply| Message::Adopt(adopt, reply))
            .map_err(|_| Failure::retry("the node is restarting: try again"))?
    }

    /// Why there is no desk.
    fn absence(&self) -> (wire::Seat, String) {
        match (&*self.unfit.read(), &*self.removed_by.read()) {
            (Some(why), _) => (wire::Seat::Unfit, why.clone()),
            (None, Some(_)) => (wire::Seat::Removed, "it was removed from its cluster".into()),
            (None, None) => {
                let why = "it is starting, or waits to be adopted by `nuthatch cluster init` or `orchestrator add`";
                (wire::Seat::Waiting, why.into())
            }
        }
    }

    async fn visit(&self, incoming: Incoming) -> Answer {
        let not_ready = || Failure::retry(format!("node {} is not ready: {}", self.identity.node(), self.absence().1));
        let Some(Seat { desk, ended, visits }) = self.seat.read().clone() else { return Err(not_ready()) };
        let Ok(_visit) = visits.acquire().await else { return Err(not_ready()) };
        // Dropped before the permit is.
        let desk = desk;
        let mut ended = ended.subscribe();
        tokio::select! {
            answer = desk.answer(incoming) => answer,
            _ = ended.wait_for(|ended| *ended) => {
                Err(Failure::retry("this orchestrator starts again from its disk: try again, or try another"))
            }
        }
    }
}

#[async_trait]
impl Service for Front {
    async fn answer(&self, incoming: Incoming) -> Answer {
        match &incoming.request {
            Request::Hello(_) => Ok(Reply::Welcome(self.welcome())),
            Request::Speak(_) => Ok(Reply::Speaks(self.speech())),
            Request::Adopt(adopt) => self.adopt(adopt.clone()).await.map(Reply::Adopted),
            Request::Inspect(_) if self.seat.read().is_none() => {
                let (seat, why) = self.absence();
                let (agent, voter) = (AGENT.into(), self.identity.voter());
                let (incarnation, importing, backup) = (0, false, None);
                Ok(Reply::Inspected(wire::Inspection { agent, voter, seat, why, incarnation, importing, backup }))
            }
            _ => self.visit(incoming).await,
        }
    }

    fn gossip(&self, from: &PublicKey, message: Vec<u8>) {
        if let Some(desk) = self.desk()
            && let Standing::Orchestrator(node) = desk.standing(from)
        {
            desk.gossip.take(node, &message);
        }
    }

    fn left(&self, key: &PublicKey, received: u64) {
        if self.rank(key) != Some(Rank::Member) {
            self.client_bytes.add(received);
        }
    }
}

impl Ranks for Front {
    fn rank(&self, key: &PublicKey) -> Option<Rank> {
        let standing = self.seat.read().as_ref().map(|seat| seat.desk.standing(key))?;
        Some(match standing {
            Standing::Orchestrator(_) | Standing::Admin(_) => Rank::Member,
            Standing::Client(_) => Rank::Client,
            Standing::Revoked => Rank::Refused,
            Standing::Stranger => Rank::Stranger,
        })
    }
}

/// A keyset signed by the root that names this node as it is.
fn check_adoption(adopt: &wire::Adopt, identity: &Identity) -> Result<(), Failure> {
    let record = Record::open(adopt.keyset.clone(), &ClusterId::of_root(&adopt.root))?;
    let Payload::Keyset(keyset) = record.payload() else {
        return Err(Failure::invalid("the adoption carries a record that is not a keyset"));
    };
    if *record.author() != adopt.root {
        return Err(Failure::denied("the keyset is not signed by the cluster's root key"));
    }
    let card = identity.card();
    let named = keyset.orchestrators.iter().any(|orchestrator| {
        orchestrator.key == identity.key() && orchestrator.voter == card.voter && orchestrator.sealing == card.sealing
    });
    if named { Ok(()) } else { Err(Failure::invalid("the keyset does not name this node with its present keys")) }
}

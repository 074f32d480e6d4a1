//! The verifier: turns clients' own index segments into published ones, and keeps
//! these few.
//!
//! It works while this node leads the log. What is to be done stands in the ledger
//! (`control::publishing`), so whoever leads next goes on; what a dead leader had
//! written and not published is garbage under an ended claim.
//!
//! Invariant: a row is published only if the pack's own table of contents says the
//! same; and among strangers, for others than its author, only if this node read the
//! chunk and hashed it to its id (I11).

mod mend;
mod merge;
mod own;
mod promote;
mod run;
mod seek;
mod shop;
mod tables;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use control::publishing::{self, Chore};
use probe::Point;
use protocol::{
    commands::{Command, Decided},
    failure::{Code, Failure},
    ids::{ClientId, DomainId, LeaseId, RepositoryId},
    names::ObjectName,
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};

use self::shop::Shop;
use super::desk::{Desk, unexpected};
use crate::tasks::Tasks;

const INTERVAL: Duration = Duration::from_secs(1);
/// Pieces of work in one domain before the next has its turn.
const CHORES_PER_TURN: usize = 16;

/// Starts the verifier.
pub async fn start(desk: Desk, supervisor: &ActorCell) -> Result<(), ractor::SpawnErr> {
    let state = State { desk, memory: Arc::default(), tasks: Tasks::new() };
    Actor::spawn_linked(None, Verifier, state, supervisor.clone()).await.map(|_| ())
}

/// It is time for a round.
struct Tick;

struct Verifier;

struct State {
    desk: Desk,
    memory: Arc<Mutex<Memory>>,
    tasks: Tasks,
}

/// What a verifier knows beside the ledger, and may forget.
#[derive(Default)]
struct Memory {
    /// The claims under which it publishes.
    claims: BTreeMap<(RepositoryId, DomainId), LeaseId>,
    /// Own segments of a format that this program does not know.
    aside: BTreeSet<(ClientId, ObjectName)>,
}

impl Actor for Verifier {
    type Msg = Tick;
    type State = State;
    type Arguments = State;

    async fn pre_start(&self, myself: ActorRef<Tick>, state: State) -> Result<State, ActorProcessingErr> {
        let _ = myself.cast(Tick);
        Ok(state)
    }

    async fn handle(&self, myself: ActorRef<Tick>, _: Tick, state: &mut State) -> Result<(), ActorProcessingErr> {
        // Beside the actor, so that it stops at once when the seat is closed.
        let work = Work { desk: state.desk.clone(), memory: state.memory.clone() };
        let (clock, next) = (state.desk.env.clock.clone(), Next(myself));
        state.tasks.spawn(async move {
            if work.desk.log.leads() {
                work.round().await;
            } else {
                work.memory(|memory| memory.claims.clear());
            }
            clock.sleep(INTERVAL).await;
            drop(next);
        });
        Ok(())
    }
}

/// Whatever becomes of a round, another follows.
struct Next(ActorRef<Tick>);

impl Drop for Next {
    fn drop(&mut self) {
        let _ = self.0.cast(Tick);
    }
}

/// One round of work.
struct Work {
    desk: Desk,
    memory: Arc<Mutex<Memory>>,
}

impl Work {
    fn memory<R>(&self, look: impl FnOnce(&mut Memory) -> R) -> R {
        look(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn round(&self) {
        let places: Vec<_> = self.desk.log.ledger().read().reuses().map(|(place, _)| *place).collect();
        for (repository, domain) in places {
            if let Err(failure) = self.turn(repository, domain).await {
                // What the storage or the log did not answer is tried again in the next round.
                tracing::warn!(%failure, domain = domain.short(), "index segments were not published");
                if failure.code == Code::Fenced {
                    self.memory(|memory| memory.claims.remove(&(repository, domain)));
                }
            }
        }
    }

    async fn turn(&self, repository: RepositoryId, domain: DomainId) -> Result<(), Failure> {
        for _ in 0..CHORES_PER_TURN {
            if probe::buggify(Point::VerifierRests) {
                return Ok(());
            }
            let Some(chore) = self.next(&repository, &domain) else { return Ok(()) };
            let claim = self.claim(repository, domain).await?;
            let shop = Shop::open(&self.desk, repository, domain, claim)?;
            match chore {
                Chore::Publish { scope, own } => {
                    let aside = own::publish(&shop, scope, own).await?;
                    self.memory(|memory| memory.aside.extend(aside));
                }
                Chore::Merge { scope, runs } => merge::merge(&shop, scope, runs).await?,
                Chore::Mend { scope, lost } => mend::mend(&shop, scope, lost).await?,
            }
        }
        Ok(())
    }

    fn next(&self, repository: &RepositoryId, domain: &DomainId) -> Option<Chore> {
        let trust = self.desk.records.set().read().domain(domain)?.trust;
        let ledger = self.desk.log.ledger().read();
        let reuse = ledger.reuse(repository, domain)?;
        self.memory(|memory| publishing::next(reuse, trust, |own| memory.aside.contains(own)))
    }

    /// The claim of this node, taken up when there is something to be done.
    async fn claim(&self, repository: RepositoryId, domain: DomainId) -> Result<LeaseId, Failure> {
        let place = (repository, domain);
        if let Some(claim) = self.memory(|memory| memory.claims.get(&place).copied()) {
            return Ok(claim);
        }
        match self.desk.log.propose(Command::Claim { node: self.desk.me, repository, domain }).await? {
            Decided::Claimed(claim) => {
                self.memory(|memory| memory.claims.insert(place, claim));
                Ok(claim)
            }
            other => Err(unexpected(&other)),
        }
    }
}

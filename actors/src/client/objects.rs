//! The data plane's objects, by ticket.
//!
//! Invariant: an object is reported as stored only after the storage said so for
//! exactly these bytes, or said that the name exists, which commits to the bytes.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use env::{Carrier, Env, store::StoreError};
use probe::{Plant, Point};
use protocol::{
    failure::{Code, Failure},
    ids::{LeaseId, RepositoryId},
    names::ObjectKey,
    wire::{MintGets, MintPuts, PutRequest, ReadTicket},
};
use repo::{Objects, Progress, RepoError};

use super::link::Link;

/// Attempts at one object before the storage is given up: about a minute of pauses.
const ATTEMPTS_MAX: u32 = 10;
/// No further attempt is made after this long: attempts that stall are slow to fail.
const PATIENCE: Duration = Duration::from_secs(180);
/// A refusal may be an expired ticket, so it is asked again with a fresh one; more
/// than that is not expiry.
const REFUSALS_MAX: u32 = 2;
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(20);
/// A read ticket is not used in its last minute: the storage's clock may differ.
const EXPIRY_MARGIN_MS: u64 = 60_000;
/// Read tickets kept; beyond that all are forgotten and minted anew.
const READ_TICKETS_MAX: usize = 4096;

/// How a backup writes.
pub struct Writing {
    /// Under which lease.
    pub lease: LeaseId,
    /// How long it waits for a storage, or orchestrators, that do not answer.
    pub patience: Duration,
    /// Where it says that it waits.
    pub progress: Arc<Progress>,
}

/// Objects of one repository, reached with tickets from orchestrators.
pub struct TicketedObjects {
    env: Env,
    link: Link,
    carrier: Arc<dyn Carrier>,
    repository: RepositoryId,
    writing: Option<Writing>,
    read_tickets: Mutex<BTreeMap<ObjectKey, ReadTicket>>,
}

impl TicketedObjects {
    /// Objects of a repository. Without `writing` nothing can be written.
    pub fn new(
        env: &Env,
        link: Link,
        carrier: Arc<dyn Carrier>,
        repository: RepositoryId,
        writing: Option<Writing>,
    ) -> Self {
        Self { env: env.clone(), link, carrier, repository, writing, read_tickets: Mutex::default() }
    }

    /// Waits longer each time, by a random share, so that clients do not come back together.
    async fn pause(&self, attempt: u32) {
        let longest = PAUSE_FIRST.saturating_mul(1 << attempt.min(10)).min(PAUSE_MAX);
        let share = f64::from(u32::from_le_bytes(self.env.rng.array())) / f64::from(u32::MAX);
        self.env.clock.sleep(longest.mul_f64(0.5 + share / 2.0)).await;
    }

    async fn put_once(&self, lease: LeaseId, key: ObjectKey, body: &Bytes) -> Result<(), Attempt> {
        let objects = vec![PutRequest { key, len: body.len() as u64 }];
        let call = MintPuts { lease, repository: self.repository, objects };
        let failovers = self.link.report().failovers;
        let tickets = self.link.call(call).await.map_err(|failure| self.failed(failure))?;
        if self.link.report().failovers > failovers && probe::planted(Plant::FailoverIsStored) {
            return Ok(());
        }
        let ticket = tickets.first().ok_or_else(|| self.failed(no_ticket()))?;
        match self.carrier.put(ticket, body.clone()).await {
            Ok(()) | Err(StoreError::Exists { .. }) => Ok(()),
            Err(StoreError::Unclear { .. }) if probe::planted(Plant::UnclearIsStored) => Ok(()),
            Err(error) => Err(Attempt::of(error)),
        }
    }

    async fn get_once(&self, key: &ObjectKey, range: Option<Range<u64>>) -> Result<Bytes, Attempt> {
        let ticket = self.read_ticket(key).await.map_err(|failure| self.failed(failure))?;
        let read = self.carrier.get(&ticket, range).await;
        if matches!(read, Err(StoreError::Refused { .. })) {
            self.tickets(|tickets| tickets.remove(key));
        }
        read.map_err(Attempt::of)
    }

    fn tickets<R>(&self, look: impl FnOnce(&mut BTreeMap<ObjectKey, ReadTicket>) -> R) -> R {
        look(&mut self.read_tickets.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn read_ticket(&self, key: &ObjectKey) -> Result<ReadTicket, Failure> {
        let fresh_until = self.env.clock.now().0 + EXPIRY_MARGIN_MS;
        let kept = self.tickets(|tickets| tickets.get(key).cloned());
        let is_good = |ticket: &ReadTicket| ticket.expires.0 > fresh_until && !probe::buggify(Point::TicketForgotten);
        if let Some(ticket) = kept.filter(is_good) {
            return Ok(ticket);
        }
        let call = MintGets { repository: self.repository, objects: vec![*key] };
        let ticket = self.link.call(call).await?.pop().ok_or_else(no_ticket)?;
        self.tickets(|tickets| {
            if tickets.len() >= READ_TICKETS_MAX {
                tickets.clear();
            }
            tickets.insert(*key, ticket.clone());
        });
        Ok(ticket)
    }

    /// Tries until it works, until it is clear that it will not, or until there is no
    /// more patience: a backup has what its person allows it.
    async fn persist<T, A>(&self, attempt: impl Fn() -> A) -> Result<T, RepoError>
    where
        A: Future<Output = Result<T, Attempt>>,
    {
        let mut refusals = 0;
        let (attempts_max, patience) = match &self.writing {
            Some(writing) if writing.patience > PATIENCE => (u32::MAX, writing.patience),
            _ => (ATTEMPTS_MAX, PATIENCE),
        };
        let give_up = self.env.clock.monotonic() + patience;
        for tried in 0..attempts_max {
            match attempt().await {
                Ok(done) => {
                    if tried > 0 {
                        self.wait_for(None);
                    }
                    return Ok(done);
                }
                Err(Attempt::Final(error)) => return Err(error),
                Err(Attempt::Refused(error)) => {
                    refusals += 1;
                    if refusals > REFUSALS_MAX {
                        return Err(error);
                    }
                }
                Err(Attempt::Again(error)) => {
                    if tried + 1 >= attempts_max || self.env.clock.monotonic() >= give_up {
                        return Err(error);
                    }
                    probe::sometimes("an object is tried again, after no clear answer");
                    tracing::debug!(%error, "trying again");
                    self.wait_for(Some(error.told()));
                }
            }
            self.pause(tried).await;
        }
        Err(Failure::internal("the attempts ran out").into())
    }

    /// How a call to an orchestrator failed. The link has tried for long itself: only who
    /// has more patience tries again.
    fn failed(&self, failure: Failure) -> Attempt {
        match self.writing {
            Some(_) if failure.code == Code::Retry => Attempt::Again(failure.into()),
            _ => Attempt::Final(failure.into()),
        }
    }

    fn wait_for(&self, what: Option<String>) {
        if let Some(writing) = &self.writing {
            writing.progress.wait_for(what);
        }
    }
}

/// How an attempt failed.
enum Attempt {
    /// It may work the next time.
    Again(RepoError),
    /// It may work with a fresh ticket.
    Refused(RepoError),
    /// It will not work.
    Final(RepoError),
}

impl Attempt {
    fn of(error: StoreError) -> Self {
        match error {
            StoreError::Unclear { .. } => Self::Again(error.into()),
            StoreError::Refused { .. } => Self::Refused(error.into()),
            _ => Self::Final(error.into()),
        }
    }
}

fn no_ticket() -> Failure {
    Failure::internal("the orchestrator sent no ticket")
}

#[async_trait]
impl Objects for TicketedObjects {
    async fn put(&self, key: ObjectKey, body: Bytes) -> Result<(), RepoError> {
        let unwritable = || Failure::internal("nothing can be written without a lease");
        let lease = self.writing.as_ref().ok_or_else(unwritable)?.lease;
        self.persist(|| self.put_once(lease, key, &body)).await
    }

    async fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> Result<Bytes, RepoError> {
        self.persist(|| self.get_once(key, range.clone())).await
    }
}

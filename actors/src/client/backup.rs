//! Backing up: a chain of parts, each under a lease of its own.
//!
//! Invariant: what was stored is never stored again. A part that ends in time is
//! committed; what one that does not has stored stands in the journal, and the next one
//! adopts it. Only this process gets itself a further lease, and only while no other
//! backup of this client has begun.

use std::{path::PathBuf, sync::Arc, time::Duration};

use protocol::{
    commands::Lease,
    failure::{Code, Failure},
    ids::{AttemptId, LeaseId},
    wire::{self, Call},
};
use repo::{BackupJob, CancellationToken, Distrust, Kind, Outcome, Progress, RepoError, Rules, Stream};

use super::{
    Client, Configuration, Means,
    chain::Chain,
    journal::Journal,
    objects::Writing,
    turn::{self, Contention},
};
use crate::AGENT;

/// How often a backup looks whether its lease is still its own: that soon it makes way
/// for one that took its place, even if it has nothing to store.
const LEASE_LOOK: Duration = Duration::from_secs(10);
/// How often it begins anew because chunks of others turned out to be false.
const POISONED_MAX: u32 = 8;
/// How long it tries to give a lease back.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);

/// What a person asks to be backed up.
#[derive(Debug, Clone)]
pub struct BackupRequest {
    /// Absolute paths.
    pub sources: Vec<PathBuf>,
    /// What is left out of them.
    pub rules: Rules,
    /// What is backed up in their place; then the only source is the path it is stored under.
    pub stream: Option<Stream>,
    /// The machine's name.
    pub host: String,
    /// For people.
    pub description: String,
    /// For people and policies.
    pub tags: Vec<String>,
    /// How much it may use.
    pub means: Means,
    /// How it bears what comes in its way.
    pub stamina: Stamina,
}

/// How a backup bears what comes in its way.
#[derive(Debug, Clone)]
pub struct Stamina {
    /// Who backs up, for someone else who wants to: `process 4711`.
    pub me: String,
    /// What to do if someone else does.
    pub contention: Contention,
    /// How long it waits for a storage, or orchestrators, that do not answer.
    pub patience: Duration,
    /// After what time it commits what it has, as a part, and goes on with the next.
    pub part_after: Duration,
    /// The same, by bytes read.
    pub part_bytes: u64,
}

impl Default for Stamina {
    fn default() -> Self {
        Self {
            me: "a process".into(),
            contention: Contention::Refuse,
            patience: Duration::from_secs(3600),
            // A lease is open for two hours; half of one more is for what is on its way.
            part_after: Duration::from_secs(45 * 60),
            part_bytes: u64::MAX,
        }
    }
}

/// One backup under way.
struct Run<'a> {
    client: &'a Client,
    configuration: Configuration,
    request: BackupRequest,
    journal: Journal,
    progress: Arc<Progress>,
    /// What was found lost, damaged or false, in all parts.
    distrust: Arc<Distrust>,
    cancel: CancellationToken,
}

impl Client {
    /// Backs up, in as many parts as it takes. One backup of a client runs at a time.
    pub async fn backup(
        &mut self,
        request: BackupRequest,
        progress: Arc<Progress>,
        cancel: CancellationToken,
    ) -> Result<Outcome, RepoError> {
        let (env, stamina) = (self.env.clone(), request.stamina.clone());
        let _turn = match turn::try_take(&env, &stamina.me)? {
            Some(turn) => turn,
            None => {
                match stamina.contention {
                    Contention::Refuse => return Err(turn::taken(&env)),
                    Contention::Wait => {}
                    Contention::TakeOver => {
                        // This lease ends the other's, and the other ends itself once it notices.
                        // It is for nothing else: the other's wish for one may be under way, and
                        // end this one.
                        let configuration = self.configure().await?;
                        self.link.call(self.wish(&configuration, &request, None)?).await?;
                    }
                }
                turn::take(&env, &stamina.me, &progress, &cancel).await?
            }
        };
        let configuration = self.configure().await?;
        let journal = Journal::open(&env, configuration.storage.repository).await;
        let distrust = Arc::default();
        let run = Run { client: self, configuration, request, journal, progress, distrust, cancel };
        let done = run.whole().await;
        run.journal.flush().await;
        run.client.report(run.configuration.storage.repository, &run.distrust.keys()).await;
        done
    }

    /// The call for a lease, and its attempt: the same for all its repetitions.
    fn wish(
        &self,
        configuration: &Configuration,
        request: &BackupRequest,
        after: Option<LeaseId>,
    ) -> Result<wire::Grant, RepoError> {
        let lineage = self.keys(configuration)?.lineage(&request.sources);
        let attempt = AttemptId(self.env.rng.array());
        Ok(wire::Grant { repository: configuration.storage.repository, lineage, attempt, after })
    }
}

impl Run<'_> {
    /// Goes on from lease to lease until all is committed.
    async fn whole(&self) -> Result<Outcome, RepoError> {
        let Stamina { part_after, part_bytes, .. } = self.request.stamina;
        let mut chain = match self.request.stream {
            // It cannot be read again from its start, so it is one part or nothing.
            Some(_) => Chain::new(Duration::MAX, u64::MAX),
            None => Chain::new(part_after, part_bytes),
        };
        let mut last = None;
        let mut poisoned = 0;
        loop {
            let lease = self.next_lease(last).await?;
            last = Some(lease.id);
            self.progress.walk_again();
            let moved = self.progress.bytes_moved.get();
            let part = tokio::select! {
                part = self.part(&lease, &chain) => part,
                () = self.cancel.cancelled() => Err(RepoError::cancelled()),
            };
            match part {
                Ok(part) => {
                    self.journal.settled(&lease).await;
                    chain.add(&part);
                    if part.facts.complete {
                        return Ok(chain.whole(part));
                    }
                }
                // Its time was over, or it was closed: what it stored is there for the next.
                Err(error) if error.kind == Kind::Fenced && self.request.stream.is_none() => {
                    tracing::warn!(%error, "going on under a new lease");
                    chain.lost(self.progress.bytes_moved.get() > moved);
                }
                // What it relied upon is not there: what it stored itself is, for the next.
                Err(error) if error.kind == Kind::Poisoned && self.request.stream.is_none() => {
                    tracing::warn!(%error, "going on without it, under a new lease");
                    self.give_back(&lease).await;
                    chain.lost(true);
                    poisoned += 1;
                    if poisoned > POISONED_MAX {
                        return Err(error);
                    }
                }
                Err(error) => {
                    if error.kind != Kind::Superseded {
                        self.give_back(&lease).await;
                    }
                    return Err(error);
                }
            }
            chain.check()?;
        }
    }

    /// Gets the lease after `last`. Only the very first is not waited for: there a person
    /// rather hears at once that nobody answers.
    async fn next_lease(&self, last: Option<LeaseId>) -> Result<Lease, RepoError> {
        let wish = self.client.wish(&self.configuration, &self.request, last)?;
        let lease = async {
            match last {
                None => Ok(self.client.link.call(wish).await?),
                Some(_) => self.persist(wish).await,
            }
        };
        tokio::select! {
            lease = lease => lease,
            () = self.cancel.cancelled() => Err(RepoError::cancelled()),
        }
    }

    /// Backs up under one lease, and commits.
    async fn part(&self, lease: &Lease, chain: &Chain) -> Result<Outcome, RepoError> {
        let Self { client, request, progress, .. } = self;
        let writing = Writing { lease: lease.id, patience: request.stamina.patience, progress: progress.clone() };
        let mut context = client.context(&self.configuration, Some(writing))?;
        context.distrust = self.distrust.clone();
        let wind_up = CancellationToken::new();
        let job = BackupJob {
            sources: request.sources.clone(),
            rules: request.rules.clone(),
            stream: request.stream.clone(),
            lease: lease.clone(),
            host: request.host.clone(),
            description: request.description.clone(),
            tags: request.tags.clone(),
            program: AGENT.into(),
            started: client.env.clock.now(),
            memory_bytes: request.means.memory_bytes,
            uploads: request.means.transfers,
            left: self.journal.left(lease).await,
            journal: Arc::new(self.journal.clone()),
            wind_up: wind_up.clone(),
            part_bytes: chain.part_bytes(),
            cancel: self.cancel.clone(),
        };
        let outcome = tokio::select! {
            outcome = repo::backup(context, job, progress.clone()) => outcome?,
            ended = self.until_ended(lease) => return Err(ended.into()),
            never = async {
                client.env.clock.sleep(chain.part_after()).await;
                wind_up.cancel();
                std::future::pending().await
            } => never,
        };
        let commit = wire::Commit { repository: lease.repository, commit: outcome.facts.clone() };
        if self.persist(commit).await? != outcome.snapshot {
            return Err(RepoError::internal("the orchestrators decided another snapshot than was committed"));
        }
        Ok(outcome)
    }

    /// Looks now and then whether the lease is still open, and returns when it is not.
    async fn until_ended(&self, lease: &Lease) -> Failure {
        loop {
            self.client.env.clock.sleep(LEASE_LOOK).await;
            let look = wire::MintPuts { lease: lease.id, repository: lease.repository, objects: Vec::new() };
            match self.client.link.call(look).await {
                Err(ended) if matches!(ended.code, Code::Fenced | Code::Superseded) => return ended,
                // Whoever does not answer is the uploads' trouble.
                _ => {}
            }
        }
    }

    /// Makes a call, again and again while orchestrators do not answer, for as long as
    /// there is patience.
    async fn persist<C: Call + Sync>(&self, call: C) -> Result<C::Reply, RepoError> {
        let clock = &self.client.env.clock;
        let give_up = clock.monotonic() + self.request.stamina.patience;
        loop {
            match self.client.link.call(call.clone()).await {
                Err(failure) if failure.code == Code::Retry && clock.monotonic() < give_up => {
                    self.progress.wait_for(Some(failure.message));
                }
                done => {
                    self.progress.wait_for(None);
                    return Ok(done?);
                }
            }
        }
    }

    /// Ends a lease for nothing. One that nobody ends does so by itself.
    async fn give_back(&self, lease: &Lease) {
        let close = self.client.link.call(wire::Close { lease: lease.id });
        let _ = tokio::time::timeout(CLOSE_PATIENCE, close).await;
    }
}

//! Answers calls to an orchestrator that belongs to a cluster.
//!
//! Invariant: every call is judged by who its caller is *now*. A refusal that may
//! only mean that this replica lags is given after a linearizable look (`sync`),
//! never before.

mod acts;
mod admin;
mod configure;
mod damage;
mod joining;
mod roster;

use std::{sync::Arc, time::Duration};

use control::{Ledger, Standing, commit_check, may, tickets};
use env::Env;
use probe::Plant;
use protocol::{
    commands::{Command, Decided, SnapshotRecord},
    failure::{Code, Failure},
    ids::{ClientId, NodeId, PublicKey, RepositoryId, SnapshotId},
    levels::Levels,
    records::Subject,
    sign::Signed,
    wire::{self, Answer, Reply, Request},
};
use tokio::sync::Semaphore;

pub use self::{acts::Acts, damage::Reports};
use super::{began::Began, editions::Editions, gossip::Gossip, records::Records, stewards::Stewards, vault::Vault};
use crate::{
    identity::Identity,
    log::Log,
    net::{Connections, Incoming, Meter, Peers},
};

/// How long an orchestrator waits for another when it passes something on.
const PASS_ON_PATIENCE: Duration = Duration::from_secs(2);

/// Everything an orchestrator answers with. Clones are cheap.
#[derive(Clone)]
pub struct Desk {
    /// The world.
    pub env: Env,
    /// This node.
    pub me: NodeId,
    /// Its keys.
    pub identity: Identity,
    /// Converging state.
    pub records: Records,
    /// What clients wait to be told of it.
    pub editions: Editions,
    /// Decided state.
    pub log: Log,
    /// Which levels of that the program speaks.
    pub levels: Levels,
    /// This node's word for it.
    pub statement: Signed,
    /// Whether that has begun.
    pub began: Began,
    /// Who is alive.
    pub gossip: Gossip,
    /// The other orchestrators.
    pub peers: Peers,
    /// Storages.
    pub stewards: Stewards,
    /// Release values.
    pub vault: Vault,
    /// Turns at reading a commit object: each may be as large as an object may be.
    pub fetches: Arc<Semaphore>,
    /// Which clients' reports of damage are being looked into.
    pub reports: Reports,
    /// Turns at looking at an object that is said to be damaged.
    pub looks: Arc<Semaphore>,
    /// Who is connected.
    pub connections: Connections,
    /// Bytes from clients over connections that have ended.
    pub client_bytes: Arc<Meter>,
    /// How the ledger's backups are.
    pub backups: super::archivist::Report,
    /// What is to be entered into the audit trail.
    pub acts: Acts,
    /// Whether this node was adopted so that a lost ledger begins again.
    pub rebuilds: bool,
}

impl Desk {
    /// Who the holder of a key is, as far as this replica knows.
    pub fn standing(&self, key: &PublicKey) -> Standing {
        Standing::of(&self.records.set().read(), &self.log.ledger().read(), key)
    }

    /// Answers one call.
    pub async fn answer(&self, incoming: Incoming) -> Answer {
        let standing = self.permit(&incoming).await?;
        let caller = Caller { standing, incoming: &incoming };
        match incoming.request.clone() {
            Request::Hello(_) | Request::Adopt(_) | Request::Speak(_) => {
                Err(Failure::internal("first words are answered before the desk"))
            }
            Request::Redeem(call) => self.redeem(&caller, call).await.map(Reply::Redeemed),
            Request::Release(call) => self.release(&caller, call.token).map(Reply::Released),
            Request::Acknowledge(call) => self.acknowledge(&caller, call.token).await.map(Reply::Acknowledged),
            Request::Configure(_) => self.configure(&caller).map(Reply::Configured),
            Request::Watch(call) => self.watch(&caller, &call).await.map(Reply::Watched),
            Request::Grant(call) => self.grant(&caller, call).await.map(Reply::Granted),
            Request::MintPuts(call) => self.mint_puts(&caller, &call).await.map(Reply::MintedPuts),
            Request::MintGets(call) => self.mint_gets(&caller, &call).await.map(Reply::MintedGets),
            Request::Commit(call) => self.commit(&caller, call).await.map(Reply::Committed),
            Request::Close(call) => self.close(&caller, call).await.map(Reply::Closed),
            Request::Survey(call) => self.survey(&caller, &call).await.map(Reply::Surveyed),
            Request::Report(call) => self.report(&caller, &call).await.map(Reply::Reported),
            Request::ListSnapshots(call) => self.list_snapshots(&caller, &call).await.map(Reply::Snapshots),
            Request::Submit(call) => self.submit(call).await.map(Reply::Submitted),
            Request::PutRelease(call) => self.put_release(&caller, call).await.map(Reply::PuttedRelease),
            Request::Status(_) => Ok(Reply::StatusIs(self.status())),
            Request::Inspect(_) => Ok(Reply::Inspected(self.inspect())),
            Request::Examine(_) => Ok(Reply::Examined(self.examine().await)),
            Request::ListAudit(call) => self.list_audit(&call).await.map(Reply::Audit),
            Request::Found(call) => {
                self.decide_import(Command::Found { charter: call.charter }).await.map(Reply::Founded)
            }
            Request::Import(call) => {
                let wire::Import { from, items } = call;
                self.decide_import(Command::Import { from, items }).await.map(Reply::Imported)
            }
            Request::ListClients(call) => self.list_clients(&call).await.map(Reply::Clients),
            Request::ListTokens(call) => self.list_tokens(&call).await.map(Reply::Tokens),
            Request::GetRecords(call) => Ok(Reply::Records(self.get_records(&call))),
            Request::Raft(call) => self.take_raft(&caller, &call).await.map(Reply::Rafted),
            Request::Recall(call) => Ok(Reply::Recalled(self.log.recall(call.voter))),
            Request::Propose(call) => self.log.take_proposals(call.commands).await.map(Reply::Proposed),
            Request::ReadIndex(_) => self.log.read_index().await.map(Reply::ReadIndexIs),
            Request::Push(call) => self.records.take(call.records).await.map(Reply::Pushed),
            Request::Reconcile(call) => self.records.answer(&call).map(Reply::Reconciled),
            Request::Fetch(call) => self.records.give(&call).map(Reply::Fetched),
        }
    }

    /// Who the caller is, if it may make this call. A stranger may be a client whose
    /// enrollment has not been applied here yet: one look at the leader tells.
    async fn permit(&self, incoming: &Incoming) -> Result<Standing, Failure> {
        let standing = self.standing(&incoming.caller);
        // A newcomer that the log has not reached knows nobody: another one is asked sooner.
        if matches!(standing, Standing::Client(_) | Standing::Stranger) && !self.log.takes_part() {
            return Err(not_here_yet());
        }
        if matches!(standing, Standing::Client(_) | Standing::Stranger) {
            let ledger = self.log.ledger().read();
            if ledger.is_importing() || self.is_rebuilt_later(&ledger) {
                return Err(Failure::retry("the cluster's ledger is being rebuilt from its backup: try again soon"));
            }
        }
        match may(&standing, &incoming.request) {
            Err(_) if standing == Standing::Stranger && !probe::planted(Plant::DeniedUnseen) => {
                self.log.sync().await?;
                let standing = self.standing(&incoming.caller);
                if standing != Standing::Stranger {
                    probe::sometimes("a stranger turns out to be known, after a look at the leader");
                }
                may(&standing, &incoming.request).map(|()| standing)
            }
            permitted => permitted.map(|()| standing),
        }
    }

    /// Whether a lost ledger is to begin again here, and that has not begun.
    pub fn is_rebuilt_later(&self, ledger: &Ledger) -> bool {
        self.rebuilds && ledger.incarnation() == super::seat::FIRST_INCARNATION
    }

    async fn decide_import(&self, command: Command) -> Result<u64, Failure> {
        match self.log.propose(command).await? {
            Decided::Imported(count) => Ok(count),
            other => Err(unexpected(&other)),
        }
    }

    async fn take_raft(&self, caller: &Caller<'_>, call: &wire::Raft) -> Result<Vec<u8>, Failure> {
        let Standing::Orchestrator(from) = caller.standing else {
            return Err(Failure::denied("only an orchestrator takes part in the log"));
        };
        let answer = self.log.take_raft(from, call).await?;
        self.began.note(&self.log).await?;
        Ok(answer)
    }

    /// Passes something on to every other orchestrator. Returns what those said that
    /// answered soon.
    async fn tell_others<C: wire::Call + Sync>(&self, call: C) -> Vec<C::Reply> {
        let calls = self.peers.others().into_iter().map(|other| {
            let (peers, call) = (self.peers.clone(), call.clone());
            async move { peers.call(other.id(), call, PASS_ON_PATIENCE).await.ok() }
        });
        futures_util::future::join_all(calls).await.into_iter().flatten().collect()
    }

    /// Asks the others for the record of a subject that has not arrived here. Whether all
    /// of them answered.
    async fn fetch(&self, subject: &Subject) -> bool {
        let found = self.tell_others(wire::GetRecords { subjects: vec![*subject], after: None }).await;
        let all_answered = found.len() == self.peers.others().len();
        for page in found {
            // Records that do not verify are left out: their sender is of no use to us.
            if let Ok(records) = self.records.open(page.items)
                && let Err(failure) = self.records.insert(records).await
            {
                tracing::warn!(%failure, "a record that was missing here could not be kept");
            }
        }
        all_answered
    }

    async fn grant(&self, caller: &Caller<'_>, call: wire::Grant) -> Result<protocol::commands::Lease, Failure> {
        let client = caller.client()?;
        self.check_repository(&client, &call.repository)?;
        let wire::Grant { repository, lineage, attempt, after } = call;
        match self.log.propose(Command::Grant { client, repository, lineage, attempt, after }).await? {
            Decided::Granted(lease) => Ok(lease),
            other => Err(unexpected(&other)),
        }
    }

    async fn mint_puts(&self, caller: &Caller<'_>, call: &wire::MintPuts) -> Result<Vec<wire::PutTicket>, Failure> {
        let client = caller.client()?;
        self.checked(|| tickets::may_put(&self.log.ledger().read(), &client, call)).await?;
        let steward = self.stewards.of(&call.repository)?;
        let now = self.env.clock.now();
        let is_over = |lease: &control::OpenLease| lease.expires < now;
        if probe::planted(Plant::LeaseByOwnClock)
            && self.log.ledger().read().open_lease(&call.lease).is_some_and(is_over)
        {
            return Err(Failure::fenced(format!("lease {} has ended by this orchestrator's clock", call.lease)));
        }
        let mint = |object: &wire::PutRequest| {
            steward
                .mint_put(&object.key.to_string(), object.len, &object.key.name.hash, now)
                .map_err(|error| Failure::invalid(error.to_string()))
        };
        call.objects.iter().map(mint).collect()
    }

    async fn mint_gets(&self, caller: &Caller<'_>, call: &wire::MintGets) -> Result<Vec<wire::ReadTicket>, Failure> {
        let client = caller.client()?;
        self.checked(|| tickets::may_get(&self.log.ledger().read(), &client, call)).await?;
        let steward = self.stewards.of(&call.repository)?;
        let now = self.env.clock.now();
        let mint = |key: &protocol::names::ObjectKey| {
            steward.mint_get(&key.to_string(), now).map_err(|error| Failure::invalid(error.to_string()))
        };
        call.objects.iter().map(mint).collect()
    }

    /// Checks against this replica; if it says no, catches up and checks again.
    async fn checked(&self, check: impl Fn() -> Result<(), Failure>) -> Result<(), Failure> {
        if check().is_ok() {
            return Ok(());
        }
        self.log.sync().await?;
        check()
    }

    async fn commit(&self, caller: &Caller<'_>, call: wire::Commit) -> Result<SnapshotId, Failure> {
        let client = caller.client()?;
        let commit_key = {
            let ledger = self.log.ledger().read();
            ledger.enrollment(&client).map(|enrollment| enrollment.keys.commit).ok_or_else(not_here_yet)?
        };
        self.checked(|| self.check_lease(&client, &call)).await?;
        let steward = self.stewards.of(&call.repository)?;
        let path = protocol::names::Place::Snapshot(client).object(call.commit.object).to_string();
        if probe::planted(Plant::CommitUnread) || self.is_listed(&*steward, &path).await {
            return match self.log.propose(Command::Commit { client, commit: call.commit }).await? {
                Decided::Committed(snapshot) => Ok(snapshot),
                other => Err(unexpected(&other)),
            };
        }
        let read = {
            let busy = |_| Failure::retry("this orchestrator is shutting down");
            let _turn = self.fetches.acquire().await.map_err(busy)?;
            let bytes = super::commits::fetch(&*steward, &path).await?;
            super::commits::read(&bytes, &commit_key)?
        };
        let expected = commit_check::Expected {
            client: &client,
            commit_key: &commit_key,
            repository: &call.repository,
            claimed: &call.commit,
        };
        commit_check::agree(expected, &read)?;
        match self.log.propose(Command::Commit { client, commit: call.commit }).await? {
            Decided::Committed(snapshot) => Ok(snapshot),
            other => Err(unexpected(&other)),
        }
    }

    /// Whether a listing shows this object: no proof of what it holds. Never asked but by a planted fault.
    async fn is_listed(&self, steward: &dyn env::Steward, path: &str) -> bool {
        let directory = path.rsplit_once('/').map_or(path, |(directory, _)| directory);
        probe::planted(Plant::CommitFromListing)
            && steward.list(directory).await.is_ok_and(|listed| listed.iter().any(|(name, _)| name == path))
    }

    /// A client writes into its domain's repository and no other.
    fn check_repository(&self, client: &ClientId, repository: &RepositoryId) -> Result<(), Failure> {
        let domain = self.log.ledger().read().enrollment(client).map(|enrollment| enrollment.domain);
        let records = self.records.set().read();
        let own = domain.and_then(|id| records.domain(&id)).map(|domain| domain.repository).ok_or_else(not_here_yet)?;
        if own == *repository {
            return Ok(());
        }
        Err(Failure::denied(format!("repository {repository} is not the one of this client's domain")))
    }

    /// The object was read where the lease allows writing. A lease that has ended is
    /// the log's to judge: this may be a repetition of a commit that was decided.
    fn check_lease(&self, client: &ClientId, call: &wire::Commit) -> Result<(), Failure> {
        let ledger = self.log.ledger().read();
        match ledger.open_lease(&call.commit.lease) {
            Some(lease) if lease.client != *client || lease.repository != call.repository => {
                Err(Failure::denied(format!("lease {} was not granted for this", lease.id)))
            }
            _ => Ok(()),
        }
    }

    async fn close(&self, caller: &Caller<'_>, call: wire::Close) -> Result<(), Failure> {
        let client = caller.client()?;
        match self.log.propose(Command::Close { client, lease: call.lease }).await? {
            Decided::Closed => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    async fn list_snapshots(
        &self,
        caller: &Caller<'_>,
        call: &wire::ListSnapshots,
    ) -> Result<wire::Page<SnapshotRecord>, Failure> {
        let client = match (caller.standing.client(), call.client) {
            (Some(own), None) => own,
            (Some(own), Some(asked)) if own == asked => own,
            (Some(_), Some(_)) => return Err(Failure::denied("a client sees its own snapshots only")),
            (None, Some(asked)) => asked,
            (None, None) => return Err(Failure::invalid("say whose snapshots to list")),
        };
        if !probe::planted(Plant::ListUnsynced) {
            self.log.sync().await?;
        }
        let ledger = self.log.ledger().read();
        let snapshots = ledger.snapshots(&client);
        let start = match call.after {
            None => 0,
            Some(after) => {
                1 + snapshots.iter().position(|snapshot| snapshot.id == after).ok_or_else(|| {
                    Failure::not_found(format!(
                        "snapshot {after}, after which to list, does not exist: list from the start"
                    ))
                })?
            }
        };
        Ok(wire::Page::of(snapshots.into_iter().skip(start).cloned()))
    }
}

/// Who makes a call, and how.
struct Caller<'a> {
    standing: Standing,
    incoming: &'a Incoming,
}

impl Caller<'_> {
    fn client(&self) -> Result<ClientId, Failure> {
        self.standing.client().ok_or_else(|| Failure::denied("only an enrolled client may ask this"))
    }
}

fn not_here_yet() -> Failure {
    Failure::retry("this orchestrator has not caught up with the cluster yet: try again, or try another")
}

pub(super) fn unexpected(decided: &Decided) -> Failure {
    Failure::new(Code::Internal, format!("the log decided something else: {decided:?}"))
}

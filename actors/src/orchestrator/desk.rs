//! Answers calls to an orchestrator that belongs to a cluster.
//!
//! Invariant: every call is judged by who its caller is *now*. A refusal that may
//! only mean that this replica lags is given after a linearizable look (`sync`),
//! never before.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use control::{Standing, commit_check, ledger, may, tickets};
use env::Env;
use protocol::{
    commands::{Command, Decided, Enrollment, SnapshotRecord},
    failure::{Code, Failure},
    ids::{ClientId, NodeId, PublicKey, RepositoryId, SnapshotId, TokenId},
    records::{Payload, Record, SecretId, Subject, TokenTerms},
    sign::Signed,
    wire::{self, Answer, Reply, Request},
};

use tokio::sync::Semaphore;

use super::{gossip::Gossip, records::Records, stewards::Stewards, vault::Vault};
use crate::{
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
    /// Converging state.
    pub records: Records,
    /// Decided state.
    pub log: Log,
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
    /// Who is connected.
    pub connections: Connections,
    /// Bytes from clients over connections that have ended.
    pub client_bytes: Arc<Meter>,
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
            Request::Hello(_) | Request::Adopt(_) => Err(Failure::internal("first words are answered before the desk")),
            Request::Redeem(call) => self.redeem(&caller, call).await.map(Reply::Redeemed),
            Request::Release(call) => self.release(&caller, call.token).map(Reply::Released),
            Request::Acknowledge(call) => self.acknowledge(&caller, call.token).await.map(Reply::Acknowledged),
            Request::Configure(_) => self.configure(&caller).map(Reply::Configured),
            Request::Grant(call) => self.grant(&caller, call).await.map(Reply::Granted),
            Request::MintPuts(call) => self.mint_puts(&caller, &call).await.map(Reply::MintedPuts),
            Request::MintGets(call) => self.mint_gets(&caller, &call).await.map(Reply::MintedGets),
            Request::Commit(call) => self.commit(&caller, call).await.map(Reply::Committed),
            Request::Close(call) => self.close(&caller, call).await.map(Reply::Closed),
            Request::ListSnapshots(call) => self.list_snapshots(&caller, &call).await.map(Reply::Snapshots),
            Request::Submit(call) => self.submit(call).await.map(Reply::Submitted),
            Request::PutRelease(call) => self.put_release(&caller, call).await.map(Reply::PuttedRelease),
            Request::Status(_) => Ok(Reply::StatusIs(self.status())),
            Request::ListClients(call) => self.list_clients(&call).await.map(Reply::Clients),
            Request::GetRecords(call) => Ok(Reply::Records(self.get_records(&call))),
            Request::Raft(call) => self.log.take_raft(&call).await.map(Reply::Rafted),
            Request::Propose(call) => self.log.take_proposals(call.commands).await.map(Reply::Proposed),
            Request::ReadIndex(_) => self.log.read_index().await.map(Reply::ReadIndexIs),
            Request::Push(call) => {
                let records = self.records.open(call.records)?;
                self.records.insert(records).await.map(Reply::Pushed)
            }
            Request::Pull(call) => Ok(Reply::Pulled(self.pull(&call))),
        }
    }

    /// Who the caller is, if it may make this call. A stranger may be a client whose
    /// enrollment has not been applied here yet: one look at the leader tells.
    async fn permit(&self, incoming: &Incoming) -> Result<Standing, Failure> {
        let standing = self.standing(&incoming.caller);
        match may(&standing, &incoming.request) {
            Err(_) if standing == Standing::Stranger => {
                self.log.sync().await?;
                let standing = self.standing(&incoming.caller);
                may(&standing, &incoming.request).map(|()| standing)
            }
            permitted => permitted.map(|()| standing),
        }
    }

    // ---- enrollment

    async fn redeem(&self, caller: &Caller<'_>, call: wire::Redeem) -> Result<Enrollment, Failure> {
        let redemption = ledger::read_redemption(&call.redemption)?;
        if redemption.exporter != caller.incoming.exporter(wire::REDEMPTION_EXPORTER)? {
            return Err(Failure::denied("the redemption was made for another connection"));
        }
        if redemption.keys.tls != caller.incoming.caller {
            return Err(Failure::denied("the redemption names another TLS key than the connection shows"));
        }
        let subject = Subject::Token(redemption.token);
        let known = || self.records.set().read().winner(&subject).map(|record| record.signed().clone());
        let terms = match known() {
            Some(terms) => terms,
            None => {
                self.fetch(&subject).await;
                known().ok_or_else(|| {
                    Failure::not_found(
                        "this cluster does not know the token: it is wrong, or was made while this orchestrator was cut off",
                    )
                })?
            }
        };
        if self.records.set().read().token_revoked(&redemption.token) {
            return Err(Failure::denied("the token was revoked: ask the operator for a new one"));
        }
        // The terms' author must be an admin of the keyset that the log has admitted.
        self.admit_newest().await?;
        match self.log.propose(Command::Redeem { terms, redemption: call.redemption }).await? {
            Decided::Redeemed(enrollment) => Ok(enrollment),
            other => Err(unexpected(&other)),
        }
    }

    /// Has the log admit the newest keyset known here, if it has not.
    pub async fn admit_newest(&self) -> Result<(), Failure> {
        let keyset = {
            let admitted = self.log.ledger().read().keyset().map(|(number, _)| number);
            let records = self.records.set().read();
            let newest = records.keyset_record().filter(|record| Some(record.version()) > admitted);
            newest.map(|record| record.signed().clone())
        };
        match keyset {
            Some(keyset) => self.log.propose(Command::Admit { keyset }).await.map(drop),
            None => Ok(()),
        }
    }

    fn release(&self, caller: &Caller<'_>, token: TokenId) -> Result<wire::ReleaseValue, Failure> {
        let client = caller.client()?;
        if !self.log.ledger().read().redeemed(&token).contains(&client) {
            return Err(Failure::denied("this client did not redeem that token"));
        }
        let terms = self.records.set().read().token(&token).cloned();
        let terms = terms.ok_or_else(|| Failure::retry("the token's terms have not reached this orchestrator yet"))?;
        match self.vault.get(&token)? {
            Some(value) => Ok(wire::ReleaseValue { value, terms }),
            None => Err(Failure::retry(
                "this orchestrator does not hold the token's release value; another may, unless the token has expired",
            )),
        }
    }

    async fn acknowledge(&self, caller: &Caller<'_>, token: TokenId) -> Result<(), Failure> {
        let client = caller.client()?;
        match self.log.propose(Command::Acknowledge { client, token }).await? {
            Decided::Acknowledged => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Keeps a release value here and, from an admin, at a majority: any majority then
    /// has one that can give it out.
    async fn put_release(&self, caller: &Caller<'_>, call: wire::PutRelease) -> Result<(), Failure> {
        self.vault.put(call.clone()).await?;
        if !matches!(caller.standing, Standing::Admin(_)) {
            return Ok(());
        }
        let (roster, kept) = (self.peers.others().len() + 1, self.tell_others(call).await.len() + 1);
        if kept > roster / 2 {
            return Ok(());
        }
        Err(Failure::retry(format!(
            "only {kept} of {roster} orchestrators could keep the token's release value: try again once a majority runs"
        )))
    }

    /// Erases release values that nobody needs any more.
    pub async fn sweep_vault(&self) -> Result<(), Failure> {
        let is_done = |token: &TokenId| {
            let (records, ledger) = (self.records.set().read(), self.log.ledger().read());
            let all_welcomed = |terms: &TokenTerms| ledger.welcomed(token) >= terms.uses;
            records.token_revoked(token) || records.token(token).is_some_and(all_welcomed)
        };
        self.vault.sweep(self.env.clock.now(), is_done).await
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

    /// Asks the others for the record of a subject that has not arrived here.
    async fn fetch(&self, subject: &Subject) {
        let found = self.tell_others(wire::GetRecords { subjects: vec![*subject], after: None }).await;
        for page in found {
            // Records that do not verify are left out: their sender is of no use to us.
            if let Ok(records) = self.records.open(page.items)
                && let Err(failure) = self.records.insert(records).await
            {
                tracing::warn!(%failure, "a record that was missing here could not be kept");
            }
        }
    }

    // ---- backups

    fn configure(&self, caller: &Caller<'_>) -> Result<Vec<Signed>, Failure> {
        let client = caller.client()?;
        let domain = self.log.ledger().read().enrollment(&client).map(|enrollment| enrollment.domain);
        let records = self.records.set().read();
        let domain = domain.and_then(|id| records.domain(&id)).ok_or_else(not_here_yet)?;
        let subjects = [Subject::Keyset, Subject::Domain(domain.id), Subject::Storage(domain.repository)];
        subjects
            .iter()
            .map(|subject| records.winner(subject).map(|record| record.signed().clone()).ok_or_else(not_here_yet))
            .collect()
    }

    async fn grant(&self, caller: &Caller<'_>, call: wire::Grant) -> Result<protocol::commands::Lease, Failure> {
        let client = caller.client()?;
        self.check_repository(&client, &call.repository)?;
        match self.log.propose(Command::Grant { client, repository: call.repository, lineage: call.lineage }).await? {
            Decided::Granted(lease) => Ok(lease),
            other => Err(unexpected(&other)),
        }
    }

    async fn mint_puts(&self, caller: &Caller<'_>, call: &wire::MintPuts) -> Result<Vec<wire::PutTicket>, Failure> {
        let client = caller.client()?;
        self.checked(|| tickets::may_put(&self.log.ledger().read(), &client, call)).await?;
        let steward = self.stewards.of(&call.repository)?;
        let now = self.env.clock.now();
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
        self.log.sync().await?;
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

    // ---- administration

    async fn submit(&self, call: wire::Submit) -> Result<(), Failure> {
        let records = self.records.open(call.records)?;
        self.check_authors(&records)?;
        let push = wire::Push { records: records.iter().map(|record| record.signed().clone()).collect() };
        self.records.insert(records).await?;
        // Whoever acts on a fresh record next may ask any orchestrator: those that are
        // alive have it when this returns, the others pull it when they are back.
        let _ = self.tell_others(push).await;
        Ok(())
    }

    /// A record whose author the newest keyset does not admit would never win: its
    /// sender should hear that now.
    fn check_authors(&self, records: &[Record]) -> Result<(), Failure> {
        let set = self.records.set().read();
        let (_, keyset) = set.keyset().ok_or_else(not_here_yet)?;
        for record in records {
            let is_admin = keyset.admins.iter().any(|admin| admin.key == *record.author());
            let is_keyset = matches!(record.payload(), Payload::Keyset(_));
            if !is_admin && !is_keyset {
                return Err(Failure::denied("a record's author is not an admin of this cluster"));
            }
        }
        Ok(())
    }

    async fn list_clients(&self, call: &wire::ListClients) -> Result<wire::Page<wire::ClientStatus>, Failure> {
        self.log.sync().await?;
        let connected: BTreeSet<ClientId> =
            self.connections.open().iter().map(|(key, _)| ClientId::of_key(key)).collect();
        let (records, ledger) = (self.records.set().read(), self.log.ledger().read());
        let status = |enrollment: &Enrollment| wire::ClientStatus {
            enrollment: enrollment.clone(),
            revoked: records.client_revoked(&enrollment.client),
            connected: connected.contains(&enrollment.client),
            snapshots: ledger.snapshots_count(&enrollment.client) as u64,
            newest: ledger.snapshot_newest(&enrollment.client).map(|snapshot| snapshot.at),
            lease: ledger.leases(&enrollment.client).next().map(|lease| lease.id),
        };
        let rest =
            ledger.enrollments().skip_while(|enrollment| call.after.is_some_and(|after| enrollment.client <= after));
        Ok(wire::Page::of(rest.map(status)))
    }

    fn get_records(&self, call: &wire::GetRecords) -> wire::Page<Signed> {
        let records = self.records.set().read();
        let rest = |subject: &Subject| call.after.is_none_or(|after| *subject > after);
        if call.subjects.is_empty() {
            let public = |subject: &Subject| !matches!(subject, Subject::Secret(SecretId::StorageMinting(_)));
            let listed = records.winners().filter(|record| rest(&record.subject()) && public(&record.subject()));
            return wire::Page::of(listed.map(|record| record.signed().clone()));
        }
        let subjects: BTreeSet<Subject> = call.subjects.iter().copied().filter(rest).collect();
        let found = subjects.iter().filter_map(|subject| records.winner(subject));
        wire::Page::of(found.map(|record| record.signed().clone()))
    }

    fn pull(&self, call: &wire::Pull) -> Vec<Signed> {
        let records = self.records.set().read();
        records.missing(call.shard, &call.have).into_iter().map(|record| record.signed().clone()).collect()
    }

    fn status(&self) -> wire::NodeStatus {
        let log = self.log.status();
        let alive = self.gossip.alive();
        let open = self.connections.open();
        let clients: Vec<u64> = open
            .iter()
            .filter(|(key, _)| matches!(self.standing(key), Standing::Client(_) | Standing::Stranger))
            .map(|(_, bytes)| *bytes)
            .collect();
        let (records, ledger) = (self.records.set().read(), self.log.ledger().read());
        let (number, roster) =
            records.keyset().map(|(number, keyset)| (number, keyset.orchestrators.clone())).unwrap_or_default();
        let peer = |other: &protocol::records::Orchestrator| wire::PeerStatus {
            node: other.id(),
            name: other.name.clone(),
            address: other.address.clone(),
            alive: other.id() == self.me || alive.contains(&other.id()),
            voter: log.voters.contains(&other.id()),
        };
        wire::NodeStatus {
            node: self.me,
            keyset: number,
            leader: log.leader,
            term: log.term,
            applied: log.applied,
            decided: ledger.decided(),
            clock: self.env.clock.now(),
            records: records.digest(),
            records_count: records.len() as u64,
            peers: roster.iter().map(peer).collect(),
            clients_connected: clients.len() as u64,
            client_bytes_received: self.client_bytes.closed() + clients.iter().sum::<u64>(),
        }
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

fn unexpected(decided: &Decided) -> Failure {
    Failure::new(Code::Internal, format!("the log decided something else: {decided:?}"))
}

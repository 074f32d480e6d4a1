//! What admins do and see, and what orchestrators read of each other's records.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use control::{Ledger, Standing};
use env::{run_blocking, store::StoreError};
use futures_util::{StreamExt as _, stream};
use protocol::{
    commands::Enrollment,
    failure::Failure,
    ids::{ClientId, RepositoryId, TokenId},
    names::MARKER,
    records::{Payload, Record, SecretId, Storage, Subject, TokenTerms},
    sign::Signed,
    wire,
};

use super::{Desk, not_here_yet};

/// How long a storage may take to tell of its marker: less than whoever asks waits.
const STORAGE_PATIENCE: Duration = Duration::from_secs(3);
/// Storages that are looked at together.
const STORAGES_AT_A_TIME: usize = 16;

impl Desk {
    pub(super) async fn submit(&self, call: wire::Submit) -> Result<(), Failure> {
        let acts = call.records.clone();
        let records = self.records.open(call.records)?;
        self.check_authors(&records)?;
        let push = wire::Push { records: records.iter().map(|record| record.signed().clone()).collect() };
        let keyset = records.iter().any(|record| matches!(record.payload(), Payload::Keyset(_)));
        self.records.insert(records).await?;
        self.acts.note(acts);
        // Whoever acts on a fresh record next may ask any orchestrator: those that are
        // alive have it when this returns, the others pull it when they are back.
        let (told, ()) = tokio::join!(self.tell_others(push), self.enter_acts_soon());
        let kept = told.len() + 1;
        // The next keyset is made from this one, so it must not be lost with one disk.
        let voters = self.log.status().voters.len();
        if keyset && kept <= voters / 2 {
            return Err(Failure::retry(format!(
                "only {kept} of {voters} orchestrators could keep the new keyset: try again once a majority runs"
            )));
        }
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
            let is_root = record.author() == self.log.ledger().read().root();
            if is_keyset && !is_root {
                return Err(Failure::denied("a keyset is not signed by this cluster's root key"));
            }
            if !is_keyset && !is_admin {
                return Err(Failure::denied("a record's author is not an admin of this cluster"));
            }
        }
        Ok(())
    }

    pub(super) async fn list_clients(
        &self,
        call: &wire::ListClients,
    ) -> Result<wire::Page<wire::ClientStatus>, Failure> {
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
        Ok(wire::Page::of(ledger.enrollments_after(call.after).map(status)))
    }

    pub(super) async fn list_tokens(&self, call: &wire::ListTokens) -> Result<wire::Page<wire::TokenStatus>, Failure> {
        self.log.sync().await?;
        let (records, ledger) = (self.records.set().read(), self.log.ledger().read());
        let refused: BTreeMap<_, _> = ledger.refused_redemptions().collect();
        let status = |terms: &TokenTerms| wire::TokenStatus {
            token: terms.token,
            name: terms.name.clone(),
            domain: terms.domain,
            uses: terms.uses,
            redeemed: ledger.redeemed(&terms.token).len() as u32,
            expires: terms.expires,
            revoked: records.token_revoked(&terms.token),
            refused: refused.get(&terms.token).map(|refusals| wire::TokenRefusals {
                count: refusals.count,
                last_at: refusals.last_at,
                last_name: refusals.last_name.clone(),
            }),
        };
        let after = call.after.unwrap_or(TokenId([0; 32]));
        Ok(wire::Page::of(records.tokens_after(&after).map(status)))
    }

    pub(super) fn get_records(&self, call: &wire::GetRecords) -> wire::Page<Signed> {
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

    pub(super) fn inspect(&self) -> wire::Inspection {
        let ledger = self.log.ledger().read();
        wire::Inspection {
            agent: crate::AGENT.into(),
            voter: self.identity.voter(),
            seat: wire::Seat::Open,
            why: String::new(),
            incarnation: ledger.incarnation(),
            importing: ledger.is_importing() || self.is_rebuilt_later(&ledger),
            backup: self.backup_status(&ledger),
        }
    }

    /// Looks at this node's disk, and at every storage's marker.
    pub(super) async fn examine(&self) -> wire::Examination {
        let disk = self.env.disk.clone();
        let room = run_blocking(&*self.env.blocking, move || disk.room()).await.ok();
        let place = || self.env.disk.place();
        let storages: Vec<Storage> = self.records.set().read().storages().cloned().collect();
        let looks = storages.into_iter().map(|storage| async move {
            let why = self.reach(&storage.repository).await.err()?;
            Some(wire::Unreachable { storage: storage.name, why })
        });
        let looks: Vec<_> = stream::iter(looks).buffered(STORAGES_AT_A_TIME).collect().await;
        wire::Examination {
            disk: room.map(|room| wire::DiskRoom { place: place(), free: room.free, total: room.total }),
            unreachable: looks.into_iter().flatten().collect(),
        }
    }

    /// Asks a storage for its marker. What went wrong, for a person.
    async fn reach(&self, repository: &RepositoryId) -> Result<(), String> {
        let steward = self.stewards.of(repository).map_err(|failure| failure.message)?;
        match tokio::time::timeout(STORAGE_PATIENCE, steward.head(MARKER)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(StoreError::NotFound { .. })) => {
                Err("its marker is gone: somebody emptied this place, or the storage was set up anew".into())
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it did not answer in time".into()),
        }
    }

    /// How the ledger's backups are, if this node leads: what it has found itself, and until
    /// it has written one what the log remembers.
    fn backup_status(&self, ledger: &Ledger) -> Option<wire::BackupStatus> {
        let told = self.backups.borrow().clone();
        let noted = ledger.backup().filter(|_| self.log.leads());
        match (told, noted) {
            (told, Some(noted)) if told.as_ref().is_none_or(|told| told.at.is_none()) => Some(wire::BackupStatus {
                at: Some(noted.at),
                applied: noted.applied,
                clients: noted.clients,
                snapshots: noted.snapshots,
                trouble: told.and_then(|told| told.trouble),
            }),
            (told, _) => told,
        }
    }

    pub(super) fn status(&self) -> wire::NodeStatus {
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
            leases_overdue: ledger.overdue_leases(self.env.clock.now()).count() as u64,
            tokens_overused: ledger.refused_redemptions().filter(|(token, _)| !records.token_revoked(token)).count()
                as u64,
            segments_waiting: ledger.reuses().map(|(_, reuse)| reuse.own().len() as u64).sum(),
            objects_condemned: ledger.reuses().map(|(_, reuse)| reuse.condemned().count() as u64).sum(),
            voters: log.voters,
        }
    }
}

//! Leases and commits: who may write now, and what became a snapshot.
//!
//! Invariant: a client has at most one open lease in a repository. A lease ends
//! once, by `Commit`, by `Close` or by the next `Grant`; its expiry only prompts
//! others to close it. A committed snapshot never disappears, and the snapshots
//! of one client in one repository are a chain without gaps.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    commands::{CommitFacts, Lease, ParentSnapshot, SnapshotRecord, View},
    failure::Failure,
    ids::{ClientId, DomainId, LeaseId, LineageId, RepositoryId, SnapshotId},
    limits,
    names::ObjectName,
    time::UnixMillis,
};
use serde::{Deserialize, Serialize};

use super::{Ledger, Place};

/// Bits of a lease id's `index` that number the commands within one entry.
const POSITION_BITS: u32 = 16;
const _: () = assert!(limits::COMMANDS_PER_ENTRY_MAX <= 1 << POSITION_BITS);

/// A lease that has not ended: what the log keeps of it. Its view is given by
/// epoch and index: while the lease is open, the client's own segments are those
/// of its chain, so they are not kept twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenLease {
    /// Its id.
    pub id: LeaseId,
    /// Whose.
    pub client: ClientId,
    /// Where.
    pub repository: RepositoryId,
    /// The domain whose packs it may write.
    pub domain: DomainId,
    /// When it was granted, by decided time.
    pub granted: UnixMillis,
    /// When others are prompted to close it.
    pub expires: UnixMillis,
    /// The condemned epoch of its view.
    pub epoch: u64,
    /// The log index of the grant.
    pub index: u64,
    /// The lineage it goes on with.
    pub lineage: LineageId,
    /// The snapshot it builds on, pinned.
    pub parent: Option<ParentSnapshot>,
    /// While the parent is partial: the last complete one, pinned as well.
    pub parent_complete: Option<ParentSnapshot>,
    /// The newest commit of the chain, which the next one follows.
    pub previous: Option<SnapshotId>,
    /// The sequence number of the commit that ends it.
    pub sequence: u64,
}

/// What one client has in one repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chain {
    pub lease: Option<OpenLease>,
    /// Decided snapshots by sequence number, from 1.
    pub snapshots: BTreeMap<u64, SnapshotRecord>,
}

impl Chain {
    pub fn newest(&self) -> Option<&SnapshotRecord> {
        self.snapshots.values().next_back()
    }

    fn newest_of(&self, lineage: &LineageId) -> Option<&SnapshotRecord> {
        self.snapshots.values().rev().find(|snapshot| snapshot.commit.lineage == *lineage)
    }

    fn newest_complete(&self, lineage: &LineageId) -> Option<&SnapshotRecord> {
        self.snapshots.values().rev().find(|snapshot| snapshot.commit.complete && snapshot.commit.lineage == *lineage)
    }

    /// The client's own segments, oldest first; of very many, the newest.
    pub fn segments(&self) -> Vec<ObjectName> {
        let mut newest: Vec<_> = self
            .snapshots
            .values()
            .rev()
            .flat_map(|snapshot| snapshot.commit.segments.iter().rev().copied())
            .take(limits::VIEW_SEGMENTS_MAX)
            .collect();
        newest.reverse();
        newest
    }
}

fn parent(snapshot: &SnapshotRecord) -> ParentSnapshot {
    ParentSnapshot { id: snapshot.id, object: snapshot.commit.object }
}

impl Ledger {
    /// Grants a lease and closes the client's earlier one in this repository.
    pub(super) fn grant(
        &mut self,
        place: Place,
        client: &ClientId,
        repository: &RepositoryId,
        lineage: &LineageId,
    ) -> Result<Lease, Failure> {
        let id = self.lease_id(place)?;
        let Some(holder) = self.clients.get_mut(client) else {
            return Err(Failure::denied(format!("client {} is not enrolled: enroll it first", client.short())));
        };
        let domain = holder.enrollment.domain;
        let chain = holder.chains.entry(*repository).or_default();
        let newest = chain.newest();
        let base = chain.newest_of(lineage).or(newest);
        let lease = OpenLease {
            id,
            client: *client,
            repository: *repository,
            domain,
            granted: self.decided,
            expires: self.decided.plus_secs(limits::LEASE_SECS_MAX),
            epoch: self.reuse.entry((*repository, domain)).or_default().epoch,
            index: place.index,
            lineage: *lineage,
            parent: base.map(parent),
            parent_complete: match base {
                Some(partial) if !partial.commit.complete => chain.newest_complete(&partial.commit.lineage).map(parent),
                _ => None,
            },
            previous: newest.map(|snapshot| snapshot.id),
            sequence: newest.map_or(0, |snapshot| snapshot.commit.sequence) + 1,
        };
        let granted = with_view(&lease, chain);
        if let Some(closed) = chain.lease.replace(lease) {
            self.open.remove(&closed.id);
        }
        self.open.insert(id, (*client, *repository));
        Ok(granted)
    }

    /// Makes a commit object a snapshot and ends its lease.
    pub(super) fn commit(&mut self, client: &ClientId, commit: &CommitFacts) -> Result<SnapshotId, Failure> {
        let id = SnapshotId(commit.object.hash.0);
        let lease = match self.open_lease(&commit.lease) {
            Some(lease) if lease.client == *client => lease,
            _ if self.is_decided(client, commit) => return Ok(id),
            _ => return Err(fenced(&commit.lease)),
        };
        check(lease, commit)?;
        if self.chains(client).any(|chain| chain.snapshots.values().any(|snapshot| snapshot.id == id)) {
            return Err(Failure::invalid(format!("commit {} was made under another lease", id.short())));
        }
        let (repository, at) = (lease.repository, self.decided);
        let Some(chain) = self.clients.get_mut(client).and_then(|client| client.chains.get_mut(&repository)) else {
            return Err(fenced(&commit.lease));
        };
        chain.lease = None;
        self.open.remove(&commit.lease);
        let snapshot = SnapshotRecord { id, client: *client, repository, at, commit: commit.clone() };
        chain.snapshots.insert(commit.sequence, snapshot);
        Ok(id)
    }

    /// Ends a lease without a snapshot. Ending it again is no failure.
    pub(super) fn close(&mut self, place: Place, client: &ClientId, id: &LeaseId) -> Result<(), Failure> {
        let Some((holder, repository)) = self.open.get(id).copied() else {
            return match *id < self.lease_id(place)? {
                true => Ok(()),
                false => Err(Failure::not_found(format!("no lease {id} was ever granted"))),
            };
        };
        if holder != *client {
            return Err(Failure::denied(format!("lease {id} belongs to another client")));
        }
        if let Some(chain) = self.clients.get_mut(client).and_then(|client| client.chains.get_mut(&repository)) {
            chain.lease = None;
        }
        self.open.remove(id);
        Ok(())
    }

    /// What an open lease may reuse, as it was when it was granted.
    pub fn view(&self, lease: &OpenLease) -> Option<View> {
        let chain = self.clients.get(&lease.client)?.chains.get(&lease.repository)?;
        Some(with_view(lease, chain).view)
    }

    /// The id of a lease granted here. Ids grow with the log.
    fn lease_id(&self, place: Place) -> Result<LeaseId, Failure> {
        if place.index >> (u64::BITS - POSITION_BITS) != 0 {
            return Err(Failure::internal("the log is too long to number another lease: rebuild the ledger"));
        }
        Ok(LeaseId { incarnation: self.incarnation, index: place.index << POSITION_BITS | place.position as u64 })
    }

    /// Whether exactly this commit of this client is a snapshot already.
    fn is_decided(&self, client: &ClientId, commit: &CommitFacts) -> bool {
        self.chains(client)
            .any(|chain| chain.snapshots.get(&commit.sequence).is_some_and(|snapshot| snapshot.commit == *commit))
    }
}

fn with_view(lease: &OpenLease, chain: &Chain) -> Lease {
    Lease {
        id: lease.id,
        repository: lease.repository,
        domain: lease.domain,
        granted: lease.granted,
        expires: lease.expires,
        view: View { epoch: lease.epoch, index: lease.index, own: chain.segments(), shared: Vec::new() },
        lineage: lease.lineage,
        parent: lease.parent,
        parent_complete: lease.parent_complete,
        previous: lease.previous,
        sequence: lease.sequence,
    }
}

/// The answer to whoever writes under a lease that is not open.
pub(crate) fn fenced(lease: &LeaseId) -> Failure {
    Failure::fenced(format!(
        "lease {lease} has ended: it was closed, or a newer backup of this client took its place; \
         start the backup again"
    ))
}

/// Whether a commit fits the open lease under which it was made.
fn check(lease: &OpenLease, commit: &CommitFacts) -> Result<(), Failure> {
    let invalid = |message: String| Err(Failure::invalid(message));
    if commit.sequence != lease.sequence {
        return invalid(format!("this commit is number {}, and {} is the next", commit.sequence, lease.sequence));
    }
    if commit.previous != lease.previous {
        return invalid("this commit does not follow the newest snapshot of its client".into());
    }
    if commit.lineage != lease.lineage {
        return invalid("this commit belongs to another lineage than its lease".into());
    }
    if commit.object.lease != lease.id {
        return invalid(format!("the commit object {} was named under another lease", commit.object));
    }
    if commit.segments.len() > limits::SEGMENTS_PER_COMMIT_MAX {
        return invalid(format!(
            "a commit adds at most {} index segments, and this one has {}: commit in parts",
            limits::SEGMENTS_PER_COMMIT_MAX,
            commit.segments.len()
        ));
    }
    if let Some(foreign) = commit.segments.iter().find(|segment| segment.lease != lease.id) {
        return invalid(format!("the index segment {foreign} was named under another lease"));
    }
    if commit.segments.iter().collect::<BTreeSet<_>>().len() < commit.segments.len() {
        return invalid("this commit names an index segment twice".into());
    }
    Ok(())
}

//! Leases and commits: who may write now, and what became a snapshot.
//!
//! Invariant: a client has at most one open lease in a repository. A lease ends
//! once, by `Commit`, by `Close` or by the next `Grant`; its expiry only prompts
//! others to close it. A committed snapshot never disappears, and the snapshots
//! of one client in one repository are a chain without gaps. An attempt at a lease
//! has one answer, however often and however late its command comes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use probe::Plant;
use protocol::{
    commands::{CommitFacts, Lease, ParentSnapshot, SnapshotRecord, View},
    failure::Failure,
    ids::{AttemptId, ClientId, DomainId, LeaseId, LineageId, RepositoryId, SnapshotId},
    limits,
    names::ObjectName,
    time::UnixMillis,
};
use serde::{Deserialize, Serialize};

use super::{Ledger, Place, publish::Reuse};

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

/// What a client asks for when it asks for a lease: see `Command::Grant`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    pub client: &'a ClientId,
    pub repository: &'a RepositoryId,
    pub lineage: &'a LineageId,
    pub attempt: &'a AttemptId,
    pub after: &'a Option<LeaseId>,
}

/// What one client has in one repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chain {
    pub lease: Option<OpenLease>,
    /// Decided snapshots by sequence number, from 1.
    pub snapshots: BTreeMap<u64, SnapshotRecord>,
    /// Leases that ended without a commit since the last one, oldest first; of very
    /// many, the newest `LEFT_LEASES_MAX`. None is added while a lease is open, so they
    /// are what its view names.
    pub left: Vec<LeaseId>,
    /// The attempts at leases, oldest first, and what was granted for each: the newest
    /// `ATTEMPTS_KEPT_MAX`.
    pub attempts: Vec<(AttemptId, LeaseId)>,
}

impl Chain {
    /// Opens a lease, and closes the one that is open.
    fn open(&mut self, attempt: AttemptId, lease: OpenLease) -> Option<LeaseId> {
        let closed = self.close();
        self.attempts.push((attempt, lease.id));
        keep_newest(&mut self.attempts, limits::ATTEMPTS_KEPT_MAX);
        self.lease = Some(lease);
        closed
    }

    /// Ends the open lease without a commit: what was stored under it is there to be used.
    fn close(&mut self) -> Option<LeaseId> {
        let closed = self.lease.take()?.id;
        self.left.push(closed);
        keep_newest(&mut self.left, limits::LEFT_LEASES_MAX);
        Some(closed)
    }

    /// The lease that was granted last.
    fn granted_last(&self) -> Option<LeaseId> {
        self.attempts.last().map(|(_, lease)| *lease)
    }

    /// The lease that was granted for this attempt, if that is remembered.
    fn granted_for(&self, attempt: &AttemptId) -> Option<LeaseId> {
        self.attempts.iter().rev().find(|(known, _)| known == attempt).map(|(_, lease)| *lease)
    }

    pub fn newest(&self) -> Option<&SnapshotRecord> {
        self.snapshots.values().next_back()
    }

    fn newest_of(&self, lineage: &LineageId) -> Option<&SnapshotRecord> {
        self.snapshots.values().rev().find(|snapshot| snapshot.commit.lineage == *lineage)
    }

    fn newest_complete(&self, lineage: &LineageId) -> Option<&SnapshotRecord> {
        self.snapshots.values().rev().find(|snapshot| snapshot.commit.complete && snapshot.commit.lineage == *lineage)
    }

    /// All index segments that the client ever committed, oldest first.
    pub fn segments(&self) -> impl Iterator<Item = ObjectName> {
        self.snapshots.values().flat_map(|snapshot| snapshot.commit.segments.iter().copied())
    }
}

pub(super) fn keep_newest<T>(list: &mut Vec<T>, most: usize) {
    list.drain(..list.len().saturating_sub(most));
}

fn parent(snapshot: &SnapshotRecord) -> ParentSnapshot {
    ParentSnapshot { id: snapshot.id, object: snapshot.commit.object, epoch: snapshot.epoch }
}

impl Ledger {
    /// Grants a lease and closes the client's earlier one in this repository, unless
    /// this attempt was answered before or comes after its time.
    pub(super) fn grant(&mut self, place: Place, wish: Wish<'_>) -> Result<Lease, Failure> {
        let Wish { client, repository, lineage, attempt, after } = wish;
        let id = self.lease_id(place)?;
        let Some(holder) = self.clients.get_mut(client).map(Arc::make_mut) else {
            return Err(Failure::denied(format!("client {} is not enrolled: enroll it first", client.short())));
        };
        let domain = holder.enrollment.domain;
        let chain = holder.chains.entry(*repository).or_default();
        let reuse = self.reuse.entry((*repository, domain)).or_default();
        if let Some(granted) = chain.granted_for(attempt).filter(|_| !probe::planted(Plant::AttemptForgotten)) {
            probe::sometimes("a lease is asked for again, by the same attempt");
            return match &chain.lease {
                Some(lease) if lease.id == granted && lease.lineage == *lineage => Ok(with_view(lease, chain, reuse)),
                Some(lease) if lease.id == granted => {
                    Err(Failure::invalid("this attempt at a lease was made for another lineage before"))
                }
                _ => Err(self.ended(client, &granted)),
            };
        }
        if let Some(after) = after.filter(|after| chain.granted_last().is_some_and(|last| last > *after))
            && !probe::planted(Plant::AfterIgnored)
        {
            probe::sometimes("a lease is refused, since another backup has begun");
            return Err(superseded(&after));
        }
        let newest = chain.newest();
        let base = chain.newest_of(lineage).or(newest);
        let lease = OpenLease {
            id,
            client: *client,
            repository: *repository,
            domain,
            granted: self.decided,
            expires: self.decided.plus_secs(limits::LEASE_SECS_MAX),
            epoch: match newest {
                Some(newest) if probe::planted(Plant::EpochStale) => newest.epoch,
                _ => reuse.epoch,
            },
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
        if let Some(closed) = chain.open(*attempt, lease.clone()) {
            self.open.remove(&closed);
        }
        let granted = with_view(&lease, chain, reuse);
        self.open.insert(id, (*client, *repository));
        Ok(granted)
    }

    /// Makes a commit object a snapshot and ends its lease.
    pub(super) fn commit(&mut self, client: &ClientId, commit: &CommitFacts) -> Result<SnapshotId, Failure> {
        let id = SnapshotId(commit.object.hash.0);
        let lease = match self.open_lease(&commit.lease) {
            Some(lease) if lease.client == *client => lease,
            _ if self.is_decided(client, commit) => {
                probe::sometimes("a commit is proposed again after it was decided");
                return Ok(id);
            }
            _ => {
                probe::sometimes("a commit comes after its lease has ended");
                return Err(self.ended(client, &commit.lease));
            }
        };
        if !probe::planted(Plant::CommitUnordered) {
            check(lease, commit)?;
        }
        if self.chains(client).any(|chain| chain.snapshots.values().any(|snapshot| snapshot.id == id)) {
            return Err(Failure::invalid(format!("commit {} was made under another lease", id.short())));
        }
        let (repository, domain, epoch, at) = (lease.repository, lease.domain, lease.epoch, self.decided);
        let Some(chain) =
            self.clients.get_mut(client).and_then(|client| Arc::make_mut(client).chains.get_mut(&repository))
        else {
            return Err(fenced(&commit.lease));
        };
        chain.lease = None;
        // This commit has what was of use of them.
        chain.left.clear();
        self.open.remove(&commit.lease);
        let snapshot = SnapshotRecord { id, client: *client, repository, at, epoch, commit: commit.clone() };
        chain.snapshots.insert(commit.sequence, snapshot);
        self.reuse.entry((repository, domain)).or_default().wrote(client, &commit.segments);
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
        if probe::planted(Plant::CloseForgotten) {
            return Ok(());
        }
        if holder != *client {
            return Err(Failure::denied(format!("lease {id} belongs to another client")));
        }
        if let Some(chain) =
            self.clients.get_mut(client).and_then(|client| Arc::make_mut(client).chains.get_mut(&repository))
        {
            chain.close();
        }
        self.open.remove(id);
        Ok(())
    }

    /// The answer to a client that acts under a lease that it does not have. Whether another
    /// was granted since is what tells a backup that lost its lease, and goes on with a new
    /// one, from one whose place was taken, and that must not take it back.
    pub fn ended(&self, client: &ClientId, lease: &LeaseId) -> Failure {
        let granted_last = || self.chains(client).filter_map(Chain::granted_last);
        let newest = self.open.contains_key(lease) || granted_last().any(|last| last == *lease);
        match !newest && granted_last().any(|last| last > *lease) {
            true => superseded(lease),
            false => fenced(lease),
        }
    }

    /// What an open lease may reuse: what could be reused when it was granted. Where
    /// segments were published since, they stand in the place of those that they
    /// replaced; what was condemned since is named too, and only spares a mistake.
    pub fn view(&self, lease: &OpenLease) -> Option<View> {
        let chain = self.clients.get(&lease.client)?.chains.get(&lease.repository)?;
        let reuse = self.reuse.get(&(lease.repository, lease.domain))?;
        Some(with_view(lease, chain, reuse).view)
    }

    /// The id of a lease granted here. Ids grow with the log.
    pub(super) fn lease_id(&self, place: Place) -> Result<LeaseId, Failure> {
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

fn with_view(lease: &OpenLease, chain: &Chain, reuse: &Reuse) -> Lease {
    Lease {
        id: lease.id,
        repository: lease.repository,
        domain: lease.domain,
        granted: lease.granted,
        expires: lease.expires,
        view: reuse.view(&lease.client, lease.epoch, lease.index, &chain.left),
        lineage: lease.lineage,
        parent: lease.parent,
        parent_complete: lease.parent_complete,
        previous: lease.previous,
        sequence: lease.sequence,
    }
}

fn fenced(lease: &LeaseId) -> Failure {
    Failure::fenced(format!(
        "lease {lease} has ended: its time was over, or it was closed; start the backup again, and it goes on from there"
    ))
}

fn superseded(lease: &LeaseId) -> Failure {
    Failure::superseded(format!(
        "lease {lease} has ended: another backup of this client has begun since and took its place; this one stops"
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

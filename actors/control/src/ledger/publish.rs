//! Index segments that are shared, and objects that are lost: what the members of
//! a domain may reuse in one repository.
//!
//! Invariant: a published segment is named under a claim that was the current one
//! when it was decided, and takes the place only of segments of its own scope that
//! were in use until then: what a client could find before, it finds after. What is
//! condemned is condemned for ever, and nothing condemned is published.

use std::collections::{BTreeMap, BTreeSet};

use probe::Plant;
use protocol::{
    commands::{CondemnedObject, NewSegment, Publication, SharedSegment, View},
    failure::Failure,
    ids::{ClientId, DomainId, LeaseId, NodeId, RepositoryId},
    ledger::Item,
    limits,
    names::ObjectName,
};
use serde::{Deserialize, Serialize};

use super::{Ledger, Place, lease::Chain};

/// What the members of a domain may reuse in one repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reuse {
    /// The condemned epoch.
    pub(super) epoch: u64,
    claim: Option<Claim>,
    /// Own segments of committed snapshots that no published one replaces.
    own: BTreeSet<(ClientId, ObjectName)>,
    published: BTreeMap<ObjectName, Published>,
    /// What is condemned, and since which epoch.
    condemned: BTreeMap<ObjectName, u64>,
    /// Leases of which an own segment was lost before it was published: what they
    /// stored is to be indexed again, from the packs' tables of contents.
    lost: BTreeSet<(ClientId, LeaseId)>,
}

/// Who publishes, and under which name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    id: LeaseId,
    node: NodeId,
}

/// A published segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Who may use it. None: every member of the domain.
    pub scope: Option<ClientId>,
    /// Segments of one publication: their ids do not overlap, but at the ends.
    pub run: LeaseId,
    /// How many rows it has.
    pub rows: u64,
    /// The first 32 bits, big-endian, of its first chunk id.
    pub first: u32,
    /// The first 32 bits, big-endian, of its last chunk id.
    pub last: u32,
}

impl Reuse {
    /// Own segments that wait to be published.
    pub fn own(&self) -> &BTreeSet<(ClientId, ObjectName)> {
        &self.own
    }

    /// The published segments.
    pub fn published(&self) -> &BTreeMap<ObjectName, Published> {
        &self.published
    }

    /// Leases whose packs are to be indexed again.
    pub fn lost(&self) -> &BTreeSet<(ClientId, LeaseId)> {
        &self.lost
    }

    /// What is lost or damaged.
    pub fn condemned(&self) -> impl Iterator<Item = &ObjectName> {
        self.condemned.keys()
    }

    /// Own segments of a commit that was just decided.
    pub(super) fn wrote(&mut self, client: &ClientId, segments: &[ObjectName]) {
        self.own.extend(segments.iter().map(|segment| (*client, *segment)));
    }

    /// What a client may reuse now. Of very many own segments, the newest.
    pub(super) fn view(&self, client: &ClientId, epoch: u64, index: u64, left: &[LeaseId]) -> View {
        let least = ObjectName { lease: LeaseId { incarnation: 0, index: 0 }, hash: protocol::ids::Sha256([0; 32]) };
        let own = self.own.range((*client, least)..).take_while(|(holder, _)| holder == client);
        let mut own: Vec<ObjectName> = own.map(|(_, name)| *name).collect();
        own.drain(..own.len().saturating_sub(limits::VIEW_SEGMENTS_MAX));
        let usable = self.published.iter().filter(|(_, segment)| segment.scope.is_none_or(|scope| scope == *client));
        let shared = usable.map(|(name, segment)| SharedSegment {
            name: *name,
            first: segment.first,
            last: segment.last,
            private: segment.scope.is_some(),
        });
        let known = |epoch: u64| !probe::planted(Plant::CondemnedForgotten) || epoch + 1 < self.epoch;
        let condemned = self.condemned.iter().filter(|(_, epoch)| known(**epoch));
        let condemned = condemned.map(|(name, epoch)| CondemnedObject { name: *name, epoch: *epoch });
        View { epoch, index, own, shared: shared.collect(), left: left.to_vec(), condemned: condemned.collect() }
    }

    /// All of it, piece by piece.
    pub(super) fn items(&self, repository: RepositoryId, domain: DomainId) -> impl Iterator<Item = Item> {
        let condemned = self.condemned.iter().map(move |(name, epoch)| {
            let object = CondemnedObject { name: *name, epoch: *epoch };
            Item::Condemned { repository, domain, object }
        });
        let own =
            self.own.iter().map(move |(client, name)| Item::Own { repository, domain, client: *client, name: *name });
        let published = self.published.iter().map(move |(name, published)| {
            let Published { scope, run, rows, first, last } = *published;
            let segment = NewSegment { name: *name, rows, first, last };
            Item::Published { repository, domain, scope, run, segment }
        });
        let lost = self.lost.iter().map(move |(client, lease)| Item::Lost {
            repository,
            domain,
            client: *client,
            lease: *lease,
        });
        condemned.chain(own).chain(published).chain(lost)
    }

    /// Takes one of those pieces.
    pub(super) fn put(&mut self, item: &Item) {
        match item {
            Item::Own { client, name, .. } => _ = self.own.insert((*client, *name)),
            Item::Published { scope, run, segment, .. } => {
                let NewSegment { name, rows, first, last } = *segment;
                self.published.insert(name, Published { scope: *scope, run: *run, rows, first, last });
            }
            Item::Condemned { object, .. } => {
                self.epoch = self.epoch.max(object.epoch);
                self.condemned.insert(object.name, object.epoch);
            }
            Item::Lost { client, lease, .. } => _ = self.lost.insert((*client, *lease)),
            Item::Client { .. } | Item::Snapshot(_) | Item::Left { .. } => {}
        }
    }

    fn check(&self, publication: &Publication) -> Result<(), Failure> {
        let Publication { claim, scope, segments, covers_own, covers, mends, .. } = publication;
        let invalid = |message: String| Err(Failure::invalid(message));
        let names: BTreeSet<&ObjectName> = segments.iter().map(|segment| &segment.name).collect();
        if names.len() < segments.len() || names.iter().any(|name| name.lease != *claim) {
            return invalid("a published segment is named twice, or under another claim".into());
        }
        if let Some(name) = names.iter().find(|name| self.condemned.contains_key(name)) {
            return invalid(format!("segment {name} is condemned, so it cannot be published"));
        }
        let ours = |holder: &ClientId| scope.is_none_or(|scope| scope == *holder);
        if let Some((_, name)) = covers_own.iter().find(|own| !ours(&own.0) || !self.own.contains(own)) {
            return invalid(format!("segment {name} is not one that waits to be published for these members"));
        }
        let replaceable = |name: &ObjectName| self.published.get(name).is_some_and(|old| old.scope == *scope);
        if let Some(name) = covers.iter().find(|name| !replaceable(name)) {
            return invalid(format!("segment {name} is not published for these members"));
        }
        if let Some((_, lease)) = mends.iter().find(|lost| !ours(&lost.0) || !self.lost.contains(lost)) {
            return invalid(format!("no segment of lease {lease} is lost"));
        }
        // What replaces others may always be published: it is how their number falls.
        if covers.is_empty() && self.published.len() + segments.len() > limits::SHARED_SEGMENTS_MAX {
            return invalid(format!("a domain has at most {} published segments", limits::SHARED_SEGMENTS_MAX));
        }
        Ok(())
    }
}

impl Ledger {
    /// What is shared, and what is lost, in a repository and domain.
    pub fn reuse(&self, repository: &RepositoryId, domain: &DomainId) -> Option<&Reuse> {
        self.reuse.get(&(*repository, *domain))
    }

    /// Where anything was ever written, and by members of which domain.
    pub fn reuses(&self) -> impl Iterator<Item = (&(RepositoryId, DomainId), &Reuse)> {
        self.reuse.iter()
    }

    /// What a client could reuse in a repository if it were granted a lease now: what it
    /// reads by.
    pub fn survey(&self, client: &ClientId, repository: &RepositoryId) -> Option<View> {
        let holder = self.clients.get(client)?;
        let index = self.applied.unwrap_or_default();
        let nothing = Reuse::default();
        let reuse = self.reuse.get(&(*repository, holder.enrollment.domain)).unwrap_or(&nothing);
        let left = holder.chains.get(repository).map_or(&[][..], |chain| &chain.left);
        Some(reuse.view(client, reuse.epoch, index, left))
    }

    pub(super) fn claim(
        &mut self,
        place: Place,
        node: &NodeId,
        repository: &RepositoryId,
        domain: &DomainId,
    ) -> Result<LeaseId, Failure> {
        let id = self.lease_id(place)?;
        self.reuse.entry((*repository, *domain)).or_default().claim = Some(Claim { id, node: *node });
        Ok(id)
    }

    pub(super) fn publish(&mut self, place: Place, publication: &Publication) -> Result<(), Failure> {
        let Publication { claim, repository, domain, scope, segments, covers_own, covers, mends } = publication;
        let run = self.lease_id(place)?;
        let reuse = self.reuse.entry((*repository, *domain)).or_default();
        if reuse.claim.is_none_or(|current| current.id != *claim) {
            probe::sometimes("segments are published under a claim that has ended");
            return Err(Failure::fenced(format!("claim {claim} has ended: another orchestrator publishes now")));
        }
        // A publication that is proposed again was decided if its segments are there.
        let there = |segment: &NewSegment| reuse.published.get(&segment.name).is_some_and(|old| old.scope == *scope);
        if !segments.is_empty() && segments.iter().all(there) {
            return Ok(());
        }
        reuse.check(publication)?;
        covers_own.iter().for_each(|own| _ = reuse.own.remove(own));
        covers.iter().for_each(|name| _ = reuse.published.remove(name));
        mends.iter().for_each(|lost| _ = reuse.lost.remove(lost));
        for NewSegment { name, rows, first, last } in segments {
            let published = Published { scope: *scope, run, rows: *rows, first: *first, last: *last };
            reuse.published.insert(*name, published);
        }
        Ok(())
    }

    /// Takes objects out of use. Returns the epoch in which all of them are condemned.
    pub(super) fn condemn(
        &mut self,
        repository: &RepositoryId,
        domain: &DomainId,
        objects: &[ObjectName],
    ) -> Result<u64, Failure> {
        let reuse = self.reuse.entry((*repository, *domain)).or_default();
        let fresh: BTreeSet<ObjectName> =
            objects.iter().filter(|name| !reuse.condemned.contains_key(name)).copied().collect();
        if fresh.is_empty() {
            return Ok(reuse.epoch);
        }
        if reuse.condemned.len() + fresh.len() > limits::CONDEMNED_MAX {
            return Err(Failure::invalid(format!(
                "more than {} objects of this domain are lost or damaged: give it a repository in another storage",
                limits::CONDEMNED_MAX
            )));
        }
        probe::sometimes("an object is condemned");
        reuse.epoch += 1;
        let lost: Vec<_> = reuse.own.iter().filter(|(_, name)| fresh.contains(name)).copied().collect();
        for own in lost {
            reuse.own.remove(&own);
            reuse.lost.insert((own.0, own.1.lease));
        }
        let scopes: BTreeSet<Option<ClientId>> =
            fresh.iter().filter_map(|name| reuse.published.remove(name)).map(|published| published.scope).collect();
        let epoch = reuse.epoch;
        reuse.condemned.extend(fresh.into_iter().map(|name| (name, epoch)));
        for scope in scopes {
            self.uncover(repository, domain, &scope);
        }
        Ok(epoch)
    }

    /// A published segment is lost, and which own segments it had replaced is not kept:
    /// all of its scope wait to be published again. Rows that are published still are then
    /// there twice, until the next merge.
    fn uncover(&mut self, repository: &RepositoryId, domain: &DomainId, scope: &Option<ClientId>) {
        let Some(reuse) = self.reuse.get_mut(&(*repository, *domain)) else { return };
        let members = self
            .clients
            .iter()
            .filter(|(id, client)| client.enrollment.domain == *domain && scope.is_none_or(|scope| scope == **id));
        for (id, client) in members {
            let chain = client.chains.get(repository);
            let segments =
                chain.into_iter().flat_map(Chain::segments).filter(|name| !reuse.condemned.contains_key(name));
            reuse.own.extend(segments.map(|name| (*id, name)));
        }
    }
}

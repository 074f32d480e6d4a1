//! Snapshots that are in a storage and not in the ledger's backup: committed after it was
//! written.
//!
//! Invariant: what is taken goes on with its client's chain, as the backup knows it, and is
//! signed by that client. Whether the lost log had decided it is not known any more: rather
//! a snapshot too many than one too few.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::objects::{self, unusable};
use env::Steward;
use futures_util::future::join_all;
use protocol::{
    commands::{Enrollment, SnapshotRecord},
    failure::{Code, Failure},
    format::commit::{CommitBody, CommitObject},
    ids::{ClientId, RepositoryId, SnapshotId},
    ledger::Item,
    names::{ObjectKey, ObjectName, Place},
    time::UnixMillis,
};

/// Commits that are read at the same time: a large fleet makes tens of thousands between two
/// backups of its ledger, and a storage takes some time for each.
const READS_AT_ONCE: usize = 16;

/// What was found in one storage.
#[derive(Default)]
pub struct Roots {
    /// The highest incarnation that any name bears.
    pub incarnation: u32,
    /// How many snapshots were found.
    pub snapshots: usize,
    /// Clients that are not in the backup.
    pub unknown: BTreeSet<ClientId>,
    /// Commits that cannot be read.
    pub damaged: Vec<String>,
    items: Vec<Item>,
    gained: BTreeSet<ClientId>,
}

impl Roots {
    /// Adds what was found to what the backup holds.
    pub fn add_to(self, items: &mut Vec<Item>) {
        // A commit has what the leases before it had left.
        items.retain(|item| !matches!(item, Item::Left { client, .. } if self.gained.contains(client)));
        items.extend(self.items);
    }
}

/// Where a client's chain ends.
struct Tip {
    sequence: u64,
    id: Option<SnapshotId>,
}

/// Looks through what clients have stored.
pub async fn find(
    steward: &dyn Steward,
    repository: RepositoryId,
    items: &[Item],
    now: UnixMillis,
) -> Result<Roots, Failure> {
    let (mut clients, mut tips, mut known): (BTreeMap<ClientId, &Enrollment>, BTreeMap<_, Tip>, BTreeSet<_>) =
        Default::default();
    for item in items {
        match item {
            Item::Client { enrollment, .. } => _ = clients.insert(enrollment.client, enrollment),
            Item::Snapshot(snapshot) if snapshot.repository == repository => {
                known.insert(snapshot.commit.object);
                let tip = Tip { sequence: snapshot.commit.sequence, id: Some(snapshot.id) };
                tips.insert(snapshot.client, tip);
            }
            _ => {}
        }
    }
    let mut roots = Roots::default();
    let mut candidates: BTreeMap<ClientId, Vec<(ObjectName, CommitBody)>> = BTreeMap::new();
    let mut later: Vec<(String, ObjectName, &Enrollment)> = Vec::new();
    for (path, _) in steward.list("client").await.map_err(unusable)? {
        let Ok(key) = path.parse::<ObjectKey>() else { continue };
        roots.incarnation = roots.incarnation.max(key.name.lease.incarnation);
        let Place::Snapshot(client) = key.place else { continue };
        let Some(enrollment) = clients.get(&client) else {
            roots.unknown.insert(client);
            continue;
        };
        if !known.contains(&key.name) {
            later.push((path, key.name, enrollment));
        }
    }
    for some in later.chunks(READS_AT_ONCE) {
        let all_read = join_all(some.iter().map(|(path, ..)| objects::read(steward, path))).await;
        for ((path, name, enrollment), read) in some.iter().zip(all_read) {
            let bytes = match read {
                Ok(bytes) => bytes,
                Err(failure) if failure.code == Code::Corrupt => {
                    roots.damaged.push(path.clone());
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            // What its client has not signed is no snapshot.
            let Ok(body) = CommitObject::open(&bytes, &enrollment.keys.commit) else { continue };
            if (body.client, body.repository, body.lease) == (enrollment.client, repository, name.lease) {
                candidates.entry(enrollment.client).or_default().push((*name, body));
            }
        }
    }
    for (client, commits) in candidates {
        let mut tip = tips.remove(&client).unwrap_or(Tip { sequence: 0, id: None });
        loop {
            let follows = |body: &CommitBody| body.sequence == tip.sequence + 1 && body.previous == tip.id;
            // Of two that follow, the one under the later lease: the other's had ended.
            let next = commits.iter().filter(|(_, body)| follows(body)).max_by_key(|(name, _)| name.lease);
            let Some((name, body)) = next else { break };
            let id = SnapshotId(name.hash.0);
            tip = Tip { sequence: body.sequence, id: Some(id) };
            let own = body.segments.iter().map(|segment| Item::Own {
                repository,
                domain: body.domain,
                client,
                name: *segment,
            });
            let own: Vec<Item> = own.collect();
            let commit = body.facts(*name);
            roots.items.push(Item::Snapshot(SnapshotRecord { id, client, repository, at: now, epoch: 0, commit }));
            roots.items.extend(own);
            roots.snapshots += 1;
            roots.gained.insert(client);
        }
    }
    Ok(roots)
}

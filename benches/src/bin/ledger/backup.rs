//! The ledger's backups in the storage: reading the newest, and making a large one of it.
//!
//! Invariant: what is made is sealed, signed, cut and named as an orchestrator would have
//! done; only the clients and snapshots in it never were.

use std::sync::Arc;

use actors::identity::Identity;
use benches::trouble::Trouble;
use env::{Env, Rng, Steward, store::StoreError};
use protocol::{
    codec,
    commands::{ClientKeys, CommitFacts, Enrollment, SnapshotRecord},
    format::ledger::{HEADS, Head, Kept, PARTS, name, open_part, seal_key, seal_part},
    ids::{
        ClientId, ClusterId, DomainId, LeaseId, LineageId, PublicKey, RepositoryId, SealingKey, Sha256, SnapshotId,
        TokenId,
    },
    ledger::Item,
    limits,
    names::{ObjectKey, ObjectName, Place},
    records::{Payload, Record},
    sign::Signer,
};
use sha2::Digest as _;

/// How many entries of the log after the last real one the made-up backup is: more than a
/// small cluster decides meanwhile.
const ENTRIES_LATER: u64 = 1_000_000;
/// A commit names one segment of the index, as that of a small change does.
const SEGMENTS: usize = 1;
const SNAPSHOT_BYTES: u64 = 10 << 20;

/// What is in a storage of a cluster, for the holder of its root key.
pub struct Backups {
    steward: Arc<dyn Steward>,
    root: Signer,
}

/// The head of a backup, and how much there is of it.
pub struct Found {
    /// The head.
    pub head: Head,
    /// Bytes of all its parts.
    pub bytes: u64,
}

impl Backups {
    /// Of a storage.
    pub fn new(steward: Arc<dyn Steward>, root: Signer) -> Self {
        Self { steward, root }
    }

    fn cluster(&self) -> ClusterId {
        ClusterId::of_root(&self.root.public())
    }

    /// The newest head of an incarnation, if there is one.
    pub async fn newest(&self, incarnation: u32) -> Result<Option<Found>, Trouble> {
        let Some((path, _)) = self.list(HEADS).await?.pop() else { return Ok(None) };
        let bytes = self.steward.get(&path, limits::OBJECT_BYTES_MAX).await.map_err(|error| trouble(&path, &error))?;
        let (_, head) = Head::open(&bytes, &self.cluster()).map_err(|error| trouble(&path, &error))?;
        if head.incarnation != incarnation {
            return Ok(None);
        }
        let named: std::collections::BTreeSet<String> =
            head.parts.iter().map(|part| format!("{PARTS}/{part}")).collect();
        let parts = self.list(PARTS).await?;
        let bytes = parts.iter().filter(|(path, _)| named.contains(path)).map(|(_, len)| len).sum();
        Ok(Some(Found { head, bytes }))
    }

    async fn list(&self, path: &str) -> Result<Vec<(String, u64)>, Trouble> {
        self.steward.list(path).await.map_err(|error| trouble(path, &error))
    }

    /// Everything in a backup of a small cluster.
    pub async fn read(&self, head: &Head) -> Result<Vec<Kept>, Trouble> {
        let key = head.open_key(&self.root.sealing()).map_err(|error| trouble(HEADS, &error))?;
        let mut kept = Vec::new();
        for (number, part) in (0..).zip(&head.parts) {
            let path = format!("{PARTS}/{part}");
            let bytes = self.steward.get(&path, limits::OBJECT_BYTES_MAX).await;
            let bytes = bytes.map_err(|error| trouble(&path, &error))?;
            kept.extend(open_part(&key, number, &bytes).map_err(|error| trouble(&path, &error))?);
        }
        Ok(kept)
    }

    /// Writes a backup that is newer than `before`: what was in that, and a fleet. `stored` is
    /// told of each of its commits.
    pub async fn inflate(
        &self,
        env: &Env,
        before: &Head,
        author: &Identity,
        fleet: &Fleet,
        mut stored: impl FnMut(&ObjectKey) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let key: [u8; 32] = env.rng.array();
        let mut fill = |bytes: &mut [u8]| env.rng.fill(bytes);
        let sealed_key = seal_key(&self.root.public(), &key, &mut fill).map_err(|error| trouble(HEADS, &error))?;
        let mut head = Head {
            applied: before.applied + ENTRIES_LATER,
            at: env.clock.now(),
            clients: fleet.clients,
            snapshots: fleet.snapshots,
            parts: Vec::new(),
            key: sealed_key,
            ..before.clone()
        };
        let (mut part, mut part_bytes) = (Vec::new(), 0);
        let made = (0..fleet.clients).flat_map(|number| fleet.client(&*env.rng, number)).map(Kept::Item);
        let mut kept = self.read(before).await?.into_iter().chain(made).peekable();
        while let Some(one) = kept.next() {
            if let Kept::Item(Item::Snapshot(SnapshotRecord { client, commit, .. })) = &one {
                stored(&ObjectKey { place: Place::Snapshot(*client), name: commit.object })?;
            }
            part_bytes += codec::encode(&one).len();
            part.push(one);
            if part_bytes >= limits::LEDGER_PART_BYTES || kept.peek().is_none() {
                let sealed = seal_part(&key, head.parts.len() as u64, &std::mem::take(&mut part));
                head.parts.push(self.put(PARTS, &head, sealed).await?);
                part_bytes = 0;
            }
        }
        let sealed = head.seal(&author.signer());
        self.put(HEADS, &head, sealed).await.map(drop)
    }

    async fn put(&self, place: &str, head: &Head, bytes: Vec<u8>) -> Result<ObjectName, Trouble> {
        let hash = Sha256(sha2::Sha256::digest(&bytes).into());
        let named = name(head.incarnation, head.applied, hash);
        let path = format!("{place}/{named}");
        match self.steward.put_new(&path, bytes.into()).await {
            Ok(()) | Err(StoreError::Exists { .. }) => Ok(named),
            Err(error) => Err(trouble(&path, &error)),
        }
    }
}

fn trouble(path: &str, error: &dyn std::fmt::Display) -> Trouble {
    Trouble(format!("the ledger's backup, {path}: {error}"))
}

/// Clients and snapshots that never were.
pub struct Fleet {
    /// How many clients.
    pub clients: u64,
    /// How many snapshots all of them have.
    pub snapshots: u64,
    /// Where these lie.
    pub repository: RepositoryId,
    /// The domain that they joined.
    pub domain: DomainId,
}

impl Fleet {
    /// A fleet of the cluster whose backup this is, with one storage and one domain. None if
    /// the domain is not in it yet.
    pub fn of(kept: &[Kept], cluster: &ClusterId, clients: u64, snapshots: u64) -> Option<Self> {
        let domain = kept.iter().find_map(|one| {
            let Kept::Record(signed) = one else { return None };
            match Record::open(signed.clone(), cluster).ok()?.payload() {
                Payload::Domain(domain) => Some(domain.clone()),
                _ => None,
            }
        })?;
        Some(Self { clients, snapshots, repository: domain.repository, domain: domain.id })
    }

    /// A client with all that is its own: the snapshots are shared out evenly.
    fn client(&self, rng: &dyn Rng, number: u64) -> Vec<Item> {
        let tls = PublicKey(rng.array());
        let client = ClientId::of_key(&tls);
        let enrollment = Enrollment {
            client,
            keys: ClientKeys { tls, commit: PublicKey(rng.array()), sealing: SealingKey(rng.array()) },
            name: format!("machine-{number:06}"),
            token: TokenId([7; 32]),
            domain: self.domain,
            tags: vec!["fleet".into()],
            at: protocol::time::UnixMillis::default(),
        };
        let mut items = vec![Item::Client { enrollment, welcomed: true }];
        let (lineage, mut previous) = (LineageId(rng.array()), None);
        let count = self.snapshots * (number + 1) / self.clients - self.snapshots * number / self.clients;
        for sequence in 1..=count {
            let lease = LeaseId { incarnation: 1, index: (sequence * self.clients + number) << 16 };
            let object = ObjectName { lease, hash: Sha256(rng.array()) };
            let id = SnapshotId(object.hash.0);
            let segments = (0..SEGMENTS).map(|_| ObjectName { lease, hash: Sha256(rng.array()) }).collect();
            let commit = CommitFacts {
                lease,
                object,
                sequence,
                previous,
                lineage,
                complete: true,
                segments,
                bytes_stored: SNAPSHOT_BYTES,
            };
            let at = protocol::time::UnixMillis(sequence);
            items.push(Item::Snapshot(SnapshotRecord {
                id,
                client,
                repository: self.repository,
                at,
                epoch: 0,
                commit,
            }));
            previous = Some(id);
        }
        items
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use benches::machine::Seeded;

    #[test]
    fn snapshots_are_shared_out_and_follow_each_other() {
        let fleet = Fleet { clients: 7, snapshots: 24, repository: RepositoryId([1; 16]), domain: DomainId([2; 16]) };
        let rng = Seeded::new(1, "fleet");
        let mut all = 0;
        for number in 0..fleet.clients {
            let items = fleet.client(&rng, number);
            assert!(matches!(items[0], Item::Client { .. }));
            let mut before = None;
            for (sequence, item) in (1..).zip(&items[1..]) {
                let Item::Snapshot(snapshot) = item else { panic!("{item:?}") };
                assert_eq!((snapshot.commit.sequence, snapshot.commit.previous), (sequence, before));
                before = Some(snapshot.id);
                all += 1;
            }
        }
        assert_eq!(all, fleet.snapshots);
    }
}

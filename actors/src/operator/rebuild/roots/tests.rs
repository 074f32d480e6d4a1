//! What is found in a storage that has many commits which came after the backup.

use std::{
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use async_trait::async_trait;
use bytes::Bytes;
use env::store::StoreError;
use protocol::{
    commands::ClientKeys,
    format::tree::Blob,
    ids::{DomainId, LeaseId, LineageId, PublicKey, SealingKey, Sha256, TokenId},
    sign::Signer,
    wire::{PutTicket, ReadTicket},
};
use sha2::Digest as _;

use super::*;

const REPOSITORY: RepositoryId = RepositoryId([1; 16]);
const DOMAIN: DomainId = DomainId([2; 16]);

/// A storage that can only be read, and counts who reads at the same time.
#[derive(Default)]
struct Shelf {
    objects: BTreeMap<String, Vec<u8>>,
    reading: AtomicUsize,
    reading_most: AtomicUsize,
}

#[async_trait]
impl Steward for Shelf {
    fn mint_put(&self, path: &str, _: u64, _: &Sha256, _: UnixMillis) -> Result<PutTicket, StoreError> {
        unreachable!("{path} is written")
    }
    fn mint_get(&self, path: &str, _: UnixMillis) -> Result<ReadTicket, StoreError> {
        unreachable!("{path} is given away")
    }
    async fn head(&self, path: &str) -> Result<u64, StoreError> {
        unreachable!("{path} is looked at by itself, though it was listed")
    }
    async fn get(&self, path: &str, _: usize) -> Result<Bytes, StoreError> {
        self.reading_most.fetch_max(self.reading.fetch_add(1, Relaxed) + 1, Relaxed);
        // Whoever reads besides comes in here.
        tokio::task::yield_now().await;
        self.reading.fetch_sub(1, Relaxed);
        Ok(self.objects[path].clone().into())
    }
    async fn get_range(&self, path: &str, _: Range<u64>) -> Result<Bytes, StoreError> {
        unreachable!("a part of {path} is read")
    }
    async fn put_new(&self, path: &str, _: Bytes) -> Result<(), StoreError> {
        unreachable!("{path} is written")
    }
    async fn list(&self, path: &str) -> Result<Vec<(String, u64)>, StoreError> {
        let below = self.objects.iter().filter(|(name, _)| name.starts_with(path));
        Ok(below.map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect())
    }
    async fn delete(&self, path: &str) -> Result<(), StoreError> {
        unreachable!("{path} is deleted")
    }
}

impl Shelf {
    /// Stores the next commit of a client. Its id.
    fn commit(&mut self, client: &Member, sequence: u64, previous: Option<SnapshotId>) -> SnapshotId {
        let lease = LeaseId { incarnation: 1, index: sequence };
        let body = CommitBody {
            repository: REPOSITORY,
            domain: DOMAIN,
            client: client.id(),
            lease,
            sequence,
            previous,
            lineage: LineageId([3; 16]),
            complete: true,
            list: None,
            segments: Vec::new(),
            bytes_stored: 0,
            manifest: Blob(Vec::new()),
        };
        let bytes = CommitObject::seal(&body, &client.signer);
        let hash = Sha256(sha2::Sha256::digest(&bytes).into());
        let name = ObjectName { lease, hash };
        self.objects.insert(ObjectKey { place: Place::Snapshot(client.id()), name }.to_string(), bytes);
        SnapshotId(hash.0)
    }
}

struct Member {
    signer: Signer,
}

impl Member {
    fn new(number: u8) -> Self {
        Self { signer: Signer::from_seed(&[number; 32]) }
    }

    fn id(&self) -> ClientId {
        ClientId::of_key(&self.signer.public())
    }

    /// As the backup knows it.
    fn item(&self) -> Item {
        let key: PublicKey = self.signer.public();
        let enrollment = Enrollment {
            client: self.id(),
            keys: ClientKeys { tls: key, commit: key, sealing: SealingKey([4; 32]) },
            name: "member".into(),
            token: TokenId([5; 32]),
            domain: DOMAIN,
            tags: Vec::new(),
            at: UnixMillis(0),
        };
        Item::Client { enrollment, welcomed: true }
    }
}

#[tokio::test]
async fn many_later_commits_are_read_side_by_side_and_only_so_many() {
    const EACH: u64 = 30;
    let (mut shelf, members) = (Shelf::default(), [Member::new(1), Member::new(2)]);
    for member in &members {
        (1..=EACH).fold(None, |previous, sequence| Some(shelf.commit(member, sequence, previous)));
    }
    // The last of one is damaged, and so the chain ends before it.
    let first = members[0].id().to_string();
    let last = shelf.objects.iter_mut().rfind(|(name, _)| name.contains(&first)).unwrap();
    last.1[10] ^= 1;
    let damaged = last.0.clone();

    let items: Vec<Item> = members.iter().map(Member::item).collect();
    let found = find(&shelf, REPOSITORY, &items, UnixMillis(9)).await.unwrap();
    assert_eq!(found.snapshots as u64, 2 * EACH - 1);
    assert_eq!(found.damaged, [damaged]);
    assert_eq!(found.incarnation, 1);
    for member in &members {
        let sequences: Vec<u64> = found
            .items
            .iter()
            .filter_map(|item| match item {
                Item::Snapshot(snapshot) if snapshot.client == member.id() => Some(snapshot.commit.sequence),
                _ => None,
            })
            .collect();
        let all = if member.id() == members[0].id() { EACH - 1 } else { EACH };
        assert_eq!(sequences, (1..=all).collect::<Vec<_>>());
    }
    assert_eq!(shelf.reading_most.into_inner(), READS_AT_ONCE);
}

#[tokio::test]
async fn what_the_backup_has_is_not_read() {
    let (mut shelf, member) = (Shelf::default(), Member::new(1));
    shelf.commit(&member, 1, None);
    let items = vec![member.item()];
    let found = find(&shelf, REPOSITORY, &items, UnixMillis(9)).await.unwrap();
    let mut items = items;
    found.add_to(&mut items);
    assert!(matches!(items[..], [Item::Client { .. }, Item::Snapshot(_)]), "{items:?}");
    // Nobody could read it any more.
    shelf.objects.values_mut().for_each(Vec::clear);
    let again = find(&shelf, REPOSITORY, &items, UnixMillis(9)).await.unwrap();
    assert_eq!((again.snapshots, again.damaged.len()), (0, 0));
}

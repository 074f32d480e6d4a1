//! The packs that this client has stored and no commit names yet, on its own disk.
//!
//! Invariant: whatever happens to it, no backup fails by it. A row that is lost costs
//! an upload; rows of leases that the log does not name as left are forgotten.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use env::Env;
use protocol::{
    commands::Lease,
    failure::{Code, Failure},
    format::segment::PackRow,
    ids::{LeaseId, RepositoryId, Sha256},
    limits,
    names::ObjectName,
};
use redb::{Durability, ReadableTable as _, TableDefinition};
use repo::StoredPack;
use tokio::sync::Notify;

use crate::{
    db::{Db, Io, What},
    tasks::Tasks,
};

const DATABASE: What =
    What { name: "journal", remedy: "remove the file; what an interrupted backup has stored is then uploaded again" };

/// `repository ‖ lease (incarnation, index; big-endian) ‖ SHA-256` → length, length of
/// the tail, whether it holds trees.
const PACKS: TableDefinition<'_, &[u8; KEY_LEN], (u32, u32, bool)> = TableDefinition::new("packs");
const KEY_LEN: usize = RepositoryId::LEN + 4 + 8 + Sha256::LEN;

/// The journal of one data directory. Clones share it.
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

struct Inner {
    /// None if it cannot be used.
    db: Option<Db>,
    repository: RepositoryId,
    /// Packs that are not written down yet.
    waiting: Mutex<Vec<StoredPack>>,
    wake: Arc<Notify>,
    /// Held while rows are written.
    writing: tokio::sync::Mutex<()>,
    tasks: Tasks,
}

impl Journal {
    /// Opens the journal. A damaged one is begun anew; one that cannot be used at all is
    /// done without.
    pub async fn open(env: &Env, repository: RepositoryId) -> Self {
        let db = match Db::open(env, DATABASE).await {
            Err(failure) if failure.code == Code::Corrupt => {
                tracing::warn!(%failure, "the journal of stored packs is begun anew");
                begin_anew(env).await
            }
            opened => opened,
        };
        let db = db.inspect_err(|failure| tracing::warn!(%failure, "there is no journal of stored packs")).ok();
        let inner = Inner {
            db,
            repository,
            waiting: Mutex::default(),
            wake: Arc::default(),
            writing: tokio::sync::Mutex::default(),
            tasks: Tasks::new(),
        };
        let journal = Self(Arc::new(inner));
        // The task does not hold the journal while it sleeps, or neither would ever end.
        let (inner, wake) = (Arc::downgrade(&journal.0), journal.0.wake.clone());
        journal.0.tasks.spawn(async move {
            loop {
                wake.notified().await;
                match inner.upgrade() {
                    Some(journal) => journal.write_down().await,
                    None => return,
                }
            }
        });
        journal
    }

    /// The packs that were stored under the leases that this one may go on from. All
    /// other rows of this repository are forgotten.
    pub async fn left(&self, lease: &Lease) -> Vec<StoredPack> {
        self.0.write_down().await;
        let (left, repository) = (lease.view.left.clone(), self.0.repository);
        let sort = move |transaction: &redb::WriteTransaction| {
            let mut table = transaction.open_table(PACKS)?;
            let (mut packs, mut stale) = (Vec::new(), Vec::new());
            let (from, to) = (key(&repository, &FIRST), key(&repository, &LAST));
            // The newest first: of too many, they are worth most.
            for row in table.range::<&[u8; KEY_LEN]>(&from..=&to)?.rev() {
                let (key, value) = row?;
                let pack = pack(key.value(), value.value());
                match left.contains(&pack.pack.name.lease) {
                    true if packs.len() < limits::LEFT_PACKS_MAX => packs.push(pack),
                    _ => stale.push(*key.value()),
                }
            }
            for key in &stale {
                table.remove(key)?;
            }
            Ok(packs)
        };
        self.0.change(sort).await.unwrap_or_default()
    }

    /// Returns when everything that was stored so far is written down.
    pub async fn flush(&self) {
        self.0.write_down().await;
    }

    /// Forgets what a commit under this lease has made its own.
    pub async fn settled(&self, lease: &Lease) {
        self.0.write_down().await;
        let mut leases = lease.view.left.clone();
        leases.push(lease.id);
        let repository = self.0.repository;
        let forget = move |transaction: &redb::WriteTransaction| {
            let mut table = transaction.open_table(PACKS)?;
            for lease in leases {
                let name = |hash| ObjectName { lease, hash: Sha256([hash; 32]) };
                let (from, to) = (key(&repository, &name(0)), key(&repository, &name(u8::MAX)));
                table.retain_in::<&[u8; KEY_LEN], _>(&from..=&to, |_, _| false)?;
            }
            Ok(())
        };
        self.0.change(forget).await;
    }
}

impl repo::Journal for Journal {
    fn stored(&self, pack: StoredPack) {
        self.0.waiting().push(pack);
        self.0.wake.notify_one();
    }
}

impl Inner {
    fn waiting(&self) -> MutexGuard<'_, Vec<StoredPack>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what is waiting; when this returns, it is durable.
    async fn write_down(&self) {
        let _turn = self.writing.lock().await;
        let packs = std::mem::take(&mut *self.waiting());
        if packs.is_empty() {
            return;
        }
        let repository = self.repository;
        let write = move |transaction: &redb::WriteTransaction| {
            let mut table = transaction.open_table(PACKS)?;
            for StoredPack { pack, trees } in &packs {
                table.insert(&key(&repository, &pack.name), (pack.len, pack.tail_len, *trees))?;
            }
            Ok(())
        };
        self.change(write).await;
    }

    /// Changes the database. None if that did not work, which is told and no more.
    async fn change<T, F>(&self, work: F) -> Option<T>
    where
        T: Send + 'static,
        F: FnOnce(&redb::WriteTransaction) -> Io<T> + Send + 'static,
    {
        let db = self.db.as_ref()?;
        let done = db.write(Durability::Immediate, work).await;
        done.inspect_err(|error| tracing::warn!(failure = %db.failure(error), "the journal is not kept")).ok()
    }
}

async fn begin_anew(env: &Env) -> Result<Db, Failure> {
    let disk = env.disk.clone();
    let emptied = env::run_blocking(&*env.blocking, move || disk.file(DATABASE.name)?.set_len(0)).await;
    emptied.map_err(|error| crate::small_file::failure("empty the journal in", &*env.disk, &error))?;
    Db::open(env, DATABASE).await
}

const FIRST: ObjectName = ObjectName { lease: LeaseId { incarnation: 0, index: 0 }, hash: Sha256([0; 32]) };
const LAST: ObjectName =
    ObjectName { lease: LeaseId { incarnation: u32::MAX, index: u64::MAX }, hash: Sha256([u8::MAX; 32]) };

fn key(repository: &RepositoryId, name: &ObjectName) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    key[..16].copy_from_slice(&repository.0);
    key[16..20].copy_from_slice(&name.lease.incarnation.to_be_bytes());
    key[20..28].copy_from_slice(&name.lease.index.to_be_bytes());
    key[28..].copy_from_slice(&name.hash.0);
    key
}

fn pack(key: &[u8; KEY_LEN], (len, tail_len, trees): (u32, u32, bool)) -> StoredPack {
    let (mut incarnation, mut index, mut hash) = ([0; 4], [0; 8], [0; 32]);
    incarnation.copy_from_slice(&key[16..20]);
    index.copy_from_slice(&key[20..28]);
    hash.copy_from_slice(&key[28..]);
    let lease = LeaseId { incarnation: u32::from_be_bytes(incarnation), index: u64::from_be_bytes(index) };
    StoredPack { pack: PackRow { name: ObjectName { lease, hash: Sha256(hash) }, len, tail_len }, trees }
}

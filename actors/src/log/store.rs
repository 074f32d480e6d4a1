//! The log on disk: entries and vote in one redb database, and which snapshot of the ledger
//! counts; the snapshots themselves are files beside it (`images`).
//!
//! Invariant: what openraft is told to be durable has been through a commit of
//! redb with `Durability::Immediate`, that is, an fsync. Only the committed index
//! and what others promised are written lazily: the one is a hint, and a restarted leader
//! does not lead by its old vote (see `read_vote`); the other guards against rare mishaps.

#![expect(clippy::result_large_err, reason = "openraft chose the size of its errors")]

use std::{
    fmt::Debug,
    io::{self, Read, Write},
    ops::RangeBounds,
    sync::Arc,
};

use env::{Env, run_blocking};
use openraft::{
    LogState, OptionalSend, RaftLogReader, Vote,
    storage::{LogFlushed, RaftLogStorage},
};
use probe::Plant;
use protocol::{
    codec::{self, DecodeError},
    failure::Failure,
    levels::{self, Levels},
    wire::Promise,
};
use redb::{Durability, ReadTransaction, ReadableTable, TableDefinition};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Mutex;

use super::{
    images::{ImageFile, Images},
    level::Mark,
    memory::Memory,
    types::{LogId, RaftEntry, SnapshotMeta, StorageError, TypeConfig},
};
use crate::{
    db::{self, Db, Io},
    small_file,
};

const DATABASE: db::What = db::What {
    name: "log",
    remedy: "this node may not vote any more, since it may have forgotten what it promised: remove it from the \
             cluster and replace it by a node with an empty data directory, which fetches the log from the others",
};
const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";
const SNAPSHOT_META: &str = "snapshot-meta";
const SNAPSHOT_FILE: &str = "snapshot-file";
const PROMISES: &str = "promises";
const LEVEL: &str = "level";

/// The log's storage. Clones share one database.
#[derive(Clone)]
pub struct Store {
    database: Db,
    memory: Memory,
    mark: Mark,
    env: Env,
    images: Images,
    kept: Arc<Mutex<Option<Kept>>>,
}

/// The snapshot that counts.
struct Kept {
    /// The last entry in it.
    last: Option<LogId>,
    file: ImageFile,
}

fn undecodable(error: &codec::DecodeError) -> redb::Error {
    redb::Error::Corrupted(error.to_string())
}

impl Store {
    /// Opens the log of a voter in the node's data directory. One of a level that the
    /// program does not speak is `Invalid`, and left as it is.
    pub async fn open(env: &Env, voter: u64, levels: Levels) -> Result<Self, Failure> {
        let database = Db::open(env, DATABASE).await?;
        // Both tables exist from the start, so that readers never meet a missing one.
        let make = |transaction: &redb::WriteTransaction| {
            transaction.open_table(ENTRIES)?;
            transaction.open_table(META)?;
            Ok(())
        };
        let made = database.write(Durability::Immediate, make).await;
        made.map_err(|error| database.failure(&error))?;
        let level = database.read(|transaction| meta(transaction, LEVEL)).map_err(|error| database.failure(&error))?;
        let mark = Mark::new(levels, level.unwrap_or(levels::FIRST), &env.disk.place())?;
        let read = |transaction: &ReadTransaction| Ok((kept(transaction)?, meta(transaction, PROMISES)?));
        let (promised, promises) = database.read(read).map_err(|error| database.failure(&error))?;
        let read =
            |transaction: &ReadTransaction| Ok((meta(transaction, SNAPSHOT_FILE)?, meta(transaction, SNAPSHOT_META)?));
        let (file, snapshot): (Option<u8>, Option<SnapshotMeta>) =
            database.read(read).map_err(|error| database.failure(&error))?;
        if snapshot.is_some() && file.is_none() {
            return Err(Failure::invalid(format!(
                "the log in {} was written by a build from before the first release, whose snapshots this program does \
                 not read: replace this node by one with an empty data directory; nothing was changed",
                env.disk.place()
            )));
        }
        let disk = env.disk.clone();
        let opened = run_blocking(&*env.blocking, move || Images::open(disk, file)).await;
        let (images, file) = opened.map_err(|error| small_file::failure("open", &*env.disk, &error))?;
        let kept = file.map(|file| Kept { last: snapshot.and_then(|snapshot| snapshot.last_log_id), file });
        Ok(Self {
            database,
            memory: Memory::new(voter, promised, promises.unwrap_or_default()),
            mark,
            env: env.clone(),
            images,
            kept: Arc::new(Mutex::new(kept)),
        })
    }

    /// Up to which level the log may have been raised.
    pub fn mark(&self) -> &Mark {
        &self.mark
    }

    /// What voters promised each other.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Runs one write transaction, durable when it returns unless `lazy`.
    async fn write<F>(&self, lazy: bool, work: F) -> Result<(), StorageError>
    where
        F: FnOnce(&redb::WriteTransaction) -> Io<()> + Send + 'static,
    {
        let durability = if lazy { Durability::None } else { Durability::Immediate };
        self.database.write(durability, work).await.map_err(|error| self.write_error(error))
    }

    /// Says in the log of the program what to do: what openraft makes of it does not.
    fn read_error(&self, error: redb::Error) -> StorageError {
        tracing::error!("{}", self.database.failure(&error));
        openraft::StorageIOError::read(&error).into()
    }

    fn write_error(&self, error: redb::Error) -> StorageError {
        tracing::error!("{}", self.database.failure(&error));
        openraft::StorageIOError::write(&error).into()
    }

    async fn write_meta<T: Serialize>(&self, lazy: bool, key: &'static str, value: &T) -> Result<(), StorageError> {
        let bytes = codec::encode(value);
        self.write(lazy, move |transaction| {
            transaction.open_table(META)?.insert(key, bytes.as_slice())?;
            Ok(())
        })
        .await
    }

    fn read_meta<T: DeserializeOwned>(&self, key: &'static str) -> Result<Option<T>, StorageError> {
        self.database.read(|transaction| meta(transaction, key)).map_err(|error| self.read_error(error))
    }

    /// An empty file for a snapshot that arrives.
    pub async fn receive_snapshot(&self) -> Result<ImageFile, StorageError> {
        let images = self.images.clone();
        let made = run_blocking(&*self.env.blocking, move || images.create()).await;
        made.map_err(|error| self.image_error(None, &error))
    }

    /// Writes a snapshot, which does not count yet.
    pub async fn write_snapshot<F>(&self, fill: F) -> Result<ImageFile, StorageError>
    where
        F: FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    {
        let images = self.images.clone();
        let written = run_blocking(&*self.env.blocking, move || images.write(fill)).await;
        written.map_err(|error| self.image_error(None, &error))
    }

    /// From now on this snapshot, of a ledger at a level, counts, and the one before does not;
    /// unless that one is newer.
    pub async fn keep_snapshot(&self, meta: &SnapshotMeta, level: u8, file: &ImageFile) -> Result<(), StorageError> {
        // One that arrives and one that is built here may be ready at the same time.
        let mut kept = self.kept.lock().await;
        let last = meta.last_log_id;
        if kept.as_ref().is_some_and(|kept| kept.last > last) {
            return Ok(());
        }
        let (encoded, number) = (codec::encode(meta), file.number());
        let level = level.max(self.mark.get());
        self.write(false, move |transaction| {
            let mut table = transaction.open_table(META)?;
            table.insert(LEVEL, codec::encode(&level).as_slice())?;
            table.insert(SNAPSHOT_META, encoded.as_slice())?;
            table.insert(SNAPSHOT_FILE, codec::encode(&number).as_slice())?;
            Ok(())
        })
        .await?;
        self.mark.raise(level);
        file.set_counts(true);
        if let Some(before) = kept.replace(Kept { last, file: file.again() }) {
            before.file.set_counts(false);
            run_blocking(&*self.env.blocking, move || drop(before)).await;
        }
        Ok(())
    }

    /// The snapshot that counts, once it is checked.
    pub async fn snapshot(&self) -> Result<Option<(SnapshotMeta, ImageFile)>, StorageError> {
        let kept = self.kept.lock().await.as_ref().map(|kept| kept.file.again());
        let (Some(meta), Some(file)) = (self.read_meta(SNAPSHOT_META)?, kept) else { return Ok(None) };
        let checked = file.again();
        let is_whole = run_blocking(&*self.env.blocking, move || checked.check()).await;
        is_whole.map_err(|error| self.image_error(Some(&file), &error))?;
        Ok(Some((meta, file)))
    }

    /// Reads a snapshot, off the asynchronous threads, after making sure that it is on disk
    /// and whole.
    pub async fn read_snapshot<T, F>(&self, file: &ImageFile, read: F) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Read) -> Result<T, DecodeError> + Send + 'static,
    {
        let handle = file.again();
        let work = move || {
            handle.sync()?;
            read(&mut handle.checked()?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        };
        let done = run_blocking(&*self.env.blocking, work).await;
        done.map_err(|error| self.image_error(Some(file), &error))
    }

    fn image_error(&self, file: Option<&ImageFile>, error: &io::Error) -> StorageError {
        let name = file.map_or_else(|| "a snapshot of the ledger".to_owned(), ImageFile::name);
        let what = format!("{name} in {}", self.env.disk.place());
        let failure = match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                Failure::corrupt(format!("the file {what} is damaged ({error}): {}", DATABASE.remedy))
            }
            io::ErrorKind::StorageFull => {
                Failure::internal(format!("there is no room for {what}: make room on that disk"))
            }
            _ => Failure::internal(format!("the file {what} failed: {error}")),
        };
        tracing::error!("{failure}");
        openraft::StorageIOError::write_snapshot(None, &failure).into()
    }
}

fn meta<T: DeserializeOwned>(transaction: &ReadTransaction, key: &'static str) -> Io<Option<T>> {
    let table = transaction.open_table(META)?;
    let Some(bytes) = table.get(key)? else { return Ok(None) };
    codec::decode(key, bytes.value()).map(Some).map_err(|error| undecodable(&error))
}

fn last_entry(transaction: &ReadTransaction) -> Io<Option<RaftEntry>> {
    let table = transaction.open_table(ENTRIES)?;
    let Some((_, bytes)) = table.last()? else { return Ok(None) };
    codec::decode("log entry", bytes.value()).map(Some).map_err(|error| undecodable(&error))
}

/// The latest promise that this disk can hold to.
fn kept(transaction: &ReadTransaction) -> Io<Promise> {
    let vote: Option<Vote<u64>> = meta(transaction, VOTE)?;
    let purged: Option<LogId> = meta(transaction, PURGED)?;
    let snapshot: Option<SnapshotMeta> = meta(transaction, SNAPSHOT_META)?;
    let last = last_entry(transaction)?.map(|entry| entry.log_id);
    let ends = [last, purged, snapshot.and_then(|snapshot| snapshot.last_log_id)];
    let leader = vote.map(|vote| *vote.leader_id()).unwrap_or_default();
    Ok(Promise {
        term: leader.term,
        candidate: leader.voted_for().unwrap_or_default(),
        index: ends.into_iter().flatten().map(|end| end.index).max().unwrap_or(0),
    })
}

impl RaftLogReader<TypeConfig> for Store {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<RaftEntry>, StorageError> {
        let read = |transaction: &ReadTransaction| {
            let table = transaction.open_table(ENTRIES)?;
            let entries = table.range(range)?;
            let entry = |bytes: &[u8]| codec::decode("log entry", bytes).map_err(|error| undecodable(&error));
            entries.map(|row| entry(row?.1.value())).collect()
        };
        self.database.read(read).map_err(|error| self.read_error(error))
    }
}

impl RaftLogStorage<TypeConfig> for Store {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let last_purged_log_id: Option<LogId> = self.read_meta(PURGED)?;
        let last = self.database.read(last_entry).map_err(|error| self.read_error(error))?;
        let last_log_id = last.map(|entry| entry.log_id).or(last_purged_log_id);
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<(), StorageError> {
        if probe::planted(Plant::VoteForgotten) {
            return Ok(());
        }
        self.write_meta(false, VOTE, vote).await
    }

    /// A restarted leader must stand for election again: in its old term it could
    /// answer "linearizable" reads from before acknowledged writes.
    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>, StorageError> {
        let vote: Option<Vote<u64>> = self.read_meta(VOTE)?;
        let committed = probe::planted(Plant::RestartedLeaderLeads) && vote.is_some_and(|vote| vote.committed);
        Ok(vote.map(|vote| Vote { committed, ..vote }))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        let committed = codec::encode(&committed);
        // Made durable by whatever is made durable next.
        let promises = self.memory.unsaved().map(|promises| codec::encode(&promises));
        self.write(true, move |transaction| {
            let mut table = transaction.open_table(META)?;
            table.insert(COMMITTED, committed.as_slice())?;
            if let Some(promises) = promises {
                table.insert(PROMISES, promises.as_slice())?;
            }
            Ok(())
        })
        .await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.read_meta::<Option<LogId>>(COMMITTED)?.flatten())
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<RaftEntry> = entries.into_iter().collect();
        let level = self.mark.raised_by(&entries);
        let entries: Vec<(u64, Vec<u8>)> =
            entries.iter().map(|entry| (entry.log_id.index, codec::encode(entry))).collect();
        let lazy = probe::planted(Plant::LogAppendsUnsynced);
        self.write(lazy, move |transaction| {
            let mut table = transaction.open_table(ENTRIES)?;
            for (index, bytes) in &entries {
                table.insert(index, bytes.as_slice())?;
            }
            if let Some(level) = level {
                transaction.open_table(META)?.insert(LEVEL, codec::encode(&level).as_slice())?;
            }
            Ok(())
        })
        .await?;
        level.inspect(|level| self.mark.raise(*level));
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), StorageError> {
        probe::sometimes("entries that were never decided are cut off the log");
        self.write(false, move |transaction| {
            transaction.open_table(ENTRIES)?.retain_in(from.index.., |_, _| false)?;
            Ok(())
        })
        .await
    }

    async fn purge(&mut self, through: LogId) -> Result<(), StorageError> {
        let mark = codec::encode(&through);
        self.write(false, move |transaction| {
            transaction.open_table(META)?.insert(PURGED, mark.as_slice())?;
            transaction.open_table(ENTRIES)?.retain_in(..=through.index, |_, _| false)?;
            Ok(())
        })
        .await
    }
}

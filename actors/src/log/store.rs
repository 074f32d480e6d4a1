//! The log on disk: entries, vote and snapshot in one redb database.
//!
//! Invariant: what openraft is told to be durable has been through a commit of
//! redb with `Durability::Immediate`, that is, an fsync. Only the committed index
//! and what others promised are written lazily: the one is a hint, and a restarted leader
//! does not lead by its old vote (see `read_vote`); the other guards against rare mishaps.

#![expect(clippy::result_large_err, reason = "openraft chose the size of its errors")]

use std::{fmt::Debug, ops::RangeBounds, sync::Arc};

use env::Env;
use openraft::{
    LogState, OptionalSend, RaftLogReader, Vote,
    storage::{LogFlushed, RaftLogStorage},
};
use probe::Plant;
use protocol::{
    codec,
    failure::Failure,
    levels::{self, Levels},
    wire::Promise,
};
use redb::{Durability, ReadTransaction, ReadableTable, TableDefinition};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    level::Mark,
    memory::Memory,
    types::{LogId, RaftEntry, SnapshotMeta, StorageError, TypeConfig},
};
use crate::db::{self, Db, Io};

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
const SNAPSHOT: &str = "snapshot";
const PROMISES: &str = "promises";
const LEVEL: &str = "level";

/// The log's storage. Clones share one database.
#[derive(Clone)]
pub struct Store(Db, Memory, Mark);

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
        let (kept, promises) = database.read(read).map_err(|error| database.failure(&error))?;
        Ok(Self(database, Memory::new(voter, kept, promises.unwrap_or_default()), mark))
    }

    /// Up to which level the log may have been raised.
    pub fn mark(&self) -> &Mark {
        &self.2
    }

    /// What voters promised each other.
    pub fn memory(&self) -> &Memory {
        &self.1
    }

    /// Runs one write transaction, durable when it returns unless `lazy`.
    async fn write<F>(&self, lazy: bool, work: F) -> Result<(), StorageError>
    where
        F: FnOnce(&redb::WriteTransaction) -> Io<()> + Send + 'static,
    {
        let durability = if lazy { Durability::None } else { Durability::Immediate };
        self.0.write(durability, work).await.map_err(|error| self.write_error(error))
    }

    /// Says in the log of the program what to do: what openraft makes of it does not.
    fn read_error(&self, error: redb::Error) -> StorageError {
        tracing::error!("{}", self.0.failure(&error));
        openraft::StorageIOError::read(&error).into()
    }

    fn write_error(&self, error: redb::Error) -> StorageError {
        tracing::error!("{}", self.0.failure(&error));
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
        self.0.read(|transaction| meta(transaction, key)).map_err(|error| self.read_error(error))
    }

    /// Keeps a snapshot of a ledger at a level, replacing the one before.
    pub async fn keep_snapshot(&self, meta: &SnapshotMeta, level: u8, bytes: Arc<Vec<u8>>) -> Result<(), StorageError> {
        let meta = codec::encode(meta);
        let level = level.max(self.2.get());
        self.write(false, move |transaction| {
            let mut table = transaction.open_table(META)?;
            table.insert(LEVEL, codec::encode(&level).as_slice())?;
            table.insert(SNAPSHOT_META, meta.as_slice())?;
            table.insert(SNAPSHOT, bytes.as_slice())?;
            Ok(())
        })
        .await?;
        self.2.raise(level);
        Ok(())
    }

    /// The kept snapshot.
    pub fn snapshot(&self) -> Result<Option<(SnapshotMeta, Vec<u8>)>, StorageError> {
        let Some(meta) = self.read_meta(SNAPSHOT_META)? else { return Ok(None) };
        let read = |transaction: &ReadTransaction| {
            Ok(transaction.open_table(META)?.get(SNAPSHOT)?.map(|bytes| bytes.value().to_vec()))
        };
        let bytes = self.0.read(read).map_err(|error| self.read_error(error))?;
        Ok(bytes.map(|bytes| (meta, bytes)))
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
        self.0.read(read).map_err(|error| self.read_error(error))
    }
}

impl RaftLogStorage<TypeConfig> for Store {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let last_purged_log_id: Option<LogId> = self.read_meta(PURGED)?;
        let last = self.0.read(last_entry).map_err(|error| self.read_error(error))?;
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
        let promises = self.1.unsaved().map(|promises| codec::encode(&promises));
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
        let level = self.2.raised_by(&entries);
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
        level.inspect(|level| self.2.raise(*level));
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

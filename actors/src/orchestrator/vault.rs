//! Release values: what opens a token's welcome, together with the token.
//!
//! Invariant: a value is outside the log and outside every backup. Who has received
//! it is decided in the log, so that all orchestrators erase their copy once each use
//! of the token has acknowledged receipt, or the token has expired.

use std::sync::Arc;

use env::{Disk, Env, run_blocking};
use protocol::{codec, failure::Failure, ids::TokenId, time::UnixMillis, wire::PutRelease};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::db;

const NAME: &str = "vault";
const RELEASES: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("releases");

#[derive(Serialize, Deserialize)]
struct Kept {
    value: [u8; 32],
    expires: UnixMillis,
}

/// The release values of this node. redb serializes its writers, so this needs no actor.
#[derive(Clone)]
pub struct Vault {
    env: Env,
    database: Arc<Database>,
}

type Io<T> = Result<T, redb::Error>;

impl Vault {
    /// Opens the vault in the node's data directory.
    pub fn open(env: &Env) -> Result<Self, Failure> {
        let database = db::open(&*env.disk, NAME)?;
        let make = || -> Io<()> {
            let transaction = database.begin_write()?;
            transaction.open_table(RELEASES)?;
            Ok(transaction.commit()?)
        };
        make().map_err(|error| db::failure(NAME, &*env.disk, &error))?;
        Ok(Self { env: env.clone(), database: Arc::new(database) })
    }

    fn refuse(disk: &dyn Disk) -> impl Fn(redb::Error) -> Failure {
        let place = disk.place();
        // The others' disks may be well.
        move |error| {
            Failure::retry(format!("the database {NAME} in {place} failed: {error}; another orchestrator may do"))
        }
    }

    async fn change<T, F>(&self, work: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&mut redb::Table<'_, &'static [u8; 32], &'static [u8]>) -> Io<T> + Send + 'static,
    {
        let database = self.database.clone();
        let write = move || -> Io<T> {
            let transaction = database.begin_write()?;
            let done = work(&mut transaction.open_table(RELEASES)?)?;
            transaction.commit()?;
            Ok(done)
        };
        run_blocking(&*self.env.blocking, write).await.map_err(Self::refuse(&*self.env.disk))
    }

    /// Keeps a release value until it expires.
    pub async fn put(&self, put: PutRelease) -> Result<(), Failure> {
        self.change(move |table| {
            let known = table.get(&put.token.0)?.is_some();
            if !known {
                let kept = Kept { value: put.value, expires: put.expires };
                table.insert(&put.token.0, codec::encode(&kept).as_slice())?;
            }
            Ok(())
        })
        .await
    }

    /// The release value of a token, if it is still kept.
    pub fn get(&self, token: &TokenId) -> Result<Option<[u8; 32]>, Failure> {
        let read = || -> Io<Option<[u8; 32]>> {
            let table = self.database.begin_read()?.open_table(RELEASES)?;
            let Some(bytes) = table.get(&token.0)? else { return Ok(None) };
            Ok(Some(parse(bytes.value())?.value))
        };
        read().map_err(Self::refuse(&*self.env.disk))
    }

    /// Erases what has expired, and what nobody needs any more.
    pub async fn sweep(&self, now: UnixMillis, is_done: impl Fn(&TokenId) -> bool) -> Result<(), Failure> {
        let read = || -> Io<Vec<[u8; 32]>> {
            let mut over = Vec::new();
            for entry in self.database.begin_read()?.open_table(RELEASES)?.iter()? {
                let (token, bytes) = entry?;
                if parse(bytes.value())?.expires < now || is_done(&TokenId(*token.value())) {
                    over.push(*token.value());
                }
            }
            Ok(over)
        };
        let over = read().map_err(Self::refuse(&*self.env.disk))?;
        if over.is_empty() {
            return Ok(());
        }
        self.change(move |table| {
            for token in &over {
                table.remove(token)?;
            }
            Ok(())
        })
        .await
    }
}

fn parse(bytes: &[u8]) -> Io<Kept> {
    codec::decode("release value", bytes).map_err(|error| redb::Error::Corrupted(error.to_string()))
}

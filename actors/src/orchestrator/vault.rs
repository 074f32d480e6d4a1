//! Release values: what opens a token's welcome, together with the token.
//!
//! Invariant: a value is outside the log and outside every backup; it is erased
//! once each use of its token has acknowledged receipt, or the token has expired.

use std::{collections::BTreeSet, sync::Arc};

use env::{Disk, Env, run_blocking};
use protocol::{
    codec,
    failure::Failure,
    ids::{ClientId, TokenId},
    time::UnixMillis,
    wire::PutRelease,
};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::db;

const NAME: &str = "vault";
const RELEASES: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("releases");

#[derive(Serialize, Deserialize)]
struct Kept {
    value: [u8; 32],
    expires: UnixMillis,
    acknowledged: BTreeSet<ClientId>,
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
        move |error| Failure::internal(format!("the database {NAME} in {place} failed: {error}"))
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
                let kept = Kept { value: put.value, expires: put.expires, acknowledged: BTreeSet::new() };
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

    /// Notes that a client has opened its welcome. True if that was the last of
    /// `uses` and the value is gone.
    pub async fn acknowledge(&self, token: TokenId, client: ClientId, uses: u32) -> Result<bool, Failure> {
        self.change(move |table| {
            let Some(mut kept) = table.get(&token.0)?.map(|bytes| parse(bytes.value())).transpose()? else {
                return Ok(false);
            };
            kept.acknowledged.insert(client);
            let done = kept.acknowledged.len() >= uses as usize;
            if done {
                table.remove(&token.0)?;
            } else {
                table.insert(&token.0, codec::encode(&kept).as_slice())?;
            }
            Ok(done)
        })
        .await
    }

    /// Erases a value.
    pub async fn erase(&self, token: TokenId) -> Result<(), Failure> {
        self.change(move |table| table.remove(&token.0).map(|_| ()).map_err(redb::Error::from)).await
    }

    /// Erases what has expired.
    pub async fn sweep(&self, now: UnixMillis) -> Result<(), Failure> {
        self.change(move |table| {
            let mut expired = Vec::new();
            for entry in table.iter()? {
                let (token, bytes) = entry?;
                if parse(bytes.value())?.expires < now {
                    expired.push(*token.value());
                }
            }
            for token in &expired {
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

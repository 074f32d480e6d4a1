//! Release values: what opens a token's welcome, together with the token.
//!
//! Invariant: a value is outside the log and outside every backup. Who has received
//! it is decided in the log, so that all orchestrators erase their copy once each use
//! of the token has acknowledged receipt, or the token has expired.

use env::Env;
use protocol::{codec, failure::Failure, ids::TokenId, time::UnixMillis, wire::PutRelease};
use redb::{Durability, ReadOnlyTable, ReadTransaction, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::db::{self, Db, Io};

const DATABASE: db::What = db::What {
    name: "vault",
    remedy: "stop this node, move the file away and start it again: the other orchestrators keep the same release \
             values. If there is no other, make new tokens for those that nobody has redeemed yet",
};
const RELEASES: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("releases");

type Releases = ReadOnlyTable<&'static [u8; 32], &'static [u8]>;

#[derive(Serialize, Deserialize)]
struct Kept {
    value: [u8; 32],
    expires: UnixMillis,
}

/// The release values of this node. redb serializes its writers, so this needs no actor.
#[derive(Clone)]
pub struct Vault(Db);

impl Vault {
    /// Opens the vault in the node's data directory.
    pub async fn open(env: &Env) -> Result<Self, Failure> {
        let vault = Self(Db::open(env, DATABASE).await?);
        // The table exists from the start, so that readers never meet a missing one.
        vault.change(|_| Ok(())).await?;
        Ok(vault)
    }

    async fn change<T, F>(&self, work: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&mut redb::Table<'_, &'static [u8; 32], &'static [u8]>) -> Io<T> + Send + 'static,
    {
        let change = |transaction: &redb::WriteTransaction| work(&mut transaction.open_table(RELEASES)?);
        self.0.write(Durability::Immediate, change).await.map_err(|error| self.0.failure(&error))
    }

    fn read<T>(&self, work: impl FnOnce(&Releases) -> Io<T>) -> Result<T, Failure> {
        let read = |transaction: &ReadTransaction| work(&transaction.open_table(RELEASES)?);
        // The others' disks may be well.
        let elsewhere = |error| Failure::retry(format!("{}; another orchestrator may do", self.0.failure(&error)));
        self.0.read(read).map_err(elsewhere)
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

    /// All that is kept, to be handed to another orchestrator.
    pub fn all(&self) -> Result<Vec<PutRelease>, Failure> {
        self.read(|releases| {
            let mut all = Vec::new();
            for entry in releases.iter()? {
                let (token, bytes) = entry?;
                let Kept { value, expires } = parse(bytes.value())?;
                all.push(PutRelease { token: TokenId(*token.value()), value, expires });
            }
            Ok(all)
        })
    }

    /// The release value of a token, if it is still kept.
    pub fn get(&self, token: &TokenId) -> Result<Option<[u8; 32]>, Failure> {
        self.read(|releases| {
            let Some(bytes) = releases.get(&token.0)? else { return Ok(None) };
            Ok(Some(parse(bytes.value())?.value))
        })
    }

    /// Erases what has expired, and what nobody needs any more.
    pub async fn sweep(&self, now: UnixMillis, is_done: impl Fn(&TokenId) -> bool) -> Result<(), Failure> {
        let over = self.read(|releases| {
            let mut over = Vec::new();
            for entry in releases.iter()? {
                let (token, bytes) = entry?;
                if parse(bytes.value())?.expires < now || is_done(&TokenId(*token.value())) {
                    over.push(*token.value());
                }
            }
            Ok(over)
        })?;
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

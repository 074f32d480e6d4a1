//! A server: a key-value table on redb, and tickets for the object storage.
//!
//! Invariant: `Put` is answered with `Kept` only after redb has synced it.

use std::{io, net::SocketAddr, sync::Arc};

use actors::db::{self, Guarded, Io};
use anyhow::{Context, anyhow, bail};
use env::{Env, Steward, run_blocking};
use protocol::records::{Storage, StorageCredential};
use redb::{Durability, ReadTransaction, TableDefinition};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    tls,
    wire::{self, Reply, Request},
};
use crate::world::BootInfo;

/// The database's name on the disk.
pub const DATABASE: &str = "values";
/// The values.
pub const VALUES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("values");
/// A small file that is written at the first boot.
pub const IDENTITY_FILE: &str = "identity";
/// Where servers listen.
pub const PORT: u16 = 7000;
/// Streams of one client that are served at a time.
const STREAMS_MAX: usize = 64;

struct Server {
    env: Env,
    database: Guarded,
    steward: Arc<dyn Steward>,
    /// What makes this process useless: a database that failed to write.
    ruin: mpsc::Sender<anyhow::Error>,
}

/// Serves until the machine dies.
pub async fn serve(env: Env, info: BootInfo, storage: Storage, key: StorageCredential) -> anyhow::Result<()> {
    let _lock = env.disk.lock("server")?;
    check_identity(&env, info.life)?;
    let backend = env.disk.file(DATABASE)?;
    let open = run_blocking(&*env.blocking, move || db::open(backend));
    let database = open.await.context("opening the database")?;
    let steward = env.storages.steward(&storage, &key)?;
    let (server_config, _) = tls::identity(&env)?;
    let endpoint = quinn::Endpoint::new_with_abstract_socket(
        quinn::EndpointConfig::default(),
        Some(server_config),
        env.net.bind(SocketAddr::new(info.address, PORT))?,
        env.net.runtime(),
    )?;
    info.tracer.note(format_args!("serves in life {}", info.life));
    let (ruin, mut ruined) = mpsc::channel(1);
    let server = Arc::new(Server { env, database, steward, ruin });
    let mut connections = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming.context("the endpoint was closed")?,
            Some(ruin) = ruined.recv() => return Err(ruin),
        };
        while connections.try_join_next().is_some() {}
        let server = Arc::clone(&server);
        connections.spawn(async move {
            // A connection that breaks is the client's to make again.
            if let Ok(connection) = incoming.await {
                server.attend(connection).await;
            }
        });
    }
}

/// The file written in the first life must be there in every later one.
fn check_identity(env: &Env, life: u64) -> anyhow::Result<()> {
    match env.disk.read(IDENTITY_FILE) {
        Ok(bytes) if bytes.len() == 32 => Ok(()),
        Ok(bytes) => bail!("the identity file has {} bytes", bytes.len()),
        // An earlier life may have died before this line.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            env.disk.replace(IDENTITY_FILE, &env.rng.array::<32>())?;
            Ok(())
        }
        Err(error) => Err(error).context(format!("reading the identity file in life {life}")),
    }
}

impl Server {
    async fn attend(self: Arc<Self>, connection: quinn::Connection) {
        let mut streams = JoinSet::new();
        while let Ok((mut send, mut receive)) = connection.accept_bi().await {
            while streams.len() >= STREAMS_MAX {
                streams.join_next().await;
            }
            let server = Arc::clone(&self);
            streams.spawn(async move {
                let Ok(request) = wire::receive(&mut receive).await else { return };
                let reply = match server.answer(request).await {
                    Ok(reply) => reply,
                    Err(error) => Reply::Failed(format!("{error:#}")),
                };
                // A reply that does not arrive is asked for again.
                let _ = wire::send(&mut send, &reply).await;
            });
        }
    }

    async fn answer(self: Arc<Self>, request: Request) -> anyhow::Result<Reply> {
        let now = self.env.clock.now();
        Ok(match request {
            Request::Put { key, value } => self.keep(key, value, Durability::Immediate).await?,
            Request::PutLazily { key, value } => self.keep(key, value, Durability::None).await?,
            Request::Get { key } => {
                let server = Arc::clone(&self);
                let read = move || server.database.read(|transaction| read(transaction, key));
                Reply::Value(run_blocking(&*self.env.blocking, read).await?)
            }
            Request::MintPut { path, len, hash } => Reply::PutTicket(self.steward.mint_put(&path, len, &hash, now)?),
            Request::MintGet { path } => Reply::ReadTicket(self.steward.mint_get(&path, now)?),
        })
    }

    async fn keep(self: &Arc<Self>, key: u64, value: Vec<u8>, durability: Durability) -> anyhow::Result<Reply> {
        let server = Arc::clone(self);
        let write = move || {
            server.database.write(durability, |transaction| {
                transaction.open_table(VALUES)?.insert(key, value.as_slice())?;
                Ok(Reply::Kept)
            })
        };
        let written = run_blocking(&*self.env.blocking, write).await;
        if let Err(error) = &written {
            // Whatever redb says from now on, only its file is to be believed. If
            // the channel is full, the end is near already.
            let _ = self.ruin.try_send(anyhow!("writing failed: {error:#}"));
        }
        Ok(written?)
    }
}

/// The value of a key.
pub fn read(transaction: &ReadTransaction, key: u64) -> Io<Option<Vec<u8>>> {
    match transaction.open_table(VALUES) {
        Ok(table) => Ok(table.get(key)?.map(|value| value.value().to_vec())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

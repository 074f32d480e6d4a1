//! A client: works through a fixed number of operations, whatever goes wrong, and
//! keeps a ledger of what it was promised.
//!
//! Invariant: the ledger records a promise after it was given and before anything
//! else happens in the client, so a checker never asks for more than was promised.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, bail};
use bytes::Bytes;
use env::{Carrier, Env, store::StoreError};
use protocol::{ids::Sha256, records::Storage, wire::PutTicket};

use super::{
    server, tls,
    wire::{self, Reply, Request},
};
use crate::{
    env::store::sha256,
    kernel::{lock, rng::Stream},
    world::BootInfo,
};

/// How long a client waits for a connection, and for a reply.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How long it waits after a failure.
const PAUSE: Duration = Duration::from_millis(100);
/// How long it rests between two operations, in milliseconds, at most: so that
/// its work lasts as long as the faults.
const REST_MS: u64 = 150;
/// Bytes of an object, at most.
const OBJECT_BYTES: u64 = 48 << 10;

/// What clients were promised, by all their lives.
#[derive(Debug, Default, Clone)]
pub struct Ledger {
    /// Values that a server acknowledged as durable, by server and key.
    pub kept: BTreeMap<(usize, u64), Vec<u8>>,
    /// Values that a server was asked to keep, durable or not.
    pub lazy: BTreeMap<(usize, u64), Vec<u8>>,
    /// Objects that the storage said it has, by path.
    pub stored: BTreeMap<String, Sha256>,
    /// Objects that a client tried to store with a ticket for something else.
    pub forged: BTreeSet<String>,
    /// Operations done, by client.
    pub done: Vec<u64>,
    /// What a client saw that must not be.
    pub broken: Vec<String>,
}

/// The ledger, outside the simulated world.
pub type SharedLedger = Arc<Mutex<Ledger>>;

struct Client {
    env: Env,
    info: BootInfo,
    number: usize,
    endpoint: quinn::Endpoint,
    servers: Vec<String>,
    connections: BTreeMap<usize, quinn::Connection>,
    carrier: Arc<dyn Carrier>,
    ledger: SharedLedger,
    stream: Stream,
    keys: u64,
}

/// What a client works on.
#[derive(Clone)]
pub struct Work {
    /// Which client it is.
    pub number: usize,
    /// Names of the servers.
    pub servers: Vec<String>,
    /// How many operations it does.
    pub operations: u64,
    /// Where objects go.
    pub storage: Storage,
    /// Where promises are recorded.
    pub ledger: SharedLedger,
}

/// Does all operations, then ends.
pub async fn work(env: Env, info: BootInfo, stream: Stream, work: Work) -> anyhow::Result<()> {
    let (_, client_config) = tls::identity(&env)?;
    let mut endpoint = quinn::Endpoint::new_with_abstract_socket(
        quinn::EndpointConfig::default(),
        None,
        env.net.bind(SocketAddr::new(info.address, 0))?,
        env.net.runtime(),
    )?;
    endpoint.set_default_client_config(client_config);
    let carrier = env.storages.carrier(&work.storage)?;
    let mut client = Client {
        env,
        info,
        number: work.number,
        endpoint,
        servers: work.servers,
        connections: BTreeMap::new(),
        carrier,
        ledger: work.ledger,
        stream,
        keys: 0,
    };
    while lock(&client.ledger).done.get(work.number).is_some_and(|done| *done < work.operations) {
        match client.operate().await {
            Ok(()) => {
                if let Some(done) = lock(&client.ledger).done.get_mut(work.number) {
                    *done += 1;
                }
                let rest = Duration::from_millis(client.stream.below(REST_MS));
                client.env.clock.sleep(rest).await;
            }
            Err(error) => {
                client.info.tracer.note(format_args!("tries again: {error:#}"));
                client.env.clock.sleep(PAUSE).await;
            }
        }
    }
    Ok(())
}

impl Client {
    async fn operate(&mut self) -> anyhow::Result<()> {
        let server = self.stream.below(self.servers.len() as u64) as usize;
        match self.stream.below(10) {
            0..5 => self.put(server).await,
            5..7 => self.put_lazily(server).await,
            7 => self.read_back().await,
            _ => self.store(server).await,
        }
    }

    /// A number that no life of any client has used or will use.
    fn key(&mut self) -> u64 {
        self.keys += 1;
        ((self.number as u64) << 48) | (self.info.life << 24) | self.keys
    }

    fn bytes(&mut self, len_max: u64) -> Vec<u8> {
        let mut bytes = vec![0; 1 + self.stream.below(len_max) as usize];
        self.stream.fill(&mut bytes);
        bytes
    }

    fn broken(&self, what: String) {
        self.info.tracer.note(format_args!("broken: {what}"));
        lock(&self.ledger).broken.push(what);
    }

    async fn put(&mut self, server: usize) -> anyhow::Result<()> {
        let (key, value) = (self.key(), self.bytes(900));
        match self.call(server, &Request::Put { key, value: value.clone() }).await? {
            Reply::Kept => {
                lock(&self.ledger).kept.insert((server, key), value);
                self.info.tracer.note(format_args!("was promised {key:x} by {server}"));
                Ok(())
            }
            reply => bail!("{reply:?}"),
        }
    }

    async fn put_lazily(&mut self, server: usize) -> anyhow::Result<()> {
        let (key, value) = (self.key(), self.bytes(300));
        lock(&self.ledger).lazy.insert((server, key), value.clone());
        match self.call(server, &Request::PutLazily { key, value }).await? {
            Reply::Kept => Ok(()),
            reply => bail!("{reply:?}"),
        }
    }

    async fn read_back(&mut self) -> anyhow::Result<()> {
        let promised: Vec<(usize, u64)> = lock(&self.ledger).kept.keys().copied().collect();
        let Some((server, key)) = self.stream.choose(&promised).copied() else { return Ok(()) };
        match self.call(server, &Request::Get { key }).await? {
            Reply::Value(found) => {
                if found.as_ref() != lock(&self.ledger).kept.get(&(server, key)) {
                    self.broken(format!("server {server} returned something else for {key:x}"));
                }
                Ok(())
            }
            reply => bail!("{reply:?}"),
        }
    }

    async fn store(&mut self, server: usize) -> anyhow::Result<()> {
        let (key, body) = (self.key(), Bytes::from(self.bytes(OBJECT_BYTES)));
        let (path, hash) = (format!("object/{key:x}"), sha256(&body));
        let request = Request::MintPut { path: path.clone(), len: body.len() as u64, hash };
        let Reply::PutTicket(ticket) = self.call(server, &request).await? else { bail!("no ticket") };
        if self.stream.chance(200_000) {
            return self.forge(&path, &ticket, &body).await;
        }
        match self.carrier.put(&ticket, body.clone()).await {
            Ok(()) => {}
            // Some earlier attempt, or a lapse: look.
            Err(StoreError::Exists { .. } | StoreError::Unclear { .. }) => {
                let Reply::ReadTicket(ticket) = self.call(server, &Request::MintGet { path: path.clone() }).await?
                else {
                    bail!("no ticket")
                };
                let found = self.carrier.get(&ticket, None).await?;
                if sha256(&found) != hash {
                    bail!("{path} was read with a wrong hash");
                }
            }
            Err(error) => return Err(error.into()),
        }
        lock(&self.ledger).stored.insert(path, hash);
        Ok(())
    }

    /// Sends a ticket's request with something in it changed: nothing may be stored.
    async fn forge(&mut self, path: &str, ticket: &PutTicket, body: &Bytes) -> anyhow::Result<()> {
        lock(&self.ledger).forged.insert(path.to_owned());
        let (mut ticket, mut body) = (ticket.clone(), body.to_vec());
        match self.stream.below(4) {
            0 => body[0] ^= 1,
            1 => ticket.path.push_str("-elsewhere"),
            2 => ticket.headers.retain(|(name, _)| name != "if-none-match"),
            _ => {
                body[0] ^= 1;
                ticket.hash = sha256(&body);
                for (name, value) in &mut ticket.headers {
                    if name == "x-amz-content-sha256" {
                        *value = ticket.hash.to_string();
                    }
                }
            }
        }
        if self.carrier.put(&ticket, body.into()).await.is_ok() {
            self.broken(format!("a forged ticket for {path} was honoured"));
        }
        Ok(())
    }

    async fn call(&mut self, server: usize, request: &Request) -> anyhow::Result<Reply> {
        let connection = self.connect(server).await?;
        let exchange = async {
            let (mut send, mut receive) = connection.open_bi().await?;
            wire::send(&mut send, request).await?;
            wire::receive::<Reply>(&mut receive).await
        };
        let reply = match tokio::time::timeout(PATIENCE, exchange).await {
            Ok(reply) => reply,
            Err(_) => Err(anyhow::anyhow!("server {server} did not answer")),
        };
        if reply.is_err() {
            // It may have rebooted: a new connection finds out sooner than the old one.
            self.connections.remove(&server);
        }
        reply
    }

    async fn connect(&mut self, server: usize) -> anyhow::Result<quinn::Connection> {
        if let Some(connection) = self.connections.get(&server).filter(|c| c.close_reason().is_none()) {
            return Ok(connection.clone());
        }
        let name = self.servers.get(server).context("there is no such server")?;
        let addresses = self.env.net.resolve(&format!("{name}:{}", server::PORT)).await?;
        let address = addresses.first().context("it has no address")?;
        let connecting = self.endpoint.connect(*address, "node")?;
        let connection = tokio::time::timeout(PATIENCE, connecting).await.context("connecting")??;
        self.connections.insert(server, connection.clone());
        Ok(connection)
    }
}

//! A client that makes each call by hand, at an orchestrator of its choice.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

use actors::{
    client::Profile,
    net::{Endpoint, Pace, Peer},
};
use anyhow::Context;
use bytes::Bytes;
use env::{Carrier, Env, store::StoreError};
use protocol::{
    commands::{Enrollment, Lease},
    failure::{Code, Failure},
    ids::ClusterId,
    names::{ObjectKey, ObjectName, Place},
    records::{Payload, Record, Storage},
    wire::{self, Call},
};

use crate::{
    env::store::sha256,
    kernel::lock,
    scenario::stage::{ORCHESTRATORS, founding::PORT},
};

/// Between two attempts: short, to be there when an orchestrator has just come back.
const PAUSE: Duration = Duration::from_millis(40);
/// How long one may take to answer a dial.
const DIAL_PATIENCE: Duration = Duration::from_millis(400);
/// How long one orchestrator may take to answer one call.
const PATIENCE: Duration = Duration::from_secs(4);

/// The client.
pub struct Hand {
    pub env: Env,
    pub profile: Profile,
    pub enrollment: Enrollment,
    pub index_key: [u8; 32],
    pub storage: Storage,
    endpoint: Endpoint,
    peers: Mutex<BTreeMap<u32, Peer>>,
    carrier: Arc<dyn Carrier>,
}

impl Hand {
    /// A client that has joined.
    pub async fn open(env: &Env) -> anyhow::Result<Self> {
        let (profile, enrollment, welcome) = Profile::enrolled(&*env.disk)?;
        let endpoint = Endpoint::bind(env, &profile.identity(), (Ipv4Addr::UNSPECIFIED, 0).into(), false)?;
        let peers = Mutex::default();
        let signed = ask(env, &endpoint, &peers, wire::Configure {}).await.context("configure")?;
        let cluster = ClusterId::of_root(&profile.trust().root);
        let mut storage = None;
        for record in signed {
            if let Payload::Storage(found) = Record::open(record, &cluster)?.payload() {
                storage = Some(found.clone());
            }
        }
        let storage = storage.context("no storage among the records")?;
        let carrier = env.storages.carrier(&storage)?;
        let index_key = welcome.index_key;
        Ok(Self { env: env.clone(), profile, enrollment, index_key, storage, endpoint, peers, carrier })
    }

    /// Gives all connections up: who is at their other end has forgotten them.
    pub fn hang_up(&self) {
        std::mem::take(&mut *lock(&self.peers)).into_values().for_each(|peer| peer.close());
    }

    /// A random number below this.
    pub fn below(&self, below: u32) -> u32 {
        u32::from_le_bytes(self.env.rng.array()) % below
    }

    /// Calls one orchestrator after the other until one gives a clear answer.
    pub async fn ask<C: Call>(&self, call: C) -> Result<C::Reply, Failure> {
        ask(&self.env, &self.endpoint, &self.peers, call).await
    }

    /// Calls this orchestrator.
    pub async fn ask_one<C: Call>(&self, number: u32, call: C) -> Result<C::Reply, Failure> {
        ask_one(&self.endpoint, &self.peers, number, call).await
    }

    /// An address under a lease, for these bytes.
    pub fn name(&self, lease: &Lease, place: Place, bytes: &[u8]) -> ObjectKey {
        place.object(ObjectName { lease: lease.id, hash: sha256(bytes) })
    }

    /// Stores an object under a lease, whatever it takes.
    pub async fn put(&self, lease: &Lease, key: ObjectKey, body: &Bytes) -> Result<(), Failure> {
        loop {
            let objects = vec![wire::PutRequest { key, len: body.len() as u64 }];
            let mint = wire::MintPuts { lease: lease.id, repository: lease.repository, objects };
            let tickets = self.ask(mint).await?;
            let ticket = tickets.first().ok_or_else(|| Failure::internal("no ticket"))?;
            match self.carrier.put(ticket, body.clone()).await {
                Ok(()) | Err(StoreError::Exists { .. }) => return Ok(()),
                // A ticket of a clock that is hours off is refused.
                Err(_) => self.env.clock.sleep(PAUSE).await,
            }
        }
    }
}

/// Peers that are connected, by their numbers.
type Peers = Mutex<BTreeMap<u32, Peer>>;

async fn ask<C: Call>(env: &Env, endpoint: &Endpoint, peers: &Peers, call: C) -> Result<C::Reply, Failure> {
    loop {
        let number = u32::from_le_bytes(env.rng.array()) % ORCHESTRATORS;
        match ask_one(endpoint, peers, number, call.clone()).await {
            Err(failure) if failure.code == Code::Retry => env.clock.sleep(PAUSE).await,
            done => return done,
        }
    }
}

async fn ask_one<C: Call>(endpoint: &Endpoint, peers: &Peers, number: u32, call: C) -> Result<C::Reply, Failure> {
    let open = lock(peers).get(&number).filter(|peer| peer.is_open()).cloned();
    let peer = match open {
        Some(peer) => peer,
        None => {
            let peer = endpoint.dial(&format!("o{number}:{PORT}"), None, Pace::Busy, DIAL_PATIENCE).await?;
            lock(peers).insert(number, peer.clone());
            peer
        }
    };
    let answer = peer.call(call, PATIENCE).await;
    if matches!(&answer, Err(failure) if failure.code == Code::Retry) {
        peer.close();
    }
    answer
}

//! Membership, failure detection and digests of the records, by chitchat over QUIC.
//!
//! A gossip peer can rewrite another's keys, and a malformed message can panic the
//! gossip task. So only orchestrators may speak it, and what it carries is a hint and
//! never a fact.
//!
//! Invariant: a gossip task that died is started anew, as a new life of this node,
//! and nothing else ends with it: an orchestrator that gossips nonsense must not stop
//! the others from deciding.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, ChitchatMessage, Deserializable, FailureDetectorConfig, Serializable,
    spawn_chitchat,
    transport::{Socket, Transport},
};
use control::records::SHARDS;
use env::Env;
use protocol::{
    failure::Failure,
    ids::{ClusterId, Hash, NodeId},
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use tokio::sync::{Mutex, mpsc};

use super::records::Records;
use crate::{net::Peers, shared::Shared, tasks::Tasks};

const INTERVAL: Duration = Duration::from_millis(500);
/// How long the state of a dead node is kept. chitchat's default is a day.
const GRACE: Duration = Duration::from_secs(15 * 60);
/// Gossip messages that wait to be read; more are dropped, as UDP would.
const INBOX_MAX: usize = 256;
const DIGEST_KEY: &str = "records";
/// Between the death of the gossip task and the next.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

type Inbox = mpsc::Sender<(SocketAddr, ChitchatMessage)>;

/// A handle to gossip.
#[derive(Clone)]
pub struct Gossip {
    alive: Shared<BTreeSet<NodeId>>,
    inbox: Shared<Option<Inbox>>,
    addresses: Arc<BTreeMap<NodeId, SocketAddr>>,
}

/// What gossip is started with.
#[derive(Clone)]
pub struct Start {
    /// The cluster.
    pub cluster: ClusterId,
    /// This node.
    pub me: NodeId,
    /// How often this node has started: tells its lives apart.
    pub generation: u64,
    /// The roster's addresses, this node's own among them.
    pub addresses: Arc<BTreeMap<NodeId, SocketAddr>>,
}

impl Gossip {
    /// Starts gossiping.
    pub async fn start(
        env: &Env,
        start: Start,
        peers: Peers,
        records: Records,
        supervisor: &ActorCell,
    ) -> Result<Self, Failure> {
        let gossip =
            Self { alive: Shared::new(BTreeSet::new()), inbox: Shared::new(None), addresses: start.addresses.clone() };
        let (handle, inbox) = spawn(&start, &peers).await?;
        gossip.inbox.write(|place| *place = Some(inbox));
        let state =
            State { env: env.clone(), start, peers, handle, gossip: gossip.clone(), records, tasks: Tasks::new() };
        Actor::spawn_linked(None, Gossiper, state, supervisor.clone())
            .await
            .map_err(|error| Failure::internal(format!("cannot start gossip: {error}")))?;
        Ok(gossip)
    }

    /// The nodes that failure detection believes alive.
    pub fn alive(&self) -> BTreeSet<NodeId> {
        self.alive.read().clone()
    }

    /// Takes a message from an orchestrator. Never waits; a full inbox drops it.
    pub fn take(&self, from: NodeId, message: &[u8]) {
        let Some(address) = self.addresses.get(&from) else { return };
        let inbox = self.inbox.read().clone();
        if let (Some(inbox), Ok(message)) = (inbox, ChitchatMessage::deserialize(&mut &*message)) {
            let _ = inbox.try_send((*address, message));
        }
    }
}

/// Starts a gossip task, and makes the inbox that it reads.
async fn spawn(start: &Start, peers: &Peers) -> Result<(ChitchatHandle, Inbox), Failure> {
    let Start { cluster, me, generation, addresses } = start;
    let own = addresses.get(me).copied().ok_or_else(|| {
        Failure::retry("this node's own address in the keyset cannot be resolved: check its name service")
    })?;
    let (inbox, receive) = mpsc::channel(INBOX_MAX);
    let transport = Quic { peers: peers.clone(), addresses: addresses.clone(), receive: Mutex::new(Some(receive)) };
    let config = ChitchatConfig {
        chitchat_id: ChitchatId {
            node_id: me.to_string().into(),
            generation_id: *generation,
            gossip_advertise_addr: own,
        },
        cluster_id: cluster.to_string(),
        gossip_interval: INTERVAL,
        listen_addr: own,
        seed_nodes: addresses.values().filter(|address| **address != own).map(SocketAddr::to_string).collect(),
        failure_detector_config: FailureDetectorConfig { initial_interval: INTERVAL, ..Default::default() },
        marked_for_deletion_grace_period: GRACE,
        catchup_callback: None,
        extra_liveness_predicate: None,
    };
    let handle = spawn_chitchat(config, Vec::new(), &transport)
        .await
        .map_err(|error| Failure::internal(format!("cannot start gossip: {error}")))?;
    Ok((handle, inbox))
}

/// chitchat's transport: one unidirectional stream for each message.
struct Quic {
    peers: Peers,
    addresses: Arc<BTreeMap<NodeId, SocketAddr>>,
    receive: Mutex<Option<mpsc::Receiver<(SocketAddr, ChitchatMessage)>>>,
}

struct QuicSocket {
    peers: Peers,
    addresses: Arc<BTreeMap<NodeId, SocketAddr>>,
    receive: mpsc::Receiver<(SocketAddr, ChitchatMessage)>,
}

#[async_trait]
impl Transport for Quic {
    async fn open(&self, _: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let receive = self.receive.lock().await.take();
        let receive = receive.ok_or_else(|| anyhow::anyhow!("gossip opens its transport once"))?;
        Ok(Box::new(QuicSocket { peers: self.peers.clone(), addresses: self.addresses.clone(), receive }))
    }
}

#[async_trait]
impl Socket for QuicSocket {
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        // chitchat may have learnt an address from a peer: only the roster's are dialed.
        if let Some((node, _)) = self.addresses.iter().find(|(_, address)| **address == to) {
            self.peers.gossip(*node, message.serialize_to_vec());
        }
        Ok(())
    }

    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        self.receive.recv().await.ok_or_else(|| anyhow::anyhow!("gossip is shutting down"))
    }
}

enum Message {
    Tick,
    Died(String),
    Restart,
}

struct Gossiper;

struct State {
    env: Env,
    start: Start,
    peers: Peers,
    handle: ChitchatHandle,
    gossip: Gossip,
    records: Records,
    tasks: Tasks,
}

impl Actor for Gossiper {
    type Msg = Message;
    type State = State;
    type Arguments = State;

    async fn pre_start(&self, myself: ActorRef<Message>, state: State) -> Result<State, ActorProcessingErr> {
        state.watch(&myself);
        let (clock, mut changes) = (state.env.clock.clone(), state.records.changes());
        state.tasks.spawn(async move {
            loop {
                if myself.cast(Message::Tick).is_err() {
                    return;
                }
                tokio::select! {
                    () = clock.sleep(INTERVAL) => {}
                    changed = changes.changed() => if changed.is_err() { return },
                }
            }
        });
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Tick => state.tick().await,
            Message::Died(reason) => {
                tracing::warn!(reason, "the gossip task died; starting another");
                state.gossip.inbox.write(|place| *place = None);
                state.gossip.alive.write(BTreeSet::clear);
                let clock = state.env.clock.clone();
                state.tasks.spawn(async move {
                    clock.sleep(RESTART_PAUSE).await;
                    let _ = myself.cast(Message::Restart);
                });
            }
            Message::Restart => {
                // What it knew may be what killed it: nothing is taken over.
                state.start.generation += 1;
                let (handle, inbox) = spawn(&state.start, &state.peers).await?;
                state.handle = handle;
                state.gossip.inbox.write(|place| *place = Some(inbox));
                state.watch(&myself);
            }
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Message>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.handle.abort();
        Ok(())
    }
}

impl State {
    fn watch(&self, myself: &ActorRef<Message>) {
        let (death, watcher) = (self.handle.termination_watcher(), myself.clone());
        self.tasks.spawn(async move {
            let reason = death.await.err().map_or_else(|| "it ended".to_owned(), |error| error.to_string());
            let _ = watcher.cast(Message::Died(reason));
        });
    }

    /// Says in the log who went and who came back: the operator's first look.
    fn note_alive(&self, now: BTreeSet<NodeId>) {
        self.gossip.alive.write(|alive| {
            for node in alive.difference(&now).filter(|node| **node != self.start.me) {
                tracing::warn!(%node, "an orchestrator does not answer any more");
            }
            for node in now.difference(alive).filter(|node| **node != self.start.me) {
                tracing::info!(%node, "an orchestrator answers");
            }
            *alive = now;
        });
    }

    /// Publishes this node's digests, notes who is alive, and pulls where digests differ.
    async fn tick(&mut self) {
        if self.gossip.inbox.read().is_none() {
            return;
        }
        let mine = self.records.set().read().shard_digests().map(|digest| first_eight(&digest));
        let text = encode(&mine);
        let me = self.start.me;
        let others: Vec<(NodeId, Option<String>)> = self
            .handle
            .with_chitchat(|chitchat| {
                let own = chitchat.self_node_state();
                if own.get(DIGEST_KEY) != Some(text.as_str()) {
                    own.set(DIGEST_KEY, text.as_str());
                }
                let live: Vec<ChitchatId> = chitchat.live_nodes().cloned().collect();
                live.iter()
                    .filter_map(|id| {
                        let digest = chitchat.node_state(id).and_then(|state| state.get(DIGEST_KEY));
                        Some((id.node_id.parse().ok()?, digest.map(str::to_owned)))
                    })
                    .collect()
            })
            .await;
        // Gossip may tell of nodes that nobody named.
        let others: Vec<_> = others.into_iter().filter(|(node, _)| self.start.addresses.contains_key(node)).collect();
        self.note_alive(others.iter().map(|(node, _)| *node).collect());
        for (node, digest) in others {
            let theirs = digest.as_deref().and_then(decode);
            if let Some(theirs) = theirs.filter(|theirs| node != me && *theirs != mine) {
                let differing = (0..SHARDS).filter(|shard| theirs[usize::from(*shard)] != mine[usize::from(*shard)]);
                self.records.pull(node, differing.collect());
            }
        }
    }
}

/// Eight bytes of each shard's digest, in hex: enough to see a difference.
type Digests = [[u8; 8]; SHARDS as usize];

fn first_eight(digest: &Hash) -> [u8; 8] {
    let mut eight = [0; 8];
    eight.copy_from_slice(&digest.0[..8]);
    eight
}

fn encode(digests: &Digests) -> String {
    digests.iter().flatten().map(|byte| format!("{byte:02x}")).collect()
}

fn decode(text: &str) -> Option<Digests> {
    let bytes: Vec<u8> = text
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect::<Option<_>>()?;
    let mut digests = [[0; 8]; SHARDS as usize];
    if bytes.len() != digests.len() * 8 {
        return None;
    }
    for (digest, bytes) in digests.iter_mut().zip(bytes.chunks(8)) {
        digest.copy_from_slice(bytes);
    }
    Some(digests)
}

//! Membership, failure detection and digests of the records, by chitchat over QUIC.
//!
//! A gossip peer can rewrite another's keys, and a malformed message can panic the
//! gossip task. So only orchestrators may speak it, and what it carries is a hint and
//! never a fact.
//!
//! chitchat knows nodes by socket addresses. The ones it is given here are made from
//! node ids: where a node really listens is looked up in the newest keyset, and
//! resolved, whenever it is dialed. So whoever joins, leaves or moves does so without
//! a restart.
//!
//! Invariant: a gossip task that died is started anew, as a new life of this node,
//! and nothing else ends with it: an orchestrator that gossips nonsense must not stop
//! the others from deciding.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use async_trait::async_trait;
use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, ChitchatMessage, Deserializable, FailureDetectorConfig, Serializable,
    spawn_chitchat,
    transport::{Socket, Transport},
};
use env::Env;
use protocol::{
    failure::Failure,
    ids::{ClusterId, Hash, NodeId},
    limits,
    reconcile::{FANOUT, Prefix},
    records::Orchestrator,
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
/// The port of all addresses: it stands for nothing.
const PORT: u16 = 1;
/// chitchat greets its seeds when it knows nobody, and now and then. It has this one:
/// whoever in the roster is next.
const ANYONE: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), PORT);

type Inbox = mpsc::Sender<(SocketAddr, ChitchatMessage)>;

/// A handle to gossip.
#[derive(Clone)]
pub struct Gossip {
    alive: Shared<BTreeSet<NodeId>>,
    inbox: Shared<Option<Inbox>>,
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
        let gossip = Self { alive: Shared::new(BTreeSet::new()), inbox: Shared::new(None) };
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
        let inbox = self.inbox.read().clone();
        if let (Some(inbox), Some(message)) = (inbox, read(message)) {
            let _ = inbox.try_send((address_of(from), message));
        }
    }
}

/// Reads a message. None if it is none, or would take far more memory than it has bytes:
/// each of its blocks may be a zstd frame of 64 KiB, and every frame begins with the
/// same four bytes (RFC 8878).
pub fn read(message: &[u8]) -> Option<ChitchatMessage> {
    const FRAME: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
    let blocks = message.windows(FRAME.len()).filter(|bytes| *bytes == FRAME).count();
    if blocks > limits::GOSSIP_BLOCKS_MAX {
        return None;
    }
    ChitchatMessage::deserialize(&mut &*message).ok()
}

/// By which address chitchat knows a node.
fn address_of(node: NodeId) -> SocketAddr {
    SocketAddr::from((Ipv6Addr::from(node.0), PORT))
}

/// The node that chitchat knows by an address.
fn node_of(address: SocketAddr) -> Option<NodeId> {
    match address.ip() {
        IpAddr::V6(ip) => Some(NodeId(ip.octets())),
        // Nobody here makes such a one: a peer has.
        IpAddr::V4(_) => None,
    }
}

/// Starts a gossip task, and makes the inbox that it reads.
async fn spawn(start: &Start, peers: &Peers) -> Result<(ChitchatHandle, Inbox), Failure> {
    let Start { cluster, me, generation } = start;
    let own = address_of(*me);
    let (inbox, receive) = mpsc::channel(INBOX_MAX);
    let transport = Quic { peers: peers.clone(), receive: Mutex::new(Some(receive)) };
    let config = ChitchatConfig {
        chitchat_id: ChitchatId {
            node_id: me.to_string().into(),
            generation_id: *generation,
            gossip_advertise_addr: own,
        },
        cluster_id: cluster.to_string(),
        gossip_interval: INTERVAL,
        listen_addr: own,
        seed_nodes: vec![ANYONE.to_string()],
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
    receive: Mutex<Option<mpsc::Receiver<(SocketAddr, ChitchatMessage)>>>,
}

struct QuicSocket {
    peers: Peers,
    receive: mpsc::Receiver<(SocketAddr, ChitchatMessage)>,
    /// Whom in the roster `ANYONE` means next.
    turn: usize,
}

#[async_trait]
impl Transport for Quic {
    async fn open(&self, _: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let receive = self.receive.lock().await.take();
        let receive = receive.ok_or_else(|| anyhow::anyhow!("gossip opens its transport once"))?;
        Ok(Box::new(QuicSocket { peers: self.peers.clone(), receive, turn: 0 }))
    }
}

#[async_trait]
impl Socket for QuicSocket {
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        // chitchat may have learnt an address from a peer: only nodes of the roster are dialed.
        let node = if to == ANYONE { self.next() } else { node_of(to) };
        if let Some(node) = node {
            self.peers.gossip(node, message.serialize_to_vec());
        }
        Ok(())
    }

    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        self.receive.recv().await.ok_or_else(|| anyhow::anyhow!("gossip is shutting down"))
    }
}

impl QuicSocket {
    /// One of the roster after the other.
    fn next(&mut self) -> Option<NodeId> {
        let others = self.peers.others();
        self.turn = self.turn.wrapping_add(1);
        others.get(self.turn.checked_rem(others.len())?).map(Orchestrator::id)
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
        let mine: Digests = self.records.set().read().shard_digests().map(|digest| first_eight(&digest)).collect();
        let text = encode(&mine);
        let me = self.start.me;
        let others: BTreeSet<NodeId> = self.peers.others().iter().map(Orchestrator::id).collect();
        let seen: Vec<(NodeId, Option<String>)> = self
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
        let seen: Vec<_> = seen.into_iter().filter(|(node, _)| *node == me || others.contains(node)).collect();
        self.note_alive(seen.iter().map(|(node, _)| *node).collect());
        for (node, digest) in seen.into_iter().filter(|(node, _)| *node != me) {
            if let Some(theirs) = digest.as_deref().and_then(decode) {
                let shards = Prefix::ALL.children().zip(mine.iter().zip(&theirs));
                let differing: Vec<Prefix> =
                    shards.filter(|(_, (mine, theirs))| mine != theirs).map(|(shard, _)| shard).collect();
                if !differing.is_empty() {
                    self.records.reconcile(node, differing);
                }
            }
        }
    }
}

/// Eight bytes of each shard's digest, in hex: enough to see a difference.
type Digests = Vec<[u8; 8]>;

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
    let (digests, rest) = bytes.as_chunks();
    (digests.len() == FANOUT && rest.is_empty()).then(|| digests.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 7,281 times the operation `SetMaxVersion` (2, and a version of 64 bits), compressed.
    const OPERATIONS: [u8; 26] = [
        0x28, 0xb5, 0x2f, 0xfd, 0x60, 0xf9, 0xfe, 0x85, 0x00, 0x00, 0x20, 0x02, 0x00, 0x02, 0x00, 0x03, 0x00, 0xe4,
        0x7f, 0x16, 0x0d, 0x80, 0xc3, 0x2e, 0xc0, 0x02,
    ];

    /// An `Ack` about one node, with so many blocks of those.
    fn message(blocks: usize) -> Vec<u8> {
        const ACK: u8 = 2;
        const COMPRESSED: u8 = 1;
        const UNCOMPRESSED: u8 = 2;
        const END: u8 = 0;
        let id = ChitchatId::new("node", 1, address_of(NodeId([1; 16])));
        let mut operation = vec![0];
        id.serialize(&mut operation);
        operation.extend([0; 16]);
        let mut message = ChitchatMessage::BadCluster.serialize_to_vec();
        message.pop();
        message.extend([ACK, UNCOMPRESSED, operation.len() as u8, 0]);
        message.extend(operation);
        for _ in 0..blocks {
            message.extend([COMPRESSED, OPERATIONS.len() as u8, 0]);
            message.extend(OPERATIONS);
        }
        message.push(END);
        message
    }

    #[test]
    fn a_message_that_swells_is_refused() {
        assert!(read(&ChitchatMessage::BadCluster.serialize_to_vec()).is_some());
        assert!(read(&message(limits::GOSSIP_BLOCKS_MAX)).is_some());
        // Nothing else is wrong with it.
        let more = message(limits::GOSSIP_BLOCKS_MAX + 1);
        assert!(ChitchatMessage::deserialize(&mut &*more).is_ok());
        assert!(read(&more).is_none());
    }
}

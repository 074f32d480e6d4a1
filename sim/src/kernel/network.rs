//! The network between nodes: datagrams that are lost, late, doubled and out of
//! order, over links that can be cut one way.
//!
//! Invariant: what happens to a packet is decided when it is sent, from one
//! stream, in the order of sending. A cut also stops what is under way.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    task::Waker,
    time::Duration,
};

use super::{
    fault::{Node, Weather},
    lock,
    rng::Stream,
};

/// Largest datagram that passes, in bytes: an Ethernet frame without IPv6 and UDP
/// headers. Larger ones vanish, as path MTU discovery expects.
const DATAGRAM_BYTES_MAX: usize = 1452;
/// Datagrams that wait in one socket: about the default of Linux (212,992 bytes
/// and their overhead). More are dropped.
const SOCKET_PACKETS_MAX: usize = 256;
/// Where ports that nobody chose begin.
const EPHEMERAL_PORTS: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// The receiving end of a bound socket.
#[derive(Debug)]
pub struct Inbox {
    /// The node that bound it.
    pub node: Node,
    /// The life of the node in which it was bound.
    pub life: u64,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    packets: VecDeque<(SocketAddr, Vec<u8>)>,
    reader: Option<Waker>,
}

impl Inbox {
    /// An empty one.
    pub fn new(node: Node, life: u64) -> Self {
        Self { node, life, waiting: Mutex::default() }
    }

    /// The next datagram and its sender; otherwise `waker` is woken when one comes.
    pub fn take(&self, waker: &Waker) -> Option<(SocketAddr, Vec<u8>)> {
        let mut waiting = lock(&self.waiting);
        let packet = waiting.packets.pop_front();
        if packet.is_none() {
            waiting.reader = Some(waker.clone());
        }
        packet
    }

    /// Adds a datagram; tells whom to wake.
    pub fn give(&self, from: SocketAddr, packet: Vec<u8>) -> Option<Waker> {
        let mut waiting = lock(&self.waiting);
        if waiting.packets.len() < SOCKET_PACKETS_MAX {
            waiting.packets.push_back((from, packet));
        }
        waiting.reader.take()
    }
}

/// What becomes of a packet: how long each of its copies travels.
pub type Fate = Vec<Duration>;

/// All links and all addresses.
#[derive(Debug)]
pub struct Network {
    weather: Weather,
    cuts: BTreeSet<(Node, Node)>,
    hosts: BTreeMap<IpAddr, Node>,
    names: BTreeMap<String, IpAddr>,
    inboxes: BTreeMap<SocketAddr, Arc<Inbox>>,
    stream: Stream,
}

impl Network {
    /// A network without nodes.
    pub fn new(weather: Weather, stream: Stream) -> Self {
        Self {
            weather,
            cuts: BTreeSet::new(),
            hosts: BTreeMap::new(),
            names: BTreeMap::new(),
            inboxes: BTreeMap::new(),
            stream,
        }
    }

    /// Gives a node its address and name.
    pub fn add_host(&mut self, node: Node, name: &str, address: IpAddr) {
        self.hosts.insert(address, node);
        self.names.insert(name.to_owned(), address);
    }

    /// The address of this name.
    pub fn resolve(&self, name: &str) -> Option<IpAddr> {
        self.names.get(name).copied()
    }

    /// The node at this address.
    pub fn host(&self, address: IpAddr) -> Option<Node> {
        self.hosts.get(&address).copied()
    }

    /// Binds `inbox` at `address`: one of its node's, or the unspecified one. Port 0: any.
    pub fn bind(&mut self, home: IpAddr, address: SocketAddr, inbox: Arc<Inbox>) -> io::Result<SocketAddr> {
        let ip = if address.ip().is_unspecified() { home } else { address.ip() };
        if self.hosts.get(&ip) != Some(&inbox.node) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let free = |port: &u16| !self.inboxes.contains_key(&SocketAddr::new(ip, *port));
        let port = match address.port() {
            0 => EPHEMERAL_PORTS.into_iter().find(free),
            port => Some(port).filter(free),
        };
        let bound = SocketAddr::new(ip, port.ok_or(io::ErrorKind::AddrInUse)?);
        self.inboxes.insert(bound, inbox);
        Ok(bound)
    }

    /// Frees an address that this life of the node had bound.
    pub fn unbind(&mut self, address: SocketAddr, node: Node, life: u64) {
        if self.inboxes.get(&address).is_some_and(|inbox| inbox.node == node && inbox.life == life) {
            self.inboxes.remove(&address);
        }
    }

    /// Frees all addresses of a node.
    pub fn unbind_all(&mut self, node: Node) {
        self.inboxes.retain(|_, inbox| inbox.node != node);
    }

    /// Decides what becomes of a packet of `bytes` bytes that `from` sends now.
    pub fn send(&mut self, from: Node, to: SocketAddr, bytes: usize) -> Fate {
        let Some(target) = self.host(to.ip()) else { return Fate::new() };
        // Drawn for every packet, so that a cut does not shift the draws of others.
        let lost = self.stream.chance(self.weather.loss_ppm);
        let copies = if self.stream.chance(self.weather.duplicate_ppm) { 2 } else { 1 };
        let delays = (0..copies).map(|_| self.delay()).collect();
        if lost || bytes > DATAGRAM_BYTES_MAX || self.is_cut(from, target) { Fate::new() } else { delays }
    }

    fn delay(&mut self) -> Duration {
        let mut us = self.weather.delay_us + self.stream.below(self.weather.jitter_us + 1);
        if self.stream.chance(self.weather.straggle_ppm) {
            us += self.stream.below(self.weather.straggle_us + 1);
        }
        Duration::from_micros(us)
    }

    /// The inbox at `to`, if a packet from `from` can arrive there now.
    pub fn arrive(&self, from: SocketAddr, to: SocketAddr) -> Option<Arc<Inbox>> {
        let (sender, target) = (self.host(from.ip())?, self.host(to.ip())?);
        if self.is_cut(sender, target) { None } else { self.inboxes.get(&to).cloned() }
    }

    fn is_cut(&self, from: Node, to: Node) -> bool {
        self.cuts.contains(&(from, to))
    }

    /// Cuts one direction.
    pub fn cut(&mut self, from: Node, to: Node) {
        self.cuts.insert((from, to));
    }

    /// Heals one direction.
    pub fn heal(&mut self, from: Node, to: Node) {
        self.cuts.remove(&(from, to));
    }

    /// Heals everything.
    pub fn heal_all(&mut self) {
        self.cuts.clear();
    }

    /// Changes what all links are like.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }
}

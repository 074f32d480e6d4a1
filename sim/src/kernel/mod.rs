//! The kernel of the simulator: time, the network, the machines' clocks, and the
//! trace of all that happens.
//!
//! Invariant: everything that a node does to the world outside its own memory
//! passes through a `Life`, and a life that is over does nothing: what is left of
//! a crashed process cannot reach its disk, its sockets or the storage.

pub mod clock;
pub mod fault;
pub mod interpose;
pub mod network;
pub mod panics;
mod queue;
pub mod rng;
pub mod trace;

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use clock::Clocks;
use fault::{Moment, Node};
use network::{Inbox, Network};
pub use queue::Event;
use queue::Queue;
use rng::Stream;
use trace::Trace;

/// Locks, also after a panic: all runs on one thread, and every update is whole.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the kernel knows of one machine.
#[derive(Debug)]
pub struct Machine {
    /// Its name, which is also its host name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its clocks.
    pub clocks: Clocks,
    /// Whether its process runs.
    pub up: bool,
    /// How often it was booted: the number of its present or last life.
    pub life: u64,
    /// Whether its disk is full.
    pub disk_full: bool,
    /// How its process ended by itself, until that was seen to.
    pub exit: Option<Result<(), String>>,
    /// It lost power in the middle of its work and comes back after so long.
    pub doomed: Option<Duration>,
    /// Nothing happens in it before this moment.
    pub busy_until_ns: u64,
    /// Local time that its present run has taken.
    debt_ns: u64,
    /// Faults aimed at its moments, with what is left to count.
    aimed: Vec<(Moment, u32, Duration)>,
}

struct State {
    queue: Queue,
    trace: Trace,
    network: Network,
    machines: Vec<Machine>,
    running: Option<Node>,
    packets: u64,
}

/// Shared by the world and all handles of its nodes.
pub struct Kernel {
    seed: u64,
    state: Mutex<State>,
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kernel({:?})", self.state().queue)
    }
}

impl Kernel {
    /// A kernel without machines, at time 0.
    pub fn new(seed: u64, weather: fault::Weather, keep_trace: bool) -> Arc<Self> {
        let network = Network::new(weather, Stream::new(seed, "network", 0));
        Arc::new(Self {
            seed,
            state: Mutex::new(State {
                queue: Queue::default(),
                trace: Trace::new(keep_trace),
                network,
                machines: Vec::new(),
                running: None,
                packets: 0,
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// A stream of this run.
    pub fn stream(&self, purpose: &str, number: u64) -> Stream {
        Stream::new(self.seed, purpose, number)
    }

    /// Nanoseconds since the start of the run; inside a node's run, with what that took.
    pub fn now_ns(&self) -> u64 {
        self.state().now()
    }

    /// Schedules an event.
    pub fn schedule(&self, at_ns: u64, event: Event) {
        self.state().queue.push(at_ns, event);
    }

    /// Schedules an event some time after now.
    pub fn schedule_in(&self, after: Duration, event: Event) {
        let mut state = self.state();
        let at = state.now().saturating_add(nanos(after));
        state.queue.push(at, event);
    }

    /// The next event until then. Time moves on to it.
    pub fn next_event(&self, until_ns: u64) -> Option<Event> {
        self.state().queue.pop(until_ns)
    }

    /// Whether nothing will happen any more.
    pub fn is_silent(&self) -> bool {
        self.state().queue.is_empty()
    }

    /// Adds a line to the trace.
    pub fn note(&self, what: fmt::Arguments<'_>) {
        self.state().note(what);
    }

    /// Adds a line that the node at work logged.
    pub fn log(&self, what: fmt::Arguments<'_>) {
        let mut state = self.state();
        match state.running {
            Some(node) => state.note(format_args!("{node} log {what}")),
            None => state.note(format_args!("log {what}")),
        }
    }

    /// The hash of the trace.
    pub fn trace_hash(&self) -> blake3::Hash {
        self.state().trace.hash()
    }

    /// The bytes of the trace, if they are kept.
    pub fn trace_bytes(&self) -> Vec<u8> {
        self.state().trace.bytes().to_vec()
    }

    /// Lines of the trace, and packets sent.
    pub fn counts(&self) -> (u64, u64) {
        let state = self.state();
        (state.trace.lines(), state.packets)
    }

    /// Adds a machine that is switched off.
    pub fn add_machine(&self, name: &str, address: IpAddr, clocks: Clocks) -> Node {
        let mut state = self.state();
        let node = Node(u32::try_from(state.machines.len()).unwrap_or(u32::MAX));
        state.network.add_host(node, name, address);
        state.machines.push(Machine {
            name: name.to_owned(),
            address,
            clocks,
            up: false,
            life: 0,
            disk_full: false,
            exit: None,
            doomed: None,
            busy_until_ns: 0,
            debt_ns: 0,
            aimed: Vec::new(),
        });
        node
    }

    /// Reads or changes what is known of a machine; none if there is no such machine.
    pub fn machine<T>(&self, node: Node, with: impl FnOnce(&mut Machine) -> T) -> Option<T> {
        self.state().machines.get_mut(node.index()).map(with)
    }

    /// Reads or changes the network.
    pub fn network<T>(&self, with: impl FnOnce(&mut Network) -> T) -> T {
        with(&mut self.state().network)
    }

    /// Switches a machine on; its new life, unless it is on already.
    pub fn boot(self: &Arc<Self>, node: Node) -> Option<Life> {
        let mut stream = self.stream("boot clock", u64::from(node.0));
        let mut state = self.state();
        let now = state.queue.now();
        let machine = state.machines.get_mut(node.index()).filter(|machine| !machine.up)?;
        machine.up = true;
        machine.life += 1;
        machine.exit = None;
        machine.debt_ns = 0;
        machine.busy_until_ns = 0;
        // Monotonic clocks of two machines, and of two lives of one, have nothing in common.
        machine.clocks.boot(now, 1_000_000_000 * (stream.below(100_000) + machine.life));
        Some(Life { kernel: Arc::clone(self), node, life: machine.life })
    }

    /// Ends the life of a machine: from now on its handles do nothing.
    pub fn fence(&self, node: Node) {
        let mut state = self.state();
        if let Some(machine) = state.machines.get_mut(node.index()) {
            machine.up = false;
            machine.aimed.clear();
            state.network.unbind_all(node);
        }
    }

    /// Says which node works from now on, or none, and sets the clocks that its code sees.
    pub fn set_running(&self, node: Option<Node>) {
        let mut state = self.state();
        state.running = node;
        state.set_clocks();
    }

    /// Ends a node's run: it is busy for the time that the run has taken. Returns
    /// the moment at which its next timer, `after` from now by its own clocks, is due.
    pub fn settle(&self, node: Node, after: Option<Duration>) -> Option<u64> {
        let mut state = self.state();
        let now = state.queue.now();
        let machine = state.machines.get_mut(node.index())?;
        let free = now + std::mem::take(&mut machine.debt_ns);
        machine.busy_until_ns = machine.busy_until_ns.max(free);
        after.map(|after| free.saturating_add(machine.clocks.true_duration(after)))
    }

    /// Aims a loss of power at a moment of a node.
    pub fn aim(&self, node: Node, moment: Moment, count: u32, down: Duration) {
        self.machine(node, |machine| machine.aimed.push((moment, count.max(1), down)));
    }

    /// A packet comes to its end: whom it gives work.
    pub fn deliver(&self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) -> Option<Node> {
        let inbox = self.state().network.arrive(from, to)?;
        let reader = inbox.give(from, bytes);
        reader.map(|reader| {
            reader.wake();
            inbox.node
        })
    }
}

impl State {
    fn now(&self) -> u64 {
        let debt = self.running.and_then(|node| self.machines.get(node.index())).map_or(0, |m| m.debt_ns);
        self.queue.now() + debt
    }

    fn note(&mut self, what: fmt::Arguments<'_>) {
        let now = self.now();
        self.trace.line(now, what);
    }

    fn set_clocks(&self) {
        let now = self.now();
        match self.running.and_then(|node| self.machines.get(node.index())) {
            Some(machine) => interpose::set_clocks(machine.clocks.monotonic(now), machine.clocks.wall(now)),
            None => interpose::set_clocks(now, clock::EPOCH_NS + now),
        }
    }
}

/// One life of one machine, from boot to crash: how everything that its process
/// does reaches the kernel.
#[derive(Debug, Clone)]
pub struct Life {
    kernel: Arc<Kernel>,
    node: Node,
    life: u64,
}

impl Life {
    /// The kernel.
    pub fn kernel(&self) -> &Arc<Kernel> {
        &self.kernel
    }

    /// Whose life.
    pub fn node(&self) -> Node {
        self.node
    }

    /// Which of its lives, from 1.
    pub fn number(&self) -> u64 {
        self.life
    }

    /// A stream of this life.
    pub fn stream(&self, purpose: &str) -> Stream {
        self.kernel.stream(purpose, (u64::from(self.node.0) << 32) | self.life)
    }

    /// Whether this life has ended.
    pub fn is_over(&self) -> bool {
        self.kernel.machine(self.node, |machine| !machine.up || machine.life != self.life).unwrap_or(true)
    }

    /// Fails if this life has ended.
    pub fn check(&self) -> io::Result<()> {
        if self.is_over() { Err(io::Error::other("this machine has lost its power")) } else { Ok(()) }
    }

    /// The machine's wall clock, in nanoseconds since 1970.
    pub fn wall_ns(&self) -> u64 {
        let now = self.kernel.now_ns();
        self.kernel.machine(self.node, |machine| machine.clocks.wall(now)).unwrap_or_default()
    }

    /// The machine's monotonic clock, in nanoseconds.
    pub fn monotonic_ns(&self) -> u64 {
        let now = self.kernel.now_ns();
        self.kernel.machine(self.node, |machine| machine.clocks.monotonic(now)).unwrap_or_default()
    }

    /// The node is busy for so long: its clocks move on, and nothing else happens in it.
    pub fn charge(&self, cost: Duration) {
        let mut state = self.kernel.state();
        if state.running == Some(self.node)
            && let Some(machine) = state.machines.get_mut(self.node.index())
        {
            machine.debt_ns += nanos(cost);
            state.set_clocks();
        }
    }

    /// Adds a line to the trace, with the name of the node.
    pub fn note(&self, what: fmt::Arguments<'_>) {
        self.kernel.note(format_args!("{} {what}", self.node));
    }

    /// A moment at which faults can aim has come. Afterwards this life may be over.
    pub fn moment(&self, moment: Moment) {
        let struck = self.kernel.machine(self.node, |machine| {
            if !machine.up || machine.life != self.life {
                return false;
            }
            for (aim, count, _) in &mut machine.aimed {
                *count -= u32::from(*aim == moment);
            }
            let down = machine.aimed.iter().find(|(_, count, _)| *count == 0).map(|(_, _, down)| *down);
            machine.doomed = machine.doomed.or(down);
            down.is_some()
        });
        if struck == Some(true) {
            self.note(format_args!("loses power at {moment:?}"));
            self.kernel.fence(self.node);
            interpose::stop();
        }
    }

    /// Binds a socket.
    pub fn bind(&self, address: SocketAddr) -> io::Result<(SocketAddr, Arc<Inbox>)> {
        self.check()?;
        let inbox = Arc::new(Inbox::new(self.node, self.life));
        let mut state = self.kernel.state();
        let home = state.machines.get(self.node.index()).map(|machine| machine.address);
        let home = home.ok_or(io::ErrorKind::NotFound)?;
        let bound = state.network.bind(home, address, Arc::clone(&inbox))?;
        Ok((bound, inbox))
    }

    /// Frees an address.
    pub fn unbind(&self, address: SocketAddr) {
        self.kernel.network(|network| network.unbind(address, self.node, self.life));
    }

    /// Sends a datagram; like UDP, without a word about what becomes of it.
    pub fn send(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        if self.is_over() {
            return;
        }
        let mut state = self.kernel.state();
        state.packets += 1;
        let digest = blake3::hash(bytes);
        let mark = u32::from_le_bytes([digest.as_bytes()[0], digest.as_bytes()[1], digest.as_bytes()[2], 0]);
        let fate = state.network.send(self.node, to, bytes.len());
        let size = bytes.len();
        state.note(format_args!("packet {from} > {to} {size} bytes {mark:06x} copies {}", fate.len()));
        let now = state.now();
        for travel in fate {
            state.queue.push(now + nanos(travel), Event::Packet { from, to, bytes: bytes.to_vec() });
        }
        drop(state);
        self.moment(Moment::AfterSend);
    }
}

/// Whole nanoseconds, far below overflow when added to a run's time.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX >> 2).min(u64::MAX >> 2)
}

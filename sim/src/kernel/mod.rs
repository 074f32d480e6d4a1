//! The kernel of the simulator: time, the network, the machines' clocks, and the
//! trace of all that happens.
//!
//! Invariant: everything that a node does to the world outside its own memory
//! passes through a `Life`, and a life that is over does nothing: what is left of
//! a crashed process cannot reach its disk, its sockets or the storage.

pub mod clock;
pub mod fault;
pub mod interpose;
mod life;
pub mod network;
pub mod panics;
mod queue;
pub mod rng;
pub mod trace;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use clock::Clocks;
use fault::{Moment, Node};
pub use life::Life;
use network::Network;
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
            // What a dead process says while it is taken apart was never said.
            Some(node) if !state.machines.get(node.index()).is_some_and(|machine| machine.up) => {}
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

    /// Nothing is full or aimed at any more.
    pub fn calm(&self) {
        let mut state = self.state();
        state.network.heal_all();
        for machine in &mut state.machines {
            machine.disk_full = false;
            machine.aimed.clear();
        }
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

/// Whole nanoseconds, far below overflow when added to a run's time.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX >> 2).min(u64::MAX >> 2)
}

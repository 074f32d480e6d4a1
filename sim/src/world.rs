//! One simulated world: machines, a network, an object storage, and time.
//!
//! Invariant: what happens is a function of the seed, the options, the nodes and
//! the faults that were scheduled. That holds from the first line of the trace
//! to the last if the world has a fresh thread of a fresh process: what the
//! process did before is otherwise part of the input (`process` sees to it).

use std::{
    net::IpAddr,
    ops::Range,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};

use crate::{
    env::{
        Belongings, assemble,
        disk::Drive,
        files::{FileSystem, SimFiles, User},
        store::{ObjectStore, Rule},
    },
    journal::Journal,
    kernel::{
        Event, Kernel, Life,
        clock::Clocks,
        fault::{Fault, Node, Planned, Weather},
        interpose, nanos, panics,
        rng::Stream,
    },
};

/// What a world is like.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether the bytes of the trace are kept, not only their hash.
    pub keep_trace: bool,
    /// What the links are like at first.
    pub weather: Weather,
    /// How long a sync of a disk takes, in microseconds.
    pub sync_us: Range<u64>,
    /// How long a request to the storage takes at first, in milliseconds.
    pub storage_ms: Range<u64>,
    /// How far wall clocks are off at first, at most, either way.
    pub clock_error: Duration,
    /// The least important events of nodes that go into the trace.
    pub log: tracing::level_filters::LevelFilter,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keep_trace: false,
            weather: Weather::default(),
            sync_us: 300..4_000,
            storage_ms: 4..40,
            clock_error: Duration::from_millis(300),
            log: tracing::level_filters::LevelFilter::INFO,
        }
    }
}

/// What a machine is like.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its name: other nodes resolve it.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// As whom its process acts on its files.
    pub user: User,
}

impl Machine {
    /// A machine whose process is root.
    pub fn new(name: impl Into<String>, address: IpAddr) -> Self {
        Self { name: name.into(), address, user: User::ROOT }
    }
}

/// What a process is told at its start, beside its environment.
#[derive(Debug, Clone)]
pub struct BootInfo {
    /// Which machine it runs on.
    pub node: Node,
    /// How often that was booted, from 1.
    pub life: u64,
    /// The machine's address.
    pub address: IpAddr,
    /// Writes lines of its own into the trace.
    pub tracer: Tracer,
}

/// Writes lines into the trace.
#[derive(Debug, Clone)]
pub struct Tracer(Life);

impl Tracer {
    /// Adds a line, with the name of the node. A life that is over is silent.
    pub fn note(&self, what: std::fmt::Arguments<'_>) {
        if !self.0.is_over() {
            self.0.note(what);
        }
    }
}

/// How a process ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// On which machine.
    pub node: Node,
    /// In which of its lives.
    pub life: u64,
    /// What went wrong, if something did.
    pub error: Option<String>,
}

type Process = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

struct Slot {
    boot: Arc<dyn Fn(env::Env, BootInfo) -> Process + Send + Sync>,
    belongings: Belongings,
    running: Option<(Runtime, Life)>,
    entropy: Option<Stream>,
    /// Raised with each run: an older wake-up is stale.
    ticket: u64,
}

/// The world.
pub struct World {
    kernel: Arc<Kernel>,
    options: Options,
    slots: Vec<Slot>,
    store: Arc<ObjectStore>,
    exits: Vec<Exit>,
    panics: Vec<String>,
    events: u64,
    _journal: tracing::subscriber::DefaultGuard,
}

impl World {
    /// An empty world. From now on this thread lives in it, until it is dropped.
    pub fn new(seed: u64, options: Options) -> anyhow::Result<Self> {
        let kernel = Kernel::new(seed, options.weather.clone(), options.keep_trace);
        panics::collect();
        interpose::swap_entropy(Some(kernel.stream("world entropy", 0)));
        interpose::set_active(true);
        let checked = interpose::check();
        kernel.set_running(None);
        let journal = tracing::subscriber::set_default(Journal::new(Arc::clone(&kernel), options.log));
        kernel.note(format_args!("seed {seed} hashers {:016x}", interpose::hasher_fingerprint()));
        let store = Arc::new(ObjectStore::new(options.storage_ms.clone(), kernel.stream("storage", 0)));
        let world = Self {
            kernel,
            options,
            slots: Vec::new(),
            store,
            exits: Vec::new(),
            panics: Vec::new(),
            events: 0,
            _journal: journal,
        };
        checked.map_err(anyhow::Error::msg)?;
        Ok(world)
    }

    /// Adds a machine, switched off. Each of its lives is one call of `boot`; when
    /// the future ends, the process has ended.
    pub fn add_node<F, P>(&mut self, machine: Machine, boot: F) -> Node
    where
        F: Fn(env::Env, BootInfo) -> P + Send + Sync + 'static,
        P: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let number = self.slots.len() as u64;
        let error = nanos(self.options.clock_error);
        let offset = self.kernel.stream("clock error", number).within(&(0..2 * error + 1));
        let offset = offset.cast_signed() - error.cast_signed();
        let node = self.kernel.add_machine(&machine.name, machine.address, Clocks::new(offset));
        let drive = Drive::new(self.options.sync_us.clone(), self.kernel.stream("disk", number));
        let belongings =
            Belongings { disk: Arc::new(drive), files: Arc::new(FileSystem::new(machine.user)) };
        self.slots.push(Slot {
            boot: Arc::new(move |env, info| Box::pin(boot(env, info))),
            belongings,
            running: None,
            entropy: None,
            ticket: 0,
        });
        node
    }

    /// All nodes, in the order they were added.
    pub fn nodes(&self) -> Vec<Node> {
        (0..self.slots.len() as u32).map(Node).collect()
    }

    /// Schedules a fault, at a time since the start of the run.
    pub fn schedule(&self, at: Duration, fault: Fault) {
        self.kernel.schedule(nanos(at), Event::Fault(fault));
    }

    /// Schedules a list of faults.
    pub fn schedule_all(&self, plan: &[Planned]) {
        for planned in plan {
            self.schedule(planned.at, planned.fault.clone());
        }
    }

    /// Switches all machines on, one after the other, now.
    pub fn boot_all(&self) {
        for node in self.nodes() {
            self.schedule(self.now(), Fault::Boot(node));
        }
    }

    /// Time since the start of the run.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.kernel.now_ns())
    }

    /// Lets time pass until `reached` says yes, or until `deadline` since the start
    /// of the run. Returns whether it was reached.
    pub fn run_until(&mut self, deadline: Duration, mut reached: impl FnMut(&Self) -> bool) -> bool {
        loop {
            if reached(self) {
                return true;
            }
            let Some(event) = self.kernel.next_event(nanos(deadline)) else { return reached(self) };
            self.events += 1;
            self.kernel.set_running(None);
            self.happen(event);
        }
    }

    /// Lets so much time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let deadline = self.now() + duration;
        self.run_until(deadline, |_| false);
    }

    /// A stream for decisions of a scenario.
    pub fn stream(&self, purpose: &str) -> Stream {
        self.kernel.stream(&format!("scenario {purpose}"), 0)
    }

    /// Whether the machine is on.
    pub fn is_up(&self, node: Node) -> bool {
        self.kernel.machine(node, |machine| machine.up).unwrap_or(false)
    }

    /// The machine's data directory, as a checker sees it.
    pub fn disk(&self, node: Node) -> Option<&Drive> {
        self.slots.get(node.index()).map(|slot| &*slot.belongings.disk)
    }

    /// The machine's files, from outside, as root.
    pub fn files(&self, node: Node) -> Option<SimFiles> {
        let slot = self.slots.get(node.index())?;
        Some(SimFiles::outside(Arc::clone(&self.kernel), Arc::clone(&slot.belongings.files)))
    }

    /// The object storage, from outside.
    pub fn store(&self) -> &Arc<ObjectStore> {
        &self.store
    }

    /// Processes that ended by themselves, so far.
    pub fn exits(&self) -> &[Exit] {
        &self.exits
    }

    /// Panics inside nodes, so far, also those that someone caught.
    pub fn panics(&self) -> &[String] {
        &self.panics
    }

    /// Adds a line to the trace.
    pub fn note(&self, what: std::fmt::Arguments<'_>) {
        self.kernel.note(what);
    }

    /// The hash of the trace so far.
    pub fn trace_hash(&self) -> blake3::Hash {
        self.kernel.trace_hash()
    }

    /// The trace so far, if it is kept.
    pub fn trace_bytes(&self) -> Vec<u8> {
        self.kernel.trace_bytes()
    }

    /// Events, lines of the trace and packets so far.
    pub fn counts(&self) -> (u64, u64, u64) {
        let (lines, packets) = self.kernel.counts();
        (self.events, lines, packets)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Wake { node, ticket } => {
                if self.slots.get(node.index()).is_some_and(|slot| slot.ticket == ticket) {
                    self.run_node(node);
                }
            }
            Event::Packet { from, to, bytes } => {
                if let Some(node) = self.kernel.deliver(from, to, bytes) {
                    self.run_node(node);
                }
            }
            Event::Act(act) => {
                if let Some(node) = act() {
                    self.run_node(node);
                }
            }
            Event::Fault(fault) => self.strike(fault),
        }
    }

    fn strike(&mut self, fault: Fault) {
        self.kernel.note(format_args!("fault {fault:?}"));
        let kernel = Arc::clone(&self.kernel);
        let now = kernel.now_ns();
        match fault {
            Fault::Cut { from, to } => kernel.network(|network| network.cut(from, to)),
            Fault::Heal { from, to } => kernel.network(|network| network.heal(from, to)),
            Fault::Weather(weather) => kernel.network(|network| network.set_weather(weather)),
            Fault::Kill(node) => {
                if self.end_life(node)
                    && let Some(slot) = self.slots.get(node.index())
                {
                    slot.belongings.disk.release();
                }
            }
            Fault::PowerLoss(node) => self.lose_power(node),
            Fault::PowerLossAt { node, moment, count, down_ms } => {
                kernel.aim(node, moment, count, Duration::from_millis(down_ms));
            }
            Fault::Boot(node) => self.boot(node),
            Fault::Pause { node, for_ms } => {
                let until = now + nanos(Duration::from_millis(for_ms));
                kernel.machine(node, |machine| machine.busy_until_ns = machine.busy_until_ns.max(until));
            }
            Fault::ClockStep { node, by_ms } => {
                kernel.machine(node, |machine| machine.clocks.step(by_ms.saturating_mul(1_000_000)));
            }
            Fault::ClockDrift { node, ppm } => {
                kernel.machine(node, |machine| machine.clocks.set_drift(now, ppm));
                // Its timers were computed with the old speed.
                self.run_node(node);
            }
            Fault::DiskFull(node) => drop(kernel.machine(node, |machine| machine.disk_full = true)),
            Fault::DiskFree(node) => drop(kernel.machine(node, |machine| machine.disk_full = false)),
            Fault::DiskWipe(node) => {
                if !self.is_up(node)
                    && let Some(slot) = self.slots.get(node.index())
                {
                    slot.belongings.disk.wipe();
                }
            }
            Fault::StorageDown => self.store.set_down(true),
            Fault::StorageUp => self.store.set_down(false),
            Fault::StorageCut(node) => self.store.set_cut(node, true),
            Fault::StorageHeal(node) => self.store.set_cut(node, false),
            Fault::StorageLapse { node, method, lapse, times } => {
                self.store.misbehave(Rule { node, method, lapse, times });
            }
            Fault::StorageLatency { from_ms, to_ms } => self.store.set_latency(from_ms..to_ms),
        }
    }

    fn boot(&mut self, node: Node) {
        let Some(life) = self.kernel.boot(node) else { return };
        let Some(slot) = self.slots.get_mut(node.index()) else { return };
        // The runtime is made by the node: it reads the node's clock and entropy.
        self.kernel.set_running(Some(node));
        slot.entropy = Some(life.stream("entropy"));
        let outer = interpose::swap_entropy(slot.entropy.take());
        let runtime = Builder::new_current_thread().enable_all().build();
        slot.entropy = interpose::swap_entropy(outer);
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                self.kernel.fence(node);
                self.exits.push(Exit { node, life: life.number(), error: Some(error.to_string()) });
                return;
            }
        };
        let (kernel, boot) = (Arc::clone(&self.kernel), Arc::clone(&slot.boot));
        let env = assemble(&life, &slot.belongings, &self.store);
        let address = kernel.machine(node, |machine| machine.address);
        let address = address.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
        let info = BootInfo { node, life: life.number(), address, tracer: Tracer(life.clone()) };
        runtime.spawn(async move {
            let ended = boot(env, info).await.map_err(|error| format!("{error:#}"));
            kernel.machine(node, |machine| machine.exit = Some(ended));
            interpose::stop();
        });
        slot.running = Some((runtime, life));
        self.run_node(node);
    }

    /// Lets a node work until it can only wait.
    fn run_node(&mut self, node: Node) {
        let kernel = Arc::clone(&self.kernel);
        let Some(slot) = self.slots.get_mut(node.index()) else { return };
        let Some((runtime, life)) = &slot.running else { return };
        let busy = kernel.machine(node, |machine| machine.busy_until_ns).unwrap_or_default();
        slot.ticket += 1;
        if busy > kernel.now_ns() {
            return kernel.schedule(busy, Event::Wake { node, ticket: slot.ticket });
        }
        let life = life.number();
        kernel.set_running(Some(node));
        let outer = interpose::swap_entropy(slot.entropy.take());
        let next = interpose::run_until_idle(runtime);
        slot.entropy = interpose::swap_entropy(outer);
        self.drain_panics(node);
        let ticket = self.slots.get(node.index()).map_or(0, |slot| slot.ticket);
        let (exit, doomed) =
            kernel.machine(node, |machine| (machine.exit.take(), machine.doomed.take())).unwrap_or_default();
        if let Some(down) = doomed {
            self.lose_power(node);
            kernel.schedule_in(down, Event::Fault(Fault::Boot(node)));
        } else if let Some(ended) = exit {
            let error = ended.err();
            kernel.note(format_args!("{node} ended: {}", error.as_deref().unwrap_or("well")));
            self.exits.push(Exit { node, life, error });
            self.end_process(node);
        } else if let Some(due) = kernel.settle(node, next) {
            kernel.schedule(due, Event::Wake { node, ticket });
        }
        kernel.set_running(None);
    }

    /// A process ended by itself: its destructors still reach the world.
    fn end_process(&mut self, node: Node) {
        self.drop_runtime(node);
        self.kernel.fence(node);
        if let Some(slot) = self.slots.get(node.index()) {
            slot.belongings.disk.release();
        }
    }

    fn lose_power(&mut self, node: Node) {
        if !self.end_life(node) {
            return;
        }
        let life = self.kernel.machine(node, |machine| machine.life).unwrap_or_default();
        let mut stream = self.kernel.stream("power loss", (u64::from(node.0) << 32) | life);
        if let Some(slot) = self.slots.get(node.index()) {
            slot.belongings.disk.lose_power(&mut stream);
        }
    }

    /// Ends a life in the middle of whatever it was doing. Returns whether there was one.
    fn end_life(&mut self, node: Node) -> bool {
        self.kernel.fence(node);
        self.drop_runtime(node)
    }

    fn drop_runtime(&mut self, node: Node) -> bool {
        let Some(slot) = self.slots.get_mut(node.index()) else { return false };
        slot.ticket += 1;
        let Some((runtime, _)) = slot.running.take() else { return false };
        self.kernel.set_running(Some(node));
        let outer = interpose::swap_entropy(slot.entropy.take());
        drop(runtime);
        interpose::swap_entropy(outer);
        self.kernel.set_running(None);
        self.drain_panics(node);
        true
    }

    fn drain_panics(&mut self, node: Node) {
        for panic in panics::drain() {
            self.kernel.note(format_args!("{node} panic: {panic}"));
            self.panics.push(format!("{node}: {panic}"));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for node in self.nodes() {
            self.end_life(node);
        }
        // What is still to happen holds the kernel, which holds it.
        while self.kernel.next_event(u64::MAX).is_some() {}
        interpose::set_active(false);
        interpose::swap_entropy(None);
        panics::release();
    }
}

/// Opens a copy of a node's database as it would be after a loss of power now,
/// for a checker.
pub fn open_durable(drive: &Drive, name: &str) -> anyhow::Result<Option<redb::Database>> {
    let Some(copy) = drive.durable_copy(name) else { return Ok(None) };
    let database = redb::Builder::new().create_with_backend(copy);
    Ok(Some(database.with_context(|| format!("the database {name} does not open any more"))?))
}

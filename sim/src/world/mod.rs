//! One simulated world: machines, a network, an object storage, and time.
//!
//! Invariant: what happens is a function of the seed, the options, the nodes and
//! the faults that were scheduled. That holds from the first line of the trace
//! to the last if the world has a fresh thread of a fresh process: what the
//! process did before is otherwise part of the input (`process` sees to it).

mod events;
mod setup;

use std::{pin::Pin, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::runtime::Runtime;

pub use setup::{BootInfo, Exit, Machine, Options, Tracer};

use crate::{
    env::{
        Belongings,
        disk::Drive,
        files::{FileSystem, SimFiles},
        store::ObjectStore,
    },
    history::{Event as Asked, recorder::Shared},
    journal::Journal,
    kernel::{
        Event, Kernel, Life,
        clock::Clocks,
        fault::{Fault, Node, Planned},
        interpose, lock, nanos, panics,
        rng::Stream,
    },
};

type Process = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

struct Slot {
    boot: Arc<dyn Fn(env::Env, BootInfo) -> Process + Send + Sync>,
    belongings: Belongings,
    running: Option<(Runtime, Life)>,
    entropy: Option<Stream>,
    restart_after: Option<Duration>,
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
    history: Shared,
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
            history: Shared::default(),
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
        let belongings = Belongings { disk: Arc::new(drive), files: Arc::new(FileSystem::new(machine.user)) };
        self.slots.push(Slot {
            boot: Arc::new(move |env, info| Box::pin(boot(env, info))),
            belongings,
            running: None,
            entropy: None,
            restart_after: machine.restart_after,
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
        self.kernel.schedule(nanos(at), Event::Fault(fault, None));
    }

    /// Lets a fault strike now.
    pub fn strike(&self, fault: Fault) {
        self.schedule(self.now(), fault);
    }

    /// Schedules those faults of a plan that are wanted, by their place in it.
    pub fn schedule_plan(&self, plan: Vec<Planned>, wanted: impl Fn(usize) -> bool) {
        for (number, planned) in plan.into_iter().enumerate().filter(|(number, _)| wanted(*number)) {
            self.kernel.schedule(nanos(planned.at), Event::Fault(planned.fault, Some(number)));
        }
    }

    /// Switches all machines on, one after the other, now.
    pub fn boot_all(&self) {
        for node in self.nodes() {
            self.strike(Fault::Boot(node));
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

    /// The machines' names, in the order they were added.
    pub fn names(&self) -> Vec<String> {
        let name = |node| self.kernel.machine(node, |machine| machine.name.clone()).unwrap_or_default();
        self.nodes().into_iter().map(name).collect()
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

    /// What machines have asked for, and what they were told, so far.
    pub fn history(&self) -> Vec<Asked> {
        lock(&self.history).clone()
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

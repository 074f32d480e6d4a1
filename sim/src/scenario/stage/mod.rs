//! What most scenarios have in common: three orchestrators of the real actor system,
//! people at machines of their own, and a script that all of them read and write.
//!
//! Invariant: a person whose process ends in an error, and a panic that the scenario
//! does not expect, fail the run wherever it is.

pub mod founding;
pub mod person;
mod player;
pub mod tree;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use anyhow::{bail, ensure};

pub use self::player::{MayRetry, Player};
use crate::{
    kernel::{
        fault::{Fault, Node},
        lock,
    },
    scenario::Scenario,
    world::{Machine, World},
};

/// How many orchestrators there are, if the scenario does not say otherwise: nodes 0 and on.
pub const ORCHESTRATORS: u32 = 3;

/// What the machines of a run tell each other and the checker, outside the simulated world.
type Shared<S> = Arc<Mutex<S>>;

/// A world with a cluster in it, and the script of what is played.
pub struct Stage<'w, S> {
    /// The world.
    pub world: &'w mut World,
    script: Shared<S>,
    deadline: Duration,
    people: u8,
    rules: Rules,
}

impl<'w, S: Default + fmt::Debug + Send + 'static> Stage<'w, S> {
    /// An empty stage, whose storage knows the orchestrators' credential. Whatever is
    /// waited for has happened by the deadline, since the start of the run.
    pub fn set(world: &'w mut World, scenario: &Scenario, deadline: Duration) -> Self {
        world.store().allow(&founding::credential(), false);
        let rules = Rules { orchestrators: 0, unforgiven: |_| false, panics: scenario.panics, seen: (0, 0) };
        Self { world, script: Shared::default(), deadline, people: 0, rules }
    }

    /// Which errors of orchestrators fail the run: none, if nothing is said. They may end
    /// for want of room on their disks, and are started again.
    pub fn unforgiven(&mut self, unforgiven: fn(&str) -> bool) {
        self.rules.unforgiven = unforgiven;
    }

    /// Adds an orchestrator, as `o0` and on. They come before all people.
    pub fn orchestrator<F, P>(&mut self, role: F) -> Node
    where
        F: Fn(Player<S>) -> P + Send + Sync + 'static,
        P: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.rules.orchestrators += 1;
        let number = self.rules.orchestrators as u8;
        self.add(&format!("o{}", number - 1), Ipv4Addr::new(10, 0, 0, number), role)
    }

    /// Adds all orchestrators, which do their work and nothing else.
    pub fn orchestrators(&mut self) {
        for _ in 0..ORCHESTRATORS {
            self.orchestrator(founding::orchestrate);
        }
    }

    /// Adds a machine at which somebody sits.
    pub fn person<F, P>(&mut self, name: &str, role: F) -> Node
    where
        F: Fn(Player<S>) -> P + Send + Sync + 'static,
        P: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.people += 1;
        self.add(name, Ipv4Addr::new(10, 0, 1, self.people), role)
    }

    fn add<F, P>(&mut self, name: &str, address: Ipv4Addr, role: F) -> Node
    where
        F: Fn(Player<S>) -> P + Send + Sync + 'static,
        P: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let script = Arc::clone(&self.script);
        let machine = Machine::new(name, IpAddr::V4(address));
        self.world.add_node(machine, move |env, info| role(Player::new(env, info, Arc::clone(&script))))
    }

    /// The script.
    pub fn script(&self) -> MutexGuard<'_, S> {
        lock(&self.script)
    }

    /// Lets time pass until something stands in the script.
    pub fn wait(&mut self, what: &str, reached: impl Fn(&S) -> bool) -> anyhow::Result<()> {
        let script = Arc::clone(&self.script);
        let finished = self.run_until(self.deadline, || reached(&lock(&script)))?;
        ensure!(finished, "I14: stuck, no {what}: {:?}", self.script());
        Ok(())
    }

    /// Lets time pass until something stands in the script, or until so long after the start
    /// of the run. Whether it does.
    pub fn reach(&mut self, by: Duration, reached: impl Fn(&S) -> bool) -> anyhow::Result<bool> {
        let script = Arc::clone(&self.script);
        self.run_until(by, || reached(&lock(&script)))
    }

    /// Lets time pass until so long after the start of the run; everyone still has to do well.
    pub fn pass_until(&mut self, moment: Duration) -> anyhow::Result<()> {
        self.run_until(moment, || false).map(drop)
    }

    fn run_until(&mut self, moment: Duration, reached: impl Fn() -> bool) -> anyhow::Result<bool> {
        let (rules, mut failed) = (&mut self.rules, None);
        let finished = self.world.run_until(moment, |world| {
            failed = rules.broken(world);
            failed.is_some() || reached()
        });
        failed.map_or(Ok(finished), |failure| bail!("{failure}"))
    }

    /// Kills a process, and starts it again a moment later.
    pub fn restart(&self, node: Node) {
        self.world.strike(Fault::Kill(node));
        self.world.schedule(self.world.now() + Duration::from_millis(500), Fault::Boot(node));
    }
}

/// What must not happen in any scenario.
struct Rules {
    orchestrators: u32,
    /// Which errors of orchestrators count.
    unforgiven: fn(&str) -> bool,
    /// Parts of what expected panics say.
    panics: &'static [&'static str],
    /// How many exits and panics were looked at: every event asks.
    seen: (usize, usize),
}

impl Rules {
    fn broken(&mut self, world: &World) -> Option<String> {
        let (exits, panics) = (&world.exits()[self.seen.0..], &world.panics()[self.seen.1..]);
        self.seen = (world.exits().len(), world.panics().len());
        let failed = exits.iter().filter_map(|exit| Some((exit.node, exit.error.as_ref()?)));
        let mut counted = failed.filter(|(node, error)| node.0 >= self.orchestrators || (self.unforgiven)(error));
        let failed = counted.next().map(|(node, error)| format!("{node} failed: {error}"));
        let mut unexpected = panics.iter().filter(|panic| !self.panics.iter().any(|part| panic.contains(part)));
        failed.or_else(|| unexpected.next().map(|panic| format!("a panic: {panic}")))
    }
}

/// A part of a script that is too long to be told.
#[derive(Clone, Default)]
pub struct Untold<T>(pub T);

impl<T> fmt::Debug for Untold<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl<T> Deref for Untold<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Untold<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

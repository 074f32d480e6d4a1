//! Strangers flood an orchestrator, and another orchestrator is taken over and sends
//! the others everything that should never be sent.
//!
//! What must hold: strangers take no more than their share, and a client with a token
//! joins meanwhile; the orchestrators that were not taken over go on deciding, also
//! after their gossip died of what it was fed; once the third is itself again, all
//! hold the same records (I2).

mod attack;
mod roles;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{bail, ensure};

use super::{
    Scenario,
    cluster::{self, ORCHESTRATORS},
};
use crate::{
    kernel::{
        fault::{Fault, Node, Planned, Weather},
        lock,
        rng::Stream,
    },
    world::{Machine, Options, World},
};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "hostile",
    about: "strangers flood an orchestrator, and one is taken over",
    options,
    plan: |_| Vec::<Planned>::new(),
    panics: &[PANIC],
    play,
};

/// The orchestrator that is taken over: the flood strikes the first.
const TAKEN: Node = Node(ORCHESTRATORS - 1);
const DEADLINE: Duration = Duration::from_secs(120);
/// Part of what gossip says when it dies of the message that it is fed here.
const PANIC: &str = "node_delta.max_version >= self.max_version";

/// What the machines tell each other.
#[derive(Debug, Default)]
struct Script {
    /// The token, once it was made.
    token: Option<String>,
    /// Whether the strangers stand at the door.
    flooded: bool,
    /// Whether the client has joined.
    joined: bool,
    /// Whether the third orchestrator is someone else's.
    taken_over: bool,
    /// Whether that one has done its worst.
    attacked: bool,
    /// Whether decisions were made afterwards.
    decided: bool,
    /// Whether all orchestrators hold the same records again.
    agreed: bool,
}

type SharedScript = Arc<Mutex<Script>>;

fn options(seed: u64) -> Options {
    let mut stream = Stream::new(seed, "hostile options", 0);
    let lossy = Weather { loss_ppm: 10_000, jitter_us: 5_000, ..Weather::default() };
    let weather = if stream.chance(500_000) { Weather::default() } else { lossy };
    Options { weather, ..Options::default() }
}

fn play(world: &mut World) -> anyhow::Result<()> {
    world.store().allow(&cluster::credential(), false);
    let script = SharedScript::default();
    for number in 0..ORCHESTRATORS {
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, number as u8 + 1));
        let told = Arc::clone(&script);
        world.add_node(Machine::new(format!("o{number}"), address), move |env, info| {
            roles::orchestrate(env, info, Arc::clone(&told))
        });
    }
    let told = Arc::clone(&script);
    let operator = Machine::new("operator", IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1)));
    world.add_node(operator, move |env, _| roles::operate(env, Arc::clone(&told)));
    let told = Arc::clone(&script);
    let strangers = Machine::new("strangers", IpAddr::V4(Ipv4Addr::new(10, 0, 3, 1)));
    world.add_node(strangers, move |env, _| roles::flood(env, Arc::clone(&told)));
    let told = Arc::clone(&script);
    let client = Machine::new("client", IpAddr::V4(Ipv4Addr::new(10, 0, 2, 1)));
    world.add_node(client, move |env, _| roles::join(env, Arc::clone(&told)));
    world.boot_all();

    wait(world, &script, "client that joins", |script| script.joined)?;
    ensure!(world.panics().is_empty(), "a panic: {:?}", world.panics());
    lock(&script).taken_over = true;
    restart(world, TAKEN);
    wait(world, &script, "attack", |script| script.attacked)?;
    wait(world, &script, "decision after the attack", |script| script.decided)?;
    ensure!(!world.panics().is_empty(), "the gossip tasks did not die: the attack is too weak to show anything");
    lock(&script).taken_over = false;
    restart(world, TAKEN);
    wait(world, &script, "agreement", |script| script.agreed)
}

fn restart(world: &World, node: Node) {
    world.schedule(world.now(), Fault::Kill(node));
    world.schedule(world.now() + Duration::from_millis(500), Fault::Boot(node));
}

/// Lets time pass until something has happened.
fn wait(world: &mut World, script: &SharedScript, what: &str, reached: fn(&Script) -> bool) -> anyhow::Result<()> {
    let finished = world.run_until(DEADLINE, |world| reached(&lock(script)) || !failures(world).is_empty());
    if let Some(failure) = failures(world).first() {
        bail!("{failure}");
    }
    ensure!(finished, "no {what}: {:?}", lock(script));
    Ok(())
}

/// Processes that ended in an error, and panics but those of gossip that was fed poison.
fn failures(world: &World) -> Vec<String> {
    let failed = world.exits().iter().filter_map(|exit| Some((exit.node, exit.error.as_ref()?)));
    let errors = failed.map(|(node, error)| format!("{node} failed: {error}"));
    let panics = world.panics().iter().filter(|panic| !panic.contains(PANIC));
    errors.chain(panics.map(|panic| format!("a panic: {panic}"))).collect()
}

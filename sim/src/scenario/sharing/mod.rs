//! Two clients of a trusting domain with the same files, while the orchestrators that
//! publish index segments lose their power in the middle of that work.
//!
//! What must hold: whoever leads goes on with the work until nothing waits; then the
//! second client stores next to nothing of what the first has; both restore byte for
//! byte, and everything that was committed verifies (I11, I12).

mod roles;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, bail, ensure};

use super::{
    Scenario,
    cluster::{ORCHESTRATORS, SOURCE, credential, tree},
};
use crate::{
    kernel::{
        fault::{Fault, Moment, Node, Plan, Planned, Weather},
        lock,
        rng::Stream,
    },
    world::{Machine, Options, World},
};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "sharing",
    about: "two clients share what is published, whoever publishes it loses its power",
    options,
    plan,
    panics: &[],
    play,
};

const OPERATOR: Node = Node(ORCHESTRATORS);
const CLIENTS: [Node; 2] = [Node(ORCHESTRATORS + 1), Node(ORCHESTRATORS + 2)];
const DEADLINE: Duration = Duration::from_secs(600);
/// The first client backs up and its segments are published in this time.
const FAULTS: std::ops::Range<Duration> = Duration::from_millis(3_000)..Duration::from_millis(25_000);
/// How many backups the first client makes: enough that runs are merged.
const BACKUPS: usize = 10;
/// Where each restores to.
const TARGET: &str = "/restored";

/// What is handed from one person to another, or told to the checker.
#[derive(Debug, Default)]
struct Script {
    /// The token, from the operator to whoever sits at the clients.
    token: Option<String>,
    /// What the first client stored in all.
    stored: u64,
    /// Set when the first client has backed up and nothing waits to be published.
    published: bool,
    /// Clients that have restored and verified.
    done: usize,
}

type SharedScript = Arc<Mutex<Script>>;

fn options(seed: u64) -> Options {
    let mut stream = Stream::new(seed, "sharing options", 0);
    let weather = match stream.below(2) {
        0 => Weather::default(),
        _ => Weather { loss_ppm: 5_000, jitter_us: 3_000, ..Weather::default() },
    };
    Options { weather, storage_ms: 40..300, ..Options::default() }
}

/// Orchestrators ask the storage for commits and for what they publish: at some of these
/// requests each loses its power. One of them is killed besides, whatever it does.
fn plan(seed: u64) -> Vec<Planned> {
    let mut stream = Stream::new(seed, "sharing plan", 0);
    let mut plan = Plan::default();
    for node in (0..ORCHESTRATORS).map(Node) {
        let at = Plan::moment(&mut stream, FAULTS.start, FAULTS.end);
        let (count, down_ms) = (1 + stream.below(20) as u32, 500 + stream.below(6_000));
        plan.at(at, Fault::PowerLossAt { node, moment: Moment::AfterStorageRequest, count, down_ms });
    }
    let node = Node(stream.below(u64::from(ORCHESTRATORS)) as u32);
    let at = Plan::moment(&mut stream, FAULTS.start, FAULTS.end);
    let lasts = Plan::moment(&mut stream, Duration::from_secs(1), Duration::from_secs(8));
    plan.at(at, Fault::Kill(node)).at(at + lasts, Fault::Boot(node));
    plan.finish()
}

fn play(world: &mut World) -> anyhow::Result<()> {
    world.store().allow(&credential(), false);
    let script = SharedScript::default();
    for number in 0..ORCHESTRATORS {
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, number as u8 + 1));
        world.add_node(Machine::new(format!("o{number}"), address), super::cluster::roles::orchestrate);
    }
    let operator = Machine::new("operator", IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1)));
    let told = Arc::clone(&script);
    world.add_node(operator, move |env, _| roles::operate(env, Arc::clone(&told)));
    for (number, node) in (0..).zip(CLIENTS) {
        let client = Machine::new(format!("client{number}"), IpAddr::V4(Ipv4Addr::new(10, 0, 2, number + 1)));
        let told = Arc::clone(&script);
        world.add_node(client, move |env, info| roles::back_up(env, info, number == 0, Arc::clone(&told)));
        // The same stream: the same files.
        tree::plant(&world.files(node).context("a client has files")?, &mut world.stream("tree"))?;
    }
    world.boot_all();
    let finished = world.run_until(DEADLINE, |world| lock(&script).done == 2 || !failures(world).is_empty());
    if let Some(failure) = failures(world).first() {
        bail!("{failure}");
    }
    ensure!(finished, "stuck at {:?}", lock(&script));
    for node in CLIENTS {
        let files = world.files(node).context("a client has files")?;
        let (before, after) = (files.entries(SOURCE)?, files.entries(format!("{TARGET}{SOURCE}"))?);
        ensure!(before.keys().eq(after.keys()), "{node}: other names were restored");
        for (path, entry) in &before {
            ensure!(after[path].content == entry.content, "{node}: {} is not what was backed up", path.display());
        }
    }
    Ok(())
}

/// People whose work ended in an error, and panics anywhere.
fn failures(world: &World) -> Vec<String> {
    let exits = world.exits().iter().filter(|exit| exit.node == OPERATOR || CLIENTS.contains(&exit.node));
    let errors = exits.filter_map(|exit| exit.error.as_ref().map(|error| format!("{} failed: {error}", exit.node)));
    errors.chain(world.panics().iter().map(|panic| format!("a panic: {panic}"))).collect()
}

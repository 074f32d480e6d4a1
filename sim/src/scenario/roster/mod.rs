//! Orchestrators come and go: a fourth joins, one is lost with its disk and removed, its
//! machine joins again as a new node in the place of another. Meanwhile orchestrators
//! are killed, lose power, hang and are cut off, and so is the operator, who begins
//! again with whatever was under way.
//!
//! What must hold: whoever had joined is still enrolled in the end (I3), all that are in
//! the roster hold the same records and the same log (I2), and each of them can serve:
//! a client joins with a token that was made before all this, and gets tickets, while
//! one of the orchestrators is down.

mod roles;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use actors::client::Trust;
use anyhow::{bail, ensure};
use protocol::ids::ClientId;

use super::{Scenario, cluster};
use crate::{
    kernel::{
        fault::{Fault, Node, Plan, Planned, Weather},
        lock,
        rng::Stream,
    },
    world::{Machine, Options, World},
};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "roster",
    about: "orchestrators join, are lost, removed and replaced, with faults on the way",
    options,
    plan,
    panics: &[],
    play,
};

/// Machines of orchestrators: the cluster begins with all but the last.
const MACHINES: u32 = cluster::ORCHESTRATORS + 1;
const OPERATOR: Node = Node(MACHINES);
/// Joins before anything changes.
const EARLY: Node = Node(MACHINES + 1);
/// Joins when everything has changed.
const LATE: Node = Node(MACHINES + 2);
/// Whose disk is lost.
const LOST: Node = Node(0);
/// Whose place that machine takes when it is back.
const REPLACED: Node = Node(1);
/// Who is down when the late client joins.
const DOWN: Node = Node(2);
/// The roster changes in this time.
const FAULTS: std::ops::Range<Duration> = Duration::from_secs(6)..Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_secs(400);

/// How far the operator has come: each stage is begun again after an interruption.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Nothing is there.
    #[default]
    Founding,
    /// The fourth joins.
    Adding,
    /// One is lost and leaves.
    Removing,
    /// Its machine is back, empty, and takes another's place.
    Replacing,
    /// The last client joins.
    Joining,
    /// All is done, and was looked at.
    Checked,
}

/// What the machines tell each other and the checker.
#[derive(Debug, Default)]
struct Script {
    stage: Stage,
    /// What the operator keeps on its disk.
    kept: Option<Kept>,
    /// The token, once it was made.
    token: Option<String>,
    /// The clients that were told that they joined.
    joined: Vec<ClientId>,
}

/// The operator's directory.
#[derive(Debug, Clone)]
struct Kept {
    root_seed: [u8; 32],
    admin_seed: [u8; 32],
    trust: Trust,
}

type SharedScript = Arc<Mutex<Script>>;

fn options(seed: u64) -> Options {
    let mut stream = Stream::new(seed, "roster options", 0);
    let weather = match stream.below(3) {
        0 => Weather::default(),
        1 => Weather { loss_ppm: 10_000, duplicate_ppm: 5_000, jitter_us: 5_000, ..Weather::default() },
        _ => Weather { delay_us: 15_000, jitter_us: 15_000, ..Weather::default() },
    };
    Options { weather, ..Options::default() }
}

/// Short ones, since a roster may rightly wait for those that are away.
fn plan(seed: u64) -> Vec<Planned> {
    let mut stream = Stream::new(seed, "roster plan", 0);
    let all: Vec<Node> = (0..=LATE.0).map(Node).collect();
    let mut plan = Plan::default();
    for _ in 0..2 + stream.below(4) {
        let at = Plan::moment(&mut stream, FAULTS.start, FAULTS.end);
        let lasts = Plan::moment(&mut stream, Duration::from_millis(300), Duration::from_secs(4));
        // Not the one that is to be lost: when its machine boots is a part of the play.
        let node = Node(1 + stream.below(u64::from(OPERATOR.0)) as u32);
        match stream.below(4) {
            0 => _ = plan.at(at, Fault::Kill(node)).at(at + lasts, Fault::Boot(node)),
            1 => _ = plan.outage(at, node, lasts),
            2 => _ = plan.isolate(at, node, &all, lasts),
            _ => _ = plan.at(at, Fault::Pause { node, for_ms: lasts.as_millis() as u64 }),
        }
    }
    plan.finish()
}

fn play(world: &mut World) -> anyhow::Result<()> {
    world.store().allow(&cluster::credential(), false);
    let script = SharedScript::default();
    for number in 0..MACHINES {
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, number as u8 + 1));
        world.add_node(Machine::new(format!("o{number}"), address), cluster::roles::orchestrate);
    }
    let told = Arc::clone(&script);
    let operator = Machine::new("operator", IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1)));
    world.add_node(operator, move |env, _| roles::operate(env, Arc::clone(&told)));
    for (number, after) in [(0, Stage::Founding), (1, Stage::Replacing)] {
        let told = Arc::clone(&script);
        let client = Machine::new(format!("c{number}"), IpAddr::V4(Ipv4Addr::new(10, 0, 2, number + 1)));
        world.add_node(client, move |env, info| roles::join(env, info, after, Arc::clone(&told)));
    }
    world.boot_all();

    wait(world, &script, "fourth orchestrator", |script| script.stage == Stage::Removing)?;
    world.schedule(world.now(), Fault::Kill(LOST));
    world.schedule(world.now(), Fault::DiskWipe(LOST));
    wait(world, &script, "removal", |script| script.stage == Stage::Replacing)?;
    world.schedule(world.now(), Fault::Boot(LOST));
    wait(world, &script, "replacement", |script| script.stage == Stage::Joining)?;
    world.schedule(world.now(), Fault::Calm);
    world.schedule(world.now(), Fault::Kill(DOWN));
    wait(world, &script, "late client", |script| script.joined.len() == 2)?;
    world.schedule(world.now(), Fault::Boot(DOWN));
    wait(world, &script, "agreement", |script| script.stage == Stage::Checked)
}

/// Lets time pass until something has happened.
fn wait(world: &mut World, script: &SharedScript, what: &str, reached: impl Fn(&Script) -> bool) -> anyhow::Result<()> {
    let finished = world.run_until(DEADLINE, |world| reached(&lock(script)) || !failures(world).is_empty());
    if let Some(failure) = failures(world).first() {
        bail!("{failure}");
    }
    ensure!(finished, "no {what}: {:?}", lock(script));
    Ok(())
}

/// People whose work ended in an error, and panics anywhere.
fn failures(world: &World) -> Vec<String> {
    let people = [OPERATOR, EARLY, LATE];
    let exits = world.exits().iter().filter(|exit| people.contains(&exit.node));
    let errors = exits.filter_map(|exit| exit.error.as_ref().map(|error| format!("{} failed: {error}", exit.node)));
    errors.chain(world.panics().iter().map(|panic| format!("a panic: {panic}"))).collect()
}

//! Several clients race for one token that is good for fewer of them, while
//! orchestrators are killed, lose power, are cut off, hang, and have no room on disk.
//!
//! What must hold: as many clients join as the token has uses, never more (I4), and
//! each of them has what the token was for; the others are refused. All orchestrators
//! lose power right after the first lease was acknowledged, and the lease and every
//! acknowledged enrollment survive (I3). In the end the orchestrators' records are the
//! same (I2), the release value is erased everywhere (I5), and a client that is revoked
//! is cut off everywhere within two seconds and stays out.

mod roles;

pub(super) use roles::agree;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use protocol::{commands::Lease, ids::ClientId};
use redb::{ReadableDatabase, ReadableTableMetadata, TableDefinition};

use super::{
    Scenario,
    cluster::{self, ORCHESTRATORS},
};
use crate::{
    kernel::{
        fault::{Fault, Node, Plan, Planned, Weather},
        lock,
        rng::Stream,
    },
    world::{Machine, Options, World, open_durable},
};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "joins",
    about: "clients race for a token, all power is lost, one is revoked",
    options,
    plan,
    panics: &[],
    play,
};

/// Clients that want to join, and how many of them may.
const CLIENTS: u32 = 4;
const USES: u32 = 2;
const OPERATOR: Node = Node(ORCHESTRATORS);
const FIRST_CLIENT: u32 = ORCHESTRATORS + 1;
/// The joining is under way in this time.
const FAULTS: std::ops::Range<Duration> = Duration::from_millis(2_500)..Duration::from_secs(9);
const DEADLINE: Duration = Duration::from_secs(240);
/// The orchestrator that is stopped and started again in the end.
const RESTARTS: Node = Node(0);
/// How long the orchestrators are without power.
const BLACKOUT: Duration = Duration::from_millis(700);
/// A revocation cuts live connections in this time.
const CUT: Duration = Duration::from_secs(2);

/// What the machines tell each other and the checker.
#[derive(Debug, Default)]
struct Script {
    /// The token, once it was made.
    token: Option<String>,
    /// The clients that were told that they joined.
    joined: BTreeSet<ClientId>,
    /// Those that were told that they may not.
    refused: BTreeSet<Node>,
    /// The first lease that was acknowledged.
    leased: Option<Lease>,
    /// Whether the orchestrators have lost power, and have it again.
    blackout_over: bool,
    /// Those that have done all that they wanted.
    done: BTreeSet<Node>,
    /// Set when the faults are over.
    calm: bool,
    /// Whether one orchestrator has been stopped and started again in one process.
    restarted: bool,
    /// Clients that have connections to all orchestrators and wait for their end.
    connected: BTreeSet<ClientId>,
    /// The client that was revoked.
    revoked: Option<ClientId>,
    /// Whether its connections have ended.
    cut: bool,
    /// Whether it was refused when it came back.
    stays_out: bool,
    /// Whether the operator has seen all that it wanted to see.
    agreed: bool,
}

type SharedScript = Arc<Mutex<Script>>;

fn options(seed: u64) -> Options {
    let mut stream = Stream::new(seed, "joins options", 0);
    let weather = match stream.below(3) {
        0 => Weather::default(),
        1 => Weather { loss_ppm: 20_000, duplicate_ppm: 5_000, jitter_us: 5_000, ..Weather::default() },
        _ => Weather { delay_us: 20_000, jitter_us: 20_000, ..Weather::default() },
    };
    Options { weather, ..Options::default() }
}

/// Some orchestrators are lost, perhaps several at a time; a client may be as well.
fn plan(seed: u64) -> Vec<Planned> {
    let mut stream = Stream::new(seed, "joins plan", 0);
    let all: Vec<Node> = (0..FIRST_CLIENT + CLIENTS).map(Node).collect();
    let mut plan = Plan::default();
    for _ in 0..1 + stream.below(4) {
        let at = Plan::moment(&mut stream, FAULTS.start, FAULTS.end);
        let lasts = Plan::moment(&mut stream, Duration::from_millis(300), Duration::from_secs(5));
        let node = Node(stream.below(u64::from(ORCHESTRATORS)) as u32);
        match stream.below(6) {
            0 => _ = plan.at(at, Fault::Kill(node)).at(at + lasts, Fault::Boot(node)),
            1 => _ = plan.outage(at, node, lasts),
            2 => _ = plan.isolate(at, node, &all, lasts),
            3 => _ = plan.at(at, Fault::DiskFull(node)).at(at + lasts, Fault::DiskFree(node)),
            4 => _ = plan.at(at, Fault::Pause { node, for_ms: lasts.as_millis() as u64 }),
            _ => _ = plan.isolate(at, node, &all[..ORCHESTRATORS as usize], lasts),
        }
    }
    if stream.chance(500_000) {
        let at = Plan::moment(&mut stream, FAULTS.start, FAULTS.end);
        let client = Node(FIRST_CLIENT + stream.below(u64::from(CLIENTS)) as u32);
        plan.outage(at, client, Duration::from_secs(1));
    }
    plan.finish()
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
    for number in 0..CLIENTS {
        let told = Arc::clone(&script);
        let client = Machine::new(format!("c{number}"), IpAddr::V4(Ipv4Addr::new(10, 0, 2, number as u8 + 1)));
        world.add_node(client, move |env, info| roles::join(env, info, Arc::clone(&told)));
    }
    world.boot_all();

    wait(world, &script, "a lease", |script| script.leased.is_some())?;
    // Aimed, since it hardly ever happens by chance: all power goes right after an answer.
    for node in (0..ORCHESTRATORS).map(Node) {
        world.schedule(world.now(), Fault::PowerLoss(node));
        world.schedule(world.now() + BLACKOUT, Fault::Boot(node));
    }
    world.run_for(BLACKOUT);
    lock(&script).blackout_over = true;
    wait(world, &script, "everyone's answer", |script| script.done.len() == CLIENTS as usize)?;
    if world.now() < FAULTS.end {
        world.run_for(FAULTS.end - world.now());
    }
    world.schedule(world.now(), Fault::Calm);
    lock(&script).calm = true;

    wait(world, &script, "a revocation", |script| script.revoked.is_some())?;
    let revoked_at = world.now();
    wait(world, &script, "the cut", |script| script.cut)?;
    let took = world.now() - revoked_at;
    ensure!(took < CUT, "a revoked client was connected for {took:?}");
    wait(world, &script, "agreement", |script| script.agreed && script.stays_out)?;
    check(world, &lock(&script))
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
    let failed = world.exits().iter().filter_map(|exit| Some((exit.node, exit.error.as_ref()?)));
    // An orchestrator may fail to start while its disk is full.
    let unexpected = failed.filter(|(node, error)| node.0 >= OPERATOR.0 || error.contains(roles::AGAIN));
    let errors = unexpected.map(|(node, error)| format!("{node} failed: {error}"));
    errors.chain(world.panics().iter().map(|panic| format!("a panic: {panic}"))).collect()
}

fn check(world: &World, script: &Script) -> anyhow::Result<()> {
    ensure!(script.joined.len() == USES as usize, "{} clients joined with a token of {USES} uses", script.joined.len());
    let refused = script.refused.len();
    ensure!(refused == (CLIENTS - USES) as usize, "{refused} of {CLIENTS} clients were refused");
    const RELEASES: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("releases");
    for node in (0..ORCHESTRATORS).map(Node) {
        let disk = world.disk(node).context("an orchestrator has a disk")?;
        let vault = open_durable(disk, "vault")?.with_context(|| format!("{node} has no vault"))?;
        let left = vault.begin_read()?.open_table(RELEASES)?.len()?;
        ensure!(left == 0, "{node} keeps {left} release values that nobody needs");
    }
    Ok(())
}

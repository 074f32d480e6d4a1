//! A client whose backups are interrupted in every way: it loses its power, is stopped
//! for longer than a lease lasts, is cut off, has a second backup take its place; its
//! backups are cut into parts; orchestrators and the storage fail meanwhile.
//!
//! What must hold: every complete snapshot restores byte for byte to what the tree was
//! when it was made; every part restores to a part of that; whoever is taken over from
//! stops and says so; and once the faults are over, the next backup completes (I14).

mod roles;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, bail, ensure};

use super::{
    Scenario,
    cluster::{ORCHESTRATORS, credential, tree},
};
use crate::{
    env::files::{Entry, SimFiles},
    kernel::{
        fault::{Fault, Lapse, Method, Moment, Node, Plan, Planned, Weather},
        lock,
        rng::Stream,
    },
    world::{Machine, Options, World},
};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "interruptions",
    about: "backups in parts, killed, stopped, fenced and taken over on the way, and restored",
    options,
    plan,
    panics: &[],
    play,
};

const OPERATOR: Node = Node(ORCHESTRATORS);
const CLIENT: Node = Node(ORCHESTRATORS + 1);
/// How many complete backups the client makes before it waits for the faults to end.
const BACKUPS: usize = 3;
/// The faults are over by then.
const FAULTS_END: Duration = Duration::from_secs(90);
const DEADLINE: Duration = Duration::from_secs(900);
/// A lease is over after two hours.
const CLOCK_JUMP_MS: i64 = 3 * 3600 * 1000;

/// Where the client's files are.
const SOURCE: &str = super::cluster::SOURCE;
/// Below it, each snapshot is restored.
const TARGET: &str = "/restored";

type Tree = BTreeMap<PathBuf, Entry>;

/// What is handed from one person to another, or told to the checker.
#[derive(Default)]
struct Script {
    /// The token, from the operator to whoever sits at the client.
    token: Option<String>,
    /// The client's files, as anyone may see them.
    files: Option<SimFiles>,
    /// The next day's work that is to be done in the tree.
    day: usize,
    /// The snapshots that were reported as complete, and what the tree was.
    complete: Vec<(String, Tree)>,
    /// Backups that made way for another.
    superseded: usize,
    /// Set when the faults are over.
    calm: bool,
    restored: Vec<Restored>,
    /// Set when everything was restored.
    done: bool,
}

/// A snapshot that was restored.
struct Restored {
    snapshot: String,
    complete: bool,
    at: String,
}

type SharedScript = Arc<Mutex<Script>>;

fn options(seed: u64) -> Options {
    let mut stream = Stream::new(seed, "interruptions options", 0);
    let weather = match stream.below(3) {
        0 => Weather::default(),
        1 => Weather { loss_ppm: 10_000, duplicate_ppm: 2_000, jitter_us: 3_000, ..Weather::default() },
        _ => Weather { delay_us: 15_000, jitter_us: 10_000, ..Weather::default() },
    };
    Options { weather, storage_ms: 100..1_500, ..Options::default() }
}

/// The client is interrupted one to four times, an orchestrator and the storage now and then.
fn plan(seed: u64) -> Vec<Planned> {
    let mut stream = Stream::new(seed, "interruptions plan", 0);
    let everyone: Vec<Node> = (0..=CLIENT.0).map(Node).collect();
    let mut plan = Plan::default();
    for _ in 0..=stream.below(4) {
        let at = Plan::moment(&mut stream, Duration::from_secs(3), FAULTS_END - Duration::from_secs(40));
        let lasts = Plan::moment(&mut stream, Duration::from_secs(1), Duration::from_secs(30));
        match stream.below(7) {
            // At a request to the storage: in the middle of a backup, whenever that is.
            0 | 1 => {
                let (count, down_ms) = (1 + stream.below(12) as u32, 500 + stream.below(8_000));
                plan.at(at, Fault::PowerLossAt { node: CLIENT, moment: Moment::AfterStorageRequest, count, down_ms });
            }
            2 => _ = plan.at(at, Fault::Kill(CLIENT)).at(at + lasts, Fault::Boot(CLIENT)),
            // It sleeps, and its lease ends meanwhile: the orchestrators' clocks go on.
            3 | 4 => {
                let for_ms = lasts.as_millis() as u64 + 4_000;
                plan.at(at, Fault::Pause { node: CLIENT, for_ms });
                jump(&mut plan, at + Duration::from_millis(500));
            }
            // Its lease ends under its hands.
            5 => jump(&mut plan, at),
            _ => _ = plan.isolate(at, CLIENT, &everyone, lasts),
        }
    }
    let at = Plan::moment(&mut stream, Duration::from_secs(3), FAULTS_END - Duration::from_secs(40));
    let node = Node(stream.below(u64::from(ORCHESTRATORS)) as u32);
    let lasts = Plan::moment(&mut stream, Duration::from_secs(4), Duration::from_secs(30));
    match stream.below(4) {
        0 => _ = plan.at(at, Fault::Kill(node)).at(at + lasts, Fault::Boot(node)),
        1 => _ = plan.outage(at, node, lasts),
        2 => _ = plan.isolate(at, node, &everyone, lasts),
        _ => {}
    }
    let at = Plan::moment(&mut stream, Duration::from_secs(3), FAULTS_END - Duration::from_secs(40));
    let times = 1 + stream.below(3) as u32;
    let put = |lapse| Fault::StorageLapse { node: Some(CLIENT), method: Some(Method::Put), lapse, times };
    match stream.below(6) {
        0 => _ = plan.at(at, Fault::StorageDown).at(at + lasts, Fault::StorageUp),
        1 => _ = plan.at(at, put(Lapse::InternalAfter)),
        2 => _ = plan.at(at, put(Lapse::LostAnswer)),
        3 => _ = plan.at(at, put(Lapse::LostRequest)),
        _ => {}
    }
    plan.at(FAULTS_END, Fault::Calm).at(FAULTS_END, Fault::StorageLatency { from_ms: 10, to_ms: 100 });
    plan.finish()
}

/// The clocks of all orchestrators are some hours ahead for a while: leases end.
fn jump(plan: &mut Plan, at: Duration) {
    for node in (0..ORCHESTRATORS).map(Node) {
        plan.at(at, Fault::ClockStep { node, by_ms: CLOCK_JUMP_MS });
        plan.at(at + Duration::from_secs(3), Fault::ClockStep { node, by_ms: -CLOCK_JUMP_MS });
    }
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
    let client = Machine::new("client", IpAddr::V4(Ipv4Addr::new(10, 0, 2, 1)));
    let told = Arc::clone(&script);
    world.add_node(client, move |env, info| roles::back_up(env, info, Arc::clone(&told)));
    let files = world.files(CLIENT).context("the client has files")?;
    let mut stream = world.stream("tree");
    tree::plant(&files, &mut stream)?;
    // Longer than a part may be.
    let mut large = Vec::new();
    while large.len() < 6 << 20 {
        large.extend_from_slice(&stream.number().to_le_bytes());
    }
    files.write(PathBuf::from(SOURCE).join("d1/large"), &large)?;
    lock(&script).files = Some(files);

    world.boot_all();
    world.run_until(FAULTS_END, |world| !failures(world).is_empty());
    lock(&script).calm = true;
    let finished = world.run_until(DEADLINE, |world| lock(&script).done || !failures(world).is_empty());
    if let Some(failure) = failures(world).first() {
        bail!("{failure}");
    }
    let script = lock(&script);
    ensure!(finished, "stuck after {} backups", script.complete.len());
    world.note(format_args!(
        "{} snapshots, {} complete, {} superseded",
        script.restored.len(),
        script.complete.len(),
        script.superseded
    ));
    check(world, &script)
}

/// People whose work ended in an error, and panics anywhere.
fn failures(world: &World) -> Vec<String> {
    let people = [OPERATOR, CLIENT];
    let exits = world.exits().iter().filter(|exit| people.contains(&exit.node));
    let errors = exits.filter_map(|exit| exit.error.as_ref().map(|error| format!("{} failed: {error}", exit.node)));
    errors.chain(world.panics().iter().map(|panic| format!("a panic: {panic}"))).collect()
}

fn check(world: &World, script: &Script) -> anyhow::Result<()> {
    let files = world.files(CLIENT).context("the client has files")?;
    for (snapshot, tree) in &script.complete {
        let restored = script.restored.iter().find(|restored| restored.snapshot == *snapshot && restored.complete);
        let restored = restored.with_context(|| format!("snapshot {snapshot} was reported as done and is gone"))?;
        let found = files.entries(format!("{}{SOURCE}", restored.at))?;
        for (path, entry) in tree {
            let same = found.get(path).is_some_and(|found| alike(found, entry));
            ensure!(same, "{snapshot}: {} is not what was backed up", path.display());
        }
        let extra = found.keys().find(|path| !tree.contains_key(*path));
        ensure!(extra.is_none(), "{snapshot}: {extra:?} was restored but never there");
    }
    for part in script.restored.iter().filter(|restored| !restored.complete) {
        let Ok(found) = files.entries(format!("{}{SOURCE}", part.at)) else { continue };
        // Which day it was made on is not told; what is in it was there on one of them.
        for (path, entry) in found.iter().filter(|(_, entry)| entry.metadata.kind == env::files::Kind::File) {
            let trees = script.complete.iter().filter_map(|(_, tree)| tree.get(path));
            let known = trees.clone().next().is_none() || trees.clone().any(|known| known.content == entry.content);
            ensure!(known, "part {}: {} was never like that", part.snapshot, path.display());
        }
    }
    Ok(())
}

fn alike(one: &Entry, other: &Entry) -> bool {
    let seen = |entry: &Entry| (entry.metadata.mode, entry.metadata.mtime, entry.metadata.links);
    one.content == other.content && seen(one) == seen(other)
}

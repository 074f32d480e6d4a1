//! The main job in a simulated world: three orchestrators of the real actor
//! system, an operator and a client. The client joins with a token, backs up, sees
//! an orchestrator die in the middle, backs up again after a change, and restores.
//!
//! What must hold: every backup that was reported as done restores byte for byte;
//! the operator and the client finish whatever happens to one orchestrator; no file
//! name and no content stands in the storage.

pub(super) mod roles;
pub(super) mod tree;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use protocol::records::StorageCredential;

use super::Scenario;
use crate::{
    kernel::{
        fault::{Fault, Lapse, Node, Plan, Planned, Weather},
        lock,
        rng::Stream,
    },
    world::{Machine, Options, World},
};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "cluster",
    about: "join, back up with an orchestrator lost on the way, back up again, restore",
    options,
    plan,
    panics: &[],
    play,
};

/// How many orchestrators there are: nodes 0 and on.
pub(super) const ORCHESTRATORS: u32 = 3;
const OPERATOR: Node = Node(ORCHESTRATORS);
const CLIENT: Node = Node(ORCHESTRATORS + 1);
/// Backups, fail-overs and elections take seconds of simulated time; this is stuck.
const DEADLINE: Duration = Duration::from_secs(300);
/// Enrollment and the backups are under way in this time.
const FAULTS: std::ops::Range<Duration> = Duration::from_millis(500)..Duration::from_millis(11_000);

/// Where the client's files are, and where they are restored.
pub(super) const SOURCE: &str = "/data";
const TARGET: &str = "/restored";

/// What is handed from one person to another, or told to the checker.
#[derive(Debug, Default)]
struct Script {
    /// The token, from the operator to whoever sits at the client.
    token: Option<String>,
    /// What each backup said when it was done.
    backups: Vec<String>,
    /// Set when the client has restored.
    restored: bool,
    /// Set when the client has seen its token refused for other keys.
    refused: bool,
}

type SharedScript = Arc<Mutex<Script>>;

fn options(seed: u64) -> Options {
    let mut stream = Stream::new(seed, "cluster options", 0);
    let weather = match stream.below(3) {
        0 => Weather::default(),
        1 => Weather { loss_ppm: 10_000, duplicate_ppm: 2_000, jitter_us: 3_000, ..Weather::default() },
        _ => Weather { delay_us: 15_000, jitter_us: 10_000, ..Weather::default() },
    };
    Options { weather, storage_ms: 40..400, ..Options::default() }
}

/// One orchestrator is lost at a time: killed, out of power, or cut off. On half of
/// the seeds the storage has a bad time as well.
fn plan(seed: u64) -> Vec<Planned> {
    let mut stream = Stream::new(seed, "cluster plan", 0);
    let all: Vec<Node> = (0..=CLIENT.0).map(Node).collect();
    let mut plan = Plan::default();
    let at = Plan::moment(&mut stream, FAULTS.start, FAULTS.end);
    let node = Node(stream.below(u64::from(ORCHESTRATORS)) as u32);
    let lasts = Plan::moment(&mut stream, Duration::from_secs(4), Duration::from_secs(20));
    match stream.below(3) {
        0 => _ = plan.at(at, Fault::Kill(node)).at(at + lasts, Fault::Boot(node)),
        1 => _ = plan.outage(at, node, lasts),
        _ => _ = plan.isolate(at, node, &all, lasts),
    }
    let at = Plan::moment(&mut stream, FAULTS.start, FAULTS.end);
    let times = 1 + stream.below(3) as u32;
    let lapse = |lapse| Fault::StorageLapse { node: None, method: None, lapse, times };
    match stream.below(12) {
        0 => _ = plan.at(at, Fault::StorageDown).at(at + Duration::from_secs(3), Fault::StorageUp),
        1 => _ = plan.at(at, lapse(Lapse::Internal)),
        2 => _ = plan.at(at, lapse(Lapse::Busy)),
        3 => _ = plan.at(at, lapse(Lapse::InternalAfter)),
        4 => _ = plan.at(at, lapse(Lapse::LostRequest)),
        5 => _ = plan.at(at, lapse(Lapse::LostAnswer)),
        _ => {}
    }
    plan.finish()
}

/// The credential that orchestrators use.
pub(super) fn credential() -> StorageCredential {
    StorageCredential::new("minter", "the minter's secret")
}

fn play(world: &mut World) -> anyhow::Result<()> {
    world.store().allow(&credential(), false);
    let script = SharedScript::default();
    for number in 0..ORCHESTRATORS {
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, number as u8 + 1));
        world.add_node(Machine::new(format!("o{number}"), address), roles::orchestrate);
    }
    let operator = Machine::new("operator", IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1)));
    let told = Arc::clone(&script);
    world.add_node(operator, move |env, info| roles::operate(env, info, Arc::clone(&told)));
    let client = Machine::new("client", IpAddr::V4(Ipv4Addr::new(10, 0, 2, 1)));
    let told = Arc::clone(&script);
    world.add_node(client, move |env, info| roles::back_up(env, info, Arc::clone(&told)));
    let mut stream = world.stream("tree");
    tree::plant(&world.files(CLIENT).context("the client has files")?, &mut stream)?;

    world.boot_all();
    let finished = world.run_until(DEADLINE, |world| lock(&script).refused || !failures(world).is_empty());
    if let Some(failure) = failures(world).first() {
        bail!("{failure}");
    }
    ensure!(finished, "stuck at {:?}", lock(&script));
    check(world)
}

/// People whose work ended in an error, and panics anywhere.
fn failures(world: &World) -> Vec<String> {
    let people = [OPERATOR, CLIENT];
    let exits = world.exits().iter().filter(|exit| people.contains(&exit.node));
    let errors = exits.filter_map(|exit| exit.error.as_ref().map(|error| format!("{} failed: {error}", exit.node)));
    errors.chain(world.panics().iter().map(|panic| format!("a panic: {panic}"))).collect()
}

fn check(world: &World) -> anyhow::Result<()> {
    let files = world.files(CLIENT).context("the client has files")?;
    let before = files.entries(SOURCE)?;
    let after = files.entries(format!("{TARGET}{SOURCE}"))?;
    for (path, entry) in &before {
        let restored = after.get(path).with_context(|| format!("{} was not restored", path.display()))?;
        let same = (&entry.content, entry.metadata.mode, entry.metadata.mtime, entry.metadata.links)
            == (&restored.content, restored.metadata.mode, restored.metadata.mtime, restored.metadata.links);
        ensure!(same, "{} is not what was backed up: {entry:?} became {restored:?}", path.display());
    }
    let extra = after.keys().find(|path| !before.contains_key(*path));
    ensure!(extra.is_none(), "{extra:?} was restored but never there");
    check_storage(world)
}

/// I5 and I10, as far as a reader of the storage can see: names and contents are sealed.
fn check_storage(world: &World) -> anyhow::Result<()> {
    for target in world.store().objects().into_keys() {
        let object = world.store().object(&target).unwrap_or_default();
        for marked in [tree::MARKED_NAME, tree::MARKED_CONTENT] {
            let found = object.windows(marked.len()).any(|window| window == marked.as_bytes());
            ensure!(!found, "{marked:?} stands in {target} in the clear");
            ensure!(!target.contains(marked), "{marked:?} stands in the name {target}");
        }
    }
    Ok(())
}

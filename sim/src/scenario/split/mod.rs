//! The orchestrators are split in two, and on each side somebody goes on deciding, as
//! the same admin: the same subjects, the same versions, other words, and another
//! keyset of the same number. Then the network heals.
//!
//! What must hold (I2): each side takes records while it is alone, a minority too.
//! Afterwards all orchestrators hold the same records, byte for byte, on their disks;
//! nothing that was acknowledged is missing, and nothing that was replaced is left.

mod roles;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use control::records::{Inserted, RecordSet};
use protocol::{
    codec,
    ids::{ClusterId, Hash},
    records::Record,
    sign::{Signed, Signer},
};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

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
    name: "split",
    about: "records are submitted on both sides of a partition, which heals",
    options,
    plan,
    panics: &[],
    play,
};

/// Who submits records, one on each side.
const ADMINS: [Node; 2] = [Node(ORCHESTRATORS + 1), Node(ORCHESTRATORS + 2)];
/// Founding is done by then, and the split lasts until the last of these is over.
const FAULTS: std::ops::Range<Duration> = Duration::from_secs(6)..Duration::from_secs(20);
const DEADLINE: Duration = Duration::from_secs(240);

/// What the machines tell each other and the checker.
#[derive(Debug, Default)]
struct Script {
    /// The seeds of the root and the admin key, once the cluster is founded.
    seeds: Option<([u8; 32], [u8; 32])>,
    /// The orchestrators that each admin reaches, once they are split.
    sides: Option<[Vec<u32>; 2]>,
    /// What was acknowledged.
    taken: Vec<Signed>,
    /// The admins that have submitted all that they wanted.
    done: BTreeSet<usize>,
    /// Whether all are together again.
    healed: bool,
    /// Whether the founder has seen them agree.
    agreed: bool,
}

type SharedScript = Arc<Mutex<Script>>;

fn options(seed: u64) -> Options {
    let mut stream = Stream::new(seed, "split options", 0);
    let weather = match stream.below(3) {
        0 => Weather::default(),
        1 => Weather { loss_ppm: 20_000, duplicate_ppm: 10_000, jitter_us: 10_000, ..Weather::default() },
        _ => Weather { delay_us: 20_000, jitter_us: 20_000, ..Weather::default() },
    };
    Options { weather, ..Options::default() }
}

/// Orchestrators are lost for a while, one after the other.
fn plan(seed: u64) -> Vec<Planned> {
    let mut stream = Stream::new(seed, "split plan", 0);
    let mut plan = Plan::default();
    for _ in 0..stream.below(4) {
        let at = Plan::moment(&mut stream, FAULTS.start, FAULTS.end);
        let lasts = Plan::moment(&mut stream, Duration::from_millis(300), Duration::from_secs(4));
        let node = Node(stream.below(u64::from(ORCHESTRATORS)) as u32);
        match stream.below(3) {
            0 => _ = plan.at(at, Fault::Kill(node)).at(at + lasts, Fault::Boot(node)),
            1 => _ = plan.outage(at, node, lasts),
            _ => _ = plan.at(at, Fault::Pause { node, for_ms: lasts.as_millis() as u64 }),
        }
    }
    plan.finish()
}

fn play(world: &mut World) -> anyhow::Result<()> {
    world.store().allow(&cluster::credential(), false);
    let script = SharedScript::default();
    for number in 0..ORCHESTRATORS {
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, number as u8 + 1));
        world.add_node(Machine::new(format!("o{number}"), address), cluster::roles::orchestrate);
    }
    let told = Arc::clone(&script);
    let founder = Machine::new("founder", IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1)));
    world.add_node(founder, move |env, _| roles::found_and_compare(env, Arc::clone(&told)));
    for side in 0..ADMINS.len() {
        let told = Arc::clone(&script);
        let admin = Machine::new(format!("admin{side}"), IpAddr::V4(Ipv4Addr::new(10, 0, 1, side as u8 + 2)));
        world.add_node(admin, move |env, _| roles::decide(env, side, Arc::clone(&told)));
    }
    world.boot_all();

    wait(world, &script, "cluster", |script| script.seeds.is_some())?;
    let alone = world.stream("sides").below(u64::from(ORCHESTRATORS)) as u32;
    let sides = [vec![alone], (0..ORCHESTRATORS).filter(|number| *number != alone).collect()];
    let members = |side: usize| sides[side].iter().copied().map(Node).chain([ADMINS[side]]);
    for (one, other) in members(0).flat_map(|one| members(1).map(move |other| (one, other))) {
        world.schedule(world.now(), Fault::Cut { from: one, to: other });
        world.schedule(world.now(), Fault::Cut { from: other, to: one });
    }
    lock(&script).sides = Some(sides.clone());
    wait(world, &script, "acknowledgements", |script| script.done.len() == ADMINS.len())?;
    if world.now() < FAULTS.end {
        world.run_for(FAULTS.end - world.now());
    }
    world.schedule(world.now(), Fault::Calm);
    lock(&script).healed = true;
    wait(world, &script, "agreement", |script| script.agreed)?;
    check(world, &lock(&script))
}

/// Lets time pass until something has happened.
fn wait(world: &mut World, script: &SharedScript, what: &str, reached: impl Fn(&Script) -> bool) -> anyhow::Result<()> {
    let finished = world.run_until(DEADLINE, |world| reached(&lock(script)) || !failures(world).is_empty());
    if let Some(failure) = failures(world).first() {
        bail!("{failure}");
    }
    let script = lock(script);
    ensure!(finished, "no {what}: {:?} done, healed {}", script.done, script.healed);
    Ok(())
}

/// Processes that ended in an error, and panics anywhere.
fn failures(world: &World) -> Vec<String> {
    let failed = world.exits().iter().filter_map(|exit| Some((exit.node, exit.error.as_ref()?)));
    let errors = failed.map(|(node, error)| format!("{node} failed: {error}"));
    errors.chain(world.panics().iter().map(|panic| format!("a panic: {panic}"))).collect()
}

/// The records on an orchestrator's disk, as they are stored.
fn stored(world: &World, node: Node) -> anyhow::Result<BTreeMap<Hash, Vec<u8>>> {
    const RECORDS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("records");
    let disk = world.disk(node).context("an orchestrator has a disk")?;
    let database = open_durable(disk, "records")?.with_context(|| format!("{node} has no records"))?;
    let table = database.begin_read()?.open_table(RECORDS)?;
    let rows = table.iter()?.map(|row| row.map(|(hash, bytes)| (Hash(*hash.value()), bytes.value().to_vec())));
    Ok(rows.collect::<Result<_, _>>()?)
}

fn check(world: &World, script: &Script) -> anyhow::Result<()> {
    let first = stored(world, Node(0))?;
    for node in (1..ORCHESTRATORS).map(Node) {
        let other = stored(world, node)?;
        ensure!(first == other, "I2: n0 and {node} hold {} and {} records, and others", first.len(), other.len());
    }
    let (root_seed, _) = script.seeds.context("the cluster was founded")?;
    let root = Signer::from_seed(&root_seed).public();
    let mut set = RecordSet::new(ClusterId::of_root(&root), root);
    for bytes in first.values() {
        let record = set.open(codec::decode("record", bytes)?)?;
        ensure!(set.insert(record) == Inserted::New, "a record that was replaced is still on disk");
    }
    for signed in &script.taken {
        let record: Record = set.open(signed.clone())?;
        ensure!(set.judge(&record) != Inserted::New, "{:?} was acknowledged and is gone", record.subject());
    }
    // And the majority's keyset.
    let (taken, all) = (script.taken.len(), ADMINS.len() * roles::RECORDS_PER_SIDE + 1);
    ensure!(taken == all, "{taken} of {all} records were acknowledged");
    ensure!(set.keyset().is_some_and(|(number, _)| number == 2), "neither side's keyset counts");
    Ok(())
}

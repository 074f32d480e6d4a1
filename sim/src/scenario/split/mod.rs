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
    time::Duration,
};

use anyhow::{Context, ensure};
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
    stage::{ORCHESTRATORS, Stage, Untold},
    swarm::{LAPSES_PASSING, Swarm, Trouble, millis, nodes},
};
use crate::{
    kernel::{
        fault::{Fault, Node, Plan, Planned, Weather},
        rng::Stream,
    },
    world::{Options, World, open_durable},
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
const FAULTS: std::ops::Range<Duration> = millis(6_000, 20_000);
const DEADLINE: Duration = Duration::from_secs(240);

/// What the machines tell each other and the checker.
#[derive(Debug, Default)]
struct Script {
    /// The seeds of the root and the admin key, once the cluster is founded.
    seeds: Option<([u8; 32], [u8; 32])>,
    /// The orchestrators that each admin reaches, once they are split.
    sides: Option<[Vec<u32>; 2]>,
    /// What was acknowledged.
    taken: Untold<Vec<Signed>>,
    /// The admins that have submitted all that they wanted.
    done: BTreeSet<usize>,
    /// Whether all are together again.
    healed: bool,
    /// Whether the founder has seen them agree.
    agreed: bool,
}

fn options(seed: u64) -> Options {
    Options { weather: Weather::drawn(&mut Stream::new(seed, "split options", 0)), ..Options::default() }
}

/// Orchestrators are lost for a while. None is cut off: the end of that would end the split.
fn plan(seed: u64) -> Vec<Planned> {
    use Trouble as T;
    let (mut plan, orchestrators) = (Plan::default(), nodes(0..ORCHESTRATORS));
    let swarm = Swarm {
        strikes: &orchestrators,
        machines: ORCHESTRATORS + 3,
        times: 0..4,
        during: FAULTS,
        lasts: millis(300, 4_000),
        allowed: &[T::Killed, T::Unpowered, T::UnpoweredAt, T::Paused, T::ClockStepped, T::ClockDrifts],
        lapses: LAPSES_PASSING,
    };
    swarm.add(&mut plan, &mut Stream::new(seed, "split plan", 0));
    plan.finish()
}

fn play(world: &mut World) -> anyhow::Result<()> {
    let mut stage = Stage::<Script>::set(world, &SCENARIO, DEADLINE);
    stage.unforgiven(|_| true);
    stage.orchestrators();
    stage.person("founder", roles::found_and_compare);
    for side in 0..ADMINS.len() {
        stage.person(&format!("admin{side}"), move |me| roles::decide(me, side));
    }
    stage.world.boot_all();

    stage.wait("cluster", |script| script.seeds.is_some())?;
    let alone = stage.world.stream("sides").below(u64::from(ORCHESTRATORS)) as u32;
    let sides = [vec![alone], (0..ORCHESTRATORS).filter(|number| *number != alone).collect()];
    let members = |side: usize| sides[side].iter().copied().map(Node).chain([ADMINS[side]]);
    for (one, other) in members(0).flat_map(|one| members(1).map(move |other| (one, other))) {
        stage.world.strike(Fault::Cut { from: one, to: other });
        stage.world.strike(Fault::Cut { from: other, to: one });
    }
    stage.script().sides = Some(sides.clone());
    stage.wait("acknowledgements", |script| script.done.len() == ADMINS.len())?;
    stage.pass_until(FAULTS.end)?;
    stage.world.strike(Fault::Calm);
    stage.script().healed = true;
    stage.wait("agreement", |script| script.agreed)?;
    check(stage.world, &stage.script())
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
    for node in nodes(1..ORCHESTRATORS) {
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
    for signed in &*script.taken {
        let record: Record = set.open(signed.clone())?;
        ensure!(set.judge(&record) != Inserted::New, "{:?} was acknowledged and is gone", record.subject());
    }
    // And the majority's keyset.
    let (taken, all) = (script.taken.len(), ADMINS.len() * roles::RECORDS_PER_SIDE + 1);
    ensure!(taken == all, "{taken} of {all} records were acknowledged");
    ensure!(set.keyset().is_some_and(|(number, _)| number == 2), "neither side's keyset counts");
    Ok(())
}

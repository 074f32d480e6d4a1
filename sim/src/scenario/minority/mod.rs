//! One of three orchestrators is cut off from the two others for ten minutes, with a client
//! on its side.
//!
//! What must hold: the majority does everything meanwhile; the one that is alone goes on
//! serving policy and rights to read to those it knows, takes records, and decides nothing;
//! a client that has heard of something newer among the majority, and comes to the one that
//! is alone, does not go back to what was before (I1); what an admin does on either side
//! stands in the audit trail in the end; and when all are together again, what is on their disks is the same, byte for byte: the
//! records (I2), the entries of the log, and snapshots of the ledger that cover the same.

mod roles;

use std::{collections::BTreeMap, time::Duration};

use actors::client::Trust;
use anyhow::{Context, ensure};
use protocol::ids::{ClientId, SnapshotId};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use super::{
    Scenario,
    stage::{ORCHESTRATORS, Stage, tree},
};
use crate::{
    kernel::{
        fault::{Fault, Node, Planned, Weather},
        rng::Stream,
    },
    world::{Options, World, open_durable},
};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "minority",
    about: "an orchestrator is cut off from the others for ten minutes, and decides nothing alone",
    options,
    plan,
    panics: &[],
    play,
};

const OPERATOR: Node = Node(ORCHESTRATORS);
/// Is on the side of the majority.
const INSIDER: Node = Node(ORCHESTRATORS + 1);
/// Is alone with the one that is cut off.
const ISLANDER: Node = Node(ORCHESTRATORS + 2);
/// Joins while they are apart.
const NEWCOMER: Node = Node(ORCHESTRATORS + 3);
/// Goes over from the majority to the one that is alone.
const COMMUTER: Node = Node(ORCHESTRATORS + 4);
/// How long they are apart, and when the commuter goes over.
const APART: Duration = Duration::from_secs(600);
const COMMUTES: Duration = Duration::from_secs(300);
const DEADLINE: Duration = Duration::from_secs(900);

/// How far it has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// Both clients join and back up.
    #[default]
    Together,
    /// The network is split.
    Apart,
    /// It has healed.
    Healed,
    /// All was looked at.
    Checked,
}

/// What the machines tell each other and the checker.
#[derive(Debug, Default)]
struct Script {
    step: Step,
    token: Option<String>,
    /// Which orchestrator is alone.
    alone: Option<u32>,
    /// The clients that joined, and the snapshots that they were told are made.
    told: BTreeMap<ClientId, Vec<SnapshotId>>,
    /// What the one that was alone did, so often.
    served: u32,
    refused: u32,
    /// Whether the operator has decided something on the side of the majority.
    ruled: bool,
    /// Whether that is a new keyset, and not another version of a policy.
    rekeyed: bool,
    /// With what an admin works on the other side.
    admin: Option<([u8; 32], Trust)>,
    /// Whether one did.
    ruled_alone: bool,
    /// Whether somebody restored on the side of the majority.
    restored: bool,
    /// How often the commuter has gone by what is new, and whether it has gone over.
    heard: u32,
    commuted: bool,
    /// How often it asked the one that is alone.
    asked_alone: u32,
}

fn options(seed: u64) -> Options {
    Options { weather: Weather::drawn(&mut Stream::new(seed, "minority options", 0)), ..Options::default() }
}

/// What goes wrong is the play itself.
fn plan(_: u64) -> Vec<Planned> {
    Vec::new()
}

fn play(world: &mut World) -> anyhow::Result<()> {
    let mut stream = world.stream("minority");
    let alone = stream.below(u64::from(ORCHESTRATORS)) as u32;
    let mut stage = Stage::<Script>::set(world, &SCENARIO, DEADLINE);
    stage.orchestrators();
    stage.person("operator", roles::operate);
    stage.script().rekeyed = stream.chance(500_000);
    for (name, after) in [("insider", Step::Together), ("islander", Step::Together), ("newcomer", Step::Apart)] {
        let node = stage.person(name, move |me| roles::work(me, after));
        let files = stage.world.files(node).context("a machine has files")?;
        // One large tree is enough: what is shown here is who decides.
        match after {
            Step::Apart => tree::plant(&files, &mut stream)?,
            _ => tree::plant_little(&files, name)?,
        }
    }
    stage.person("commuter", roles::commute);
    stage.world.boot_all();

    let has = |script: &Script, clients: usize| {
        script.told.len() == clients && script.told.values().all(|snapshots| !snapshots.is_empty())
    };
    stage.wait("first backups", |script| has(script, 2))?;
    let island = [Node(alone), ISLANDER];
    let mainland = (0..=COMMUTER.0).map(Node).filter(|node| !island.contains(node));
    for (one, other) in mainland.flat_map(|one| island.map(|other| (one, other))) {
        stage.world.strike(Fault::Cut { from: one, to: other });
        stage.world.strike(Fault::Cut { from: other, to: one });
    }
    {
        let mut script = stage.script();
        (script.step, script.alone) = (Step::Apart, Some(alone));
    }
    let before = stage.script().told.values().map(Vec::len).sum::<usize>();
    let apart = stage.world.now();
    stage.pass_until(apart + COMMUTES)?;
    let others = (0..=COMMUTER.0).map(Node).filter(|node| *node != COMMUTER);
    for other in others {
        for (from, to) in [(COMMUTER, other), (other, COMMUTER)] {
            let fault = if island.contains(&other) { Fault::Heal { from, to } } else { Fault::Cut { from, to } };
            stage.world.strike(fault);
        }
    }
    stage.script().commuted = true;
    stage.pass_until(apart + APART)?;
    {
        let script = stage.script();
        ensure!(script.restored, "nobody restored on the side of the majority: {script:?}");
        ensure!(script.ruled_alone, "the minority took no record: {script:?}");
        ensure!(script.heard > 0 && script.asked_alone > 2, "the commuter did not commute: {script:?}");
        let since = script.told.values().map(Vec::len).sum::<usize>() - before;
        ensure!(script.ruled && has(&script, 3) && since > 20, "the majority did not do everything: {script:?}");
        ensure!(script.served > 5, "the minority served nobody: {script:?}");
        ensure!(script.refused > 5, "the minority was not asked to decide: {script:?}");
    }
    stage.world.strike(Fault::Calm);
    stage.script().step = Step::Healed;
    stage.wait("agreement", |script| script.step == Step::Checked)?;
    check_disks(stage.world)
}

const RECORDS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("records");
const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// What an orchestrator's disk holds of what all must have alike.
struct Held {
    records: BTreeMap<[u8; 32], Vec<u8>>,
    entries: BTreeMap<u64, Vec<u8>>,
    /// What the ledger's snapshot covers, and its bytes.
    snapshot: Option<(Vec<u8>, Vec<u8>)>,
}

impl Held {
    /// Whether two hold the same. Each cuts its log when it likes, so that one may lack
    /// entries that another has.
    fn agrees_with(&self, other: &Self) -> Result<(), String> {
        let differs =
            |(index, entry): &(&u64, &Vec<u8>)| other.entries.get(index).is_some_and(|theirs| theirs != *entry);
        if self.records != other.records {
            return Err(format!("{} records, and not {}", self.records.len(), other.records.len()));
        }
        if let Some((index, _)) = self.entries.iter().find(differs) {
            return Err(format!("another entry {index}"));
        }
        match (&self.snapshot, &other.snapshot) {
            (Some(mine), Some(theirs)) if mine.0 == theirs.0 && mine.1 != theirs.1 => {
                Err(format!("another snapshot of {} bytes, and not {}", mine.1.len(), theirs.1.len()))
            }
            _ => Ok(()),
        }
    }
}

fn held(world: &World, node: Node) -> anyhow::Result<Held> {
    let drive = world.disk(node).context("a machine has a disk")?;
    let open = |name| open_durable(drive, name)?.with_context(|| format!("{node} has no {name}"));
    let (mut records, mut entries) = (BTreeMap::new(), BTreeMap::new());
    for row in open("records")?.begin_read()?.open_table(RECORDS)?.iter()? {
        let (hash, record) = row?;
        records.insert(*hash.value(), record.value().to_vec());
    }
    let database = open("log")?;
    let log = database.begin_read()?;
    for row in log.open_table(ENTRIES)?.iter()? {
        let (index, entry) = row?;
        entries.insert(index.value(), entry.value().to_vec());
    }
    let meta = log.open_table(META)?;
    let snapshot = match (meta.get("snapshot-meta")?, meta.get("snapshot")?) {
        (Some(covers), Some(bytes)) => Some((covers.value().to_vec(), bytes.value().to_vec())),
        _ => None,
    };
    Ok(Held { records, entries, snapshot })
}

fn check_disks(world: &World) -> anyhow::Result<()> {
    let disks: Vec<Held> = (0..ORCHESTRATORS).map(|number| held(world, Node(number))).collect::<anyhow::Result<_>>()?;
    // One that was sent the ledger as a snapshot may have no entry beside it.
    let last = disks.iter().filter_map(|disk| disk.entries.keys().next_back()).max();
    ensure!(last.is_some_and(|last| *last > 50), "the logs end at {last:?}");
    for (number, disk) in disks.iter().enumerate() {
        ensure!(!disk.records.is_empty(), "o{number} has no records");
        ensure!(!disk.entries.is_empty() || disk.snapshot.is_some(), "o{number} has neither log nor snapshot");
        for (other, first) in disks.iter().enumerate().take(number) {
            let agrees = disk.agrees_with(first);
            agrees.map_err(|differs| anyhow::anyhow!("I2: o{number} holds {differs}, than o{other}"))?;
        }
    }
    Ok(())
}

//! All orchestrators are lost with their disks while clients back up, and the operator
//! begins the cluster again on empty ones, from the ledger's backup and the commits that
//! came after it. The operator's machine is killed on the way, and so are the new
//! orchestrators; whoever sits there runs the same command again.
//!
//! What must hold: every snapshot that a client was told of is there again, and restores
//! and verifies (I3); leases and epochs are of a new incarnation; clients go on by
//! themselves, and the new life is backed up in its turn.

mod roles;

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use protocol::{
    ids::{ClientId, SnapshotId},
    records::Storage,
};

use super::{
    Scenario,
    stage::{ORCHESTRATORS, Stage, founding::Home, tree},
};
use crate::{
    kernel::{
        fault::{Fault, Lapse, Method, Moment, Node, Planned, Weather},
        rng::Stream,
    },
    world::{Options, World},
};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "rebuilds",
    about: "all orchestrators are lost, and the ledger begins again, interrupted on the way",
    options,
    plan,
    panics: &[],
    play,
};

const OPERATOR: Node = Node(ORCHESTRATORS);
const CLIENTS: u32 = 2;
/// How often somebody is interrupted while the cluster begins again, at most.
const INTERRUPTIONS_MAX: u64 = 8;
/// How long it goes on between two of them, at most, in milliseconds.
const GOES_ON_MS_MAX: u64 = 600;
/// How often an orchestrator writes to its disk until it has begun, at most.
const SYNCS_TO_BEGIN: u64 = 30;
const DEADLINE: Duration = Duration::from_secs(600);

/// How far it has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// Everything is made, and clients back up.
    #[default]
    Working,
    /// The ledger was backed up with all clients in it.
    Kept,
    /// All orchestrators are lost.
    Lost,
    /// The cluster is at work again.
    Rebuilt,
    /// The clients are to end.
    Ending,
    /// All was looked at.
    Checked,
}

/// What the machines tell each other and the checker.
#[derive(Debug, Default)]
struct Script {
    step: Step,
    /// What the operator keeps on its disk.
    home: Option<Home>,
    /// Where the clients' data and the ledger's backups are.
    storage: Option<Storage>,
    token: Option<String>,
    /// The snapshots that the clients were told are made.
    told: BTreeMap<ClientId, Vec<SnapshotId>>,
    /// The clients that have looked at all of theirs.
    ended: u32,
}

impl Script {
    fn snapshots(&self) -> usize {
        self.told.values().map(Vec::len).sum()
    }
}

fn options(seed: u64) -> Options {
    Options { weather: Weather::drawn(&mut Stream::new(seed, "rebuilds options", 0)), ..Options::default() }
}

/// What goes wrong is the play itself.
fn plan(_: u64) -> Vec<Planned> {
    Vec::new()
}

fn play(world: &mut World) -> anyhow::Result<()> {
    let mut stream = world.stream("rebuilds");
    let mut stage = Stage::<Script>::set(world, &SCENARIO, DEADLINE);
    stage.orchestrators();
    stage.person("operator", roles::operate);
    for number in 0..CLIENTS {
        let client = stage.person(&format!("c{number}"), roles::work);
        let files = stage.world.files(client).context("a machine has files")?;
        tree::plant(&files, &mut stream)?;
    }
    stage.world.boot_all();

    stage.wait("backup of the ledger", |script| script.step == Step::Kept)?;
    // What comes now is in no backup of the ledger.
    let kept = stage.script().snapshots();
    stage.wait("later backups", |script| script.snapshots() > kept + 2)?;
    for node in (0..ORCHESTRATORS).map(Node) {
        stage.world.strike(Fault::Kill(node));
        stage.world.strike(Fault::DiskWipe(node));
    }
    (0..ORCHESTRATORS).for_each(|node| stage.world.strike(Fault::Boot(Node(node))));
    if stream.chance(500_000) {
        // One of the new ones loses its power while it makes its databases.
        let (node, count) = (Node(stream.below(ORCHESTRATORS.into()) as u32), 1 + stream.below(SYNCS_TO_BEGIN) as u32);
        stage.world.strike(Fault::PowerLossAt { node, moment: Moment::AfterSync, count, down_ms: 500 });
    }
    if stream.below(2) == 0 {
        let lapse = if stream.below(2) == 0 { Lapse::Truncated } else { Lapse::Corrupt };
        let (node, method) = (Some(OPERATOR), Some(Method::Get));
        stage.world.strike(Fault::StorageLapse { node, method, lapse, times: 1 });
    }
    stage.script().step = Step::Lost;
    for _ in 0..stream.below(INTERRUPTIONS_MAX + 1) {
        let moment = stage.world.now() + Duration::from_millis(1 + stream.below(GOES_ON_MS_MAX));
        stage.pass_until(moment)?;
        if stage.script().step > Step::Lost {
            break;
        }
        // Mostly the operator, who is the last machine.
        let struck = Node(stream.below(2 * u64::from(OPERATOR.0)).min(OPERATOR.0.into()) as u32);
        stage.restart(struck);
    }
    stage.wait("another life", |script| script.step == Step::Rebuilt)?;
    let before = stage.script().snapshots();
    stage.wait("backups in it", |script| script.snapshots() > before + CLIENTS as usize)?;
    stage.script().step = Step::Ending;
    stage.wait("agreement", |script| script.step == Step::Checked)
}

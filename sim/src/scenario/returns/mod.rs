//! One of three orchestrators is lost while clients join and back up all the time, and
//! comes back: with an empty disk, with an older copy of its files, with a disk that was
//! put back whole to an earlier state, or late and unharmed.
//!
//! What must hold: no client sees an error, and nothing that one was told is gone in the
//! end (I3); a disk that is not the newest is recognised, and not voted with; whoever takes
//! the lost one's place is whole within a minute, and a majority with it decides.

mod roles;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, ensure};
use protocol::ids::{ClientId, SnapshotId};

use super::{
    Scenario,
    stage::{ORCHESTRATORS, Stage, founding::Home, tree},
};
use crate::{
    kernel::{
        fault::{Fault, Node, Planned, Weather},
        rng::Stream,
    },
    world::{Options, World},
};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "returns",
    about: "an orchestrator is lost at work, and returns with an empty, an old or its own disk",
    options,
    plan,
    panics: &[],
    play,
};

/// Machines that join, one after the other, and then back up again and again.
const CLIENTS: u32 = 5;
/// How many have joined when the lost one's disk is copied, and when it is lost.
const COPIED_AT: usize = 2;
const LOST_AT: usize = 3;
/// How many are left to join when the lost one is back.
const LAST_AT: usize = 4;
/// Which of them restores what it has, in the end.
const RESTORER: u32 = 0;
/// How long one that comes back by itself is away.
const AWAY: Duration = Duration::from_secs(90);
const DEADLINE: Duration = Duration::from_secs(600);
/// By which a node remembers that its disk was found to be an old one.
const OLD_FILE: &str = "disk-old";

/// With what the lost one comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    /// An empty one.
    Empty,
    /// An older copy of its files.
    Copied,
    /// One that was put back whole: no file tells.
    PutBack,
    /// Its own.
    Own,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// Everything is being made, and the first clients join.
    #[default]
    Working,
    /// The lost one is back with an old disk: it has to be recognised.
    Returned,
    /// It has an empty disk, and is to be given its place.
    Replacing,
    /// It is whole again.
    Whole,
    /// Another one is down: it is needed for a majority.
    Needed,
    /// The clients are done.
    Done,
    /// All was looked at.
    Checked,
}

/// What the machines tell each other and the checker.
#[derive(Debug, Default)]
struct Script {
    step: Step,
    /// What the operator keeps on its disk.
    home: Option<Home>,
    token: Option<String>,
    /// The clients that were told that they joined, and the snapshots that they were told
    /// are made.
    told: BTreeMap<ClientId, Vec<SnapshotId>>,
    /// How many snapshots were restored in the end.
    restored: usize,
}

impl Script {
    fn joined(&self) -> usize {
        self.told.len()
    }

    fn snapshots(&self) -> usize {
        self.told.values().map(Vec::len).sum()
    }
}

fn options(seed: u64) -> Options {
    Options { weather: Weather::drawn(&mut Stream::new(seed, "returns options", 0)), ..Options::default() }
}

/// What goes wrong is the play itself.
fn plan(_: u64) -> Vec<Planned> {
    Vec::new()
}

fn play(world: &mut World) -> anyhow::Result<()> {
    let mut stream = world.stream("returns");
    let (lost, other) = (Node(stream.below(3) as u32), 1 + stream.below(2) as u32);
    let other = Node((lost.0 + other) % ORCHESTRATORS);
    let disk = [Disk::Empty, Disk::Copied, Disk::PutBack, Disk::Own][stream.below(4) as usize];
    world.note(format_args!("o{} is lost, and returns with this disk: {disk:?}", lost.0));
    let mut stage = Stage::<Script>::set(world, &SCENARIO, DEADLINE);
    stage.orchestrators();
    stage.person("operator", move |me| roles::operate(me, lost));
    for number in 0..CLIENTS {
        let client = stage.person(&format!("c{number}"), move |me| roles::work(me, number as usize));
        let files = stage.world.files(client).context("a machine has files")?;
        // One large tree is enough: what is shown here is that work goes on.
        match number {
            RESTORER => tree::plant(&files, &mut stream)?,
            _ => tree::plant_little(&files, "a note")?,
        }
    }
    stage.world.boot_all();

    stage.wait("first clients", |script| script.joined() >= COPIED_AT)?;
    let image = stage.world.disk(lost).context("a machine has a disk")?.image();
    let early = stage.script().snapshots();
    stage.wait("more clients", |script| script.joined() >= LOST_AT && script.snapshots() > early)?;
    stage.world.strike(Fault::PowerLoss(lost));
    let later = stage.script().snapshots();
    stage.wait("backups without it", |script| script.snapshots() > later + 2)?;
    match disk {
        Disk::Empty => stage.world.strike(Fault::DiskWipe(lost)),
        Disk::Copied => stage.world.disk(lost).context("a machine has a disk")?.restore_files(&image),
        Disk::PutBack => stage.world.disk(lost).context("a machine has a disk")?.roll_back(&image),
        Disk::Own => stage.pass_until(stage.world.now() + AWAY)?,
    }
    stage.world.strike(Fault::Boot(lost));
    match disk {
        Disk::Empty => stage.script().step = Step::Replacing,
        Disk::Own => stage.script().step = Step::Whole,
        Disk::Copied | Disk::PutBack => {
            stage.script().step = Step::Returned;
            stage.wait("recognition of an old disk", |script| script.step == Step::Replacing)?;
            stage.world.strike(Fault::Kill(lost));
            stage.world.strike(Fault::DiskWipe(lost));
            stage.world.strike(Fault::Boot(lost));
        }
    }
    stage.wait("replacement", |script| script.step == Step::Needed)?;
    // From here on nothing is decided without the one that came back.
    stage.world.strike(Fault::Kill(other));
    let before = stage.script().snapshots();
    stage.wait("backups with it", |script| {
        script.joined() == CLIENTS as usize && script.snapshots() > before + CLIENTS as usize
    })?;
    stage.script().step = Step::Done;
    stage.world.strike(Fault::Boot(other));
    stage.wait("agreement", |script| script.step == Step::Checked && script.restored == 2)?;
    // Only what was put back is found to be old, and that disk was wiped since.
    for node in (0..ORCHESTRATORS).map(Node) {
        let old = stage.world.disk(node).and_then(|disk| disk.small_file(OLD_FILE));
        ensure!(old.is_none(), "the newest disk of {node} was taken for an old one");
    }
    Ok(())
}

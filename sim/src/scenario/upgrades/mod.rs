//! Orchestrators are brought up to date, one after the other, while clients back up: two
//! versions of the program work side by side. Then one is started with the old program
//! again, and another one with it wants to join.
//!
//! What must hold: the log stays at the old level until the last one is up to date, and
//! rises then; the old program refuses the newer log by name, and harms nothing; nothing
//! that a client was told is gone in the end (I3), and all agree (I2).

mod roles;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, ensure};
use protocol::{
    ids::{ClientId, SnapshotId},
    levels::{self, Levels},
};

use super::{
    Scenario,
    stage::{ORCHESTRATORS, Stage, tree},
    swarm::{LAPSES_PASSING, OF_MACHINES, Swarm, millis, nodes},
};
use crate::{
    kernel::{
        fault::{Fault, Node, Plan, Planned, Weather},
        rng::Stream,
    },
    world::{Options, World},
};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "upgrades",
    about: "orchestrators are brought up to date one after the other, and one goes back",
    options,
    plan,
    panics: &[],
    play,
};

/// The level to which the log rises, and what programs speak before and after.
const NEXT: u8 = levels::BACKUPS_NOTED;
const OLD: Levels = Levels { first: levels::FIRST, last: NEXT - 1 };
const NEW: Levels = Levels { first: levels::FIRST, last: NEXT };
/// Who wants to join with the old program.
const NEWCOMER: Node = Node(ORCHESTRATORS);
const OPERATOR: Node = Node(ORCHESTRATORS + 1);
const CLIENTS: u32 = 2;
/// While trouble begins: the programs are changed in this time.
const FAULTS: std::ops::Range<Duration> = millis(8_000, 40_000);
const DEADLINE: Duration = Duration::from_secs(600);

/// What the machines tell each other and the checker.
#[derive(Debug, Default)]
struct Script {
    /// Which orchestrators have the new program.
    newer: [bool; ORCHESTRATORS as usize],
    /// With how many of them the operator found everything as it should be.
    seen: Option<usize>,
    /// What the old program said of the newer log.
    refused: Option<String>,
    /// Whether the newcomer was turned away.
    turned_away: bool,
    token: Option<String>,
    /// The snapshots that the clients were told are made.
    told: BTreeMap<ClientId, Vec<SnapshotId>>,
    /// Whether the clients are to end.
    done: bool,
    /// The clients that have ended.
    ended: u32,
    checked: bool,
}

impl Script {
    fn updated(&self) -> usize {
        self.newer.iter().filter(|newer| **newer).count()
    }

    fn snapshots(&self) -> usize {
        self.told.values().map(Vec::len).sum()
    }

    fn speaks(&self, node: Node) -> Levels {
        if self.newer.get(node.0 as usize) == Some(&true) { NEW } else { OLD }
    }
}

fn options(seed: u64) -> Options {
    Options { weather: Weather::drawn(&mut Stream::new(seed, "upgrades options", 0)), ..Options::default() }
}

fn plan(seed: u64) -> Vec<Planned> {
    let (mut plan, strikes) = (Plan::default(), nodes(0..ORCHESTRATORS));
    let swarm = Swarm {
        strikes: &strikes,
        machines: OPERATOR.0 + 1 + CLIENTS,
        times: 0..5,
        during: FAULTS,
        lasts: millis(300, 4_000),
        allowed: OF_MACHINES,
        lapses: LAPSES_PASSING,
    };
    swarm.add(&mut plan, &mut Stream::new(seed, "upgrades plan", 0));
    plan.finish()
}

fn play(world: &mut World) -> anyhow::Result<()> {
    let mut stream = world.stream("upgrades");
    let first = stream.below(ORCHESTRATORS.into()) as u32;
    let order: Vec<Node> = (0..ORCHESTRATORS).map(|turn| Node((first + turn) % ORCHESTRATORS)).collect();
    let back = order[stream.below(ORCHESTRATORS.into()) as usize];
    let mut stage = Stage::<Script>::set(world, &SCENARIO, DEADLINE);
    for _ in 0..=ORCHESTRATORS {
        stage.orchestrator(roles::orchestrate);
    }
    stage.person("operator", roles::operate);
    for number in 0..CLIENTS {
        let client = stage.person(&format!("c{number}"), roles::work);
        let files = stage.world.files(client).context("a machine has files")?;
        tree::plant(&files, &mut stream)?;
    }
    stage.world.boot_all();

    stage.wait("first backups", |script| script.seen == Some(0) && script.snapshots() >= CLIENTS as usize)?;
    for (place, node) in order.iter().enumerate() {
        stage.script().newer[node.0 as usize] = true;
        stage.restart(*node);
        stage.wait("new program at work", |script| script.seen == Some(place + 1))?;
        let before = stage.script().snapshots();
        stage.wait("backups beside it", |script| script.snapshots() > before)?;
    }
    stage.world.strike(Fault::Calm);
    stage.wait("newcomer", |script| script.turned_away)?;
    stage.script().newer[back.0 as usize] = false;
    stage.restart(back);
    stage.wait("refusal of a newer log", |script| script.refused.is_some())?;
    let said = stage.script().refused.clone().unwrap_or_default();
    ensure!(said.contains("at level 2, and this program speaks level 1"), "the old program said: {said}");
    let before = stage.script().snapshots();
    stage.wait("backups without it", |script| script.snapshots() > before + 1)?;
    stage.script().newer[back.0 as usize] = true;
    stage.restart(back);
    stage.script().done = true;
    stage.wait("agreement", |script| script.checked)
}

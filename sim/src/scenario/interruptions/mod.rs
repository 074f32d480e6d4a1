//! A client whose backups are interrupted in every way: it loses its power, is stopped
//! for longer than a lease lasts, is cut off, has a second backup take its place; its
//! backups are cut into parts; orchestrators and the storage fail meanwhile.
//!
//! What must hold: every complete snapshot restores byte for byte to what the tree was
//! when it was made; every part restores to a part of that; whoever is taken over from
//! stops and says so; and once the faults are over, the next backup completes (I14).

mod roles;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, ensure};

use super::{
    Scenario,
    stage::{
        ORCHESTRATORS, Stage, Untold,
        tree::{self, SOURCE, Tree},
    },
    swarm::{LAPSES_PASSING, OF_MACHINES, OF_STORAGE, Swarm, millis, nodes},
};
use crate::{
    env::files::SimFiles,
    kernel::{
        fault::{Fault, Moment, Node, Plan, Planned, Weather},
        rng::Stream,
    },
    world::{Options, World},
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

const CLIENT: Node = Node(ORCHESTRATORS + 1);
/// How many complete backups the client makes before it waits for the faults to end.
const BACKUPS: usize = 3;
/// When faults begin, and when they are over.
const FAULTS: std::ops::Range<Duration> = millis(3_000, 50_000);
const FAULTS_END: Duration = Duration::from_secs(90);
const DEADLINE: Duration = Duration::from_secs(900);
/// A lease is over after two hours.
const CLOCK_JUMP_MS: i64 = 3 * 3600 * 1000;

/// What is handed from one person to another, or told to the checker.
#[derive(Debug, Default)]
struct Script {
    /// The token, from the operator to whoever sits at the client.
    token: Option<String>,
    /// The client's files, as anyone may see them.
    files: Untold<Option<SimFiles>>,
    /// The next day's work that is to be done in the tree.
    day: usize,
    /// The snapshots that were reported as complete, and what the tree was.
    complete: Vec<(String, Untold<Tree>)>,
    /// Backups that made way for another.
    superseded: usize,
    /// Set when the faults are over.
    calm: bool,
    restored: Vec<Restored>,
    /// Set when everything was restored.
    done: bool,
}

impl Script {
    fn tree(&self) -> anyhow::Result<Tree> {
        Ok(self.files.as_ref().context("the client has files")?.entries(SOURCE)?)
    }
}

/// A snapshot that was restored.
#[derive(Debug)]
struct Restored {
    snapshot: String,
    complete: bool,
    at: String,
}

fn options(seed: u64) -> Options {
    let weather = Weather::drawn(&mut Stream::new(seed, "interruptions options", 0));
    Options { weather, storage_ms: 100..1_500, ..Options::default() }
}

/// The client is interrupted one to four times, an orchestrator and the storage now and then.
fn plan(seed: u64) -> Vec<Planned> {
    let mut stream = Stream::new(seed, "interruptions plan", 0);
    let everyone = nodes(0..CLIENT.0 + 1);
    let mut plan = Plan::default();
    for _ in 0..=stream.below(4) {
        let at = Plan::moment(&mut stream, FAULTS.start, FAULTS.end);
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
    let lost = Swarm {
        strikes: &everyone[..ORCHESTRATORS as usize],
        machines: CLIENT.0 + 1,
        times: 0..3,
        during: FAULTS,
        lasts: millis(4_000, 30_000),
        allowed: OF_MACHINES,
        lapses: LAPSES_PASSING,
    };
    lost.add(&mut plan, &mut stream);
    Swarm { allowed: OF_STORAGE, ..lost }.add(&mut plan, &mut stream);
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
    let mut stage = Stage::<Script>::set(world, &SCENARIO, DEADLINE);
    stage.orchestrators();
    stage.person("operator", roles::operate);
    let client = stage.person("client", roles::back_up);
    let files = stage.world.files(client).context("the client has files")?;
    let mut stream = stage.world.stream("tree");
    tree::plant(&files, &mut stream)?;
    // Longer than a part may be.
    let mut large = vec![0; 6 << 20];
    stream.fill(&mut large);
    files.write(PathBuf::from(SOURCE).join("d1/large"), &large)?;
    stage.script().files = Untold(Some(files));

    stage.world.boot_all();
    stage.pass_until(FAULTS_END)?;
    stage.script().calm = true;
    stage.wait("restored snapshots", |script| script.done)?;
    let script = stage.script();
    let (restored, complete) = (script.restored.len(), script.complete.len());
    stage.world.note(format_args!("{restored} snapshots, {complete} complete, {} superseded", script.superseded));
    check(&script)
}

fn check(script: &Script) -> anyhow::Result<()> {
    let files = script.files.as_ref().context("the client has files")?;
    for (snapshot, tree) in &script.complete {
        let restored = script.restored.iter().find(|restored| restored.snapshot == *snapshot && restored.complete);
        let restored = restored.with_context(|| format!("snapshot {snapshot} was reported as done and is gone"))?;
        let found = files.entries(format!("{}{SOURCE}", restored.at))?;
        tree::compare(tree, &found).with_context(|| format!("snapshot {snapshot}"))?;
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

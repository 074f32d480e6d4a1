//! A client restores over what it restored before, while the storage loses bits of packs
//! and the client is killed on the way.
//!
//! What must hold (I8): what bears a file's name is whole: what the snapshot has, or, if
//! somebody was told that it could not be restored, what was there before.

mod roles;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use bytes::Bytes;

use super::{
    Scenario,
    stage::{
        ORCHESTRATORS, Stage, Untold,
        tree::{self, SOURCE, TARGET, Tree},
    },
    swarm::millis,
};
use crate::{
    env::files::{Entry, SimFiles},
    kernel::{
        fault::{Fault, Moment, Node, Plan, Planned, Weather},
        rng::Stream,
    },
    world::{Options, World},
};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "restores",
    about: "restored over what was restored before, with packs that rot",
    options,
    plan,
    panics: &[],
    play,
};

const CLIENT: Node = Node(ORCHESTRATORS + 1);
const FAULTS: std::ops::Range<Duration> = millis(16_000, 40_000);
const DEADLINE: Duration = Duration::from_secs(300);

/// What the machines tell each other and the checker.
#[derive(Debug, Default)]
struct Script {
    /// The token, from the operator to whoever sits at the client.
    token: Option<String>,
    /// The client's files, as anyone may see them.
    files: Untold<Option<SimFiles>>,
    /// The snapshots that were made, each with what the tree was.
    made: Vec<(String, Untold<Tree>)>,
    /// Whether the first was restored.
    restored: bool,
    /// Whether packs have rotted.
    rotten: bool,
    /// Paths that the last restore could not restore, as it said.
    told: Option<Vec<PathBuf>>,
}

fn options(seed: u64) -> Options {
    let weather = Weather::drawn(&mut Stream::new(seed, "restores options", 0));
    Options { weather, storage_ms: 20..200, ..Options::default() }
}

/// The client loses its power in the middle of restoring, once or twice, on half of the seeds.
fn plan(seed: u64) -> Vec<Planned> {
    let mut stream = Stream::new(seed, "restores plan", 0);
    let mut plan = Plan::default();
    for _ in 0..stream.below(3) {
        let at = Plan::moment(&mut stream, FAULTS.start, FAULTS.end);
        let (count, down_ms) = (1 + stream.below(8) as u32, 500 + stream.below(3_000));
        plan.at(at, Fault::PowerLossAt { node: CLIENT, moment: Moment::AfterStorageRequest, count, down_ms });
    }
    plan.finish()
}

fn play(world: &mut World) -> anyhow::Result<()> {
    let mut stream = world.stream("rot");
    let mut stage = Stage::<Script>::set(world, &SCENARIO, DEADLINE);
    stage.orchestrators();
    stage.person("operator", roles::operate);
    stage.person("client", roles::work);
    let files = stage.world.files(CLIENT).context("the client has files")?;
    tree::plant(&files, &mut stage.world.stream("tree"))?;
    *stage.script().files = Some(stage.world.files(CLIENT).context("the client has files")?);
    stage.world.boot_all();

    stage.wait("second snapshot", |script| script.restored && script.made.len() == 2)?;
    if stream.chance(800_000) {
        rot(stage.world, &mut stream);
    }
    stage.script().rotten = true;
    stage.wait("restore", |script| script.told.is_some())?;
    let found = files.entries(format!("{TARGET}{SOURCE}"))?;
    let script = stage.script();
    invariant_named_is_whole(&script, &found)
}

/// A bit of one or two packs is another.
fn rot(world: &World, stream: &mut Stream) {
    let packs: Vec<String> = world.store().objects().into_keys().filter(|target| target.contains("/pack/")).collect();
    for _ in 0..1 + stream.below(2) {
        let Some(target) = stream.choose(&packs) else { return };
        let mut bytes = world.store().object(target).unwrap_or_default().to_vec();
        let at = stream.below(bytes.len() as u64) as usize;
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 0x10;
        }
        world.store().tamper(target, Some(Bytes::from(bytes)));
    }
}

/// I8: each file has the content of the snapshot, or somebody was told, and it is as it
/// was before or not there.
fn invariant_named_is_whole(script: &Script, found: &Tree) -> anyhow::Result<()> {
    let [(_, before), (_, wanted)] = script.made.as_slice() else { anyhow::bail!("two snapshots") };
    let told = script.told.as_deref().unwrap_or_default();
    let content = |tree: &Tree, path: &Path| tree.get(path).map(|entry: &Entry| entry.content.clone());
    for path in wanted.keys() {
        let is = content(found, path);
        let is_right = is == content(wanted, path);
        // A directory that could not be read takes all that is in it with it.
        let was_told = told.iter().any(|told| path.starts_with(told));
        ensure!(is_right || was_told, "I8: {} is not what was backed up, and nobody was told", path.display());
        let is_whole = is_right || is.is_none() || is == content(before, path);
        ensure!(is_whole, "I8: {} is neither what was backed up nor what was there before", path.display());
    }
    Ok(())
}

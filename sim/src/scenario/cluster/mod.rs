//! The main job in a simulated world: three orchestrators of the real actor
//! system, an operator and a client. The client joins with a token, backs up, sees
//! an orchestrator die in the middle, backs up again after a change, and restores.
//!
//! What must hold: every backup that was reported as done restores byte for byte;
//! the operator and the client finish whatever happens to one orchestrator; no file
//! name and no content stands in the storage.

mod roles;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, bail, ensure};
use protocol::format::pack::{TRAILER_LEN, Trailer};

use super::{
    Scenario,
    stage::{ORCHESTRATORS, Stage, tree},
    swarm::{LAPSES_PASSING, OF_STORAGE, Swarm, Trouble, millis, nodes},
};
use crate::{
    kernel::{
        fault::{Fault, Lapse, Method, Node, Plan, Planned, Weather},
        rng::Stream,
    },
    world::{Options, World},
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

const CLIENT: Node = Node(ORCHESTRATORS + 1);
/// Backups, fail-overs and elections take seconds of simulated time; this is stuck.
const DEADLINE: Duration = Duration::from_secs(300);
/// Enrollment and the backups are under way in this time.
const FAULTS: std::ops::Range<Duration> = millis(500, 11_000);

/// What is handed from one person to another, or told to the checker.
#[derive(Debug, Default)]
struct Script {
    /// The token, from the operator to whoever sits at the client.
    token: Option<String>,
    /// Set when the client has restored, and seen its token refused for other keys.
    refused: bool,
}

fn options(seed: u64) -> Options {
    let weather = Weather::drawn(&mut Stream::new(seed, "cluster options", 0));
    Options { weather, storage_ms: 40..400, ..Options::default() }
}

/// One orchestrator is lost, once. On some seeds the storage has a bad time as well.
fn plan(seed: u64) -> Vec<Planned> {
    let mut stream = Stream::new(seed, "cluster plan", 0);
    let (mut plan, orchestrators) = (Plan::default(), nodes(0..ORCHESTRATORS));
    let kinds = [Trouble::Killed, Trouble::Unpowered, Trouble::UnpoweredAt, Trouble::CutOff, Trouble::Paused];
    let lost = Swarm {
        strikes: &orchestrators,
        machines: ORCHESTRATORS + 2,
        times: 1..2,
        during: FAULTS,
        lasts: millis(4_000, 20_000),
        allowed: &kinds,
        lapses: LAPSES_PASSING,
    };
    lost.add(&mut plan, &mut stream);
    let storage = Swarm { times: 0..2, lasts: millis(500, 4_000), allowed: OF_STORAGE, ..lost };
    storage.add(&mut plan, &mut stream);
    // Aimed: an upload of the client is lost on its way, or its answer is.
    if stream.chance(300_000) {
        let lapse = stream.choose(&[Lapse::LostRequest, Lapse::LostAnswer]).copied().unwrap_or(Lapse::LostRequest);
        let at = Plan::moment(&mut stream, FAULTS.start, FAULTS.end);
        let (node, method) = (Some(CLIENT), Some(Method::Put));
        plan.at(at, Fault::StorageLapse { node, method, lapse, times: 1 });
    }
    plan.finish()
}

fn play(world: &mut World) -> anyhow::Result<()> {
    let mut stage = Stage::<Script>::set(world, &SCENARIO, DEADLINE);
    stage.orchestrators();
    stage.person("operator", roles::operate);
    let client = stage.person("client", roles::back_up);
    let files = stage.world.files(client).context("the client has files")?;
    tree::plant(&files, &mut stage.world.stream("tree"))?;
    stage.world.boot_all();
    stage.wait("second enrollment that is refused", |script| script.refused)?;
    tree::compare_restored(&files)?;
    check_storage(stage.world)?;
    invariant_tables_have_keys_of_their_own(stage.world)
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

/// I7: the key of a pack's table of contents hangs on the random id in its trailer, and
/// meets one table only.
fn invariant_tables_have_keys_of_their_own(world: &World) -> anyhow::Result<()> {
    let mut ids = BTreeMap::new();
    for target in world.store().objects().into_keys().filter(|target| target.contains("/pack/")) {
        let pack = world.store().object(&target).unwrap_or_default();
        let trailer = pack.len().checked_sub(TRAILER_LEN).context("a pack is shorter than its trailer")?;
        let id = Trailer::decode(&pack[trailer..], pack.len() as u64)?.object_id;
        if let Some(other) = ids.insert(id, target.clone()) {
            bail!("I7: the tables of {other} and {target} are sealed with one key");
        }
    }
    Ok(())
}

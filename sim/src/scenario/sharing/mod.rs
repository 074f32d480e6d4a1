//! Two clients of a trusting domain with the same files, while the orchestrators that
//! publish index segments lose their power in the middle of that work.
//!
//! What must hold: whoever leads goes on with the work until nothing waits; then the
//! second client stores next to nothing of what the first has; both restore byte for
//! byte, and everything that was committed verifies (I11, I12).

mod roles;

use std::time::Duration;

use anyhow::Context;

use super::{
    Scenario,
    stage::{ORCHESTRATORS, Stage, tree},
    swarm::{LAPSES_PASSING, OF_MACHINES, OF_STORAGE, Swarm, millis, nodes},
};
use crate::{
    kernel::{
        fault::{Fault, Moment, Plan, Planned, Weather},
        rng::Stream,
    },
    world::{Options, World},
};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "sharing",
    about: "two clients share what is published, whoever publishes it loses its power",
    options,
    plan,
    panics: &[],
    play,
};

const DEADLINE: Duration = Duration::from_secs(600);
/// The first client backs up and its segments are published in this time.
const FAULTS: std::ops::Range<Duration> = millis(3_000, 25_000);
/// On so many of a million seeds clients find no orchestrator, for so long.
const LEFT_ALONE_PPM: u32 = 300_000;
const LEFT_ALONE: Duration = Duration::from_secs(80);
/// How many backups the first client makes: enough that runs are merged.
const BACKUPS: usize = 10;

/// What is handed from one person to another, or told to the checker.
#[derive(Debug, Default)]
struct Script {
    /// The token, from the operator to whoever sits at the clients.
    token: Option<String>,
    /// What the first client stored in all.
    stored: u64,
    /// Set when the first client has backed up and nothing waits to be published.
    published: bool,
    /// Clients that have restored and verified.
    done: usize,
}

fn options(seed: u64) -> Options {
    let weather = Weather::drawn(&mut Stream::new(seed, "sharing options", 0));
    Options { weather, storage_ms: 40..300, ..Options::default() }
}

/// Orchestrators ask the storage for commits and for what they publish: at some of these
/// requests each loses its power. One or two are lost besides, whatever they do.
fn plan(seed: u64) -> Vec<Planned> {
    let mut stream = Stream::new(seed, "sharing plan", 0);
    let (mut plan, orchestrators) = (Plan::default(), nodes(0..ORCHESTRATORS));
    for node in orchestrators.iter().copied() {
        let at = Plan::moment(&mut stream, FAULTS.start, FAULTS.end);
        let (count, down_ms) = (1 + stream.below(20) as u32, 500 + stream.below(6_000));
        plan.at(at, Fault::PowerLossAt { node, moment: Moment::AfterStorageRequest, count, down_ms });
    }
    let swarm = Swarm {
        strikes: &orchestrators,
        machines: ORCHESTRATORS + 3,
        times: 1..3,
        during: FAULTS,
        lasts: millis(1_000, 8_000),
        allowed: &[OF_MACHINES, OF_STORAGE].concat(),
        lapses: LAPSES_PASSING,
    };
    swarm.add(&mut plan, &mut stream);
    plan.finish()
}

fn play(world: &mut World) -> anyhow::Result<()> {
    let mut stage = Stage::<Script>::set(world, &SCENARIO, DEADLINE);
    stage.orchestrators();
    stage.person("operator", roles::operate);
    let clients = [stage.person("first", roles::come_first), stage.person("second", roles::come_second)];
    for client in clients {
        // The same stream: the same files.
        let files = stage.world.files(client).context("a client has files")?;
        tree::plant(&files, &mut stage.world.stream("tree"))?;
    }
    stage.world.boot_all();
    if stage.world.stream("sharing").chance(LEFT_ALONE_PPM) {
        stage.wait("publication", |script| script.published)?;
        // While one restores and the other backs up, for longer than a command waits.
        for node in nodes(0..ORCHESTRATORS) {
            stage.world.strike(Fault::PowerLoss(node));
            stage.world.schedule(stage.world.now() + LEFT_ALONE, Fault::Boot(node));
        }
    }
    stage.wait("restored snapshots", |script| script.done == clients.len())?;
    for client in clients {
        let files = stage.world.files(client).context("a client has files")?;
        tree::compare_restored(&files).with_context(|| format!("at {client}"))?;
    }
    Ok(())
}

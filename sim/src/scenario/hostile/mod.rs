//! Strangers flood an orchestrator, and another orchestrator is taken over and sends
//! the others everything that should never be sent.
//!
//! What must hold: strangers take no more than their share, and a client with a token
//! joins meanwhile; the orchestrators that were not taken over go on deciding, also
//! after their gossip died of what it was fed; once the third is itself again, all
//! hold the same records (I2).

mod attack;
mod roles;

use std::time::Duration;

use anyhow::ensure;

use super::{
    Scenario,
    stage::{ORCHESTRATORS, Stage},
    swarm::{LAPSES_PASSING, Swarm, Trouble, millis, nodes},
};
use crate::{
    kernel::{
        fault::{Node, Plan, Planned, Weather},
        rng::Stream,
    },
    world::{Options, World},
};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "hostile",
    about: "strangers flood an orchestrator, and one is taken over",
    options,
    plan,
    panics: &[PANIC],
    play,
};

/// The orchestrator that is taken over: the flood strikes the first.
const TAKEN: Node = Node(ORCHESTRATORS - 1);
const DEADLINE: Duration = Duration::from_secs(240);
/// Part of what gossip says when it dies of the message that it is fed here.
const PANIC: &str = "node_delta.max_version >= self.max_version";

/// What the machines tell each other.
#[derive(Debug, Default)]
struct Script {
    /// The token, once it was made.
    token: Option<String>,
    /// Whether the strangers stand at the door.
    flooded: bool,
    /// Whether the client has joined.
    joined: bool,
    /// Whether the third orchestrator is someone else's.
    taken_over: bool,
    /// Whether that one has done its worst.
    attacked: bool,
    /// Whether decisions were made afterwards.
    decided: bool,
    /// Whether all orchestrators hold the same records again.
    agreed: bool,
}

fn options(seed: u64) -> Options {
    Options { weather: Weather::drawn(&mut Stream::new(seed, "hostile options", 0)), ..Options::default() }
}

/// Nobody is lost, as it is counted who is turned away; but clocks are wrong, and the
/// storage answers badly.
fn plan(seed: u64) -> Vec<Planned> {
    let (mut plan, orchestrators) = (Plan::default(), nodes(0..ORCHESTRATORS));
    let swarm = Swarm {
        strikes: &orchestrators,
        machines: ORCHESTRATORS + 3,
        times: 0..4,
        during: millis(2_000, 30_000),
        lasts: millis(1_000, 10_000),
        allowed: &[Trouble::ClockStepped, Trouble::ClockDrifts, Trouble::StorageLapses],
        lapses: LAPSES_PASSING,
    };
    swarm.add(&mut plan, &mut Stream::new(seed, "hostile plan", 0));
    plan.finish()
}

fn play(world: &mut World) -> anyhow::Result<()> {
    let mut stage = Stage::<Script>::set(world, &SCENARIO, DEADLINE);
    stage.unforgiven(|_| true);
    for _ in 0..ORCHESTRATORS {
        stage.orchestrator(roles::orchestrate);
    }
    stage.person("operator", roles::operate);
    stage.person("strangers", roles::flood);
    stage.person("client", roles::join);
    stage.world.boot_all();

    stage.wait("client that joins", |script| script.joined)?;
    ensure!(stage.world.panics().is_empty(), "a panic: {:?}", stage.world.panics());
    stage.script().taken_over = true;
    stage.restart(TAKEN);
    stage.wait("attack", |script| script.attacked)?;
    stage.wait("decision after the attack", |script| script.decided)?;
    ensure!(!stage.world.panics().is_empty(), "the gossip tasks did not die: the attack is too weak to show anything");
    stage.script().taken_over = false;
    stage.restart(TAKEN);
    stage.wait("agreement", |script| script.agreed)
}

//! Orchestrators come and go: a fourth joins, one is lost with its disk and removed, its
//! machine joins again as a new node in the place of another. Meanwhile orchestrators
//! are killed, lose power, hang and are cut off, and so is the operator, who begins
//! again with whatever was under way.
//!
//! What must hold: whoever had joined is still enrolled in the end (I3), all that are in
//! the roster hold the same records and the same log (I2), and each of them can serve:
//! a client joins with a token that was made before all this, and gets tickets, while
//! one of the orchestrators is down.

mod roles;

use std::time::Duration;

use protocol::ids::ClientId;

use super::{
    Scenario,
    stage::{
        ORCHESTRATORS, Stage,
        founding::{self, Home},
    },
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
    name: "roster",
    about: "orchestrators join, are lost, removed and replaced, with faults on the way",
    options,
    plan,
    panics: &[],
    play,
};

/// Machines of orchestrators: the cluster begins with all but the last.
const MACHINES: u32 = ORCHESTRATORS + 1;
const OPERATOR: Node = Node(MACHINES);
/// How many clients there are: one joins before anything changes, one when all has.
const CLIENTS: u32 = 2;
/// Whose disk is lost.
const LOST: Node = Node(0);
/// Whose place that machine takes when it is back.
const REPLACED: Node = Node(1);
/// Who is down when the late client joins.
const DOWN: Node = Node(2);
/// The roster changes in this time.
const FAULTS: std::ops::Range<Duration> = millis(6_000, 30_000);
/// How long a second one is away while one is lost.
const AWAY: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(400);

/// How far the operator has come: each step is begun again after an interruption.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// Nothing is there.
    #[default]
    Founding,
    /// The fourth joins.
    Adding,
    /// One is lost and leaves.
    Removing,
    /// Its machine is back, empty, and takes another's place.
    Replacing,
    /// The last client joins.
    Joining,
    /// All is done, and was looked at.
    Checked,
}

/// What the machines tell each other and the checker.
#[derive(Debug, Default)]
struct Script {
    step: Step,
    /// What the operator keeps on its disk.
    home: Option<Home>,
    /// The token, once it was made.
    token: Option<String>,
    /// The clients that were told that they joined.
    joined: Vec<ClientId>,
}

fn options(seed: u64) -> Options {
    Options { weather: Weather::drawn(&mut Stream::new(seed, "roster options", 0)), ..Options::default() }
}

/// Short ones, since a roster may rightly wait for those that are away.
fn plan(seed: u64) -> Vec<Planned> {
    // Not the one that is to be lost: when its machine boots is a part of the play.
    let (mut plan, strikes) = (Plan::default(), nodes(LOST.0 + 1..OPERATOR.0 + 1));
    let swarm = Swarm {
        strikes: &strikes,
        machines: OPERATOR.0 + 1 + CLIENTS,
        times: 2..6,
        during: FAULTS,
        lasts: millis(300, 4_000),
        allowed: OF_MACHINES,
        lapses: LAPSES_PASSING,
    };
    swarm.add(&mut plan, &mut Stream::new(seed, "roster plan", 0));
    plan.finish()
}

fn play(world: &mut World) -> anyhow::Result<()> {
    let mut stage = Stage::<Script>::set(world, &SCENARIO, DEADLINE);
    for _ in 0..MACHINES {
        stage.orchestrator(founding::orchestrate);
    }
    stage.person("operator", roles::operate);
    stage.person("early", |me| roles::join(me, Step::Founding));
    stage.person("late", |me| roles::join(me, Step::Replacing));
    stage.world.boot_all();

    stage.wait("fourth orchestrator", |script| script.step == Step::Removing)?;
    stage.world.strike(Fault::Kill(LOST));
    stage.world.strike(Fault::DiskWipe(LOST));
    // Aimed, since it hardly ever happens by chance: another one is away just then, and
    // those that are left are no majority without the lost one.
    if stage.world.stream("roster").chance(500_000) {
        stage.world.strike(Fault::PowerLoss(REPLACED));
        stage.world.schedule(stage.world.now() + AWAY, Fault::Boot(REPLACED));
    }
    stage.wait("removal", |script| script.step == Step::Replacing)?;
    stage.world.strike(Fault::Boot(LOST));
    stage.wait("replacement", |script| script.step == Step::Joining)?;
    stage.world.strike(Fault::Calm);
    stage.world.strike(Fault::Kill(DOWN));
    stage.wait("late client", |script| script.joined.len() == CLIENTS as usize)?;
    stage.world.strike(Fault::Boot(DOWN));
    stage.wait("agreement", |script| script.step == Step::Checked)
}

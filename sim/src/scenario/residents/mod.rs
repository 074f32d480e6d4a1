//! Clients stay resident, and an operator changes what they work by again and again, while
//! orchestrators and clients are lost, hang and are cut off.
//!
//! What must hold: no client ever goes by an older version than before, whatever it is told
//! and by whom (I1). Once it is calm, all of them come to the newest; and a change that is
//! decided then reaches each of them within seconds, though none asks by itself.

mod roles;

use std::{collections::BTreeMap, time::Duration};

use anyhow::ensure;
use protocol::{records::Domain, token::Token};

use super::{
    Scenario,
    stage::{ORCHESTRATORS, Stage},
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
    name: "residents",
    about: "resident clients hear of changes while machines are lost",
    options,
    plan,
    panics: &[],
    play,
};

const CLIENTS: u32 = 3;
const FIRST_CLIENT: u32 = ORCHESTRATORS + 1;
/// While trouble begins, and changes are made.
const FAULTS: std::ops::Range<Duration> = millis(4_000, 40_000);
/// Between two changes, at least.
const BETWEEN: Duration = Duration::from_secs(3);
/// A change goes to all orchestrators, and from there to the clients: a few round trips, the
/// pause that a client makes between two waits, and what packets that are lost cost.
const SOON: Duration = Duration::from_secs(5);
/// How long they are left alone before that is asked of them: longer than a silent
/// connection is kept, and than any one wait lasts.
const REST: Duration = Duration::from_secs(100);
const DEADLINE: Duration = Duration::from_secs(600);

/// What the machines tell each other and the checker.
#[derive(Debug, Default)]
struct Script {
    token: Option<Token>,
    domain: Option<Domain>,
    /// Changes that the operator is to have made.
    wanted: u64,
    /// Changes that it has made.
    made: u64,
    /// The version of the domain's record that it was told is kept.
    decided: u64,
    /// The version by which each client goes.
    goes_by: BTreeMap<Node, u64>,
}

impl Script {
    fn all_are_up_to_date(&self) -> bool {
        self.goes_by.len() == CLIENTS as usize && self.goes_by.values().all(|version| *version >= self.decided)
    }
}

fn options(seed: u64) -> Options {
    Options { weather: Weather::drawn(&mut Stream::new(seed, "residents options", 0)), ..Options::default() }
}

fn plan(seed: u64) -> Vec<Planned> {
    let machines = FIRST_CLIENT + CLIENTS;
    let strikes = [nodes(0..ORCHESTRATORS), nodes(FIRST_CLIENT..machines)].concat();
    let swarm = Swarm {
        strikes: &strikes,
        machines,
        times: 1..8,
        during: FAULTS,
        lasts: millis(300, 8_000),
        allowed: OF_MACHINES,
        lapses: LAPSES_PASSING,
    };
    let mut plan = Plan::default();
    swarm.add(&mut plan, &mut Stream::new(seed, "residents plan", 0));
    plan.finish()
}

fn play(world: &mut World) -> anyhow::Result<()> {
    let mut stage = Stage::<Script>::set(world, &SCENARIO, DEADLINE);
    stage.orchestrators();
    stage.person("operator", roles::operate);
    for number in 0..CLIENTS {
        stage.person(&format!("r{number}"), roles::reside);
    }
    stage.world.boot_all();
    while stage.world.now() < FAULTS.end {
        stage.script().wanted += 1;
        stage.pass_until(stage.world.now() + BETWEEN)?;
    }
    stage.world.strike(Fault::Calm);
    stage.wait("last change under trouble", |script| script.made == script.wanted)?;
    stage.wait("news for all", Script::all_are_up_to_date)?;

    stage.pass_until(stage.world.now() + REST)?;
    stage.script().wanted += 1;
    stage.wait("change", |script| script.made == script.wanted)?;
    let by = stage.world.now() + SOON;
    let is_news = stage.reach(by, Script::all_are_up_to_date)?;
    ensure!(is_news, "I14: a change did not reach all residents within {SOON:?}: {:?}", stage.script());
    Ok(())
}

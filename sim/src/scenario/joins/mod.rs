//! Several clients race for one token that is good for fewer of them, while
//! orchestrators are killed, lose power, are cut off, hang, and have no room on disk.
//!
//! What must hold: as many clients join as the token has uses, never more (I4), and
//! each of them has what the token was for; the others are refused. All orchestrators
//! lose power right after the first lease was acknowledged, and the lease and every
//! acknowledged enrollment survive (I3). In the end the orchestrators' records are the
//! same (I2), the release value is erased everywhere (I5), and a client that is revoked
//! is cut off everywhere within two seconds and stays out; so is an admin that is removed.

mod roles;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, ensure};
use protocol::{commands::Lease, ids::ClientId, token::Token};
use redb::{ReadableDatabase, TableDefinition};

use super::{
    Scenario, sometimes,
    stage::{ORCHESTRATORS, Stage},
    swarm::{LAPSES_PASSING, OF_MACHINES, Swarm, Trouble, millis, nodes},
};
use crate::{
    kernel::{
        fault::{Fault, Moment, Node, Plan, Planned, Weather},
        rng::Stream,
    },
    world::{Options, World, open_durable},
};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "joins",
    about: "clients race for a token, all power is lost, one is revoked",
    options,
    plan,
    panics: &[],
    play,
};

/// Clients that want to join, and how many of them may.
const CLIENTS: u32 = 4;
const USES: u32 = 2;
const FIRST_CLIENT: u32 = ORCHESTRATORS + 1;
/// The joining is under way in this time.
const FAULTS: std::ops::Range<Duration> = millis(2_500, 9_000);
const DEADLINE: Duration = Duration::from_secs(240);
/// The orchestrator that is stopped and started again in the end.
const RESTARTS: Node = Node(0);
/// How long the orchestrators are without power.
const BLACKOUT: Duration = Duration::from_millis(700);
/// Orchestrators look every second or so for release values that nobody needs.
const ERASED: Duration = Duration::from_secs(5);
/// A revocation cuts live connections in this time.
const CUT: Duration = Duration::from_secs(2);

/// What the machines tell each other and the checker.
#[derive(Debug, Default)]
struct Script {
    /// The token, once it was made.
    token: Option<String>,
    /// The clients that were told that they joined, and where they live.
    joined: BTreeMap<ClientId, Node>,
    /// Those that were told that they may not.
    refused: BTreeSet<Node>,
    /// The first lease that was acknowledged.
    leased: Option<Lease>,
    /// Whether the orchestrators have lost power, and have it again.
    blackout_over: bool,
    /// Those that have done all that they wanted.
    done: BTreeSet<Node>,
    /// Set when the faults are over.
    calm: bool,
    /// Whether one orchestrator has been stopped and started again in one process.
    restarted: bool,
    /// Those that are in the middle of a redemption.
    redeeming: BTreeSet<Node>,
    /// Clients that have connections to all orchestrators and wait for their end.
    connected: BTreeSet<ClientId>,
    /// The client that was revoked.
    revoked: Option<ClientId>,
    /// Whether its connections have ended.
    cut: bool,
    /// Whether it was refused when it came back.
    stays_out: bool,
    /// Whether the operator has seen all that it wanted to see.
    agreed: bool,
}

fn options(seed: u64) -> Options {
    Options { weather: Weather::drawn(&mut Stream::new(seed, "joins options", 0)), ..Options::default() }
}

/// Some orchestrators are lost, perhaps several at a time; a client may be as well.
fn plan(seed: u64) -> Vec<Planned> {
    let mut stream = Stream::new(seed, "joins plan", 0);
    let (mut plan, orchestrators) = (Plan::default(), nodes(0..ORCHESTRATORS));
    let swarm = Swarm {
        strikes: &orchestrators,
        machines: FIRST_CLIENT + CLIENTS,
        times: 1..6,
        during: FAULTS,
        lasts: millis(300, 5_000),
        allowed: &[OF_MACHINES, &[Trouble::DiskFull]].concat(),
        lapses: LAPSES_PASSING,
    };
    swarm.add(&mut plan, &mut stream);
    if stream.chance(500_000) {
        let at = Plan::moment(&mut stream, FAULTS.start, FAULTS.end);
        let client = Node(FIRST_CLIENT + stream.below(u64::from(CLIENTS)) as u32);
        plan.outage(at, client, Duration::from_secs(1));
    }
    // Aimed: a client loses its power about when it writes down its keys, or who it is now.
    if stream.chance(700_000) {
        let client = Node(FIRST_CLIENT + stream.below(u64::from(CLIENTS)) as u32);
        let moment = if stream.chance(500_000) { Moment::BeforeSync } else { Moment::AfterSync };
        // Its keys, its enrollment, its welcome. It may be away until nobody else needs the
        // token any more.
        let count = [1, 2, 3, 3][stream.below(4) as usize];
        let down_ms = if stream.chance(500_000) { 800 } else { 12_000 };
        plan.at(Duration::ZERO, Fault::PowerLossAt { node: client, moment, count, down_ms });
    }
    plan.finish()
}

fn play(world: &mut World) -> anyhow::Result<()> {
    let mut stage = Stage::<Script>::set(world, &SCENARIO, DEADLINE);
    // An orchestrator may fail to start while its disk is full.
    stage.unforgiven(|error| error.contains(roles::AGAIN));
    for _ in 0..ORCHESTRATORS {
        stage.orchestrator(roles::orchestrate);
    }
    stage.person("operator", roles::operate);
    for number in 0..CLIENTS {
        stage.person(&format!("c{number}"), roles::join);
    }
    stage.world.boot_all();

    stage.wait("lease", |script| script.leased.is_some())?;
    // Aimed, since it hardly ever happens by chance: all power goes right after an answer.
    if !stage.script().redeeming.is_empty() {
        sometimes("joins: all power is lost in the middle of a redemption");
    }
    for node in nodes(0..ORCHESTRATORS) {
        stage.world.strike(Fault::PowerLoss(node));
        stage.world.schedule(stage.world.now() + BLACKOUT, Fault::Boot(node));
    }
    stage.world.run_for(BLACKOUT);
    stage.script().blackout_over = true;
    let are_answered = stage.reach(DEADLINE, |script| script.done.len() == CLIENTS as usize)?;
    ensure!(are_answered, "I14: somebody with a token is neither let in nor turned away: {:?}", stage.script());
    stage.pass_until(FAULTS.end)?;
    stage.world.strike(Fault::Calm);
    stage.script().calm = true;

    stage.wait("revocation", |script| script.revoked.is_some())?;
    let by = stage.world.now() + CUT;
    let is_cut = stage.reach(by, |script| script.cut)?;
    // It goes on asking for a while, in case anyone serves it.
    stage.pass_until(by + CUT)?;
    ensure!(is_cut, "section 3: a client that was revoked was still connected after {CUT:?}");
    stage.wait("agreement", |script| script.agreed && script.stays_out)?;
    stage.pass_until(stage.world.now() + ERASED)?;
    check(stage.world, &stage.script())
}

fn check(world: &World, script: &Script) -> anyhow::Result<()> {
    ensure!(script.joined.len() == USES as usize, "{} clients joined with a token of {USES} uses", script.joined.len());
    let refused = script.refused.len();
    ensure!(refused == (CLIENTS - USES) as usize, "{refused} of {CLIENTS} clients were refused");
    const RELEASES: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("releases");
    let token: Token = script.token.as_ref().context("the token was made")?.parse()?;
    for node in nodes(0..ORCHESTRATORS) {
        let disk = world.disk(node).context("an orchestrator has a disk")?;
        let vault = open_durable(disk, "vault")?.with_context(|| format!("{node} has no vault"))?;
        // A token that could not be made while a disk was full may have left its value, which
        // opens nothing.
        let is_left = vault.begin_read()?.open_table(RELEASES)?.get(&token.id().0)?.is_some();
        ensure!(!is_left, "I5: {node} keeps a release value that nobody needs");
    }
    Ok(())
}

//! Clients that speak the protocol by hand, each call at another orchestrator: they ask
//! for leases, repeat themselves late, use leases that have ended, commit, lie about what
//! they commit, and report packs that are gone. Meanwhile orchestrators suffer, all lose
//! their power right after an answer, and one of them loses its log.
//!
//! What must hold: each client's history is one that a list of snapshots and at most one
//! open lease explain (`model`), whichever orchestrator answered (I3); what a client may
//! not have it does not get (I5, I10); a lease that has ended is of no use (I9); what is
//! condemned is named to whoever asks afterwards (I12); and whatever is published as a
//! home of a chunk is one (I11).

mod asking;
mod checks;
mod hand;
mod model;
mod roles;
mod writing;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use protocol::{
    ids::{ClientId, DomainId, TokenId},
    names::ObjectName,
    records::Storage,
};

use super::{
    Scenario,
    stage::{ORCHESTRATORS, Stage},
    swarm::{LAPSES_PASSING, OF_MACHINES, Swarm, Trouble, millis, nodes},
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
    name: "leases",
    about: "clients lease, commit, repeat themselves and lie, at whichever orchestrator",
    options,
    plan,
    panics: &[],
    play,
};

/// Clients of one domain, and one of another.
const CLIENTS: [&str; 3] = ["home", "home", "other"];
/// What each client does, in steps.
const STEPS: usize = 24;
const FAULTS: std::ops::Range<Duration> = millis(4_000, 25_000);
/// Clients come at about this time.
const JOINING: std::ops::Range<Duration> = millis(2_500, 4_500);
/// Clients are at work by then.
const JUMPS: std::ops::Range<Duration> = millis(5_000, 13_000);
const DEADLINE: Duration = Duration::from_secs(400);
/// A lease is over after two hours.
const CLOCK_JUMP_MS: i64 = 3 * 3600 * 1000;

/// What the machines tell each other and the checker.
#[derive(Debug, Default)]
struct Script {
    /// Tokens for each domain, as text.
    tokens: BTreeMap<&'static str, String>,
    /// A token that was revoked, and whose terms were signed again after that.
    void: Option<String>,
    /// A token that nobody here has redeemed.
    spare: Option<TokenId>,
    storage: Option<Storage>,
    index_keys: BTreeMap<DomainId, [u8; 32]>,
    /// Who has joined, and in which domain.
    clients: Vec<(ClientId, DomainId)>,
    /// Steps that were answered, of all clients.
    steps: usize,
    /// Of them: commits.
    commits: usize,
    /// How often all power was lost.
    blackouts: usize,
    /// Segments that were published in the end.
    published: Vec<(DomainId, ObjectName)>,
    /// Clients, and the thief, that have done all that they wanted.
    done: BTreeSet<Node>,
}

fn options(seed: u64) -> Options {
    Options { weather: Weather::drawn(&mut Stream::new(seed, "leases options", 0)), ..Options::default() }
}

fn plan(seed: u64) -> Vec<Planned> {
    let mut stream = Stream::new(seed, "leases plan", 0);
    let (mut plan, orchestrators) = (Plan::default(), nodes(0..ORCHESTRATORS));
    let swarm = Swarm {
        strikes: &orchestrators,
        machines: ORCHESTRATORS + 2 + CLIENTS.len() as u32,
        times: 1..6,
        during: FAULTS,
        lasts: millis(300, 5_000),
        allowed: &[OF_MACHINES, &[Trouble::StorageLapses]].concat(),
        lapses: LAPSES_PASSING,
    };
    swarm.add(&mut plan, &mut stream);
    // One orchestrator does not hear who joins, and is asked all the same.
    if stream.chance(500_000) {
        let node = Node(stream.below(u64::from(ORCHESTRATORS)) as u32);
        let at = Plan::moment(&mut stream, JOINING.start, JOINING.end);
        plan.isolate(at, node, &orchestrators, Duration::from_secs(4));
    }
    // One clock is hours ahead for a while: leases are over, by that clock alone.
    if stream.chance(500_000) {
        let node = Node(stream.below(u64::from(ORCHESTRATORS)) as u32);
        let at = Plan::moment(&mut stream, JUMPS.start, JUMPS.end);
        plan.at(at, Fault::ClockStep { node, by_ms: CLOCK_JUMP_MS });
        plan.at(at + Duration::from_secs(8), Fault::ClockStep { node, by_ms: -CLOCK_JUMP_MS });
    }
    plan.finish()
}

fn play(world: &mut World) -> anyhow::Result<()> {
    let mut stream = world.stream("aim");
    let mut stage = Stage::<Script>::set(world, &SCENARIO, DEADLINE);
    stage.orchestrators();
    stage.person("operator", roles::operate);
    stage.person("thief", roles::steal);
    for (number, domain) in CLIENTS.into_iter().enumerate() {
        stage.person(&format!("c{number}"), move |me| roles::work(me, domain));
    }
    stage.world.boot_all();

    let all = CLIENTS.len() * STEPS;
    wait_for_a_commit(&mut stage, all / 4)?;
    if stream.chance(500_000) {
        lose_a_log(&mut stage, &mut stream)?;
    } else {
        black_out(&mut stage, &mut stream, &nodes(0..ORCHESTRATORS));
    }
    wait_for_a_commit(&mut stage, all / 2)?;
    black_out(&mut stage, &mut stream, &nodes(0..ORCHESTRATORS));
    stage.pass_until(FAULTS.end)?;
    stage.world.strike(Fault::Calm);
    stage.wait("end of everyone's work", |script| script.done.len() == CLIENTS.len() + 1)?;
    let script = stage.script();
    checks::invariant_published_rows_are_true(stage.world, &script)?;
    checks::invariant_votes_cover_the_log(stage.world)
}

/// Lets time pass until so many steps were answered, and then another commit.
fn wait_for_a_commit(stage: &mut Stage<'_, Script>, steps: usize) -> anyhow::Result<()> {
    stage.wait("steps", |script| script.steps >= steps)?;
    let commits = stage.script().commits;
    // Near the end there may be none to come.
    stage.wait("commit", |script| script.commits > commits || script.done.len() > CLIENTS.len() / 2)
}

/// All orchestrators lose their power, right after an answer, and have it again before an
/// election is due.
fn black_out(stage: &mut Stage<'_, Script>, stream: &mut Stream, come_back: &[Node]) {
    stage.script().blackouts += 1;
    for node in nodes(0..ORCHESTRATORS) {
        stage.world.strike(Fault::PowerLoss(node));
    }
    let lasts = 100 + stream.below(500);
    for node in come_back {
        // Not at once: whoever led is alone for a moment, and knows little.
        let lasts = Duration::from_millis(lasts + stream.below(250));
        stage.world.schedule(stage.world.now() + lasts, Fault::Boot(*node));
    }
    stage.world.run_for(Duration::from_millis(1));
}

/// One orchestrator lags, the two others decide, and then one of these is down and the
/// log of the other is gone: the one that lags and the one that forgot are a majority
/// that knows less than was answered.
fn lose_a_log(stage: &mut Stage<'_, Script>, stream: &mut Stream) -> anyhow::Result<()> {
    let first = stream.below(u64::from(ORCHESTRATORS)) as u32;
    let [away, lags, forgets] = [0, 1, 2].map(|turn| Node((first + turn) % ORCHESTRATORS));
    let cut = |heal: bool| {
        [away, forgets].into_iter().flat_map(|other| [(lags, other), (other, lags)]).map(move |(from, to)| match heal {
            false => Fault::Cut { from, to },
            true => Fault::Heal { from, to },
        })
    };
    cut(false).for_each(|fault| stage.world.strike(fault));
    let steps = stage.script().steps;
    stage.wait("steps of two orchestrators", |script| script.steps >= steps + CLIENTS.len())?;
    black_out(stage, stream, &[lags, forgets]);
    if let Some(drive) = stage.world.disk(forgets) {
        drive.lose("log");
    }
    cut(true).for_each(|fault| stage.world.strike(fault));
    stage.world.schedule(stage.world.now() + Duration::from_secs(6), Fault::Boot(away));
    Ok(())
}

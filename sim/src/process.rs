//! Runs of seeds, each in a process of its own.
//!
//! Invariant: nothing that one run left behind in a process (statics, hashers'
//! keys, the layout of the heap) reaches another. Each gets a fresh process with
//! its own address space layout, and in it a fresh thread, so that whatever is
//! seeded from an address shows as a difference instead of hiding.

use std::{process::Command, thread, time::Duration};

use anyhow::{Context, bail};
use probe::Plant;
use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;

use crate::{history, kernel::interpose, rare, scenario::Scenario, world::World};

/// The subcommand that runs one seed and writes its report to standard output.
pub const CHILD: &str = "child";
/// The very program that runs, even if its file was replaced meanwhile.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// How long a run may take in real time, in seconds. One that takes longer hangs.
const REAL_SECONDS_MAX: u32 = 600;
/// Bytes of stack: what a real node's main thread has.
const STACK_BYTES: usize = 8 << 20;

/// One run, as it is asked for.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// Whether the bytes of its trace are wanted.
    pub keep_trace: bool,
    /// Which faults of its plan strike, by their place in it; none: all.
    pub only: Option<Vec<usize>>,
    /// The least important events of nodes that are wanted, if not those that the
    /// scenario wants. They change the trace, and nothing else.
    pub log: Option<LevelFilter>,
    /// A fault in the product that is switched on.
    pub plant: Option<Plant>,
}

impl Run {
    /// A run of this seed, as it is planned.
    pub fn of(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// The same, with its trace.
    pub fn traced(self) -> Self {
        Self { keep_trace: true, ..self }
    }
}

/// What came of one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// What was wrong, if something was.
    pub failure: Option<String>,
    /// The hash of the trace, in hexadecimal.
    pub hash: String,
    /// How much virtual time passed.
    pub time: Duration,
    /// Events, lines of the trace, packets.
    pub counts: (u64, u64, u64),
    /// The machines' names.
    pub names: Vec<String>,
    /// How often the planted fault has struck.
    pub struck: u64,
    /// The paths that were taken, and how often.
    pub reached: Vec<(String, u64)>,
    /// The trace, if it was asked for.
    pub trace: Vec<u8>,
}

/// Runs one seed in this process, which should have done nothing before.
pub fn run_here(scenario: &'static Scenario, run: &Run) -> anyhow::Result<Report> {
    interpose::limit_real_time(REAL_SECONDS_MAX);
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK_BYTES);
        let thread = thread.spawn_scoped(scope, || play(scenario, run))?;
        thread.join().map_err(|_| anyhow::anyhow!("the simulator panicked in seed {}", run.seed))?
    })
}

fn play(scenario: &Scenario, run: &Run) -> anyhow::Result<Report> {
    let seed = run.seed;
    let mut options = (scenario.options)(seed);
    options.keep_trace = run.keep_trace;
    options.log = run.log.unwrap_or(options.log);
    probe::plant(run.plant);
    rare::loosen(seed);
    let mut world = World::new(seed, options)?;
    world.schedule_plan((scenario.plan)(seed), |number| run.only.as_ref().is_none_or(|only| only.contains(&number)));
    let mut failure = (scenario.play)(&mut world).err().map(|error| format!("{error:#}"));
    let expected = |panic: &&String| scenario.panics.iter().any(|part| panic.contains(part));
    if let Some(panic) = world.panics().iter().find(|panic| !expected(panic)) {
        failure.get_or_insert_with(|| format!("a node panicked: {panic}"));
    }
    failure = invariant_promises_are_kept(&world, failure);
    Ok(Report {
        seed,
        failure,
        hash: world.trace_hash().to_hex().to_string(),
        time: world.now(),
        counts: world.counts(),
        names: world.names(),
        struck: probe::struck(),
        reached: probe::reached().into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
        trace: world.trace_bytes(),
    })
}

/// What a run's history shows says more than that somebody waits in vain, so it comes first.
fn invariant_promises_are_kept(world: &World, failure: Option<String>) -> Option<String> {
    let Some(first) = history::violations(&world.history()).into_iter().next() else { return failure };
    Some(match failure {
        Some(failure) => format!("{first}\n  and: {failure}"),
        None => first,
    })
}

/// What a child process writes to standard output.
pub fn encode(report: &Report) -> anyhow::Result<Vec<u8>> {
    Ok(postcard::to_allocvec(report)?)
}

/// Runs one seed in a fresh process.
pub fn run_apart(scenario: &Scenario, run: &Run) -> anyhow::Result<Report> {
    let mut command = Command::new(THIS_PROGRAM);
    command.args([CHILD, "--scenario", scenario.name]).arg(run.seed.to_string());
    if run.keep_trace {
        command.arg("--keep-trace");
    }
    if let Some(only) = &run.only {
        let only: Vec<String> = only.iter().map(usize::to_string).collect();
        command.arg(format!("--only={}", only.join(",")));
    }
    if let Some(log) = run.log {
        command.arg(format!("--log={log}"));
    }
    if let Some(plant) = run.plant {
        command.arg(format!("--plant={}", plant.name()));
    }
    let output = command.output().context("starting a process for a run")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("seed {}: its process ended with {}\n{}", run.seed, output.status, said.trim_end());
    }
    postcard::from_bytes(&output.stdout).context("reading the report of a run")
}

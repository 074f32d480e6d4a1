//! Runs of seeds, each in a process of its own.
//!
//! Invariant: nothing that one run left behind in a process (statics, hashers'
//! keys, the layout of the heap) reaches another. Each gets a fresh process with
//! its own address space layout, and in it a fresh thread, so that whatever is
//! seeded from an address shows as a difference instead of hiding.

use std::{process::Command, thread, time::Duration};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::{kernel::interpose, scenario::Scenario, world::World};

/// The subcommand that runs one seed and writes its report to standard output.
pub const CHILD: &str = "child";
/// How long a run may take in real time, in seconds. One that takes longer hangs.
const REAL_SECONDS_MAX: u32 = 600;
/// Bytes of stack: what a real node's main thread has.
const STACK_BYTES: usize = 8 << 20;

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
    /// The trace, if it was asked for.
    pub trace: Vec<u8>,
}

/// Runs one seed in this process, which should have done nothing before.
pub fn run_here(scenario: &'static Scenario, seed: u64, keep_trace: bool) -> anyhow::Result<Report> {
    interpose::limit_real_time(REAL_SECONDS_MAX);
    thread::scope(|scope| {
        let run = move || play(scenario, seed, keep_trace);
        let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, run)?;
        thread.join().map_err(|_| anyhow::anyhow!("the simulator panicked in seed {seed}"))?
    })
}

fn play(scenario: &Scenario, seed: u64, keep_trace: bool) -> anyhow::Result<Report> {
    let mut options = (scenario.options)(seed);
    options.keep_trace = keep_trace;
    let mut world = World::new(seed, options)?;
    world.schedule_all(&(scenario.plan)(seed));
    let mut failure = (scenario.play)(&mut world).err().map(|error| format!("{error:#}"));
    if let Some(panic) = world.panics().first() {
        failure.get_or_insert_with(|| format!("a node panicked: {panic}"));
    }
    Ok(Report {
        seed,
        failure,
        hash: world.trace_hash().to_hex().to_string(),
        time: world.now(),
        counts: world.counts(),
        trace: world.trace_bytes(),
    })
}

/// What a child process writes to standard output.
pub fn encode(report: &Report) -> anyhow::Result<Vec<u8>> {
    Ok(postcard::to_allocvec(report)?)
}

/// Runs one seed in a fresh process.
pub fn run_apart(scenario: &Scenario, seed: u64, keep_trace: bool) -> anyhow::Result<Report> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut command = Command::new(program);
    command.args([CHILD, "--scenario", scenario.name]).arg(seed.to_string());
    if keep_trace {
        command.arg("--keep-trace");
    }
    let output = command.output().context("starting a process for a run")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("seed {seed}: its process ended with {}\n{}", output.status, said.trim_end());
    }
    postcard::from_bytes(&output.stdout).context("reading the report of a run")
}

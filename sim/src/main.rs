//! `sim`: runs the simulator's scenarios from seeds.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Instant,
};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use sim::{
    kernel::trace::first_difference,
    process::{self, Report, Run},
    scenario::{self, Scenario},
};
use tracing::level_filters::LevelFilter;

/// Runs that a search for a shorter list of faults may take: some minutes.
const SHRINK_TRIES_MAX: usize = 500;

/// Runs whole clusters in a simulated world, from seeds.
///
/// Exit code 0: all is well. 1: a run failed, or two runs of one seed differed.
/// 2: wrong usage.
#[derive(Parser)]
#[command(name = "sim", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs many seeds, each once, and prints those that fail.
    #[command(after_help = "Example: sim run --seeds 100 --from 1")]
    Run(Seeds),
    /// Runs one seed again, and writes its trace if asked to.
    #[command(after_help = "Example: sim replay 17 --trace -")]
    Replay {
        /// The seed.
        seed: u64,
        /// Where to write the trace; `-`: standard output.
        #[arg(long, value_name = "FILE")]
        trace: Option<PathBuf>,
        #[command(flatten)]
        variant: Variant,
        #[command(flatten)]
        scenario: Chosen,
    },
    /// Finds a short list of faults with which a seed that fails still does.
    #[command(after_help = "Example: sim shrink 17")]
    Shrink {
        /// The seed.
        seed: u64,
        #[command(flatten)]
        scenario: Chosen,
    },
    /// Tells what happened in a run: its faults and its trace, without the packets.
    #[command(after_help = "Example: sim explain 17 --only 3,4")]
    Explain {
        /// The seed.
        seed: u64,
        #[command(flatten)]
        variant: Variant,
        #[command(flatten)]
        scenario: Chosen,
    },
    /// Runs each seed twice, in two processes, and compares the traces byte for byte.
    #[command(after_help = "Example: sim meta --seeds 20")]
    Meta(Seeds),
    /// Lists the scenarios.
    Scenarios,
    /// Runs one seed and writes its report to standard output, for the other commands.
    #[command(name = process::CHILD, hide = true)]
    Child {
        seed: u64,
        #[arg(long)]
        keep_trace: bool,
        #[command(flatten)]
        variant: Variant,
        #[command(flatten)]
        scenario: Chosen,
    },
}

#[derive(Args)]
struct Variant {
    /// Let only these faults of the plan strike, by their place in it.
    #[arg(long, value_name = "LIST", value_parser = parse_only)]
    only: Option<Only>,
    /// The least important events of nodes to trace: error, warn, info, debug, trace.
    #[arg(long, value_name = "LEVEL")]
    log: Option<LevelFilter>,
}

/// Places in a plan.
#[derive(Clone)]
struct Only(Vec<usize>);

fn parse_only(text: &str) -> Result<Only, String> {
    let numbers = text.split(',').filter(|part| !part.is_empty());
    let numbers: Result<_, _> = numbers.map(|part| part.trim().parse()).collect();
    numbers.map(Only).map_err(|_| "expected numbers, like 3,17".to_owned())
}

impl Variant {
    fn of(self, seed: u64) -> Run {
        Run { seed, keep_trace: false, only: self.only.map(|only| only.0), log: self.log }
    }
}

#[derive(Args)]
struct Chosen {
    /// Which scenario to play.
    #[arg(long, default_value = scenario::DEFAULT, value_parser = choose)]
    scenario: &'static Scenario,
}

#[derive(Args)]
struct Seeds {
    /// How many seeds.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them.
    #[arg(long, value_name = "S", default_value_t = 1)]
    from: u64,
    /// How many processes at a time; by default as many as there are processors.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    #[command(flatten)]
    scenario: Chosen,
}

fn choose(name: &str) -> Result<&'static Scenario, String> {
    scenario::find(name).ok_or_else(|| {
        let names: Vec<&str> = scenario::ALL.iter().map(|scenario| scenario.name).collect();
        format!("there is no such scenario; there are: {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        // Whoever read our output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sim: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Run(seeds) => run_seeds(&seeds),
        Command::Meta(seeds) => compare_seeds(&seeds),
        Command::Replay { seed, trace, variant, scenario } => replay(scenario.scenario, variant.of(seed), trace),
        Command::Shrink { seed, scenario } => shrink(scenario.scenario, seed),
        Command::Explain { seed, variant, scenario } => explain(scenario.scenario, &variant.of(seed).traced()),
        Command::Scenarios => {
            for scenario in scenario::ALL {
                println!("{:12} {}", scenario.name, scenario.about);
            }
            Ok(true)
        }
        Command::Child { seed, keep_trace, variant, scenario } => {
            let run = Run { keep_trace, ..variant.of(seed) };
            let report = process::run_here(scenario.scenario, &run)?;
            io::stdout().write_all(&process::encode(&report)?).context("writing the report")?;
            Ok(true)
        }
    }
}

fn run_seeds(seeds: &Seeds) -> anyhow::Result<bool> {
    let scenario = seeds.scenario.scenario;
    seeds.each(|seed| match process::run_apart(scenario, &Run::of(seed)) {
        Ok(Report { failure: None, counts, time, .. }) => Done::well(counts, time),
        Ok(Report { failure: Some(failure), .. }) => Done::failed(format!("seed {seed}: {failure}")),
        Err(error) => Done::failed(format!("{error:#}")),
    })
}

fn compare_seeds(seeds: &Seeds) -> anyhow::Result<bool> {
    let scenario = seeds.scenario.scenario;
    seeds.each(|seed| {
        let run = Run::of(seed).traced();
        let twice = process::run_apart(scenario, &run).and_then(|one| Ok((one, process::run_apart(scenario, &run)?)));
        match twice {
            Ok((one, other)) => match difference(&one, &other) {
                None => Done::well(one.counts, one.time),
                Some(difference) => Done::failed(difference),
            },
            Err(error) => Done::failed(format!("{error:#}")),
        }
    })
}

/// What tells two runs of one seed apart. A run that fails twice in the same way
/// is deterministic; that it fails is for `run` to say.
fn difference(one: &Report, other: &Report) -> Option<String> {
    if let Some((line, a, b)) = first_difference(&one.trace, &other.trace) {
        let (a, b) = (String::from_utf8_lossy(a), String::from_utf8_lossy(b));
        return Some(format!("seed {}: the traces differ from line {line} on\n  {a}\n  {b}", one.seed));
    }
    let same = (&one.hash, &one.failure, one.time) == (&other.hash, &other.failure, other.time);
    (!same).then(|| format!("seed {}: the traces are equal, the outcomes are not", one.seed))
}

fn replay(scenario: &'static Scenario, run: Run, trace: Option<PathBuf>) -> anyhow::Result<bool> {
    let report = process::run_apart(scenario, &Run { keep_trace: trace.is_some(), ..run })?;
    match &trace {
        Some(path) if path.as_os_str() == "-" => io::stdout().write_all(&report.trace)?,
        Some(path) => {
            let mut file = std::fs::File::create(path).with_context(|| format!("creating {}", path.display()))?;
            file.write_all(&report.trace).with_context(|| format!("writing {}", path.display()))?;
        }
        None => {}
    }
    summarize(&report);
    Ok(report.failure.is_none())
}

fn summarize(report: &Report) {
    let (events, lines, packets) = report.counts;
    eprintln!(
        "seed {}: {}\n{:.3} s of virtual time, {events} events, {packets} packets, {lines} lines, trace {}",
        report.seed,
        report.failure.as_deref().unwrap_or("all is well"),
        report.time.as_secs_f64(),
        report.hash,
    );
}

fn explain(scenario: &'static Scenario, run: &Run) -> anyhow::Result<bool> {
    let report = process::run_apart(scenario, run)?;
    let mut out = io::stdout().lock();
    for (number, planned) in (scenario.plan)(run.seed).iter().enumerate() {
        let strikes = run.only.as_ref().is_none_or(|only| only.contains(&number));
        let mark = if strikes { ' ' } else { '-' };
        writeln!(out, "{mark}{number:4} at {:8.3} s {:?}", planned.at.as_secs_f64(), planned.fault)?;
    }
    for line in report.trace.split_inclusive(|byte| *byte == b'\n') {
        if !line.windows(8).any(|word| word == b" packet ") {
            out.write_all(line)?;
        }
    }
    summarize(&report);
    Ok(report.failure.is_none())
}

fn shrink(scenario: &'static Scenario, seed: u64) -> anyhow::Result<bool> {
    let plan = (scenario.plan)(seed);
    let fails = |only: &[usize]| {
        // A run that cannot even be made is no answer; it does not count as failing.
        let run = Run { only: Some(only.to_vec()), ..Run::of(seed) };
        process::run_apart(scenario, &run).is_ok_and(|report| report.failure.is_some())
    };
    if !fails(&(0..plan.len()).collect::<Vec<_>>()) {
        println!("seed {seed} does not fail");
        return Ok(true);
    }
    let left = sim::shrink::shrink(plan.len(), SHRINK_TRIES_MAX, fails);
    println!("seed {seed}: {} of {} faults are enough", left.len(), plan.len());
    for number in &left {
        println!("{number:5} at {:8.3} s {:?}", plan[*number].at.as_secs_f64(), plan[*number].fault);
    }
    let only: Vec<String> = left.iter().map(usize::to_string).collect();
    println!("  again: sim explain {seed} --scenario {} --only={}", scenario.name, only.join(","));
    Ok(false)
}

/// What came of one seed.
struct Done {
    failure: Option<String>,
    events: u64,
    virtual_seconds: f64,
}

impl Done {
    fn well(counts: (u64, u64, u64), time: std::time::Duration) -> Self {
        Self { failure: None, events: counts.0, virtual_seconds: time.as_secs_f64() }
    }
    fn failed(failure: String) -> Self {
        Self { failure: Some(failure), events: 0, virtual_seconds: 0.0 }
    }
}

impl Seeds {
    /// Does `work` for each seed on a few threads, and tells how it went. True if all went well.
    fn each(&self, work: impl Fn(u64) -> Done + Sync) -> anyhow::Result<bool> {
        #[expect(clippy::disallowed_methods, reason = "how fast the simulator is takes a real clock")]
        let now = Instant::now;
        let started = now();
        let end = self.from.checked_add(self.seeds).context("the seeds end at 2^64")?;
        let jobs = self.jobs.map_or_else(|| thread::available_parallelism().map_or(1, usize::from), usize::from);
        let next = AtomicU64::new(self.from);
        let (give, take) = mpsc::sync_channel::<(u64, Done)>(jobs);
        let is_terminal = io::stderr().is_terminal();
        let (mut done, mut failed, mut events, mut virtual_seconds) = (0_u64, 0_u64, 0_u64, 0.0);
        thread::scope(|scope| {
            for _ in 0..jobs {
                let (give, next, work) = (give.clone(), &next, &work);
                scope.spawn(move || {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= end || give.send((seed, work(seed))).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(give);
            for (seed, outcome) in take {
                done += 1;
                events += outcome.events;
                virtual_seconds += outcome.virtual_seconds;
                if is_terminal {
                    eprint!("\r\x1b[K");
                }
                if let Some(failure) = outcome.failure {
                    failed += 1;
                    println!("{failure}\n  again: sim replay {seed} --scenario {}", self.scenario.scenario.name);
                }
                if is_terminal {
                    eprint!("{done} of {} seeds, {failed} failed", self.seeds);
                }
            }
        });
        if is_terminal {
            eprint!("\r\x1b[K");
        }
        let seconds = now().duration_since(started).as_secs_f64();
        println!(
            "{}: {done} seeds, {failed} failed, {:.1} s, {:.2} seeds a second, {events} events, {virtual_seconds:.0} s of virtual time",
            self.scenario.scenario.name,
            seconds,
            done as f64 / seconds,
        );
        Ok(failed == 0)
    }
}

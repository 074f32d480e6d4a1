//! `sim`: runs the simulator's scenarios from seeds.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use probe::Plant;
use sim::{
    campaign::{Campaign, Done},
    history,
    kernel::trace::first_difference,
    planted,
    process::{self, Report, Run},
    scenario::{self, Scenario},
    timeline,
};
use tracing::level_filters::LevelFilter;

/// Runs that a search for a shorter list of faults may take: some minutes.
const SHRINK_TRIES_MAX: usize = 500;
/// How many seeds lie between those of two soaks that begin one second apart.
const SEEDS_PER_SECOND: u64 = 1000;

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
    #[command(after_help = "Example: sim run --seeds 1000 --from 1 --scenario all")]
    Run(Seeds),
    /// Runs seeds that were never run before, until the time is over.
    #[command(after_help = "Example: sim soak --minutes 60")]
    Soak {
        /// For how long.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        minutes: u64,
        /// The first seed; by default one that depends on the time.
        #[arg(long, value_name = "S")]
        from: Option<u64>,
        #[command(flatten)]
        jobs: Jobs,
        #[command(flatten)]
        scenario: Chosen,
    },
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
    /// Tells what happened in a run: when, who and what, and which faults struck.
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
    /// Switches on one planted fault after the other, and plays seeds until each is caught.
    #[command(after_help = "Example: sim planted --fault LogAppendsUnsynced --seeds-max 100")]
    Planted {
        /// Only lists them.
        #[arg(long)]
        list: bool,
        /// Looks for this one only.
        #[arg(long, value_name = "NAME", value_parser = parse_plant)]
        fault: Option<Plant>,
        /// Seeds of each scenario after which a fault counts as not caught.
        #[arg(long, value_name = "N", default_value_t = 2000)]
        seeds_max: u64,
        /// The first seed.
        #[arg(long, value_name = "S", default_value_t = 1)]
        from: u64,
        #[command(flatten)]
        jobs: Jobs,
    },
    /// Lists the scenarios.
    Scenarios,
    /// Checks a history, as the lab writes it, against what Nuthatch promises.
    History {
        /// Lines of JSON, one event each.
        file: PathBuf,
    },
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
    /// Switches on this planted fault: see `sim planted --list`.
    #[arg(long, value_name = "NAME", value_parser = parse_plant)]
    plant: Option<Plant>,
}

fn parse_plant(name: &str) -> Result<Plant, String> {
    Plant::of_name(name).ok_or_else(|| "there is no such fault; `sim planted --list` lists them".to_owned())
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
        Run { seed, keep_trace: false, only: self.only.map(|only| only.0), log: self.log, plant: self.plant }
    }
}

#[derive(Args)]
struct Chosen {
    /// Which scenario to play; `all`: each has its turn, and one seed plays always the same.
    #[arg(long, value_name = "NAME", default_value = "all", value_parser = choose)]
    scenario: Choice,
}

/// One scenario, or all.
#[derive(Clone, Copy)]
struct Choice(Option<&'static Scenario>);

impl Chosen {
    /// What this seed plays.
    fn of(&self, seed: u64) -> &'static Scenario {
        self.scenario.0.unwrap_or_else(|| scenario::of(seed))
    }
}

fn choose(name: &str) -> Result<Choice, String> {
    match (name, scenario::find(name)) {
        ("all", _) => Ok(Choice(None)),
        (_, Some(scenario)) => Ok(Choice(Some(scenario))),
        (_, None) => {
            let names: Vec<&str> = scenario::all().map(|scenario| scenario.name).collect();
            Err(format!("there is no such scenario; there are: all, {}", names.join(", ")))
        }
    }
}

#[derive(Args)]
struct Seeds {
    /// How many seeds.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them.
    #[arg(long, value_name = "S", default_value_t = 1)]
    from: u64,
    #[command(flatten)]
    jobs: Jobs,
    #[command(flatten)]
    scenario: Chosen,
}

#[derive(Args)]
struct Jobs {
    /// How many processes at a time; by default as many as there are processors.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
}

impl Jobs {
    fn count(&self) -> usize {
        self.jobs.map_or_else(|| thread::available_parallelism().map_or(1, usize::from), usize::from)
    }
}

impl Seeds {
    fn campaign(&self) -> Campaign {
        let (scenario, jobs) = (self.scenario.scenario.0, self.jobs.count());
        Campaign { scenario, from: self.from, seeds: self.seeds, lasts: None, jobs }
    }
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
        Command::Run(seeds) => play(&seeds.campaign(), run_once),
        Command::Soak { minutes, from, jobs, scenario } => {
            let lasts = Some(Duration::from_secs(minutes.saturating_mul(60)));
            let (scenario, from, jobs) = (scenario.scenario.0, from.unwrap_or_else(fresh_seed), jobs.count());
            play(&Campaign { scenario, from, seeds: u64::MAX, lasts, jobs }, run_once)
        }
        Command::Meta(seeds) => play(&seeds.campaign(), run_twice),
        Command::Replay { seed, trace, variant, scenario } => replay(scenario.of(seed), variant.of(seed), trace),
        Command::Shrink { seed, scenario } => shrink(scenario.of(seed), seed),
        Command::Explain { seed, variant, scenario } => explain(scenario.of(seed), &variant.of(seed).traced()),
        Command::Planted { list: true, .. } => {
            planted::print_list();
            Ok(true)
        }
        Command::Planted { fault, seeds_max, from, jobs, .. } => {
            planted::Search { fault, seeds_max, from, jobs: jobs.count() }.run()
        }
        Command::Scenarios => {
            for scenario in scenario::all() {
                println!("{:12} {}", scenario.name, scenario.about);
            }
            Ok(true)
        }
        Command::History { file } => judge(&file),
        Command::Child { seed, keep_trace, variant, scenario } => {
            let run = Run { keep_trace, ..variant.of(seed) };
            let report = process::run_here(scenario.of(seed), &run)?;
            io::stdout().write_all(&process::encode(&report)?).context("writing the report")?;
            Ok(true)
        }
    }
}

fn judge(file: &std::path::Path) -> anyhow::Result<bool> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let history =
        history::parse(&text).map_err(|(line, error)| anyhow::anyhow!("{}, line {line}: {error}", file.display()))?;
    let found = history::violations(&history);
    found.iter().for_each(|violation| println!("{violation}"));
    println!("{} events, {} broken promises", history.len(), found.len());
    Ok(found.is_empty())
}

/// A seed that hardly anyone has tried.
fn fresh_seed() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "what is wanted is that it differs from run to run")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() * SEEDS_PER_SECOND
}

fn play(campaign: &Campaign, once: fn(&'static Scenario, u64) -> Done) -> anyhow::Result<bool> {
    println!("seeds from {} on, {} at a time", campaign.from, campaign.jobs);
    let tally = campaign.run(once);
    tally.tell(&mut io::stdout().lock())?;
    Ok(tally.is_sound())
}

fn run_once(scenario: &'static Scenario, seed: u64) -> Done {
    match process::run_apart(scenario, &Run::of(seed)) {
        Ok(report) => {
            let failure = report.failure.as_deref().map(|what| failed(scenario, seed, what, &report.names));
            Done { failure, report: Some(report) }
        }
        Err(error) => Done { failure: Some(failed(scenario, seed, &format!("{error:#}"), &[])), report: None },
    }
}

fn run_twice(scenario: &'static Scenario, seed: u64) -> Done {
    let run = Run::of(seed).traced();
    let twice = process::run_apart(scenario, &run).and_then(|one| Ok((one, process::run_apart(scenario, &run)?)));
    match twice {
        Ok((one, other)) => {
            let difference = difference(&one, &other);
            Done { failure: difference.map(|what| failed(scenario, seed, &what, &one.names)), report: Some(one) }
        }
        Err(error) => Done { failure: Some(failed(scenario, seed, &format!("{error:#}"), &[])), report: None },
    }
}

/// What a person needs to look into a failure.
fn failed(scenario: &Scenario, seed: u64, what: &str, names: &[String]) -> String {
    let mut faults = Vec::new();
    // Writing to memory cannot fail.
    let _ = timeline::tell_plan(&mut faults, &(scenario.plan)(seed), names, None);
    let faults = String::from_utf8_lossy(&faults).into_owned();
    let commit = commit().map_or_else(String::new, |commit| format!("  commit   {commit}\n"));
    let program = std::env::args().next().unwrap_or_else(|| "sim".to_owned());
    let again = |command: &str| format!("{program} {command} {seed} --scenario {}", scenario.name);
    format!(
        "FAILED {}, seed {seed}: {}\n{faults}{commit}  again:   {}\n  told:    {}\n  shorter: {}",
        scenario.name,
        timeline::with_names(what, names),
        again("replay"),
        again("explain"),
        again("shrink"),
    )
}

/// The commit of the source in the working directory, if there is one.
fn commit() -> Option<String> {
    let output = std::process::Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output();
    let output = output.ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// What tells two runs of one seed apart. A run that fails twice in the same way
/// is deterministic; that it fails is for `run` to say.
fn difference(one: &Report, other: &Report) -> Option<String> {
    if let Some((line, a, b)) = first_difference(&one.trace, &other.trace) {
        let (a, b) = (String::from_utf8_lossy(a), String::from_utf8_lossy(b));
        return Some(format!("the traces differ from line {line} on\n  {a}\n  {b}"));
    }
    let same = (&one.hash, &one.failure, one.time) == (&other.hash, &other.failure, other.time);
    (!same).then(|| "the traces are equal, the outcomes are not".to_owned())
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
        report.failure.as_deref().map_or("all is well".to_owned(), |what| timeline::with_names(what, &report.names)),
        report.time.as_secs_f64(),
        report.hash,
    );
}

fn explain(scenario: &'static Scenario, run: &Run) -> anyhow::Result<bool> {
    let report = process::run_apart(scenario, run)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}, seed {}: {}\nits faults:", scenario.name, run.seed, scenario.about)?;
    timeline::tell_plan(&mut out, &(scenario.plan)(run.seed), &report.names, run.only.as_deref())?;
    writeln!(out, "what happened:")?;
    timeline::tell(&mut out, &report.trace, &report.names)?;
    let reached: Vec<&str> = report.reached.iter().map(|(name, _)| name.as_str()).collect();
    writeln!(out, "paths taken: {}", if reached.is_empty() { "none".to_owned() } else { reached.join("; ") })?;
    drop(out);
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
        println!("{number:5} at {:8.3} s {}", plan[*number].at.as_secs_f64(), plan[*number].fault);
    }
    let only: Vec<String> = left.iter().map(usize::to_string).collect();
    println!("  told: sim explain {seed} --scenario {} --only={}", scenario.name, only.join(","));
    Ok(false)
}

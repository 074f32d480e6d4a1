//! Loads three orchestrators with a fleet: enrolls very many clients, keeps many of them
//! connected, and reports what that costs and how soon a change reaches them.
//!
//! `just load` builds what it needs and runs it; by hand:
//! `cargo build --release -p node && cargo run --release -p benches --bin load -- --help`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark measures the real machine"
)]

mod cluster;
mod disk;
mod fleet;
mod report;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use benches::{
    node::beside,
    process::{self, Reading, read_all},
    trouble::Trouble,
};
use clap::Parser;
use protocol::limits;
use tokio::signal::unix::{SignalKind, signal};

use self::{
    cluster::Cluster,
    fleet::Fleet,
    report::{Idle, Report},
};

/// Live clients that one machine can simulate: each has a UDP port of its own, and the
/// kernel gives out some 28,000.
const LIVE_MAX: u32 = 25_000;
/// Until memory that is not used any more was given back, and what follows a burst is done.
const SETTLE: Duration = Duration::from_secs(15);
/// Between two changes of policy: after each, the clients come back to wait for the next
/// over two seconds.
const BETWEEN_CHANGES: Duration = Duration::from_secs(4);
/// Between two lines of progress.
pub const PROGRESS: Duration = Duration::from_secs(5);

/// Load three orchestrators with a fleet.
///
/// Orchestrators and storage are processes of the release program, on 127.0.0.1, with
/// their data in a temporary directory. The clients are this program: each with keys, a
/// UDP socket and a QUIC connection of its own, and the product's own code for joining
/// and for the resident client. Only their disks are in memory.
///
/// All of them share this machine's cores: figures of time are those of everything together.
#[derive(Debug, Parser)]
#[command(name = "load")]
struct Arguments {
    /// How many clients are enrolled.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::TOKEN_USES_MAX)))]
    enrolled: u32,
    /// How many of them are connected in the end, and stay.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(LIVE_MAX)))]
    live: u32,
    /// How many join at the same time.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1000))]
    joining: u32,
    /// How many times the policy is changed.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    changes: u32,
    /// For how long the idle cluster is watched, in seconds.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3600))]
    idle: u32,
    /// After how many minutes of enrolling the rest is left out.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,
    /// Which fleet: the same has the same keys.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The program of this project. Default: the one that was built with this one.
    #[arg(long, value_name = "FILE")]
    nuthatch: Option<PathBuf>,
    /// Where the cluster's data lies meanwhile. Default: a new temporary directory.
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(report) if arguments.json => println!("{}", report.json()),
        Ok(report) => println!("{}", report.text()),
        Err(Trouble(text)) => {
            eprintln!("load: {text}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn run(arguments: &Arguments) -> Result<Report, Trouble> {
    if arguments.live > arguments.enrolled {
        return Err(Trouble("only clients that are enrolled can be live: raise --enrolled".into()));
    }
    process::raise_descriptors(u64::from(arguments.live + arguments.joining))?;
    let nuthatch = arguments.nuthatch.clone().map_or_else(beside, Ok)?;
    let parent = arguments.work_dir.clone().unwrap_or_else(std::env::temp_dir);
    // Made before, and so removed after, everything that works in it.
    let work = std::fs::create_dir_all(&parent)
        .and_then(|()| tempfile::Builder::new().prefix("nuthatch-load-").tempdir_in(&parent))
        .map_err(|error| Trouble::about("work in", &parent, &error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Trouble(format!("cannot start threads: {error}")))?;
    runtime.block_on(async {
        let listen = |kind| signal(kind).map_err(|error| Trouble(format!("cannot listen for signals: {error}")));
        let (mut interrupted, mut told) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        tokio::select! {
            measured = measure(arguments, &nuthatch, work.path()) => measured,
            _ = interrupted.recv() => Err(Trouble("interrupted: everything is ended and removed".into())),
            _ = told.recv() => Err(Trouble("told to stop: everything is ended and removed".into())),
        }
    })
}

async fn measure(arguments: &Arguments, nuthatch: &Path, work: &Path) -> Result<Report, Trouble> {
    eprintln!("starting three orchestrators and a storage in {}", work.display());
    let cluster = Cluster::found(nuthatch, work, arguments.seed, arguments.enrolled).await?;
    let mut fleet = Fleet::new(&cluster.env, arguments.seed, arguments.live);
    tokio::time::sleep(SETTLE).await;
    let founded = read_all(&cluster.orchestrators())?;

    let began = Instant::now();
    let patience = Duration::from_secs(60 * u64::from(arguments.minutes));
    let enrolled = fleet.enroll(&cluster.token, arguments.enrolled, arguments.joining, patience).await?;
    let enrolling = began.elapsed();
    tokio::time::sleep(SETTLE).await;
    let after_enrolling = read_all(&cluster.orchestrators())?;
    let idle_empty = idle(&cluster, arguments.idle).await?;

    let began = Instant::now();
    fleet.go_live(arguments.joining).await?;
    cluster.await_connected(fleet.live()).await?;
    let connecting = began.elapsed();
    tokio::time::sleep(SETTLE).await;
    let after_connecting = read_all(&cluster.orchestrators())?;

    let mut changes = Vec::new();
    for number in 1..=arguments.changes {
        tokio::time::sleep(BETWEEN_CHANGES).await;
        let began = Instant::now();
        let version = cluster.change_policy(number).await?;
        let decided = began.elapsed();
        changes.push(fleet.await_policy(cluster.domain.id, version, began, decided).await?);
    }
    tokio::time::sleep(SETTLE).await;
    let idle_live = idle(&cluster, arguments.idle).await?;
    let connected = cluster.connected().await?;
    if connected < u64::from(fleet.live()) {
        return Err(Trouble(format!("only {connected} of {} live clients are still connected", fleet.live())));
    }
    Ok(Report {
        asked: arguments.enrolled,
        enrolled,
        live: fleet.live(),
        joining: arguments.joining,
        seed: arguments.seed,
        cores: process::cores(),
        enrolling,
        enrolling_cpu: after_enrolling.cpu.saturating_sub(founded.cpu),
        connecting,
        memory: [founded, after_enrolling, after_connecting].map(|Reading { resident, .. }| resident),
        changes,
        idle_empty,
        idle_live,
    })
}

/// What the orchestrators do while nobody asks anything.
async fn idle(cluster: &Cluster, seconds: u32) -> Result<Idle, Trouble> {
    eprintln!("watching the idle orchestrators for {seconds} s");
    let (began, before) = (Instant::now(), read_all(&cluster.orchestrators())?);
    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    let after = read_all(&cluster.orchestrators())?;
    Ok(Idle { cpu: after.cpu.saturating_sub(before.cpu), during: began.elapsed() })
}

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
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use benches::{
    process::{self, Reading, read_all},
    setting::Setting,
    trouble::Trouble,
};
use clap::Parser;
use protocol::limits;

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
    #[command(flatten)]
    setting: Setting,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    arguments.setting.run("load", async |nuthatch, work| measure(&arguments, nuthatch, work).await)
}

async fn measure(arguments: &Arguments, nuthatch: &Path, work: &Path) -> Result<Report, Trouble> {
    if arguments.live > arguments.enrolled {
        return Err(Trouble("only clients that are enrolled can be live: raise --enrolled".into()));
    }
    process::raise_descriptors(u64::from(arguments.live + arguments.joining))?;
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

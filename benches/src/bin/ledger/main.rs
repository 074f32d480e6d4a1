//! Begins a lost cluster again from the backup of a very large ledger, and reports what
//! that costs, and what an orchestrator costs that has such a ledger.
//!
//! `just ledger` builds what it needs and runs it; by hand:
//! `cargo build --release -p node && cargo run --release -p benches --bin ledger -- --help`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark measures the real machine"
)]

mod backup;
mod measure;
mod operator;
mod report;

use std::{path::PathBuf, process::ExitCode};

use benches::{node::beside, trouble::Trouble};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use self::report::Report;

/// Begin a cluster again from the backup of a large ledger.
///
/// Orchestrators and storage are processes of the release program, on 127.0.0.1, with their
/// data in a temporary directory. A small cluster is founded, and its ledger's backup is
/// written anew with clients and snapshots that never were; then its orchestrators are lost,
/// `nuthatch cluster rebuild` makes three others of that backup, and these are put to work.
///
/// All of them share this machine's cores: figures of time are those of everything together.
#[derive(Debug, Parser)]
#[command(name = "ledger")]
struct Arguments {
    /// How many clients are in the ledger.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    clients: u64,
    /// How many snapshots, of all clients together.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(0..=10_000_000))]
    snapshots: u64,
    /// How many of their commits lie in the storage, as far as a listing goes. The more, the
    /// longer this takes to begin: each is a file.
    #[arg(long, default_value_t = 20_000)]
    listed: u64,
    /// For how long the idle cluster is watched, in seconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    idle: u64,
    /// After how many minutes one step counts as failed.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    minutes: u64,
    /// The program of this project. Default: the one that was built with this one.
    #[arg(long, value_name = "FILE")]
    nuthatch: Option<PathBuf>,
    /// Where the cluster's data lies meanwhile: for a million snapshots, 3 GiB. Default: a new temporary directory.
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// Leave the data there.
    #[arg(long)]
    keep: bool,
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
            eprintln!("ledger: {text}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn run(arguments: &Arguments) -> Result<Report, Trouble> {
    let nuthatch = arguments.nuthatch.clone().map_or_else(beside, Ok)?;
    let parent = arguments.work_dir.clone().unwrap_or_else(std::env::temp_dir);
    // Made before, and so removed after, everything that works in it.
    let mut work = std::fs::create_dir_all(&parent)
        .and_then(|()| tempfile::Builder::new().prefix("nuthatch-ledger-").tempdir_in(&parent))
        .map_err(|error| Trouble::about("work in", &parent, &error))?;
    work.disable_cleanup(arguments.keep);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Trouble(format!("cannot start threads: {error}")))?;
    runtime.block_on(async {
        let listen = |kind| signal(kind).map_err(|error| Trouble(format!("cannot listen for signals: {error}")));
        let (mut interrupted, mut told) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        tokio::select! {
            measured = measure::measure(arguments, &nuthatch, work.path()) => measured,
            _ = interrupted.recv() => Err(Trouble("interrupted: everything is ended and removed".into())),
            _ = told.recv() => Err(Trouble("told to stop: everything is ended and removed".into())),
        }
    })
}

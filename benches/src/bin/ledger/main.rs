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

use std::process::ExitCode;

use benches::setting::Setting;
use clap::Parser;

/// Begin a cluster again from the backup of a large ledger.
///
/// Orchestrators and storage are processes of the release program, on 127.0.0.1, with their
/// data in a temporary directory. A small cluster is founded, and its ledger's backup is
/// written anew with clients and snapshots that never were; then its orchestrators are lost,
/// `nuthatch cluster rebuild` makes three others of that backup, and these are put to work.
/// A million snapshots take 3 GiB there.
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
    #[command(flatten)]
    setting: Setting,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    arguments.setting.run("ledger", async |nuthatch, work| measure::measure(&arguments, nuthatch, work).await)
}

//! The command line: parses, runs, and says how it went.

mod admins;
mod args;
mod audit;
mod choose;
pub mod clients;
pub mod cluster;
mod diff;
mod domain;
mod enroll;
mod generate;
mod health;
pub mod human;
mod input;
mod orchestrators;
mod output;
mod progress;
mod rebuild;
mod restore;
mod session;
mod signals;
mod snapshot;
mod sources;
mod storage;
mod stream;
pub mod text;
mod token;
mod tokens;
mod trouble;
mod verify;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use self::args::{
    AdminCommand, ClientCommand, ClusterCommand, Command, DomainCommand, NodeCommand, OrchestratorCommand,
    SnapshotCommand, StorageCommand, TokenCommand,
};
pub use self::{
    args::{Cli, Demo, DemoStorage, NodeRun, NodeVouch},
    cluster::NewCluster,
    input::{read_file, read_secret},
    output::{Output, line, say},
    progress::{Shown, follow, watch},
    session::{ClientSession, OperatorSession, client_env},
    signals::StopSignals,
    storage::{NewStorage, read_authorities, read_credential},
    token::NewToken,
    trouble::{Exit, Trouble},
};
use crate::{demo, service};

/// Reads the command line. None if that was all: it was wrong, or asked for help.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, ExitCode> {
    let args: Vec<OsString> = args.into_iter().collect();
    Cli::try_parse_from(&args).map_err(|error| {
        let wrong = error.use_stderr();
        if wrong && args.iter().any(|arg| arg == "--json") {
            let text = error.to_string();
            // Its first paragraph: what follows is about usage in general.
            let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
            let message = lines.join(" ");
            let message = message.trim_start_matches("error: ");
            Output::new(true).trouble(&Trouble::usage(message));
        } else {
            // With nowhere to print to there is nobody to tell.
            let _ = error.print();
        }
        (if wrong { Exit::Usage } else { Exit::Well }).into()
    })
}

/// Does what was asked.
pub fn run(cli: Cli) -> ExitCode {
    let output = Output::new(cli.json);
    // A node's log follows its configuration.
    if !matches!(cli.command, Command::Node(NodeCommand::Run(_))) {
        log_warnings();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(Box::pin(execute(cli.command, output))),
        Err(error) => Err(Trouble::new("internal", format!("cannot start threads: {error}"))),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(trouble) => {
            output.trouble(&trouble);
            trouble.exit().into()
        }
    }
}

async fn execute(command: Command, output: Output) -> Result<Exit, Trouble> {
    match command {
        Command::Demo(args) => return Box::pin(demo::run(args, output)).await,
        Command::Node(NodeCommand::Run(args)) => service::run(args).await?,
        Command::Node(NodeCommand::Vouch(args)) => service::vouch(args, output).await?,
        Command::Cluster(ClusterCommand::Init(args)) => cluster::init(args, output).await?,
        Command::Cluster(ClusterCommand::Status(home)) => return cluster::status(&home, output).await,
        Command::Cluster(ClusterCommand::Rebuild(args)) => rebuild::rebuild(args, output).await?,
        Command::Orchestrator(OrchestratorCommand::Add(args)) => orchestrators::add(args, output).await?,
        Command::Orchestrator(OrchestratorCommand::Remove(args)) => orchestrators::remove(args, output).await?,
        Command::Orchestrator(OrchestratorCommand::List(home)) => orchestrators::list(&home, output).await?,
        Command::Admin(AdminCommand::Create(args)) => admins::create(args, output).await?,
        Command::Admin(AdminCommand::Add(args)) => admins::add(args, output).await?,
        Command::Admin(AdminCommand::Remove(args)) => admins::remove(args, output).await?,
        Command::Admin(AdminCommand::List(home)) => admins::list(&home, output).await?,
        Command::Audit(home) => audit::audit(&home, output).await?,
        Command::Storage(StorageCommand::Add(args)) => storage::add(args, output).await?,
        Command::Storage(StorageCommand::Check(args)) => return storage::check(args, output).await,
        Command::Storage(StorageCommand::List(home)) => storage::list(&home, output).await?,
        Command::Domain(DomainCommand::Create(args)) => domain::create(args, output).await?,
        Command::Domain(DomainCommand::List(home)) => domain::list(&home, output).await?,
        Command::Token(TokenCommand::Create(args)) => token::create(args, output).await?,
        Command::Token(TokenCommand::List(home)) => tokens::list(&home, output).await?,
        Command::Token(TokenCommand::Revoke(args)) => tokens::revoke(args, output).await?,
        Command::Client(ClientCommand::Show(args)) => clients::show(args, output).await?,
        Command::Client(ClientCommand::Revoke(args)) => clients::revoke(args, output).await?,
        Command::Client(ClientCommand::List(home)) => clients::list(&home, output).await?,
        Command::Enroll(args) => enroll::enroll(args, output).await?,
        Command::Snapshot(SnapshotCommand::Create(args)) => return snapshot::create(args, output).await,
        Command::Snapshot(SnapshotCommand::List(data)) => snapshot::list(&data, output).await?,
        Command::Snapshot(SnapshotCommand::Show(args)) => snapshot::show(args, output).await?,
        Command::Snapshot(SnapshotCommand::Ls(args)) => snapshot::ls(args, output).await?,
        Command::Snapshot(SnapshotCommand::Diff(args)) => diff::diff(args, output).await?,
        Command::Restore(args) => return restore::restore(args, output).await,
        Command::Completions(args) => generate::completions(&args)?,
        Command::Man(args) => generate::man(&args, output)?,
        Command::Verify(args) => return verify::verify(args, output).await,
    }
    Ok(Exit::Well)
}

fn log_warnings() {
    // A cache that fails costs time and nothing else, and what foyer says of it is for
    // those who know its insides.
    const QUIET: &str = "quinn=error,foyer=off,foyer_memory=off,foyer_storage=off";
    let asked = std::env::var("NUTHATCH_LOG").ok().filter(|asked| !asked.is_empty());
    let directives = format!("{QUIET},{}", asked.as_deref().unwrap_or("warn"));
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new(format!("{QUIET},warn")));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        // Where in the program a warning was written is of use to those who ask for more.
        .with_target(asked.is_some())
        .without_time()
        .init();
}

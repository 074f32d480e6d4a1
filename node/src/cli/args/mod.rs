//! The command line: what can be asked, and how it is explained.

mod admin;
mod client;
mod generate;
mod operator;
mod orchestrator;
mod reading;
mod sources;
mod storage;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use self::{
    admin::{AdminAdd, AdminCommand, AdminCreate, AdminRemove},
    client::{Enroll, SnapshotCommand, SnapshotCreate, SnapshotLs, SnapshotShow, StaminaArgs},
    generate::{Completions, Man},
    operator::{
        ClientCommand, ClientRevoke, ClientShow, ClusterCommand, ClusterInit, ClusterRebuild, DomainCommand,
        DomainCreate, TokenCommand, TokenCreate, TokenRevoke,
    },
    orchestrator::{OrchestratorAdd, OrchestratorCommand, OrchestratorRemove},
    reading::{Restore, SnapshotDiff, Verify},
    sources::{RuleArgs, SourceArgs, StreamArgs},
    storage::{CredentialArgs, StorageAdd, StorageCheck, StorageCommand, StoragePlaceArgs},
};

const AFTER: &str = "\
First try, with nothing to configure:
  nuthatch demo

Exit codes: 0 all well, 1 failed, 2 wrong usage, 3 finished with file errors.
With --json a command prints one JSON object on one line: \"ok\": true and its
result, or \"ok\": false, \"code\", \"message\" and \"hint\". Codes are retry, fenced,
denied, invalid, corrupt, internal, not_found, cancelled and usage.

Environment:
  NUTHATCH_HOME      the operator's directory (default: ~/.config/nuthatch)
  NUTHATCH_DATA_DIR  a client's data directory (default: /var/lib/nuthatch for
                     root, ~/.local/share/nuthatch for others)
  NUTHATCH_LOG       what is logged to stderr: error, warn (default), info";

/// Backs up a fleet of machines, encrypted, straight to object storage.
///
/// Clients encrypt and upload by themselves; a few orchestrators tell them what to
/// do, and never see a byte in the clear.
#[derive(Debug, Parser)]
#[command(name = "nuthatch", version, after_long_help = AFTER, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    /// Print one JSON object instead of text, and no progress.
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// All commands.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "what has arguments is explained there")]
pub enum Command {
    Demo(Demo),
    /// Run a node in the foreground.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Make a cluster, and look at it.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Add and remove orchestrators.
    #[command(subcommand)]
    Orchestrator(OrchestratorCommand),
    /// Say whose signatures count.
    #[command(subcommand)]
    Admin(AdminCommand),
    /// List who did what to the cluster, and when.
    ///
    /// What people decided, by whose signature, also what was replaced or revoked since,
    /// and who voted when. The log dates it; each signature that is kept is checked here.
    #[command(after_long_help = "\
Example:
  nuthatch audit

JSON: entries: [number, at_ms, who, act, about, key, version, hash, verified]")]
    Audit(HomeArgs),
    /// Add object storage to the cluster.
    #[command(subcommand)]
    Storage(StorageCommand),
    /// Make domains: clients that share deduplication.
    #[command(subcommand)]
    Domain(DomainCommand),
    /// Make the tokens with which machines join, and end them.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Look at the machines that have joined, and shut them out.
    #[command(subcommand)]
    Client(ClientCommand),
    Enroll(Enroll),
    /// Back up, and look at what was backed up.
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    Restore(Restore),
    Verify(Verify),
    Completions(Completions),
    Man(Man),
}

/// Show the main job on this machine: back up, lose an orchestrator, restore.
///
/// Nothing has to be configured. Starts three orchestrators and a storage as processes on free loopback ports,
/// enrolls a client, backs up DIR, kills the orchestrator that the client is using
/// in the middle of the backup, backs up again after a small change, restores, and
/// compares every byte and attribute. Shows that a used-up token is refused. Cleans
/// up behind itself.
///
/// DIR is only read. What is changed between the two backups lies in a small
/// directory of the demo's own, which is backed up along with it.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nuthatch demo
  nuthatch demo /usr/share
  nuthatch demo /usr/share --keep --json

With --json the last line is an object with ok, identical,
orchestrator_killed, token_reuse_refused, files, bytes_read, bytes_stored,
bytes_via_orchestrators and failover_ms, among others. With --keep it also has
work_dir, home, data_dir, restored, objects and pids.")]
pub struct Demo {
    /// What to back up. Without it, a sample tree of about 100 MB is made.
    pub dir: Option<PathBuf>,
    /// Leave everything running at the end, and say how to talk to it.
    #[arg(long)]
    pub keep: bool,
    /// Where the demo works: an empty directory, or one to be made. Default: a new one for temporary files.
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub storage: DemoStorage,
}

/// An S3 to use instead of the built-in storage. Everything is stored below a fresh
/// prefix, and deleted at the end if the credential may.
#[derive(Debug, Args)]
pub struct DemoStorage {
    /// Use this S3 instead of the built-in storage: `https://host[:port]`; plain http only on this machine.
    #[arg(long, value_name = "URL", requires = "bucket")]
    pub s3: Option<String>,
    /// Its bucket. It must exist.
    #[arg(long, requires = "s3")]
    pub bucket: Option<String>,
    /// The region that requests are signed for.
    #[arg(long, default_value = "us-east-1", requires = "s3")]
    pub region: String,
    /// The bucket stands in the host name instead of the path.
    #[arg(long, requires = "s3")]
    pub virtual_host: bool,
    /// A file with the certificate of the authority that signed the server's, in PEM or DER.
    #[arg(long, value_name = "FILE", requires = "s3")]
    pub ca_file: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub credential: CredentialArgs,
}

/// Commands about nodes.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "explained at its arguments")]
pub enum NodeCommand {
    Run(NodeRun),
    Vouch(NodeVouch),
}

/// Say that a node's data directory is the one it ran with last, as it was then.
///
/// An orchestrator whose data directory was restored from a copy may have forgotten
/// what it promised to others, and could undo what they decided. So one that finds
/// itself on files that were copied, or given other owners, does not take part. Run
/// this after a move to another disk or another user, with the node stopped, and never
/// after a restore: then it needs an empty data directory and the place of the old
/// (`nuthatch orchestrator add --replace`).
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  nuthatch node vouch --config /etc/nuthatch/orchestrator.toml

JSON: data_dir")]
pub struct NodeVouch {
    /// The node's configuration, in TOML.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Run the roles that a configuration file names, until Ctrl-C or SIGTERM.
///
/// An orchestrator prints `listening on ADDRESS` and `key HEX` on stdout when it is
/// ready, a storage `serving http://ADDRESS`, a client `client ID`. Compare the key
/// with what `cluster init` is told. Log lines go to stderr.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  nuthatch node run --config /etc/nuthatch/orchestrator.toml

Example files for every role: deploy/examples/*.toml")]
pub struct NodeRun {
    /// The configuration, in TOML.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// End when the process that started this one has ended.
    #[arg(long, hide = true)]
    pub with_parent: bool,
}

/// Where the operator's keys are.
#[derive(Debug, Args)]
pub struct HomeArgs {
    /// The operator's directory, with the keys of the cluster.
    #[arg(long, value_name = "DIR", env = "NUTHATCH_HOME", hide_env = true, help_heading = "Where")]
    pub home: Option<PathBuf>,
}

/// What opens the root key.
#[derive(Debug, Args)]
pub struct RootKeyArgs {
    /// A file with the passphrase of the root key on its first line. Without it you are asked.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// Where a client's keys are.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// The client's data directory, with its keys and cache.
    #[arg(long, value_name = "DIR", env = "NUTHATCH_DATA_DIR", hide_env = true, help_heading = "Where")]
    pub data_dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_command_has_help_with_an_example() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let mut leaves = 0;
            for below in command.get_subcommands() {
                check(below, &path);
                leaves += 1;
            }
            if leaves == 0 {
                let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example"), "{path} --help has no example");
                assert!(help.lines().all(|line| line.len() <= 78), "{path} --help is too wide for 80 columns");
            }
        }
        Cli::command().debug_assert();
        Cli::command().get_subcommands().for_each(|command| check(command, "nuthatch"));
    }
}

//! What a machine that is backed up can ask.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use super::{DataArgs, operator::label, reading::SnapshotDiff, sources::SourceArgs};
use crate::settings::units::{duration, size};

/// Join a cluster with this machine.
///
/// The token comes from a file or from standard input, never as an argument, which
/// others on this machine could read. Joining may be repeated after any
/// interruption, with the same token.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nuthatch enroll --token-file token
  ssh operator nuthatch token create --domain laptops | nuthatch enroll

JSON: client, name, domain, tags, enrolled_ms, data_dir")]
pub struct Enroll {
    /// A file with the token on its first line. Without it: standard input.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The machine's name, for people. Default: its host name.
    #[arg(long, value_parser = label)]
    pub name: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub data: DataArgs,
}

/// Commands about snapshots.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "what has arguments is explained there")]
pub enum SnapshotCommand {
    #[command(alias = "backup")]
    Create(SnapshotCreate),
    /// List this machine's snapshots, oldest first.
    #[command(after_long_help = "\
Example:
  nuthatch snapshot list

JSON: snapshots: [id, at_ms, complete, host, paths, description, tags, files,
bytes_source, bytes_stored, problems, error]")]
    List(DataArgs),
    Show(SnapshotShow),
    Ls(SnapshotLs),
    Diff(SnapshotDiff),
}

/// Back up files and directories.
///
/// Files that have not changed since the last snapshot are not read. A file that
/// cannot be read is named and does not stop the rest: the exit code is then 3.
/// Stopping a backup harms no snapshot that there is: run it again, and it goes on
/// from what it has stored. A very long one commits what it has now and then; these
/// parts are listed as partial snapshots.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nuthatch snapshot create /home /etc
  nuthatch snapshot create /srv --description 'before the upgrade' --tag keep
  nuthatch snapshot create / --one-file-system --exclude-caches \\
    --exclude '*.tmp' --exclude /var/cache --exclude '!important.tmp'
  nuthatch snapshot create --stdin-filename db.sql \\
    --stdin-from-command -- pg_dump db

Patterns are those of gitignore, relative to each PATH: /name only there, name
anywhere below, name/ directories only, ** any number of directories, ! takes
back in. Files named .nuthatchignore hold such patterns for where they are.

JSON: snapshot, files, files_unchanged, directories, others, bytes_source,
bytes_read, bytes_new, bytes_stored, chunks_new, packs, excluded, vanished,
seconds, problems, problem_list: [path, reason]")]
pub struct SnapshotCreate {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub source: SourceArgs,
    /// What this snapshot is, for people.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub description: String,
    /// A tag. May be given several times.
    #[arg(long = "tag", value_name = "TAG", value_parser = label)]
    pub tags: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub stamina: StaminaArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub data: DataArgs,
}

/// What a backup does about what comes in its way.
#[derive(Debug, Args)]
#[command(next_help_heading = "What comes in its way")]
pub struct StaminaArgs {
    /// Wait if another backup of this machine is under way.
    #[arg(long, conflicts_with = "take_over")]
    pub wait: bool,
    /// Have that one stop, and go on with what it has stored.
    #[arg(long)]
    pub take_over: bool,
    /// How long to wait for a storage or orchestrators that do not answer.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub retry_for: Duration,
    /// After what time to commit a part.
    #[arg(long, value_name = "DURATION", default_value = "45m", value_parser = duration, hide = true)]
    pub part_after: Duration,
    /// After how much to commit a part.
    #[arg(long, value_name = "SIZE", value_parser = size, hide = true)]
    pub part_size: Option<u64>,
}

/// Show what a snapshot says of itself.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nuthatch snapshot show latest
  nuthatch snapshot show 3fa9

JSON: as in `snapshot list`, and sequence, previous, program, started_ms,
finished_ms, files_unchanged, directories, others, bytes_read, bytes_new,
chunks_new, packs")]
pub struct SnapshotShow {
    /// The snapshot: the start of its id, or `latest`.
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub data: DataArgs,
}

/// List the files in a snapshot.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nuthatch snapshot ls latest
  nuthatch snapshot ls 3fa9 /etc --recursive

JSON: one object per file and line: path, kind, mode, uid, gid, size, mtime_s,
mtime_ns, target. Bytes that are not UTF-8 are replaced in path and target.")]
pub struct SnapshotLs {
    /// The snapshot: the start of its id, or `latest`.
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: String,
    /// Where to look: an absolute path in the snapshot.
    #[arg(default_value = "/")]
    pub path: PathBuf,
    /// Directories below as well.
    #[arg(long, short)]
    pub recursive: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub data: DataArgs,
}

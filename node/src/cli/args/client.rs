//! What a machine that is backed up can ask.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
};

use clap::{
    Args, Subcommand,
    builder::{OsStringValueParser, TypedValueParser as _},
};

use super::{DataArgs, operator::label};

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
}

/// Back up files and directories.
///
/// Files that have not changed since the last snapshot are not read. A file that
/// cannot be read is named and does not stop the rest: the exit code is then 3.
/// Stopping a backup harms no snapshot that there is: run it again.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nuthatch snapshot create /home /etc
  nuthatch snapshot create /srv --description 'before the upgrade' --tag keep

JSON: snapshot, files, files_unchanged, directories, others, bytes_source,
bytes_read, bytes_new, bytes_stored, chunks_new, packs, seconds, problems,
problem_list: [path, reason]")]
pub struct SnapshotCreate {
    /// What to back up.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// What this snapshot is, for people.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub description: String,
    /// A tag. May be given several times.
    #[arg(long = "tag", value_name = "TAG", value_parser = label)]
    pub tags: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub data: DataArgs,
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

/// `SNAPSHOT[:PATH]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotAddress {
    /// The start of an id, or `latest`.
    pub snapshot: String,
    /// An absolute path in it.
    pub path: Option<PathBuf>,
}

impl SnapshotAddress {
    /// Ids have no colon in them, paths may.
    fn of(text: OsString) -> Self {
        let bytes = text.as_bytes();
        let colon = bytes.iter().position(|byte| *byte == b':').unwrap_or(bytes.len());
        let path = bytes.get(colon + 1..).filter(|path| !path.is_empty());
        Self {
            snapshot: String::from_utf8_lossy(&bytes[..colon]).into_owned(),
            path: path.map(|path| PathBuf::from(OsStr::from_bytes(path))),
        }
    }
}

/// Bring a snapshot back, or one path of it.
///
/// A whole snapshot comes back below DEST under its absolute paths. With a path, a
/// directory's content goes directly into DEST, and a file becomes DEST/its name.
/// Nothing that exists is touched unless --overwrite says so.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nuthatch restore latest /tmp/restored
  nuthatch restore latest:/home/ann/letters /tmp/letters
  nuthatch restore 3fa9:/etc /etc --overwrite

JSON: snapshot, files, directories, others, bytes, bytes_fetched, seconds,
problems, problem_list: [path, reason]")]
pub struct Restore {
    /// The snapshot: the start of its id, or `latest`; and what of it.
    #[arg(value_name = "SNAPSHOT[:PATH]", value_parser = OsStringValueParser::new().map(SnapshotAddress::of))]
    pub source: SnapshotAddress,
    /// Where to: a directory that is empty, or is made.
    #[arg(value_name = "DEST")]
    pub destination: PathBuf,
    /// Replace what is in the way. Nothing else in DEST is touched.
    #[arg(long)]
    pub overwrite: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub data: DataArgs,
}

/// Check that snapshots can be restored.
///
/// Looks at the structure: commits, trees, indexes, and that every chunk stands
/// where it should. With --read-data also fetches and opens every chunk.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nuthatch verify
  nuthatch verify latest --read-data

JSON: snapshots, trees, entries, chunks, packs, bytes_read, seconds, damages,
damage_list: [object, reason, files]. Damage: ok is false, the exit code 1.")]
pub struct Verify {
    /// The snapshot: the start of its id, or `latest`. Without it: all.
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: Option<String>,
    /// Fetch and open all data, too.
    #[arg(long)]
    pub read_data: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub data: DataArgs,
}

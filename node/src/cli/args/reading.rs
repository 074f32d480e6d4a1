//! How snapshots are brought back, compared and checked.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
};

use clap::{
    Args, ValueEnum,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use repo::{Overwrite, ReadData};

use super::DataArgs;

/// Show what differs between two snapshots.
///
/// One line for each path: + only the second has it, - only the first, M its content
/// differs, U only its mode, owner, time or extended attributes do, T it is another kind of
/// thing. That something in a directory changed does not count as a change of the
/// directory. Takes as long as there are differences, however large the snapshots are.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nuthatch snapshot diff 3fa9 latest
  nuthatch snapshot diff 3fa9 latest /etc

JSON: one object for each change and line: change (added, removed, modified,
metadata, type), path, kind, size, size_before. The last line: added, removed,
modified, metadata, type, bytes_added, bytes_removed. Bytes that are not UTF-8
are replaced in path.")]
pub struct SnapshotDiff {
    /// The first: the start of its id, or `latest`.
    #[arg(value_name = "BEFORE")]
    pub before: String,
    /// The second.
    #[arg(value_name = "AFTER")]
    pub after: String,
    /// Where to look: an absolute path in the snapshots.
    #[arg(default_value = "/")]
    pub path: PathBuf,
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

/// What becomes of what is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OverwriteMode {
    /// Replace what differs. A file of the same length and time counts as the same.
    IfChanged,
    /// Replace what differs. The content of every file is compared.
    Always,
    /// Replace what differs and is older than in the snapshot.
    IfNewer,
    /// Keep all names that are there, whatever they are, and write only what is missing.
    Never,
}

impl From<OverwriteMode> for Overwrite {
    fn from(mode: OverwriteMode) -> Self {
        match mode {
            OverwriteMode::IfChanged => Self::IfChanged,
            OverwriteMode::Always => Self::Always,
            OverwriteMode::IfNewer => Self::IfNewer,
            OverwriteMode::Never => Self::Never,
        }
    }
}

/// Bring a snapshot back, or a part of it.
///
/// A whole snapshot comes back below DEST under its absolute paths. With a path, a
/// directory's content goes directly into DEST, and a file becomes DEST/its name.
///
/// DEST must be empty, or not exist, unless --overwrite says what becomes of what is
/// there. Then only what differs is written, what is the same is not even fetched, and
/// nothing that is not in the snapshot is touched. A file gets its name when it is
/// whole; what can only be restored in part is called NAME.nuthatch-damaged.
///
/// What needs rights that you have not - owners, devices, some attributes - is left,
/// and told.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nuthatch restore latest /tmp/restored
  nuthatch restore latest:/home/ann/letters /tmp/letters
  nuthatch restore 3fa9:/etc /etc --overwrite if-changed --dry-run
  nuthatch restore latest /tmp/some --include '/home/*/docs/' \\
    --exclude '*.iso'

JSON: snapshot, complete, files, unchanged, kept, directories, others, bytes,
bytes_fetched, seconds, owners_left, set_ids_left, xattrs_left, problems,
problem_list: [path, reason]. With --dry-run first one line for each path:
deed (make, replace, adjust, keep), path.")]
pub struct Restore {
    /// The snapshot: the start of its id, or `latest`; and what of it.
    #[arg(value_name = "SNAPSHOT[:PATH]", value_parser = OsStringValueParser::new().map(SnapshotAddress::of))]
    pub source: SnapshotAddress,
    /// Where to: a directory that is empty, or is made.
    #[arg(value_name = "DEST")]
    pub destination: PathBuf,
    /// What becomes of what is in DEST already.
    #[arg(long, value_name = "WHEN", value_enum)]
    pub overwrite: Option<OverwriteMode>,
    /// Only this path and what is below it. May be given several times; from the root of
    /// the snapshot, or from its PATH.
    #[arg(long = "path", value_name = "PATH", help_heading = "What")]
    pub paths: Vec<PathBuf>,
    /// Only what this pattern matches, as in .gitignore files. May be given several times.
    #[arg(long, value_name = "PATTERN", help_heading = "What")]
    pub include: Vec<String>,
    /// Not what this pattern matches. May be given several times.
    #[arg(long, value_name = "PATTERN", help_heading = "What")]
    pub exclude: Vec<String>,
    /// Write nothing; list what would be written.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub data: DataArgs,
}

/// Check that snapshots can be restored.
///
/// Looks at the structure: commits, trees, indexes, the ends of all packs, and that
/// every chunk stands where it should. With --read-data also fetches and opens every
/// chunk; with --sample those of some packs, chosen anew each time, so that regular
/// checks come round to all of them.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nuthatch verify
  nuthatch verify latest --read-data
  nuthatch verify --read-data --sample 5%

JSON: snapshots, trees, entries, chunks, packs, packs_read, pack_list,
bytes_read, seconds, damages, damage_list: [object, reason, cost, files]. The
cost is nothing, files or snapshot. Damage: ok is false, the exit code 1.")]
pub struct Verify {
    /// The snapshot: the start of its id, or `latest`. Without it: all.
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: Option<String>,
    /// Fetch and open all data, too.
    #[arg(long)]
    pub read_data: bool,
    /// Of the data, only this part of the packs, by chance: as `5%` or `1/20`.
    #[arg(long, value_name = "PART", value_parser = share, requires = "read_data")]
    pub sample: Option<f64>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub data: DataArgs,
}

impl Verify {
    /// How much data is read.
    pub fn read(&self) -> ReadData {
        match self.sample {
            _ if !self.read_data => ReadData::Nothing,
            Some(share) if share < 1.0 => ReadData::Sample(share),
            _ => ReadData::All,
        }
    }
}

/// `5%` or `1/20`: more than nothing, and at most all.
fn share(text: &str) -> Result<f64, String> {
    let share = match (text.strip_suffix('%'), text.split_once('/')) {
        (Some(percent), _) => percent.trim().parse::<f64>().ok().map(|percent| percent / 100.0),
        (None, Some((part, whole))) => match (part.trim().parse::<u32>(), whole.trim().parse::<u32>()) {
            (Ok(part), Ok(whole)) if whole > 0 => Some(f64::from(part) / f64::from(whole)),
            _ => None,
        },
        (None, None) => None,
    };
    share
        .filter(|share| *share > 0.0 && *share <= 1.0)
        .ok_or_else(|| format!("{text:?} is not a part as 5% or 1/20, above nothing and at most all"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_a_percentage_or_a_fraction() {
        assert_eq!(
            ["5%", "0.5%", "1/20", "100%", "3/3"].map(|text| share(text).unwrap()),
            [0.05, 0.005, 0.05, 1.0, 1.0]
        );
        for wrong in ["5", "0%", "101%", "1/0", "2/1", "-5%", "x/y", "", "%", "NaN%", "inf%"] {
            share(wrong).unwrap_err();
        }
    }

    #[test]
    fn an_address_may_have_colons_in_its_path() {
        let address = |text: &str| SnapshotAddress::of(text.into());
        let named = |path: Option<&str>| SnapshotAddress { snapshot: "3fa9".into(), path: path.map(PathBuf::from) };
        assert_eq!(address("3fa9"), named(None));
        assert_eq!(address("3fa9:"), named(None));
        assert_eq!(address("3fa9:/a:b"), named(Some("/a:b")));
    }
}

//! What is backed up, and what of it is not.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, builder::NonEmptyStringValueParser};

/// What is backed up.
#[derive(Debug, Args)]
pub struct SourceArgs {
    /// What to back up; with --stdin-from-command: the command.
    #[arg(required_unless_present = "stdin", value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub rules: RuleArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub stream: StreamArgs,
}

/// What is left out.
#[derive(Debug, Args)]
#[command(next_help_heading = "What is left out")]
pub struct RuleArgs {
    /// Leave out what matches, as in a .gitignore at each PATH. May be repeated; the last that matches decides.
    #[arg(long = "exclude", short = 'e', value_name = "PATTERN", value_parser = NonEmptyStringValueParser::new())]
    pub exclude: Vec<String>,
    /// A file of such patterns, one a line. They come before those of --exclude.
    #[arg(long, value_name = "FILE")]
    pub exclude_file: Vec<PathBuf>,
    /// Leave out what is in caches: directories with a CACHEDIR.TAG.
    #[arg(long)]
    pub exclude_caches: bool,
    /// Leave out what is in directories that have a file of this name, but for that file.
    #[arg(long, value_name = "NAME")]
    pub exclude_if_present: Vec<OsString>,
    /// Stay on the file system of each PATH. What is mounted below it is kept as an empty directory.
    #[arg(long, short = 'x')]
    pub one_file_system: bool,
    /// Let files named .nuthatchignore leave out nothing.
    #[arg(long)]
    pub no_ignore_files: bool,
}

/// What is backed up in the place of files.
#[derive(Debug, Args)]
#[command(next_help_heading = "Streams")]
pub struct StreamArgs {
    /// Back up standard input, as one file.
    #[arg(long, conflicts_with_all = ["paths", "stdin_from_command"])]
    pub stdin: bool,
    /// Run the command given in the place of PATH and back up what it prints, if it ends well.
    #[arg(long, requires = "paths")]
    pub stdin_from_command: bool,
    /// The file's name, in the root directory of the snapshot.
    #[arg(long, value_name = "NAME", default_value = "stdin")]
    pub stdin_filename: OsString,
}

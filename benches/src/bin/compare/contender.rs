//! Who takes part: programs that back up and restore, each with a repository of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use benches::trouble::Trouble;

use crate::{nuthatch::Nuthatch, peers};

/// A program that may be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Tool {
    /// This project's own program.
    Nuthatch,
    /// restic.
    Restic,
    /// rustic.
    Rustic,
    /// `borg`, with zstd at level 3.
    Borg,
}

impl Tool {
    /// All of them, this project's own first.
    pub const ALL: [Self; 4] = [Self::Nuthatch, Self::Restic, Self::Rustic, Self::Borg];

    /// What it and its command are called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nuthatch => "nuthatch",
            Self::Restic => "restic",
            Self::Rustic => "rustic",
            Self::Borg => "borg",
        }
    }

    /// What it says of its version; none if it is not there.
    pub fn version(self, nuthatch: &Path) -> Option<String> {
        let program = if self == Self::Nuthatch { nuthatch.as_os_str() } else { self.name().as_ref() };
        let flag = if self == Self::Restic { "version" } else { "--version" };
        let said = Command::new(program).arg(flag).output().ok()?;
        let said = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        (!said.is_empty()).then_some(said)
    }

    /// Makes an empty repository in `work`.
    pub fn open(self, work: &Path, nuthatch: &Path) -> Result<Box<dyn Contender>, Trouble> {
        fs::create_dir_all(work).map_err(|error| Trouble::about("make", work, &error))?;
        Ok(match self {
            Self::Nuthatch => Box::new(Nuthatch::open(work, nuthatch)?),
            Self::Restic => Box::new(peers::restic(work)?),
            Self::Rustic => Box::new(peers::rustic(work)?),
            Self::Borg => Box::new(peers::borg(work)?),
        })
    }
}

/// A program with its repository.
pub trait Contender {
    /// Backs up `source`. No two backups have the same `label`.
    fn backup(&self, source: &Path, label: &str) -> Command;

    /// Restores the backup that was given `label`, the newest, into the empty directory `target`.
    fn restore(&self, source: &Path, label: &str, target: &Path) -> Command;

    /// Where below `target` a restore puts `source`.
    fn restored(&self, source: &Path, target: &Path) -> PathBuf {
        target.join(source.strip_prefix("/").unwrap_or(source))
    }

    /// The directory in which everything lies that it stores.
    fn stored(&self) -> PathBuf;

    /// The processes that run beside its commands.
    fn servers(&self) -> Vec<u32> {
        Vec::new()
    }
}

//! Up to which level this node's log may hold what only newer programs understand.
//!
//! Invariant: the mark is on disk no later than the entry that raises the log, decided or
//! not, and whoever is sent anything of this log hears of it first. It never falls.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use openraft::EntryPayload;
use protocol::{commands::Command, failure::Failure, levels::Levels};

use super::types::RaftEntry;

/// The mark, and what this program speaks. Clones share it.
#[derive(Debug, Clone)]
pub struct Mark {
    levels: Levels,
    mark: Arc<AtomicU8>,
}

impl Mark {
    /// The mark that a disk bears, if this program speaks it. `place` is where that is.
    pub fn new(levels: Levels, mark: u8, place: &str) -> Result<Self, Failure> {
        if levels.speaks(mark) {
            return Ok(Self { levels, mark: Arc::new(AtomicU8::new(mark)) });
        }
        let remedy = if mark > levels.last {
            "start the newer program again, which wrote it"
        } else {
            "bring the program up to date in smaller steps, as the changelog says"
        };
        Err(Failure::invalid(format!(
            "the log in {place} is at level {mark}, and this program speaks {levels}: {remedy}; nothing was changed"
        )))
    }

    /// What this program speaks.
    pub fn levels(&self) -> Levels {
        self.levels
    }

    /// The highest level that the log was raised to, decided or not.
    pub fn get(&self) -> u8 {
        self.mark.load(Ordering::Acquire)
    }

    /// The mark that these entries need, if it is a higher one.
    pub fn raised_by(&self, entries: &[RaftEntry]) -> Option<u8> {
        entries.iter().flat_map(commands).filter_map(raises).max().filter(|level| *level > self.get())
    }

    /// Raises it, once that is on disk.
    pub fn raise(&self, level: u8) {
        self.mark.fetch_max(level, Ordering::AcqRel);
    }

    /// Refuses what comes from a log of another level than this program speaks.
    pub fn check(&self, level: u8) -> Result<(), Failure> {
        if self.levels.speaks(level) {
            return Ok(());
        }
        Err(Failure::invalid(format!(
            "the cluster's log is at level {level}, and this node's program speaks {}: bring it up to date",
            self.levels
        )))
    }

    /// Refuses entries that this program does not know.
    pub fn check_entries(&self, entries: &[RaftEntry]) -> Result<(), Failure> {
        entries.iter().flat_map(commands).try_for_each(|command| self.check(command.level()))
    }
}

fn commands(entry: &RaftEntry) -> &[Command] {
    match &entry.payload {
        EntryPayload::Normal(decided) => &decided.commands,
        _ => &[],
    }
}

fn raises(command: &Command) -> Option<u8> {
    match command {
        Command::Raise { level, .. } => Some(*level),
        _ => None,
    }
}

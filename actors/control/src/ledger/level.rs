//! Levels of the log, and what a ledger keeps from the second on.
//!
//! Invariant: the level never falls, and rises by one when every orchestrator of the keyset
//! in force has signed that it speaks the next. What a level brought is in no image of a
//! ledger below it, so programs that do not speak it read every image that they are sent.

use std::collections::BTreeSet;

use probe::Plant;
use protocol::{
    audit::Act,
    commands::{Command, Entry, LedgerBackup},
    failure::Failure,
    ids::PublicKey,
    levels::{self, Statement},
    sign::Signed,
};
use serde::{Deserialize, Serialize};

use super::{Ledger, refused};

/// What a ledger has that came after level 1: it stands beside it in every image of a
/// later level, and in none of level 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Later {
    /// The level of the log.
    level: u8,
    /// The last backup. Level 2.
    backup: Option<LedgerBackup>,
    /// Index of the last entry that was not about backups alone. Level 2.
    changed: Option<u64>,
}

impl Default for Later {
    fn default() -> Self {
        Self { level: levels::FIRST, backup: None, changed: None }
    }
}

impl Later {
    /// The level of the log.
    pub fn level(&self) -> u8 {
        self.level
    }
}

impl Ledger {
    /// The level of the log.
    pub fn level(&self) -> u8 {
        self.later.level
    }

    /// The last backup of this ledger, as far as it was noted: from level 2 on.
    pub fn backup(&self) -> Option<&LedgerBackup> {
        self.later.backup.as_ref()
    }

    /// Index of the last entry that decided anything: the note of a backup is no reason for
    /// the next.
    pub fn changed(&self) -> Option<u64> {
        if self.level() < levels::BACKUPS_NOTED { self.applied } else { self.later.changed }
    }

    /// What came after level 1.
    pub fn later(&self) -> &Later {
        &self.later
    }

    /// This ledger, as read from an image, with what stood there beside it.
    #[must_use]
    pub fn with_later(self, later: Later) -> Self {
        Self { later, ..self }
    }

    /// Goes on to the next level.
    pub(super) fn raise(&mut self, level: u8, statements: &[Signed]) -> Result<u8, Failure> {
        if level == self.level() {
            return Ok(level);
        }
        if Some(level) != self.level().checked_add(1) {
            return Err(Failure::invalid(format!(
                "the log is at level {}: it goes up one at a time, and never down, so not to {level}",
                self.level()
            )));
        }
        let mut speak: BTreeSet<PublicKey> = BTreeSet::new();
        for signed in statements {
            let statement = Statement::open(signed, &self.cluster).map_err(refused)?;
            if statement.levels.speaks(level) {
                speak.insert(signed.author);
            }
        }
        let roster = self.keyset.iter().flat_map(|admitted| &admitted.keyset.orchestrators);
        let mut count = 0;
        for orchestrator in roster {
            count += 1;
            if !speak.contains(&orchestrator.key) && !probe::planted(Plant::LevelRaisedAlone) {
                return Err(Failure::invalid(format!(
                    "{} has not said that it speaks level {level}: bring its program up to date first",
                    orchestrator.name
                )));
            }
        }
        if count == 0 {
            return Err(Failure::invalid("no keyset is in force yet, so nobody can say what is spoken"));
        }
        (self.later.level, self.later.changed) = (level, self.applied);
        self.enter(Act::Level(level));
        Ok(level)
    }

    pub(super) fn note_backup(&mut self, backup: &LedgerBackup) {
        self.later.backup = Some(*backup);
    }

    /// Notes whether an entry is more than notes of backups.
    pub(super) fn note_changed(&mut self, index: u64, entry: &Entry) {
        let quiet = |command: &Command| matches!(command, Command::NoteBackup { .. });
        if self.level() >= levels::BACKUPS_NOTED && !entry.commands.iter().all(quiet) {
            self.later.changed = Some(index);
        }
    }

    /// Refuses a command of a level that is not reached.
    pub(super) fn check_level(&self, command: &Command) -> Result<(), Failure> {
        if matches!(command, Command::Raise { .. }) || command.level() <= self.level() {
            return Ok(());
        }
        Err(Failure::invalid(format!(
            "this decision needs level {}, and the log is at level {}: it rises once all orchestrators are up to date",
            command.level(),
            self.level()
        )))
    }
}

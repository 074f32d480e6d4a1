//! Levels of what orchestrators decide together: how programs of different versions work
//! side by side.
//!
//! Invariant: a level names all that may stand in the log and in a ledger's image, and
//! never means anything else. The log begins at level 1 and decides when it rises: when
//! every orchestrator of the roster has signed that its program speaks the next one. It
//! never falls, so a program that does not speak it has to be a newer one.
//!
//! - Level 1: commands 0 to 12.
//! - Level 2: `NoteBackup`. The ledger knows of its last backup.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    codec::{self, DecodeError},
    ids::ClusterId,
    sign::{self, Signed, Signer},
};

/// The level at which a log begins.
pub const FIRST: u8 = 1;
/// The level from which the ledger knows of its backups.
pub const BACKUPS_NOTED: u8 = 2;

/// The levels that a program speaks: all from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    /// The lowest.
    pub first: u8,
    /// The highest.
    pub last: u8,
}

impl Levels {
    /// Those of this program.
    pub const OWN: Self = Self { first: FIRST, last: BACKUPS_NOTED };

    /// Whether this level is one of them.
    pub const fn speaks(&self, level: u8) -> bool {
        self.first <= level && level <= self.last
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return write!(f, "level {}", self.first);
        }
        write!(f, "levels {} to {}", self.first, self.last)
    }
}

/// An orchestrator's word for what its program speaks, signed by its key (`sign::LEVELS`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// To which cluster it says so.
    pub cluster: ClusterId,
    /// What it speaks.
    pub levels: Levels,
}

impl Statement {
    const WHAT: &str = "statement of levels";

    /// Signs it with the orchestrator's key.
    pub fn sign(&self, node: &Signer) -> Signed {
        Signed::new(node, sign::LEVELS, codec::encode(self))
    }

    /// Reads one, whoever signed it, to this cluster.
    pub fn open(signed: &Signed, cluster: &ClusterId) -> Result<Self, DecodeError> {
        signed.verify(Self::WHAT, sign::LEVELS)?;
        let statement: Self = codec::decode(Self::WHAT, &signed.body)?;
        if statement.cluster != *cluster {
            return Err(DecodeError::Forged { what: Self::WHAT, reason: "it was signed for another cluster" });
        }
        Ok(statement)
    }
}

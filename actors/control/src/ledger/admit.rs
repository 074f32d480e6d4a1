//! Keysets in the log: whose records count in commands.
//!
//! Invariant: the keyset's number never falls, and one number never means two
//! keysets.

use std::collections::BTreeSet;

use protocol::{
    failure::Failure,
    ids::{Hash, PublicKey},
    limits,
    records::{Keyset, Payload, Record},
    sign::Signed,
};
use serde::{Deserialize, Serialize};

use super::{Ledger, refused};

/// The keyset in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Admitted {
    /// The version of its record.
    pub number: u64,
    /// The record's hash.
    pub hash: Hash,
    pub keyset: Keyset,
}

impl Ledger {
    /// Puts a keyset in force and gives its number.
    pub(super) fn admit(&mut self, signed: &Signed) -> Result<u64, Failure> {
        let record = Record::open(signed.clone(), &self.cluster).map_err(refused)?;
        let Payload::Keyset(keyset) = record.payload() else {
            return Err(Failure::invalid("this record is not a keyset"));
        };
        if *record.author() != self.root {
            return Err(Failure::denied("this keyset is not signed by the cluster's root key: sign it with that one"));
        }
        let number = record.version();
        if let Some(current) = &self.keyset {
            if number == current.number && *record.hash() == current.hash {
                return Ok(number);
            }
            if number <= current.number {
                return Err(Failure::invalid(format!(
                    "keyset {} is in force, and another keyset {number} cannot replace it: number it {}",
                    current.number,
                    current.number.saturating_add(1)
                )));
            }
        }
        check_roster(keyset)?;
        self.keyset = Some(Admitted { number, hash: *record.hash(), keyset: keyset.clone() });
        Ok(number)
    }

    /// Whether an admin of the keyset in force has this key.
    pub(super) fn is_admin(&self, key: &PublicKey) -> bool {
        self.keyset.as_ref().is_some_and(|admitted| admitted.is_admin(key))
    }

    /// Whether the keyset in force gives this key a role.
    pub(super) fn has_role(&self, key: &PublicKey) -> bool {
        self.keyset.as_ref().is_some_and(|admitted| admitted.is_admin(key) || admitted.is_orchestrator(key))
    }
}

impl Admitted {
    pub(super) fn is_admin(&self, key: &PublicKey) -> bool {
        self.keyset.admins.iter().any(|admin| admin.key == *key)
    }

    fn is_orchestrator(&self, key: &PublicKey) -> bool {
        self.keyset.orchestrators.iter().any(|orchestrator| orchestrator.key == *key)
    }
}

/// A roster must leave no doubt who a voter is.
fn check_roster(keyset: &Keyset) -> Result<(), Failure> {
    let roster = &keyset.orchestrators;
    if !(1..=limits::ROSTER_MAX).contains(&roster.len()) {
        return Err(Failure::invalid(format!(
            "a keyset names 1 to {} orchestrators, and this one names {}",
            limits::ROSTER_MAX,
            roster.len()
        )));
    }
    let keys: BTreeSet<_> = roster.iter().map(|orchestrator| orchestrator.key).collect();
    let voters: BTreeSet<_> = roster.iter().map(|orchestrator| orchestrator.voter).collect();
    if keys.len() < roster.len() || voters.len() < roster.len() {
        return Err(Failure::invalid("two orchestrators of this keyset have the same key or the same voter id"));
    }
    Ok(())
}

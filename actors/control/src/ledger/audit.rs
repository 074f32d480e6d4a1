//! The audit trail: who did what, and when.
//!
//! Invariant: an entry is never changed. Of very many, the oldest go. A record is entered
//! only if the root or an admin in force signed it, and once, however often it is told.

use std::collections::VecDeque;

use protocol::{
    audit::{Act, AuditEntry},
    failure::Failure,
    ids::{Hash, NodeId},
    limits,
    records::{Payload, Record},
    sign::Signed,
};
use serde::{Deserialize, Serialize};

use super::{Ledger, refused};

/// Entries among which a record that is told again is recognised: it is told again within
/// seconds.
const RECENT: usize = 1024;

/// The newest entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Audit {
    /// How many entries there have been.
    count: u64,
    entries: VecDeque<AuditEntry>,
}

impl Ledger {
    /// Enters a record that an admin, or the root, has signed.
    pub(super) fn witness(&mut self, signed: &Signed) -> Result<(), Failure> {
        let record = Record::open(signed.clone(), &self.cluster).map_err(refused)?;
        let is_keyset = matches!(record.payload(), Payload::Keyset(_));
        let name = if *record.author() == self.root && is_keyset {
            "root".to_owned()
        } else {
            let admins = self.keyset.iter().flat_map(|admitted| &admitted.keyset.admins);
            let admin = admins.into_iter().find(|admin| admin.key == *record.author() && !is_keyset);
            admin.ok_or_else(|| Failure::denied("this record is signed by nobody who may"))?.name.clone()
        };
        if self.is_recent(record.hash()) {
            return Ok(());
        }
        let short = signed.body.len() <= limits::AUDIT_RECORD_BYTES_MAX;
        self.enter(Act::Signed {
            author: *record.author(),
            name,
            subject: record.subject(),
            version: record.version(),
            hash: *record.hash(),
            record: short.then(|| signed.clone()),
        });
        Ok(())
    }

    /// Enters who votes, if that has changed. For whoever applies the log.
    pub fn note_voters(&mut self, voters: Vec<NodeId>) {
        let last = self.audit.entries.iter().rev().find_map(|entry| match &entry.act {
            Act::Voters(voters) => Some(voters),
            _ => None,
        });
        if last != Some(&voters) {
            self.enter(Act::Voters(voters));
        }
    }

    /// The entries after one of this number, the oldest first, as far as they are kept.
    pub fn audit(&self, after: u64) -> impl Iterator<Item = &AuditEntry> {
        self.audit.entries.iter().filter(move |entry| entry.number > after)
    }

    pub(super) fn enter(&mut self, act: Act) {
        let audit = &mut self.audit;
        audit.count += 1;
        audit.entries.push_back(AuditEntry { number: audit.count, at: self.decided, act });
        while audit.entries.len() > limits::AUDIT_ENTRIES_MAX {
            audit.entries.pop_front();
        }
    }

    fn is_recent(&self, wanted: &Hash) -> bool {
        let recent = self.audit.entries.iter().rev().take(RECENT);
        recent.into_iter().any(|entry| matches!(&entry.act, Act::Signed { hash, .. } if hash == wanted))
    }
}

//! What admins did, on its way into the audit trail.
//!
//! Invariant: a record is taken whether or not a majority answers, so what is to be entered
//! waits here until one does. It is in memory: of what was submitted seconds before this
//! node is lost, the record may be there without its entry.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use protocol::{
    audit::AuditEntry,
    commands::Command,
    failure::{Code, Failure},
    limits,
    sign::Signed,
    wire,
};

use super::Desk;

/// Acts that wait to be entered. Clones share them.
#[derive(Clone, Default)]
pub struct Acts(Arc<Mutex<VecDeque<Signed>>>);

impl Acts {
    fn with<R>(&self, look: impl FnOnce(&mut VecDeque<Signed>) -> R) -> R {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes what was submitted. Of too many, the oldest are given up.
    pub fn note(&self, records: Vec<Signed>) {
        self.with(|waiting| {
            waiting.extend(records);
            let over = waiting.len().saturating_sub(limits::ACTS_WAITING_MAX);
            if over > 0 {
                tracing::warn!(over, "too many acts wait for a majority: the audit trail will lack some");
                waiting.drain(..over);
            }
        });
    }
}

impl Desk {
    /// Has what waits entered into the audit trail.
    pub async fn enter_acts(&self) -> Result<(), Failure> {
        while let Some(record) = self.acts.with(|waiting| waiting.front().cloned()) {
            // Its author must be an admin of the keyset that the log has admitted.
            self.admit_newest().await?;
            match self.log.propose(Command::Witness { record: record.clone() }).await {
                Err(failure) if failure.code == Code::Retry => return Err(failure),
                // Its author may have been removed since: then nobody believes it anyway.
                Err(failure) => tracing::warn!(%failure, "an act was not entered into the audit trail"),
                Ok(_) => {}
            }
            self.acts.with(|waiting| {
                if waiting.front() == Some(&record) {
                    waiting.pop_front();
                }
            });
        }
        Ok(())
    }

    pub(super) async fn list_audit(&self, call: &wire::ListAudit) -> Result<wire::Page<AuditEntry>, Failure> {
        self.log.sync().await?;
        Ok(wire::Page::of(self.log.ledger().read().audit(call.after).cloned()))
    }
}

//! What admins did, on its way into the audit trail.
//!
//! Invariant: a record is taken whether or not a majority answers. If one does, its entry is
//! decided before the admin hears that it was taken; if not, it waits here, in memory, until
//! one does: should this node be lost before, the record may be there without its entry.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use probe::Plant;
use protocol::{
    audit::AuditEntry,
    commands::Command,
    failure::{Code, Failure},
    limits,
    sign::Signed,
    wire,
};

use super::Desk;

/// How long an admin is kept waiting for the entry of what it did: the record is in force
/// without.
const ENTRY_PATIENCE: Duration = Duration::from_secs(2);

/// Acts that are entered at once: after a partition there are many.
const AT_ONCE: usize = 64;

/// Acts that wait to be entered. Clones share them.
#[derive(Clone, Default)]
pub struct Acts {
    waiting: Arc<Mutex<VecDeque<Signed>>>,
    /// Held by whoever enters them, so that they are entered once and in order.
    entering: Arc<tokio::sync::Mutex<()>>,
}

impl Acts {
    fn with<R>(&self, look: impl FnOnce(&mut VecDeque<Signed>) -> R) -> R {
        look(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
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
        let _entering = self.acts.entering.lock().await;
        loop {
            let next: Vec<Signed> = self.acts.with(|waiting| waiting.iter().take(AT_ONCE).cloned().collect());
            if next.is_empty() {
                return Ok(());
            }
            let entered = join_all(next.iter().map(|record| self.enter_act(record))).await;
            for (record, entered) in next.iter().zip(entered) {
                match entered {
                    // What was entered after it is entered once, though it is told again.
                    Err(failure) if failure.code == Code::Retry && !probe::planted(Plant::ActGivenUp) => {
                        return Err(failure);
                    }
                    // Its author may have been removed since: then nobody believes it anyway.
                    Err(failure) => tracing::warn!(%failure, "an act was not entered into the audit trail"),
                    Ok(()) => {}
                }
                self.acts.with(|waiting| {
                    if waiting.front() == Some(record) {
                        waiting.pop_front();
                    }
                });
            }
        }
    }

    /// Has what waits entered now, if a majority answers soon.
    pub(super) async fn enter_acts_soon(&self) {
        if !matches!(tokio::time::timeout(ENTRY_PATIENCE, self.enter_acts()).await, Ok(Ok(()))) {
            tracing::info!("an act waits for a majority to be entered into the audit trail");
        }
    }

    async fn enter_act(&self, record: &Signed) -> Result<(), Failure> {
        let witness = || self.log.propose(Command::Witness { record: record.clone() });
        match witness().await {
            // Its author may have become an admin by a keyset that the log has not admitted.
            // Not before: one that was removed since has acted while it still was one.
            Err(failure) if failure.code == Code::Denied => {
                self.admit_newest().await?;
                witness().await.map(drop)
            }
            done => done.map(drop),
        }
    }

    pub(super) async fn list_audit(&self, call: &wire::ListAudit) -> Result<wire::Page<AuditEntry>, Failure> {
        self.log.sync().await?;
        Ok(wire::Page::of(self.log.ledger().read().audit(call.after).cloned()))
    }
}

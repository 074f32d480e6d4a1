//! What clients read by, and what they say is damaged.
//!
//! Invariant: nothing is condemned on a client's word: this orchestrator has read the
//! object itself, and found it lost, other than its name says, or false.

use std::sync::Arc;

use control::tickets;
use protocol::{
    commands::{Command, Decided, View},
    failure::Failure,
    names::ObjectKey,
    wire,
};

use super::{Caller, Desk, not_here_yet, unexpected};
use crate::orchestrator::judge::{self, Verdict};

impl Desk {
    pub(super) async fn survey(&self, caller: &Caller<'_>, call: &wire::Survey) -> Result<View, Failure> {
        let client = caller.client()?;
        self.check_repository(&client, &call.repository)?;
        self.log.sync().await?;
        self.log.ledger().read().survey(&client, &call.repository).ok_or_else(not_here_yet)
    }

    pub(super) async fn report(&self, caller: &Caller<'_>, call: &wire::Report) -> Result<Vec<ObjectKey>, Failure> {
        let client = caller.client()?;
        self.check_repository(&client, &call.repository)?;
        self.checked(|| tickets::may_report(&self.log.ledger().read(), &client, call)).await?;
        // One at a time for each client, so that a noisy one leaves others their turn.
        let turn = self.reports.begin(client)?;
        let domain = self.log.ledger().read().enrollment(&client).map(|enrollment| enrollment.domain);
        let domain = domain.ok_or_else(not_here_yet)?;
        let steward = self.stewards.of(&call.repository)?;
        let index_key = self.stewards.index_key(&domain)?;
        let mut bad = Vec::new();
        for key in &call.objects {
            let _look = self.looks.acquire().await.map_err(|_| Failure::retry("this orchestrator is shutting down"))?;
            match judge::judge(&self.env, &*steward, key, &index_key).await {
                Verdict::Sound => tracing::info!(%key, client = client.short(), "said to be damaged, and found sound"),
                Verdict::Bad(reason) => {
                    tracing::warn!(%key, reason, client = client.short(), "an object is condemned");
                    bad.push(*key);
                }
                Verdict::Unknown(reason) => tracing::warn!(%key, reason, "an object could not be looked at"),
            }
        }
        drop(turn);
        if !bad.is_empty() {
            let objects = bad.iter().map(|key| key.name).collect();
            let command = Command::Condemn { repository: call.repository, domain, objects };
            match self.log.propose(command).await? {
                Decided::Condemned(_) => {}
                other => return Err(unexpected(&other)),
            }
        }
        Ok(bad)
    }
}

/// Which clients' reports are being looked into.
#[derive(Clone, Default)]
pub struct Reports(Arc<std::sync::Mutex<std::collections::BTreeSet<protocol::ids::ClientId>>>);

/// A client's turn; it ends when this is dropped.
pub struct Turn {
    reports: Reports,
    client: protocol::ids::ClientId,
}

impl Reports {
    fn begin(&self, client: protocol::ids::ClientId) -> Result<Turn, Failure> {
        let mut busy = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match busy.insert(client) {
            true => Ok(Turn { reports: self.clone(), client }),
            false => Err(Failure::retry("another report of this client is being looked into")),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.reports.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&self.client);
    }
}

//! What a client works by: told when it asks, and as soon as it changes.
//!
//! Invariant: a client that waits costs nothing but its place, whatever else changes.

use std::time::Duration;

use protocol::{
    failure::Failure,
    ids::{ClientId, DomainId},
    sign::Signed,
    wire,
};

use super::{Caller, Desk, not_here_yet};
use crate::orchestrator::editions;

/// What is left of a caller's patience when it is told that there is no news: the answer
/// has to reach it.
const MARGIN: Duration = Duration::from_secs(5);

impl Desk {
    pub(super) fn configure(&self, caller: &Caller<'_>) -> Result<Vec<Signed>, Failure> {
        let domain = self.domain_of(&caller.client()?)?;
        editions::configuration(&domain, &self.records.set().read()).ok_or_else(not_here_yet)
    }

    /// Waits for another configuration than the caller has.
    pub(super) async fn watch(&self, caller: &Caller<'_>, call: &wire::Watch) -> Result<Option<Vec<Signed>>, Failure> {
        let domain = self.domain_of(&caller.client()?)?;
        let mut edition = self.editions.follow(domain, &self.records.set().read());
        // Half of the patience, and a part of the rest: clients that were told something at
        // the same moment do not all come back at the same moment.
        let half = caller.incoming.patience.saturating_sub(MARGIN) / 2;
        let wait = half + self.env.rng.part_of(half);
        let news = edition.wait_for(|newest| newest.as_ref().is_some_and(|newest| newest.hash != call.seen));
        match tokio::time::timeout(wait, news).await {
            Ok(Ok(newest)) => Ok(newest.as_ref().map(|newest| newest.records.to_vec())),
            Ok(Err(_)) => Err(Failure::retry("this orchestrator is shutting down")),
            Err(_) => Ok(None),
        }
    }

    fn domain_of(&self, client: &ClientId) -> Result<DomainId, Failure> {
        let ledger = self.log.ledger().read();
        ledger.enrollment(client).map(|enrollment| enrollment.domain).ok_or_else(not_here_yet)
    }
}

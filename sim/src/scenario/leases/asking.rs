//! The calls of which leases are made, as they are asked for and recorded.

use protocol::{commands::Lease, failure::Failure, ids::SnapshotId, wire};

use super::roles::Client;
use crate::{
    history::{Outcome, What},
    scenario::stage::person::outcome,
};

impl Client {
    fn name(&self) -> String {
        self.hand.enrollment.client.to_string()
    }

    /// Asks for a lease.
    pub(super) async fn ask_grant(&self, grant: &wire::Grant) -> Result<Lease, Failure> {
        let what = |outcome, lease: Option<&Lease>| What::Grant {
            client: self.name(),
            outcome,
            lease: lease.map(|lease| lease.id.to_string()),
            after: lease.and_then(|lease| lease.previous).map(|previous| previous.to_string()),
            number: lease.map_or(0, |lease| lease.sequence),
        };
        let asking = self.me.info.recorder.ask(what(Outcome::Unclear, None));
        let answer = self.hand.ask(grant.clone()).await;
        asking.came_of(what(outcome(&answer), answer.as_ref().ok()));
        answer
    }

    /// Gives a lease back.
    pub(super) async fn ask_close(&self, lease: &Lease) -> Result<(), Failure> {
        let what = |outcome| What::Close { client: self.name(), lease: lease.id.to_string(), outcome };
        let asking = self.me.info.recorder.ask(what(Outcome::Unclear));
        let answer = self.hand.ask(wire::Close { lease: lease.id }).await;
        asking.came_of(what(outcome(&answer)));
        answer.map(drop)
    }

    /// Asks for a snapshot.
    pub(super) async fn ask_commit(&self, call: wire::Commit) -> Result<SnapshotId, Failure> {
        let (lease, snapshot) = (call.commit.lease.to_string(), SnapshotId(call.commit.object.hash.0).to_string());
        let what =
            |outcome| What::Commit { client: self.name(), lease: lease.clone(), snapshot: snapshot.clone(), outcome };
        let asking = self.me.info.recorder.ask(what(Outcome::Unclear));
        let answer = self.hand.ask(call).await;
        asking.came_of(what(outcome(&answer)));
        answer
    }

    /// These were listed, to whoever began to ask then.
    pub(super) fn record_list(&self, from_ms: u64, listed: &[SnapshotId]) {
        let snapshots = listed.iter().map(SnapshotId::to_string).collect();
        self.me.info.recorder.note_since(from_ms, What::Listed { client: self.name(), snapshots });
    }
}

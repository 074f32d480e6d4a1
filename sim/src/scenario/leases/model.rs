//! What one client must see: the simplest thing that explains its history.
//!
//! A client makes one call after the other, and each until it is clear what came of it.
//! So all there is to know is which lease is open, which have ended, and the list of
//! snapshots.

use anyhow::{bail, ensure};
use protocol::{
    commands::Lease,
    failure::{Code, Failure},
    ids::{LeaseId, SnapshotId},
    names::ObjectName,
    wire,
};

/// A lease, and the call that brought it.
#[derive(Debug, Clone)]
pub struct Held {
    pub lease: Lease,
    pub grant: wire::Grant,
}

/// One client's state.
#[derive(Debug, Default)]
pub struct Model {
    pub open: Option<Held>,
    pub ended: Vec<Held>,
    pub snapshots: Vec<SnapshotId>,
    /// What this client was told is condemned.
    pub condemned: Vec<ObjectName>,
}

impl Model {
    /// A new lease was granted: it ends the one before, and goes on where the client is.
    pub fn granted(&mut self, lease: Lease, grant: wire::Grant) -> anyhow::Result<()> {
        let newest = self.all().map(|held| held.lease.id).max();
        ensure!(newest < Some(lease.id), "lease {} is not above {newest:?}", lease.id);
        self.invariant_lease_follows_the_snapshots(&lease)?;
        self.invariant_view_names_what_is_condemned(&lease)?;
        self.end();
        self.open = Some(Held { lease, grant });
        Ok(())
    }

    /// The open lease has ended.
    pub fn end(&mut self) {
        self.ended.extend(self.open.take());
    }

    fn all(&self) -> impl Iterator<Item = &Held> {
        self.ended.iter().chain(&self.open)
    }

    /// I3: a lease goes on from the newest snapshot that was acknowledged.
    fn invariant_lease_follows_the_snapshots(&self, lease: &Lease) -> anyhow::Result<()> {
        let (previous, next) = (self.snapshots.last().copied(), self.snapshots.len() as u64 + 1);
        let follows = (lease.previous, lease.sequence) == (previous, next);
        let (found, number) = (lease.previous, lease.sequence);
        ensure!(follows, "I3: a lease for commit {number} after {found:?}, not {next} after {previous:?}");
        Ok(())
    }

    /// I12: what was condemned before a lease was asked for, its view names, at an epoch
    /// that its own covers.
    fn invariant_view_names_what_is_condemned(&self, lease: &Lease) -> anyhow::Result<()> {
        for name in &self.condemned {
            let Some(found) = lease.view.condemned.iter().find(|condemned| condemned.name == *name) else {
                bail!("I12: {name} is condemned, and the view of lease {} does not say so", lease.id);
            };
            let (epoch, since) = (lease.view.epoch, found.epoch);
            ensure!(
                since <= epoch,
                "I12: lease {} is granted at epoch {epoch}, and {name} is condemned at {since}",
                lease.id
            );
        }
        Ok(())
    }

    /// I3: the snapshots that any orchestrator lists are those that were acknowledged.
    pub fn invariant_snapshots_are_those_acknowledged(&self, listed: &[SnapshotId]) -> anyhow::Result<()> {
        ensure!(
            listed == self.snapshots,
            "I3: {} snapshots were acknowledged, and {} are listed: {:?}, {listed:?}",
            self.snapshots.len(),
            listed.len(),
            self.snapshots
        );
        Ok(())
    }
}

/// Whether a failure says that a lease has ended.
pub fn says_ended(failure: &Failure) -> bool {
    matches!(failure.code, Code::Fenced | Code::Superseded)
}

/// What must be refused was refused.
pub fn invariant_refused<T: std::fmt::Debug>(what: &str, answer: Result<T, Failure>) -> anyhow::Result<()> {
    match answer {
        Ok(got) => bail!("{what}: it was not refused, but answered with {got:?}"),
        Err(_) => Ok(()),
    }
}

/// I9: a lease that has ended once is not open again.
pub fn invariant_stays_ended(lease: &LeaseId, answer: &Result<Lease, Failure>) -> anyhow::Result<()> {
    match answer {
        Ok(again) => bail!("I14: a late repetition of the call for lease {lease} was granted {}", again.id),
        Err(_) => Ok(()),
    }
}

//! One reconciliation with one peer: what is lacking here is fetched, and what is
//! lacking there is pushed.
//!
//! Invariant: an exchange that breaks off leaves what it has brought, and the next one
//! goes on from there: nothing of it is remembered but records.

use std::time::Duration;

use control::{
    reconcile::{Direction, Session},
    records::served,
};
use protocol::{
    failure::Failure,
    ids::{Hash, NodeId},
    limits,
    reconcile::Prefix,
    records::Record,
    sign::Signed,
    wire,
};

use super::Records;
use crate::net::Peers;

/// How long one call of the comparison may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a frame full of records may take: with `limits::RECORDS_BYTES_MAX` it asks
/// for 70 KiB a second.
const RECORDS_PATIENCE: Duration = Duration::from_secs(30);

/// An exchange of records with a peer.
pub struct Exchange {
    pub records: Records,
    pub peers: Peers,
    pub peer: NodeId,
}

impl Exchange {
    /// Compares these ranges, and evens out what differs.
    pub async fn run(&self, ranges: Vec<Prefix>, direction: Direction) {
        let mut session = Session::new(ranges, direction);
        // Others may have what this peer did not give, and it is asked again soon.
        if let Err(failure) = self.go_on(&mut session).await {
            tracing::debug!(peer = %self.peer, %failure, "records were not reconciled");
        }
    }

    async fn go_on(&self, session: &mut Session) -> Result<(), Failure> {
        loop {
            let asked = session.ask(self.records.set().read().by_hash());
            let Some(probes) = asked else { return Ok(()) };
            let parts = self.peers.call(self.peer, wire::Reconcile { probes }, PATIENCE).await?;
            let found = session.take(self.records.set().read().by_hash(), parts)?;
            self.fetch(found.lacking).await?;
            self.push(found.surplus).await?;
        }
    }

    async fn fetch(&self, lacking: Vec<Hash>) -> Result<(), Failure> {
        let mut rest = lacking.as_slice();
        while !rest.is_empty() {
            let asked = &rest[..rest.len().min(limits::RECORDS_PER_FRAME_MAX)];
            let call = wire::Fetch { hashes: asked.to_vec() };
            let mut given = self.peers.call(self.peer, call, RECORDS_PATIENCE).await?;
            rest = &rest[served(asked, given.last().map(Signed::hash))..];
            // What was not asked for is of no use: it may be anything.
            given.retain(|signed| asked.contains(&signed.hash()));
            self.records.take(given).await?;
        }
        Ok(())
    }

    async fn push(&self, surplus: Vec<Hash>) -> Result<(), Failure> {
        let mut rest = surplus.as_slice();
        while !rest.is_empty() {
            let records: Vec<Signed> = {
                let set = self.records.set().read();
                set.fetch(rest).map(Record::signed).cloned().collect()
            };
            rest = &rest[served(rest, records.last().map(Signed::hash))..];
            if !records.is_empty() {
                self.peers.call(self.peer, wire::Push { records }, RECORDS_PATIENCE).await?;
            }
        }
        Ok(())
    }
}

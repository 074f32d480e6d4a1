//! Finds out what a storage really enforces. Servers answer 200 to what they do not
//! do, so everything is tried, and then looked at.
//!
//! Invariant: all that is written lies below one fresh name in `cluster/probe`, and
//! is deleted in the end, however the checks went, as far as the credential may.

mod bucket;
mod finding;
mod writes;

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use ::env::{Carrier as _, Clock, Steward as _, store::StoreError};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use protocol::{ids::Sha256, wire::PutTicket};
use sha2::Digest as _;

pub use self::finding::{Finding, Verdict};
use super::steward::S3Steward;

/// One look at one storage.
pub struct Probe<'a> {
    steward: &'a S3Steward,
    clock: &'a dyn Clock,
    below: String,
    made: AtomicU32,
    written: Mutex<Vec<String>>,
}

impl<'a> Probe<'a> {
    /// `random` makes the names of what is written fresh.
    pub fn new(steward: &'a S3Steward, clock: &'a dyn Clock, random: [u8; 16]) -> Self {
        let below = format!("cluster/probe/{}", HEXLOWER.encode(&random));
        Self { steward, clock, below, made: AtomicU32::new(0), written: Mutex::default() }
    }

    /// Tries everything. An error means that the storage cannot be used at all.
    pub async fn run(self) -> Result<Vec<Finding>, StoreError> {
        let settings = bucket::settings(&self).await?;
        let keeps_versions = settings.keeps_versions;
        let tried = self.try_all(settings).await;
        let deleting = self.delete_all(keeps_versions).await;
        let mut findings = tried?;
        findings.push(deleting?);
        Ok(findings)
    }

    async fn try_all(&self, settings: bucket::Settings) -> Result<Vec<Finding>, StoreError> {
        let mut findings = vec![settings.clock];
        findings.extend(writes::kept(self).await?);
        findings.extend([
            writes::written_once(self).await?,
            writes::hash(self).await?,
            writes::signed_headers(self).await?,
            writes::unsigned_headers(self).await?,
            writes::expired(self).await?,
            bucket::private(self).await?,
            settings.versioning,
            settings.lock,
            writes::overwriting(self, settings.keeps_versions).await?,
        ]);
        Ok(findings)
    }

    /// A path that nothing lies at.
    fn path(&self) -> String {
        let number = self.made.fetch_add(1, Relaxed);
        let path = format!("{}/{number}", self.below);
        self.written.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
        path
    }

    /// A small body that no other check writes, of always the same length.
    fn body(&self, word: &str) -> Bytes {
        format!("nuthatch tries what this storage does: {word:>12} {}\n", self.below).into()
    }

    fn ticket(&self, path: &str, body: &[u8]) -> Result<PutTicket, StoreError> {
        self.steward.minter.put(path, body.len() as u64, &sha256(body), self.clock.now())
    }

    /// Writes an object, for others to try themselves on.
    async fn write(&self, word: &str) -> Result<(String, Bytes), StoreError> {
        let (path, body) = (self.path(), self.body(word));
        self.steward.carrier.put(&self.ticket(&path, &body)?, body.clone()).await?;
        Ok((path, body))
    }

    /// Sends a ticket as it is. Whether it was accepted: a connection that was cut is a refusal.
    async fn accepted(&self, ticket: &PutTicket, body: Bytes) -> bool {
        let mut request = self.steward.line.http.put(ticket.path.clone());
        for (name, value) in &ticket.headers {
            match request.try_header(name, value) {
                Ok(with) => request = with,
                Err(_) => return false,
            }
        }
        let answer = self.steward.line.send("a try", request.body(body), 0).await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// What lies at a path now, if anything.
    async fn found(&self, path: &str, len: usize) -> Result<Option<Bytes>, StoreError> {
        match self.steward.get(path, len.max(1) * 4).await {
            Ok(body) => Ok(Some(body)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes what was written, which shows whether the credential may.
    async fn delete_all(&self, keeps_versions: bool) -> Result<Finding, StoreError> {
        const CHECK: &str = "delete";
        let written = std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner));
        let (mut refused, mut stay) = (false, 0);
        for path in written {
            if matches!(self.steward.head(&path).await, Err(StoreError::NotFound { .. })) {
                continue;
            }
            match self.steward.delete(&path).await {
                Ok(()) if matches!(self.steward.head(&path).await, Err(StoreError::NotFound { .. })) => {}
                Ok(()) => stay += 1,
                Err(StoreError::Refused { .. }) => (refused, stay) = (true, stay + 1),
                Err(error) => return Err(error),
            }
        }
        let left = format!("{stay} small objects of this check stay below {}", self.below);
        Ok(match (refused, stay) {
            (true, _) => Finding::good(CHECK, format!("The credential may not delete; {left}.")),
            (false, 0) if keeps_versions => Finding::note(
                CHECK,
                "The credential may delete, and the storage keeps what was there.",
                "After a theft of the credential, the versions before it have everything, if it may not delete those too.",
            ),
            (false, 0) => Finding::warning(
                CHECK,
                "The credential may delete.",
                "One stolen orchestrator could destroy this repository: give it a key that may only put, get and list, if the storage can.",
            ),
            (false, _) => Finding::note(
                CHECK,
                format!("Deleting succeeds, but deletes nothing; {left}."),
                "What is swept may go on costing: look at the bucket's rules.",
            ),
        })
    }
}

fn sha256(body: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(body).into())
}

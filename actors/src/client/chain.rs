//! What the parts of one backup come to together, and whether they get anywhere.
//!
//! Invariant: a person's one backup is told as one, however many commits it took; and
//! it goes on only while it gets on.

use std::time::Duration;

use protocol::{format::manifest::Stats, limits};
use repo::{Outcome, RepoError};

/// Longest time until a part is committed: what is left of the lease is for its uploads.
const PART_AFTER_MAX: Duration = Duration::from_secs(limits::LEASE_SECS_MAX / 8 * 7);
/// Leases in a row that may bring nothing. They are given more time each.
const IDLE_MAX: u32 = 8;

/// The parts of a backup so far.
pub struct Chain {
    sum: Stats,
    /// Files that were read, in all parts.
    files_read: u64,
    /// The furthest that a part came, in bytes of files.
    reach: u64,
    idle: u32,
    part_after: Duration,
    part_bytes: u64,
}

impl Chain {
    /// Nothing yet. The parts are to be of this size.
    pub fn new(part_after: Duration, part_bytes: u64) -> Self {
        let part_after = part_after.min(PART_AFTER_MAX);
        Self { sum: Stats::default(), files_read: 0, reach: 0, idle: 0, part_after, part_bytes }
    }

    /// After what time the next part winds up.
    pub fn part_after(&self) -> Duration {
        self.part_after
    }

    /// After how many bytes read the next part winds up.
    pub fn part_bytes(&self) -> u64 {
        self.part_bytes
    }

    /// Takes in a part that was committed.
    pub fn add(&mut self, part: &Outcome) {
        let stats = &part.stats;
        let sum = &mut self.sum;
        for (sum, part) in [
            (&mut sum.bytes_read, stats.bytes_read),
            (&mut sum.bytes_new, stats.bytes_new),
            (&mut sum.bytes_stored, stats.bytes_stored),
            (&mut sum.chunks_new, stats.chunks_new),
            (&mut sum.packs, stats.packs),
        ] {
            *sum += part;
        }
        self.files_read += stats.files.saturating_sub(stats.files_unchanged);
        let got_on = stats.bytes_source > self.reach || stats.bytes_new > limits::TREE_PACK_BYTES_TARGET as u64;
        self.reach = self.reach.max(stats.bytes_source);
        self.note(got_on);
    }

    /// Takes in a lease that ended by itself; `moved` is whether anything was stored.
    pub fn lost(&mut self, moved: bool) {
        self.note(moved);
    }

    fn note(&mut self, got_on: bool) {
        if got_on {
            self.idle = 0;
            return;
        }
        // What is too large for one part is not if the part is larger.
        self.idle += 1;
        self.part_after = (self.part_after * 2).min(PART_AFTER_MAX);
        self.part_bytes = self.part_bytes.saturating_mul(2);
    }

    /// Whether it makes sense to go on.
    pub fn check(&self) -> Result<(), RepoError> {
        if self.idle < IDLE_MAX {
            return Ok(());
        }
        Err(RepoError::invalid(format!(
            "the backup does not get any further: the last {IDLE_MAX} leases brought nothing new; \
             back up fewer paths at once, or look at what slows this machine or its network down"
        )))
    }

    /// The backup as a whole, given its last part.
    pub fn whole(self, last: Outcome) -> Outcome {
        let stats = Stats {
            files_unchanged: last.stats.files.saturating_sub(self.files_read),
            bytes_read: self.sum.bytes_read,
            bytes_new: self.sum.bytes_new,
            bytes_stored: self.sum.bytes_stored,
            chunks_new: self.sum.chunks_new,
            packs: self.sum.packs,
            ..last.stats
        };
        Outcome { stats, ..last }
    }
}

#[cfg(test)]
mod tests {
    use protocol::{
        commands::CommitFacts,
        ids::{LeaseId, LineageId, Sha256, SnapshotId},
        names::ObjectName,
    };
    use repo::Problems;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn part(complete: bool, stats: Stats) -> Outcome {
        let lease = LeaseId { incarnation: 1, index: 1 };
        let facts = CommitFacts {
            lease,
            object: ObjectName { lease, hash: Sha256([0; 32]) },
            sequence: 1,
            previous: None,
            lineage: LineageId([0; 16]),
            complete,
            segments: Vec::new(),
            bytes_stored: 0,
        };
        Outcome { facts, snapshot: SnapshotId([0; 32]), stats, problems: Problems::default() }
    }

    #[test]
    fn parts_are_told_as_one() {
        let mut chain = Chain::new(MINUTE, u64::MAX);
        let stats = |files, files_unchanged, bytes_source, bytes_read| Stats {
            files,
            files_unchanged,
            bytes_source,
            bytes_read,
            bytes_new: bytes_read / 2,
            ..Stats::default()
        };
        // 100 files, of which the person's last backup had 60; the second part reads one again.
        let first = part(false, stats(50, 30, 500, 250));
        let second = part(true, stats(100, 80, 1000, 220));
        chain.add(&first);
        chain.add(&second);
        let whole = chain.whole(second).stats;
        assert_eq!((whole.files, whole.files_unchanged, whole.bytes_source), (100, 60, 1000));
        assert_eq!((whole.bytes_read, whole.bytes_new), (470, 235));
    }

    #[test]
    fn it_goes_on_while_it_gets_on() {
        let mut chain = Chain::new(MINUTE, 1000);
        for reach in 1..100 {
            chain.add(&part(false, Stats { bytes_source: reach, ..Stats::default() }));
            chain.lost(true);
            chain.check().unwrap();
        }
        assert_eq!((chain.part_after(), chain.part_bytes()), (MINUTE, 1000));
        // A file that is longer than a part is stored bit by bit, without the part reaching further.
        for _ in 0..100 {
            chain.add(&part(false, Stats { bytes_source: 99, bytes_new: 1 << 30, ..Stats::default() }));
            chain.check().unwrap();
        }
        for idle in 1..=IDLE_MAX {
            chain.check().unwrap();
            chain.add(&part(false, Stats { bytes_source: 99, ..Stats::default() }));
            assert_eq!(chain.part_bytes(), 1000 << idle, "the next one gets more time");
        }
        assert!(chain.part_after() <= PART_AFTER_MAX && chain.part_after() > 100 * MINUTE);
        assert_eq!(chain.check().unwrap_err().kind, repo::Kind::Invalid);
    }
}

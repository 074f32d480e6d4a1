//! When the ledger is backed up.
//!
//! Invariant: a function of what has changed since the last backup, of its age and of its
//! size: a large ledger is written less often, so that backups never take more than a small
//! part of what the orchestrators can send.

use std::time::Duration;

use protocol::ids::Hash;

/// What cannot be had from anywhere else is backed up after this time.
const SOON: Duration = Duration::from_secs(5);
/// What can, from the commits in the storage, after this.
const LATER: Duration = Duration::from_secs(15 * 60);
/// What backups may take on average, in bytes a second.
const BYTES_PER_SEC: u64 = 256 << 10;

/// What a ledger is, as far as a backup is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// The digest of the records.
    pub records: Hash,
    /// How many clients there are.
    pub clients: u64,
    /// How many objects are condemned.
    pub condemned: u64,
    /// The last entry that was applied.
    pub applied: u64,
}

/// The last backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    /// Of what.
    pub of: Fingerprint,
    /// How long ago it was begun.
    pub age: Duration,
    /// How large it was.
    pub bytes: u64,
}

/// Whether it is time for another backup.
pub fn is_due(last: Option<&Last>, now: &Fingerprint) -> bool {
    let Some(Last { of, age, bytes }) = last else { return true };
    let pause = SOON.max(Duration::from_secs(bytes / BYTES_PER_SEC));
    let only_here = |ledger: &Fingerprint| (ledger.records, ledger.clients, ledger.condemned);
    match (only_here(of) == only_here(now), of.applied == now.applied) {
        (true, true) => false,
        (true, false) => *age >= pause.max(LATER),
        (false, _) => *age >= pause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Fingerprint = Fingerprint { records: Hash([1; 32]), clients: 3, condemned: 0, applied: 90 };

    fn last(of: Fingerprint, secs: u64, bytes: u64) -> Option<Last> {
        Some(Last { of, age: Duration::from_secs(secs), bytes })
    }

    #[test]
    fn what_is_nowhere_else_is_backed_up_soon() {
        assert!(is_due(None, &NOW));
        assert!(!is_due(last(NOW, 100_000, 0).as_ref(), &NOW), "nothing has changed");
        for before in [
            Fingerprint { records: Hash([2; 32]), ..NOW },
            Fingerprint { clients: 2, ..NOW },
            Fingerprint { condemned: 1, ..NOW },
        ] {
            assert!(!is_due(last(before, 4, 1000).as_ref(), &NOW) && is_due(last(before, 5, 1000).as_ref(), &NOW));
        }
    }

    #[test]
    fn snapshots_can_wait_and_so_can_large_ledgers() {
        let commits = Fingerprint { applied: 80, ..NOW };
        assert!(!is_due(last(commits, 899, 0).as_ref(), &NOW) && is_due(last(commits, 900, 0).as_ref(), &NOW));
        let clients = Fingerprint { clients: 2, ..NOW };
        let large = 3600 * BYTES_PER_SEC;
        assert!(
            !is_due(last(clients, 3599, large).as_ref(), &NOW) && is_due(last(clients, 3600, large).as_ref(), &NOW)
        );
    }
}

//! Paths that are worth seeing taken, beside those in the product: of the simulated world,
//! and of scenarios, whose names they begin with.

/// All of them. What stands here and is never reached shows that a scenario has become
/// too gentle.
pub const POINTS: &[&str] = &[
    "a PUT finds that an earlier one took effect",
    "a PUT takes effect, and its answer is lost",
    "power is lost after a packet has left",
    "power is lost after a request to the storage has left",
    "power is lost between a sync and what follows it",
    "power is lost between a write and its sync",
    "cluster: a failover in mid-backup",
    "hostile: strangers are turned away",
    "interruptions: a backup completes although another took over",
    "interruptions: a backup makes way for another",
    "interruptions: a part is restored",
    "joins: a client loses its power in the middle of a redemption",
    "joins: all power is lost in the middle of a redemption",
    "rebuilds: snapshots are found beside the backup",
    "rebuilds: the command fails, and is run again",
    "residents: a change is made where the last one has not arrived",
    "residents: a client hears of the last of several changes",
    "roster: a change finds no majority, and is tried again",
    "roster: the operator is interrupted in the middle of a change",
    "sharing: a backup fails, and is made again",
    "sharing: a restore fails, and goes on",
    "split: a minority keeps a keyset, and does not acknowledge it",
];

/// Records that such a path was taken.
pub fn sometimes(name: &'static str) {
    debug_assert!(POINTS.contains(&name), "{name:?} is not on the list");
    probe::sometimes(name);
}

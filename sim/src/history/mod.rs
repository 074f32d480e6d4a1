//! What people and machines asked of a cluster, when, and what they were told.
//!
//! Invariant: the checks know nothing of how Nuthatch works, only what it promises. So
//! one and the same set of them judges simulated runs and the lab's real processes
//! (`deploy/lab`), which write their histories as lines of JSON.

mod check;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use check::violations;

/// One thing that was asked for, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it was asked for, in milliseconds since the start of the run.
    pub from_ms: u64,
    /// When the answer was there.
    pub to_ms: u64,
    /// What it was.
    #[serde(flatten)]
    pub what: What,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done, and is acknowledged.
    Done,
    /// It was refused for good.
    Refused,
    /// There was no clear answer: it may have happened, or happen later.
    Unclear,
}

/// What is asked for. Names are of the history's own choosing, but for the ids that a
/// cluster gave out; a `digest` stands for all names and bytes of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "did", rename_all = "snake_case", deny_unknown_fields)]
pub enum What {
    /// A token was made, good for so many clients.
    Token {
        /// Its name.
        token: String,
        /// How many clients may join with it.
        uses: u32,
        /// Whether it was made.
        outcome: Outcome,
    },
    /// A machine wanted to join. The same machine may ask again, with the same keys.
    Join {
        /// Which machine.
        machine: String,
        /// With which token.
        token: String,
        /// Whether it joined.
        outcome: Outcome,
        /// As which client.
        #[serde(default)]
        client: Option<String>,
    },
    /// A client backed up.
    Backup {
        /// Which client.
        client: String,
        /// Whether a snapshot was made.
        outcome: Outcome,
        /// Which.
        #[serde(default)]
        snapshot: Option<String>,
        /// Of what.
        digest: String,
    },
    /// A client restored a snapshot.
    Restore {
        /// Which client.
        client: String,
        /// Which snapshot.
        snapshot: String,
        /// Whether it was restored.
        outcome: Outcome,
        /// What came of it.
        digest: String,
    },
    /// A client was revoked.
    Revoke {
        /// Which client.
        client: String,
        /// Whether it was.
        outcome: Outcome,
    },
    /// The faults are over: from here on everything that is right must work.
    Calm,
    /// All clients, as the cluster lists them once it is calm.
    Clients {
        /// Their ids.
        clients: Vec<String>,
    },
    /// A client's complete snapshots, as the cluster lists them once it is calm, oldest first.
    Snapshots {
        /// Whose.
        client: String,
        /// Their ids.
        snapshots: Vec<String>,
    },
    /// What an orchestrator holds in the end.
    Replica {
        /// Which orchestrator.
        node: String,
        /// A digest of its converging records.
        records: String,
        /// The log index that it has applied.
        applied: u64,
    },
}

/// Reads lines of JSON, one event each.
pub fn parse(text: &str) -> Result<Vec<Event>, (usize, serde_json::Error)> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(number, line)| serde_json::from_str(line).map_err(|error| (number + 1, error))).collect()
}

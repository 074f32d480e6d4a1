//! What people and machines asked of a cluster, when, and what they were told.
//!
//! Invariant: the checks know nothing of how Nuthatch works, only what it promises. So
//! one and the same set of them judges simulated runs, in which scenarios record what
//! they ask for (`recorder`), and the lab's real processes (`deploy/lab`), which write
//! their histories as lines of JSON.

mod check;
mod linear;
mod models;
pub mod recorder;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use check::violations;

/// When an answer came that never did, as far as is known.
pub const NEVER_MS: u64 = u64::MAX;

/// One thing that was asked for, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it was asked for, in milliseconds since the start of the run.
    pub from_ms: u64,
    /// When the answer was there; `NEVER_MS` if none came.
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
    /// A token was revoked.
    Void {
        /// Its name.
        token: String,
        /// Whether it was.
        outcome: Outcome,
    },
    /// A client uses what only clients may: it reads its policy, or asks for a right.
    Use {
        /// Which client.
        client: String,
        /// Whether it was served.
        outcome: Outcome,
    },
    /// A client asked for a lease. The same attempt may be made again.
    Grant {
        /// Which client.
        client: String,
        /// Whether it was granted; an attempt whose lease has ended is refused.
        outcome: Outcome,
        /// Which lease.
        #[serde(default)]
        lease: Option<String>,
        /// The snapshot after which it goes on.
        #[serde(default)]
        after: Option<String>,
        /// The number of the snapshot that may be made under it, from 1.
        number: u64,
    },
    /// A client gave a lease back.
    Close {
        /// Which client.
        client: String,
        /// Which lease.
        lease: String,
        /// Whether it has ended.
        outcome: Outcome,
    },
    /// A client wanted to make a snapshot under a lease.
    Commit {
        /// Which client.
        client: String,
        /// Under which lease.
        lease: String,
        /// Which snapshot.
        snapshot: String,
        /// Whether it was made.
        outcome: Outcome,
    },
    /// All of a client's snapshots, as some orchestrator lists them meanwhile, oldest first.
    Listed {
        /// Whose.
        client: String,
        /// Their ids.
        snapshots: Vec<String>,
    },
    /// The roster was changed, by a keyset that the root signed.
    Roster {
        /// The number of that keyset; 0 if nobody knows.
        number: u64,
        /// The names of all that are in it then, sorted.
        members: Vec<String>,
        /// Whether it was.
        outcome: Outcome,
    },
    /// The roster, as the orchestrators say that it is.
    RosterSeen {
        /// The number of its keyset.
        number: u64,
        /// The names of all that are in it, sorted.
        members: Vec<String>,
    },
    /// Somebody goes by this version of a policy from now on: a keyset, a domain, a storage.
    GoesBy {
        /// Who.
        who: String,
        /// Which policy.
        policy: String,
        /// Its version.
        version: u64,
    },
    /// An admin, or the root, has signed something and handed it in.
    Act {
        /// What it is about.
        subject: String,
        /// Its version.
        version: u64,
        /// Whether it was taken.
        outcome: Outcome,
    },
    /// The audit trail, as the cluster tells it: subjects and versions, oldest first.
    Audit {
        /// Its entries.
        entries: Vec<(String, u64)>,
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

/// Whether somebody was turned away who may have joined before, and was revoked since:
/// that says nothing about the token.
fn is_refused_as_revoked(history: &[Event], refusal: &Event) -> bool {
    let What::Join { machine, outcome: Outcome::Refused, .. } = &refusal.what else { return false };
    let joined_as = |client: &String| {
        history.iter().any(|event| {
            matches!(&event.what, What::Join { machine: who, client: Some(id), .. } if who == machine && id == client)
        })
    };
    history.iter().filter(|event| event.from_ms <= refusal.to_ms).any(|event| match &event.what {
        What::Revoke { client, outcome } => *outcome != Outcome::Refused && joined_as(client),
        _ => false,
    })
}

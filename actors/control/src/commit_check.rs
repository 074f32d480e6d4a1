//! Whether a commit object says what its client claims of it.
//!
//! Invariant: what the log decides about a commit is what its signed object
//! says, so that a restore without orchestrators comes to the same chain.

#[cfg(test)]
mod tests;

use protocol::{
    commands::CommitFacts,
    failure::Failure,
    ids::{ClientId, LeaseId, LineageId, PublicKey, RepositoryId, Sha256, SnapshotId},
    names::ObjectName,
};

/// What was read from a commit object, its form and signature already checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadCommit {
    /// SHA-256 of the bytes that were read.
    pub hash: Sha256,
    /// Whose signature matched.
    pub author: PublicKey,
    /// Where it says it lies.
    pub repository: RepositoryId,
    /// Whose it says it is.
    pub client: ClientId,
    /// Under which lease it says it was made.
    pub lease: LeaseId,
    /// Its place in the chain.
    pub sequence: u64,
    /// The commit before it.
    pub previous: Option<SnapshotId>,
    /// The lineage it says it belongs to.
    pub lineage: LineageId,
    /// Whether it is a whole backup.
    pub complete: bool,
    /// The index segments it names; `None` if commits of its format name none.
    pub segments: Option<Vec<ObjectName>>,
}

/// What the commit has to be, from the caller's enrollment and its request.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The caller.
    pub client: &'a ClientId,
    /// The caller's commit key.
    pub commit_key: &'a PublicKey,
    /// Where it wants to commit.
    pub repository: &'a RepositoryId,
    /// What it claims.
    pub claimed: &'a CommitFacts,
}

/// Whether claim and object agree.
pub fn agree(expected: Expected<'_>, read: &ReadCommit) -> Result<(), Failure> {
    let Expected { client, commit_key, repository, claimed } = expected;
    let name = claimed.object;
    if read.hash != name.hash {
        return Err(Failure::corrupt(format!(
            "the commit object {name} is damaged in storage: its SHA-256 is {}; commit again",
            read.hash
        )));
    }
    if read.author != *commit_key || read.client != *client {
        return Err(Failure::denied(format!("the commit object {name} is not signed by this client's commit key")));
    }
    let differing = [
        ("repository", read.repository == *repository),
        ("lease", read.lease == claimed.lease && name.lease == claimed.lease),
        ("sequence number", read.sequence == claimed.sequence),
        ("previous commit", read.previous == claimed.previous),
        ("lineage", read.lineage == claimed.lineage),
        ("completeness", read.complete == claimed.complete),
        ("index segments", read.segments.as_ref().is_none_or(|segments| *segments == claimed.segments)),
    ];
    match differing.into_iter().find(|(_, same)| !same) {
        None => Ok(()),
        Some((what, _)) => Err(Failure::invalid(format!("the commit object {name} names another {what} than claimed"))),
    }
}

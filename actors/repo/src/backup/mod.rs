//! Backing up: what is asked for, and what comes of it.

use std::{path::PathBuf, sync::Arc};

use protocol::{
    commands::{CommitFacts, Lease},
    format::manifest::Stats,
    ids::SnapshotId,
    time::UnixMillis,
};
use tokio_util::sync::CancellationToken;

use crate::{context::Context, error::RepoError, problems::Problems, progress::Progress};

/// What to back up.
#[derive(Debug, Clone)]
pub struct BackupJob {
    /// Absolute paths. They are stored under these paths.
    pub sources: Vec<PathBuf>,
    /// The right to write, what may be reused, and the parent snapshot.
    pub lease: Lease,
    /// The commit before this one in the client's chain.
    pub previous: Option<SnapshotId>,
    /// The machine's name.
    pub host: String,
    /// For people.
    pub description: String,
    /// For people and policies.
    pub tags: Vec<String>,
    /// The program and version that writes.
    pub program: String,
    /// When it began.
    pub started: UnixMillis,
    /// Memory for file contents on their way, in bytes; at least `limits::MEMORY_BYTES_MIN`.
    pub memory_bytes: usize,
    /// Objects uploaded at the same time.
    pub uploads: usize,
    /// Ends the job early.
    pub cancel: CancellationToken,
}

/// What a backup came to. Nothing is a snapshot before `facts` is decided.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What to propose.
    pub facts: CommitFacts,
    /// The id the snapshot will have.
    pub snapshot: SnapshotId,
    /// What it came to.
    pub stats: Stats,
    /// What could not be read.
    pub problems: Problems,
}

/// Backs up, up to and including the PUT of the commit object.
pub async fn backup(context: Context, job: BackupJob, progress: Arc<Progress>) -> Result<Outcome, RepoError> {
    let _ = (context, job, progress);
    Err(RepoError::internal("under construction"))
}

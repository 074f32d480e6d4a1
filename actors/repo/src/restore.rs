//! Restoring.
use std::{path::PathBuf, sync::Arc};

use protocol::names::ObjectName;
use tokio_util::sync::CancellationToken;

use crate::{context::Context, error::RepoError, index::Segments, problems::Problems, progress::Progress};

/// What to restore, and where.
#[derive(Debug, Clone)]
pub struct RestoreJob {
    /// The commit object of the snapshot.
    pub snapshot: ObjectName,
    /// The segments in which its chunks are.
    pub segments: Segments,
    /// None: everything, below `target` under its absolute path. Otherwise an
    /// absolute path in the snapshot: a directory's content goes directly into
    /// `target`, anything else becomes `target/<its name>`.
    pub path: Option<PathBuf>,
    /// An absolute path. Must not exist, or be an empty directory, unless `overwrite`.
    pub target: PathBuf,
    /// Whether what is in the way is replaced. Nothing else in the target is touched.
    pub overwrite: bool,
    /// Memory for chunks on their way, in bytes; at least `limits::MEMORY_BYTES_MIN`.
    pub memory_bytes: usize,
    /// Objects read at the same time.
    pub downloads: usize,
    /// Ends the job early.
    pub cancel: CancellationToken,
}

/// What a restore came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreOutcome {
    /// Files restored whole.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links, hard links beyond a file's first name, pipes, sockets and devices.
    pub others: u64,
    /// Bytes written into files.
    pub bytes: u64,
    /// Bytes fetched from the store.
    pub bytes_fetched: u64,
    /// What could not be restored, or not completely.
    pub problems: Problems,
}

/// Restores.
pub async fn restore(context: Context, job: RestoreJob, progress: Arc<Progress>) -> Result<RestoreOutcome, RepoError> {
    let _ = (context, job, progress);
    Err(RepoError::internal("under construction"))
}

//! Verifying.
use std::sync::Arc;

use protocol::names::ObjectName;
use tokio_util::sync::CancellationToken;

use crate::{context::Context, error::RepoError, index::Segments, progress::Progress};

/// What to verify.
#[derive(Debug, Clone)]
pub struct VerifyJob {
    /// The commit objects of the client's snapshots, oldest first.
    pub snapshots: Vec<ObjectName>,
    /// The segments in which their chunks are.
    pub segments: Segments,
    /// Whether all data is read and opened too, not only what says where it is.
    pub read_data: bool,
    /// Memory for chunks on their way, in bytes; at least `limits::MEMORY_BYTES_MIN`.
    pub memory_bytes: usize,
    /// Objects read at the same time.
    pub downloads: usize,
    /// Ends the job early.
    pub cancel: CancellationToken,
}

/// Something damaged or missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The object, as it is named in the storage, or a chunk.
    pub object: String,
    /// What is wrong with it.
    pub reason: String,
    /// Which files need it: the first of them.
    pub files: Vec<String>,
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Snapshots looked at.
    pub snapshots: u64,
    /// Tree nodes and blocks of references read and opened.
    pub trees: u64,
    /// Entries of all trees.
    pub entries: u64,
    /// References to chunks of files that were resolved.
    pub chunks: u64,
    /// Packs whose table of contents was compared.
    pub packs: u64,
    /// Bytes of file data read and opened.
    pub bytes_read: u64,
    /// How many damages there are.
    pub damages_count: u64,
    /// The first of them.
    pub damages: Vec<Damage>,
}

/// Verifies.
pub async fn verify(context: Context, job: VerifyJob, progress: Arc<Progress>) -> Result<VerifyReport, RepoError> {
    let _ = (context, job, progress);
    Err(RepoError::internal("under construction"))
}

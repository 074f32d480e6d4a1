//! Backing up: a pipeline of actors.
//!
//! `reader` drives the walk (`scan`) and fills batches; one `sealing` actor for
//! each core compresses and seals them; `writer` puts them in order, has packs,
//! trees and lists made of them (`assembly`), and gives objects to the `upload`
//! actors; `root` supervises.
//!
//! Invariant: every batch and pack on its way carries the credit for its bytes,
//! taken before it was read and given back when it is stored. Nothing else bounds
//! the mailboxes.

mod assembly;
mod batch;
mod crew;
mod hints;
mod known;
mod parent;
mod plan;
mod reader;
mod root;
mod scan;
mod sealing;
mod upload;
mod writer;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use protocol::{
    commands::{CommitFacts, Lease},
    format::{content::Content, manifest::Stats},
    ids::{Sha256, SnapshotId},
    limits,
    names::ObjectName,
    time::UnixMillis,
};
use ractor::{Actor, ActorCell};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use self::{
    assembly::AssemblyArguments,
    known::KnownChunks,
    plan::Plan,
    reader::ReaderArguments,
    root::{Root, RootArguments},
    scan::Scanner,
    writer::WriterArguments,
};
use crate::{
    buffers::Buffers,
    chunker::Cutter,
    context::Context,
    error::{Kind, RepoError},
    index::{Index, Segments},
    problems::Problems,
    progress::Progress,
    snapshot,
    trees::TreeReader,
};

/// What to back up.
#[derive(Debug, Clone)]
pub struct BackupJob {
    /// Absolute paths. They are stored under these paths.
    pub sources: Vec<PathBuf>,
    /// The right to write, what may be reused, and the parent snapshot.
    pub lease: Lease,
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

/// Ends the actors of a backup when its caller goes away.
struct Guard(ActorCell);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// Backs up, up to and including the PUT of the commit object.
pub async fn backup(context: Context, job: BackupJob, progress: Arc<Progress>) -> Result<Outcome, RepoError> {
    let cancel = job.cancel.clone();
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(RepoError::cancelled()),
        result = run(context, job, progress) => result,
    }
}

async fn run(context: Context, job: BackupJob, progress: Arc<Progress>) -> Result<Outcome, RepoError> {
    check(&context, &job).await?;
    let plan = Plan::new(&job.sources)?;
    let keys = context.keys.clone();
    let cutter = Cutter::new(&keys.domain.chunker, &keys.secrets.gear)?;
    let index = Arc::new(Index::new(context.clone(), Segments::of_view(&job.lease.view)));
    let parent = Parent::load(&context, &job).await?;
    let job = Arc::new(job);

    let budget = job.memory_bytes.clamp(limits::MEMORY_BYTES_MIN, u32::MAX as usize);
    let credit = Arc::new(Semaphore::new(budget));
    let buffers = Arc::new(Buffers::new(context.cores() + 1));
    let sealed_buffers = Arc::new(Buffers::new(context.cores() + 1));
    let known = Arc::new(KnownChunks::default());
    let known_trees = Arc::new(KnownChunks::default());
    let (files, clock) = (context.files.clone(), context.clock.clone());
    let (scan_buffers, scan_progress) = (buffers.clone(), progress.clone());
    let scan_keys = keys.clone();
    // Even its start lists a directory, so it is made on a thread.
    let scanner = context
        .run(move || Scanner::new(files, clock, scan_keys, cutter, scan_buffers, scan_progress, plan, parent.root))
        .await;

    let writer_context = context.clone();
    let (writer_index, assembly) = (
        index.clone(),
        AssemblyArguments {
            keys,
            rng: context.rng.clone(),
            cache: context.cache.clone(),
            lease: job.lease.id,
            known_trees: known_trees.clone(),
            sealed_buffers: sealed_buffers.clone(),
            parent_leaves: parent.leaves,
        },
    );
    let (report, result) = oneshot::channel();
    let arguments = RootArguments {
        writer: Box::new(move |root| WriterArguments {
            context: writer_context,
            job,
            index: writer_index,
            assembly,
            progress,
            root,
        }),
        reader: Box::new(move |writer| ReaderArguments {
            trees: TreeReader::new(context.clone(), index.clone()),
            context,
            scanner,
            index,
            known,
            known_trees,
            buffers,
            sealed_buffers,
            credit,
            writer,
        }),
        result: report,
    };
    let (root, _) = Actor::spawn(None, Root, arguments)
        .await
        .map_err(|error| RepoError::internal(format!("the backup could not start: {error}")))?;
    let _guard = Guard(root.get_cell());
    result.await.unwrap_or_else(|_| Err(RepoError::internal("the backup ended without a result")))
}

/// Refuses jobs that cannot come to anything.
async fn check(context: &Context, job: &BackupJob) -> Result<(), RepoError> {
    if job.lease.repository != context.keys.repository || job.lease.domain != context.keys.domain.id {
        return Err(RepoError::invalid("the lease is for another repository or domain"));
    }
    let (files, sources) = (context.files.clone(), job.sources.clone());
    let missing = context.run(move || sources.iter().all(|source| files.metadata(source).is_err())).await;
    if missing {
        return Err(RepoError::new(Kind::NotFound, "none of the paths to back up exists"));
    }
    Ok(())
}

/// What is built upon.
#[derive(Default)]
struct Parent {
    root: Option<Content>,
    leaves: BTreeMap<Sha256, ObjectName>,
}

impl Parent {
    /// Reads the pinned parent. One that is damaged or gone is no reason to stop:
    /// everything is read again.
    async fn load(context: &Context, job: &BackupJob) -> Result<Self, RepoError> {
        let Some(parent) = job.lease.parent else { return Ok(Self::default()) };
        match Self::read(context, parent.object).await {
            Err(error) if matches!(error.kind, Kind::Corrupt | Kind::NotFound) => {
                tracing::warn!(%error, "the parent snapshot cannot be read; every file is read again");
                Ok(Self::default())
            }
            result => result,
        }
    }

    async fn read(context: &Context, object: ObjectName) -> Result<Self, RepoError> {
        let snapshot = snapshot::show(context, object).await?;
        let names = match snapshot.commit.list {
            Some(root) => snapshot::list_leaves(context, root).await?,
            None => Vec::new(),
        };
        let leaves = names.into_iter().map(|name| (name.hash, name)).collect();
        Ok(Self { root: Some(snapshot.manifest.root), leaves })
    }
}

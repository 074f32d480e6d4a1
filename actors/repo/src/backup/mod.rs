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
mod journal;
mod known;
mod parent;
mod plan;
mod reader;
mod ready;
mod recover;
mod root;
mod rules;
mod scan;
mod sealing;
mod segments;
mod stream;
mod upload;
mod writer;

#[cfg(fuzzing)]
pub use hints::{Hint, open as open_hints, seal_plain as seal_hints};

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    path::PathBuf,
    sync::Arc,
};

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
    reader::{Part, ReaderArguments},
    root::{Root, RootArguments},
    scan::{Scanner, ScannerArguments},
    writer::WriterArguments,
};
pub use self::{
    journal::{Journal, NoJournal, StoredPack},
    rules::Rules,
    stream::Stream,
};
use crate::{
    buffers::Buffers,
    chunker::Cutter,
    context::Context,
    error::{Kind, RepoError},
    index::{Index, Segments, Suspects},
    problems::Problems,
    progress::Progress,
    snapshot,
    trees::TreeReader,
};

/// What to back up.
#[derive(Clone)]
pub struct BackupJob {
    /// Absolute paths. They are stored under these paths.
    pub sources: Vec<PathBuf>,
    /// What is left out of them.
    pub rules: Rules,
    /// What is backed up in their place; then the only source is the path it is stored under.
    pub stream: Option<Stream>,
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
    /// What is known to be stored under earlier leases and named by no commit. What the
    /// lease's view allows of it is used.
    pub left: Vec<StoredPack>,
    /// Is told what is stored under this lease.
    pub journal: Arc<dyn Journal>,
    /// Has the walk end where it is, and what was read so far committed, as a part. The
    /// job itself says so when its commit is about to be full.
    pub wind_up: CancellationToken,
    /// The same once so many bytes of files were read.
    pub part_bytes: u64,
    /// Ends the job without a commit.
    pub cancel: CancellationToken,
}

impl fmt::Debug for BackupJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sources, lease, .. } = self;
        f.debug_struct("BackupJob").field("sources", sources).field("lease", &lease.id).finish_non_exhaustive()
    }
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
    let plan = match job.stream {
        Some(_) => Plan::Only(BTreeMap::new()),
        None => Plan::new(&job.sources)?,
    };
    let keys = context.keys.clone();
    let cutter = Cutter::new(&keys.domain.chunker, &keys.secrets.gear)?;
    let index = Arc::new(Index::new(context.clone(), Segments::of_view(&job.lease.view)));
    let parent = Parent::load(&context, &job, &index).await?;
    let recovered = recover::recover(&context, &job, &index, &progress).await?;
    let job = Arc::new(job);

    let budget = job.memory_bytes.clamp(limits::MEMORY_BYTES_MIN, limits::MEMORY_BYTES_MAX);
    let credit = Arc::new(Semaphore::new(budget));
    let buffers = Arc::new(Buffers::new(context.cores() + 1));
    let sealed_buffers = Arc::new(Buffers::new(context.cores() + 1));
    let known = Arc::new(KnownChunks::default());
    let known_trees = Arc::new(KnownChunks::default());
    let scanning = ScannerArguments {
        files: context.files.clone(),
        clock: context.clock.clone(),
        keys: keys.clone(),
        cutter,
        buffers: buffers.clone(),
        progress: progress.clone(),
        plan,
        rules: job.rules.clone(),
        parents: parent.roots,
        suspects: parent.suspects.clone(),
        wind_up: job.wind_up.clone(),
    };
    let stream = job.stream.clone();
    // Even its start lists a directory, so it is made on a thread.
    let scanner = context
        .run(move || {
            let mut scanner = Scanner::new(scanning)?;
            if let Some(stream) = stream {
                scanner.read_first(stream.name(), stream.take()?)?;
            }
            Ok::<_, RepoError>(scanner)
        })
        .await?;

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
            left_trees: recovered.trees,
            parent_leaves: parent.leaves,
        },
    );
    // A stream cannot be gone on with in another part.
    let part_bytes = if job.stream.is_some() { u64::MAX } else { job.part_bytes };
    let part = Part { bytes: part_bytes, wind_up: job.wind_up.clone() };
    let (report, result) = oneshot::channel();
    let arguments = RootArguments {
        writer: Box::new(move |root| WriterArguments {
            context: writer_context,
            job,
            index: writer_index,
            assembly,
            segments: recovered.segments,
            bytes_stored: recovered.bytes_stored,
            progress,
            root,
        }),
        reader: Box::new(move |writer| ReaderArguments {
            trees: TreeReader::new(context.clone(), index.clone()),
            suspects: parent.suspects,
            context,
            scanner,
            index,
            known,
            known_trees,
            buffers,
            sealed_buffers,
            credit,
            part,
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
    if job.stream.is_some() {
        return Ok(());
    }
    let (files, sources) = (context.files.clone(), job.sources.clone());
    let unseen = context.run(move || {
        let looked = sources.iter().map(|source| files.metadata(source).map_err(|error| (source.clone(), error)));
        looked.map(Result::err).collect::<Option<Vec<_>>>()
    });
    match unseen.await.as_deref() {
        None | Some([]) => Ok(()),
        Some([(path, error), ..]) if error.kind() != io::ErrorKind::NotFound => {
            let reason = scan::describe(error);
            Err(RepoError::invalid(format!("none of the paths to back up can be seen: {}: {reason}", path.display())))
        }
        Some(_) => Err(RepoError::new(Kind::NotFound, "none of the paths to back up exists")),
    }
}

/// What is built upon.
#[derive(Default)]
struct Parent {
    /// The root directories, the newest snapshot's first.
    roots: Vec<Content>,
    leaves: BTreeMap<Sha256, ObjectName>,
    /// Chunks that were lost since: what needs them is read, and stored, again.
    suspects: Arc<Suspects>,
}

impl Parent {
    /// Reads the pinned parents. One that is damaged or gone is no reason to stop:
    /// its files are read again.
    async fn load(context: &Context, job: &BackupJob, index: &Index) -> Result<Self, RepoError> {
        let Some(suspects) = index.suspects(&holes(&job.lease)).await? else {
            tracing::warn!("what was lost in the storage cannot be told; every file is read again");
            return Ok(Self::default());
        };
        let mut all = Self { suspects: Arc::new(suspects), ..Self::default() };
        for parent in [job.lease.parent, job.lease.parent_complete].into_iter().flatten() {
            match Self::read(context, parent.object).await {
                Ok(one) => {
                    all.roots.extend(one.roots);
                    all.leaves.extend(one.leaves.into_iter().filter(|(_, name)| !index.shuns(name)));
                }
                Err(error) if matches!(error.kind, Kind::Corrupt | Kind::NotFound) => {
                    tracing::warn!(%error, "a parent snapshot cannot be read; its files are read again");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    async fn read(context: &Context, object: ObjectName) -> Result<Self, RepoError> {
        let snapshot = snapshot::show(context, object).await?;
        let names = match snapshot.commit.list {
            Some(root) => snapshot::list_leaves(context, root).await?,
            None => Vec::new(),
        };
        let leaves = names.into_iter().map(|name| (name.hash, name)).collect();
        Ok(Self { roots: vec![snapshot.manifest.root], leaves, suspects: Arc::default() })
    }
}

/// What was condemned after the parents were made, so that they may need it.
fn holes(lease: &Lease) -> BTreeSet<ObjectName> {
    let parents = [lease.parent, lease.parent_complete].into_iter().flatten();
    let Some(known) = parents.map(|parent| parent.epoch).min() else { return BTreeSet::new() };
    lease.view.condemned.iter().filter(|condemned| condemned.epoch > known).map(|condemned| condemned.name).collect()
}

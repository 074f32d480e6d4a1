//! Restoring: a wave of files at a time.
//!
//! While one wave is written, the chunks of the next are fetched, and the tree of
//! the one after it is walked.
//!
//! Invariant: nothing outside the target is written. Names come from trees that
//! refuse anything but single components, and an existing link in the way of a
//! directory is replaced, or refused, but never followed.

mod target;
mod wave;

use std::{path::PathBuf, sync::Arc};

use protocol::{
    format::tree::{Attributes, Entry, What},
    limits,
    names::ObjectName,
};
use tokio_util::sync::CancellationToken;

use self::{
    target::Target,
    wave::{Loaded, Wave, WaveReader},
};
use crate::{
    context::Context,
    error::RepoError,
    fetch::Fetcher,
    index::{Index, Segments},
    paths,
    problems::Problems,
    progress::Progress,
    snapshot::{self, Snapshot},
    trees::TreeReader,
    walk::Walk,
};

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
    /// Symbolic links, and hard links beyond a file's first name.
    pub others: u64,
    /// Bytes written into files.
    pub bytes: u64,
    /// Bytes fetched from the store.
    pub bytes_fetched: u64,
    /// What could not be restored, or not completely.
    pub problems: Problems,
}

/// Restores. Files that cannot be restored are problems of the outcome; an error
/// means that the rest was not tried.
pub async fn restore(context: Context, job: RestoreJob, progress: Arc<Progress>) -> Result<RestoreOutcome, RepoError> {
    let cancel = job.cancel.clone();
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(RepoError::cancelled()),
        result = run(context, job, progress) => result,
    }
}

async fn run(context: Context, job: RestoreJob, progress: Arc<Progress>) -> Result<RestoreOutcome, RepoError> {
    let snapshot = snapshot::show(&context, job.snapshot).await?;
    let index = Arc::new(Index::new(context.clone(), job.segments.clone()));
    let trees = TreeReader::new(context.clone(), index.clone());
    let mut reader = start(&context, &trees, &snapshot, &job).await?;
    let fetcher = Fetcher::new(context.clone(), index, job.downloads);
    let files = context.files.clone();
    let (path, overwrite) = (job.target.clone(), job.overwrite);
    let mut target = context.run(move || Target::prepare(files, path, overwrite)).await?;

    // Sealed and open, of the wave being fetched and the wave being written.
    let wave_len = job.memory_bytes.max(limits::MEMORY_BYTES_MIN) / 6;
    let mut walked = Some(reader.next(&trees, wave_len).await?);
    let mut loaded: Option<Loaded> = None;
    while walked.is_some() || loaded.is_some() {
        let ended = walked.as_ref().is_none_or(|wave| wave.last);
        let write = async {
            match loaded.take() {
                Some(loaded) => target::write(&context, target, loaded, &progress).await,
                None => Ok(target),
            }
        };
        let fetch = async {
            match walked.take() {
                Some(wave) => load(&fetcher, wave).await.map(Some),
                None => Ok(None),
            }
        };
        let walk = async {
            match ended {
                false => reader.next(&trees, wave_len).await.map(Some),
                true => Ok(None),
            }
        };
        let (written, fetched, next) = futures_util::future::join3(write, fetch, walk).await;
        target = written?;
        loaded = fetched?;
        walked = next?;
    }
    Ok(target.outcome)
}

async fn load(fetcher: &Fetcher, wave: Wave) -> Result<Loaded, RepoError> {
    let fetched = fetcher.fetch(&wave.refs).await?;
    Ok(Loaded { wave, fetched })
}

/// Finds what the job names.
async fn start(
    context: &Context,
    trees: &TreeReader,
    snapshot: &Snapshot,
    job: &RestoreJob,
) -> Result<WaveReader, RepoError> {
    let owners = context.files.may_set_owner();
    let root = snapshot.manifest.root.clone();
    let names = match &job.path {
        Some(path) => paths::components(path)?,
        None => Vec::new(),
    };
    if !job.target.is_absolute() {
        return Err(RepoError::invalid(format!("{} is not an absolute path", job.target.display())));
    }
    let path = job.path.clone().unwrap_or_default();
    if names.is_empty() {
        return Ok(WaveReader::new(Some(Walk::new(job.target.clone(), root)), None, None, owners));
    }
    let entry: Entry = trees.find(root, &names).await?.ok_or_else(|| snapshot::not_found(snapshot, &path))?;
    Ok(match &entry.what {
        What::Directory { content } => {
            let attributes: Attributes = entry.attributes;
            let walk = Walk::new(job.target.clone(), content.clone());
            WaveReader::new(Some(walk), None, Some((job.target.clone(), attributes)), owners)
        }
        _ => WaveReader::new(None, Some((paths::join(&job.target, &entry.name), entry)), None, owners),
    })
}

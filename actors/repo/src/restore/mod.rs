//! Restoring: a wave of files at a time.
//!
//! While one wave is written, the chunks of the next ones are fetched, and the trees
//! of those after them are walked, and what is there already is looked at.
//!
//! Invariant: nothing outside the target is written. Names come from trees that
//! refuse anything but single components, and an existing link in the way of a
//! directory is replaced, or refused, but never followed.

mod compare;
mod file;
mod links;
mod place;
mod plan;
mod prepare;
mod rights;
mod select;
mod survey;
mod wave;
mod write;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use env::files::{Attributes, Metadata};
use protocol::{limits, names::ObjectName};
use tokio_util::sync::CancellationToken;

pub use self::{rights::Left, select::Selection};
use crate::{context::Context, error::RepoError, index::Segments, problems::Problems, progress::Progress};

/// What becomes of what is there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Overwrite {
    /// Nothing may be there.
    #[default]
    Refuse,
    /// It is kept, whatever it is: only what is missing is written.
    Never,
    /// It is kept unless the snapshot's is newer, by its time of modification.
    IfNewer,
    /// A file of the same length and time of modification counts as the same; the content
    /// of others is compared, and what differs is written.
    IfChanged,
    /// The content of every file is compared, and what differs is written.
    Always,
}

impl Overwrite {
    /// Whether it keeps anything at all.
    fn may_keep(self) -> bool {
        matches!(self, Self::Never | Self::IfNewer)
    }

    /// Whether what is `found` stays as it is.
    fn keeps(self, found: &Metadata, wanted: &Attributes) -> bool {
        self == Self::Never || self == Self::IfNewer && found.mtime >= wanted.mtime
    }
}

/// What a restore does, or would do, to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Nothing is there: it is made.
    Made,
    /// What is there differs: it is replaced.
    Replaced,
    /// Only its attributes differ, and are set.
    Adjusted,
    /// What is there is kept.
    Kept,
}

type Listener = dyn Fn(Deed, &Path) + Send + Sync;

/// Who is told what a dry run would do.
#[derive(Clone)]
pub struct Listing(Arc<Listener>);

impl Listing {
    /// Tells `listener`, from any thread.
    pub fn new(listener: impl Fn(Deed, &Path) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    fn tell(&self, deed: Deed, path: &Path) {
        (self.0)(deed, path);
    }
}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listing(..)")
    }
}

/// How to restore.
#[derive(Debug, Clone, Default)]
pub struct RestoreOptions {
    /// What becomes of what is there already. Nothing else in the target is touched.
    pub overwrite: Overwrite,
    /// What of it is restored.
    pub selection: Selection,
    /// Only tell what would be done.
    pub dry_run: Option<Listing>,
}

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
    /// An absolute path. Must not exist, or be an empty directory, unless `options.overwrite`
    /// says what to do with what is there.
    pub target: PathBuf,
    /// How.
    pub options: RestoreOptions,
    /// Memory for chunks on their way, in bytes; at least `limits::MEMORY_BYTES_MIN`.
    pub memory_bytes: usize,
    /// Objects read at the same time.
    pub downloads: usize,
    /// Ends the job early.
    pub cancel: CancellationToken,
}

/// What a restore came to. After a dry run: what it would come to, as far as that can
/// be told without fetching anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreOutcome {
    /// Files written, and whole.
    pub files: u64,
    /// Files that were there already with the same content.
    pub unchanged: u64,
    /// Names that kept what was there, as the job asked.
    pub kept: u64,
    /// Directories.
    pub directories: u64,
    /// Links, pipes, sockets and devices, and further names of anything.
    pub others: u64,
    /// Bytes written into files.
    pub bytes: u64,
    /// Bytes fetched from the store.
    pub bytes_fetched: u64,
    /// What this process had no right to put back.
    pub left: Left,
    /// What could not be restored, or not completely.
    pub problems: Problems,
}

impl RestoreOutcome {
    /// Whether there is anything of the snapshot in the target.
    pub fn is_empty(&self) -> bool {
        self.files + self.unchanged + self.kept + self.others == 0
    }

    fn merge(&mut self, more: Self) {
        self.files += more.files;
        self.unchanged += more.unchanged;
        self.kept += more.kept;
        self.directories += more.directories;
        self.others += more.others;
        self.bytes += more.bytes;
        self.bytes_fetched += more.bytes_fetched;
        self.left.merge(more.left);
        self.problems.merge(more.problems);
    }
}

/// Restores. Files that cannot be restored are problems of the outcome; an error
/// means that the rest was not tried.
pub async fn restore(
    context: Context,
    mut job: RestoreJob,
    progress: Arc<Progress>,
) -> Result<RestoreOutcome, RepoError> {
    job.memory_bytes = job.memory_bytes.max(limits::MEMORY_BYTES_MIN);
    let cancel = job.cancel.clone();
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(RepoError::cancelled()),
        result = Box::pin(plan::run(context, job, progress)) => result,
    }
}

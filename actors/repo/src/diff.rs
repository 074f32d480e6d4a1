//! What differs between two snapshots of a client.
//!
//! Both trees are walked together. Where they list the same chunks, nothing is read:
//! the cost follows the difference, not the size.
//!
//! Invariant: no recursion, and of each directory on the way one node of each side is
//! held. Changes are told in the order of paths.

mod content;
mod sides;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use protocol::{
    format::{
        content::Content,
        tree::{Entry, What},
    },
    limits,
    names::ObjectName,
};

use self::sides::{Pair, Sides};
use crate::{
    context::Context,
    error::RepoError,
    index::{Index, Segments},
    paths,
    snapshot::{self, Snapshot},
    trees::TreeReader,
};

/// What to compare.
#[derive(Debug, Clone)]
pub struct DiffJob {
    /// The commit object of the first snapshot.
    pub before: ObjectName,
    /// The commit object of the second.
    pub after: ObjectName,
    /// The segments in which the chunks of both are.
    pub segments: Segments,
    /// An absolute path in at least one of them.
    pub path: PathBuf,
}

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// Only the second snapshot has it.
    Added,
    /// Only the first has it.
    Removed,
    /// Its content differs: of a file, the target of a link, the number of a device.
    Modified,
    /// Mode, owner, time of modification or extended attributes differ, and nothing else.
    /// That a directory was written to does not count.
    Metadata,
    /// It is another kind of thing.
    Type,
}

/// A path that differs.
#[derive(Debug)]
pub struct Change<'a> {
    /// Which.
    pub path: &'a Path,
    /// How.
    pub difference: Difference,
    /// What it was.
    pub before: Option<&'a Entry>,
    /// What it is.
    pub after: Option<&'a Entry>,
}

/// How many differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiffSummary {
    /// Names that were added, whatever they are.
    pub added: u64,
    /// Removed.
    pub removed: u64,
    /// With other content.
    pub modified: u64,
    /// With other attributes only.
    pub metadata: u64,
    /// Of another kind.
    pub types: u64,
    /// Bytes of files that the first snapshot's file of that name has not.
    pub bytes_added: u64,
    /// Bytes of files that the second snapshot's file of that name has no more.
    pub bytes_removed: u64,
}

/// Compares, and calls `visit` with each change until it returns false.
pub async fn diff(
    context: &Context,
    job: DiffJob,
    visit: &mut (dyn FnMut(&Change<'_>) -> bool + Send),
) -> Result<DiffSummary, RepoError> {
    let snapshots = [snapshot::show(context, job.before).await?, snapshot::show(context, job.after).await?];
    let index = Arc::new(Index::new(context.clone(), job.segments));
    let trees = TreeReader::new(context.clone(), index);
    let mut differ = Differ { trees: &trees, visit, summary: DiffSummary::default(), stack: Vec::new() };
    differ.start(&snapshots, &job.path).await?;
    while differ.step().await? {}
    Ok(differ.summary)
}

struct Differ<'a> {
    trees: &'a TreeReader,
    visit: &'a mut (dyn FnMut(&Change<'_>) -> bool + Send),
    summary: DiffSummary,
    stack: Vec<(PathBuf, Sides)>,
}

impl Differ<'_> {
    async fn start(&mut self, snapshots: &[Snapshot; 2], path: &Path) -> Result<(), RepoError> {
        let [before, after] = snapshots;
        let names = paths::components(path)?;
        let roots = [before.manifest.root.clone(), after.manifest.root.clone()];
        if names.is_empty() {
            return self.enter(path.into(), roots);
        }
        let [first, second] = roots;
        let pair =
            Pair { before: self.trees.find(first, &names).await?, after: self.trees.find(second, &names).await? };
        if pair.before.is_none() && pair.after.is_none() {
            return Err(snapshot::not_found(after, path));
        }
        self.pair(path.into(), pair).await.map(drop)
    }

    /// Goes one pair of names on. False at the end.
    async fn step(&mut self) -> Result<bool, RepoError> {
        let Some((path, sides)) = self.stack.last_mut() else { return Ok(false) };
        let damaged = |error: RepoError| {
            RepoError::new(error.kind, format!("the tree of {} cannot be read", path.display())).because(error)
        };
        match sides.next(self.trees).await.map_err(damaged)? {
            Some(pair) => {
                let Some(name) = pair.name() else { return Ok(true) };
                let path = paths::join(path, name);
                let go_on = self.pair(path, pair).await?;
                if !go_on {
                    self.stack.clear();
                }
            }
            None => drop(self.stack.pop()),
        }
        Ok(true)
    }

    fn enter(&mut self, path: PathBuf, contents: [Content; 2]) -> Result<(), RepoError> {
        let [before, after] = contents;
        if before == after {
            return Ok(());
        }
        if self.stack.len() >= limits::TREE_DEPTH_MAX {
            return Err(RepoError::corrupt("directories are nested more deeply than any backup makes them"));
        }
        self.stack.push((path, Sides::new(before, after)));
        Ok(())
    }

    /// Tells how a name differs, and goes into its directories. False: nobody listens.
    async fn pair(&mut self, path: PathBuf, pair: Pair) -> Result<bool, RepoError> {
        let difference = pair.difference();
        self.count(difference, &pair).await?;
        let go_on = match difference {
            Some(difference) => {
                let (before, after) = (pair.before.as_ref(), pair.after.as_ref());
                (self.visit)(&Change { path: &path, difference, before, after })
            }
            None => true,
        };
        if go_on {
            let content = |entry: Option<Entry>| match entry.map(|entry| entry.what) {
                Some(What::Directory { content }) => content,
                _ => Content::default(),
            };
            self.enter(path, [content(pair.before), content(pair.after)])?;
        }
        Ok(go_on)
    }

    async fn count(&mut self, difference: Option<Difference>, pair: &Pair) -> Result<(), RepoError> {
        match difference {
            None => return Ok(()),
            Some(Difference::Added) => self.summary.added += 1,
            Some(Difference::Removed) => self.summary.removed += 1,
            Some(Difference::Modified) => self.summary.modified += 1,
            Some(Difference::Metadata) => self.summary.metadata += 1,
            Some(Difference::Type) => self.summary.types += 1,
        }
        let what = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.what.clone());
        let [removed, added] = match (what(&pair.before), what(&pair.after)) {
            (Some(What::File { content: before, .. }), Some(What::File { content: after, .. })) => {
                content::differing(self.trees, before, after).await?
            }
            (before, after) => [len(before.as_ref()), len(after.as_ref())],
        };
        self.summary.bytes_added += added;
        self.summary.bytes_removed += removed;
        Ok(())
    }
}

fn len(what: Option<&What>) -> u64 {
    if let Some(What::File { len, .. }) = what { *len } else { 0 }
}

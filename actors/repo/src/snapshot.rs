//! Looking at snapshots: commit, manifest, and what a path holds.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::{StreamExt as _, stream};
use protocol::{
    format::{
        commit::{CommitBody, CommitObject},
        content::Content,
        list::Page,
        manifest::Manifest,
        tree::{Entry, What},
    },
    ids::SnapshotId,
    names::ObjectName,
};
use sha2::{Digest as _, Sha256};

use crate::{
    context::Context,
    error::RepoError,
    index::{Index, Segments},
    keys::Keys,
    paths,
    trees::TreeReader,
    walk::{Event, Walk},
};

/// Commits that are read at the same time.
const COMMITS_IN_FLIGHT: usize = 8;

/// A snapshot whose commit was checked and whose manifest was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id.
    pub id: SnapshotId,
    /// Its commit object.
    pub object: ObjectName,
    /// What was signed.
    pub commit: CommitBody,
    /// What a person wants to know.
    pub manifest: Manifest,
}

/// Reads a snapshot's commit and manifest, and checks hash, signature and owner.
pub async fn show(context: &Context, object: ObjectName) -> Result<Snapshot, RepoError> {
    let bytes = context.objects.get(&context.keys.commit(object), None).await?;
    open(&context.keys, object, &bytes)
}

fn open(keys: &Keys, object: ObjectName, bytes: &[u8]) -> Result<Snapshot, RepoError> {
    let key = keys.commit(object);
    if <[u8; 32]>::from(Sha256::digest(bytes)) != object.hash.0 {
        return Err(RepoError::corrupt(format!("commit {key} is damaged: its bytes do not match its name")));
    }
    let fail = |error| RepoError::decoding(format_args!("commit {key}"), error);
    let commit = CommitObject::open(bytes, &keys.commit_key()).map_err(fail)?;
    if commit.repository != keys.repository || commit.client != keys.client || commit.lease != object.lease {
        return Err(RepoError::corrupt(format!("commit {key} was made for another repository, client or lease")));
    }
    let manifest = Manifest::open(&commit.manifest.0, &keys.secrets.client).map_err(fail)?;
    Ok(Snapshot { id: SnapshotId(object.hash.0), object, commit, manifest })
}

/// Reads several snapshots, some at a time. What was listed before comes from the
/// cache: a list says what was committed, not what is whole.
pub async fn show_all(context: &Context, objects: &[ObjectName]) -> Vec<Result<Snapshot, RepoError>> {
    stream::iter(objects.to_vec()).map(|object| show_kept(context, object)).buffered(COMMITS_IN_FLIGHT).collect().await
}

async fn show_kept(context: &Context, object: ObjectName) -> Result<Snapshot, RepoError> {
    let keys = &context.keys;
    let name = keys.cache_name(b"cmmt", &[object.to_string().as_bytes()]);
    if let Some(bytes) = context.cache.get(&name).await
        && let Ok(snapshot) = open(keys, object, &bytes)
    {
        return Ok(snapshot);
    }
    let bytes = context.objects.get(&keys.commit(object), None).await?;
    let snapshot = open(keys, object, &bytes)?;
    context.cache.insert(name, bytes);
    Ok(snapshot)
}

/// The leaves that the root page of a reference list names.
pub(crate) async fn list_leaves(context: &Context, root: ObjectName) -> Result<Vec<ObjectName>, RepoError> {
    let key = context.keys.refs(root);
    let bytes = context.objects.get(&key, None).await?;
    match Page::open(&bytes, &context.keys.secrets.list).map_err(|error| RepoError::decoding(key, error))? {
        Page::Root(names) => Ok(names),
        Page::Leaf(_) => Err(RepoError::corrupt(format!("{key} is a leaf where a root should be"))),
    }
}

/// What to list.
#[derive(Debug, Clone)]
pub struct ListJob {
    /// The commit object of the snapshot.
    pub snapshot: ObjectName,
    /// The segments in which its chunks are.
    pub segments: Segments,
    /// An absolute path in it; a directory is listed, anything else is itself the answer.
    pub path: PathBuf,
    /// Whether directories below are listed as well.
    pub recursive: bool,
}

/// Calls `visit` with the path and entry of everything that the job names, in
/// order, until `visit` returns false.
pub async fn ls(
    context: &Context,
    job: ListJob,
    visit: &mut (dyn FnMut(&Path, &Entry) -> bool + Send),
) -> Result<(), RepoError> {
    let snapshot = show(context, job.snapshot).await?;
    let index = Arc::new(Index::new(context.clone(), job.segments));
    let trees = TreeReader::new(context.clone(), index);
    let Some((path, content)) = start(&trees, &snapshot, &job.path, visit).await? else { return Ok(()) };
    let mut walk = Walk::new(path, content);
    while let Some(event) = walk.next(&trees).await? {
        let go_on = match event {
            Event::Enter(path, entry) => {
                if !job.recursive {
                    walk.skip();
                }
                visit(&path, &entry)
            }
            Event::Other(path, entry) => visit(&path, &entry),
            Event::Leave(..) => true,
            Event::Damaged(path, error) => {
                return Err(RepoError::corrupt(format!("the tree of {} cannot be read", path.display())).because(error));
            }
        };
        if !go_on {
            break;
        }
    }
    Ok(())
}

/// The directory to be listed; None if the path is something else, which was visited.
async fn start(
    trees: &TreeReader,
    snapshot: &Snapshot,
    path: &Path,
    visit: &mut (dyn FnMut(&Path, &Entry) -> bool + Send),
) -> Result<Option<(PathBuf, Content)>, RepoError> {
    let names = paths::components(path)?;
    let root = snapshot.manifest.root.clone();
    if names.is_empty() {
        return Ok(Some((path.to_path_buf(), root)));
    }
    let entry = trees.find(root, &names).await?.ok_or_else(|| not_found(snapshot, path))?;
    match entry.what {
        What::Directory { content } => Ok(Some((path.to_path_buf(), content))),
        _ => {
            visit(path, &entry);
            Ok(None)
        }
    }
}

pub(crate) fn not_found(snapshot: &Snapshot, path: &Path) -> RepoError {
    RepoError::new(
        crate::error::Kind::NotFound,
        format!("{} is not in snapshot {}", path.display(), snapshot.id.short()),
    )
}

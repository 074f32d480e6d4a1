//! Verifying: that what a snapshot promises is there.
//!
//! Every commit's signature and place in the chain, its manifest, reference list
//! and whole tree are read from the store, past the cache; every chunk is
//! resolved by the index and compared with its pack's own table of contents; and
//! if asked for, all data is read and opened.
//!
//! Invariant: damage is reported, never an error: an error means that the rest
//! was not looked at.

mod chunks;
mod report;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::Path,
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use env::Cache;
use protocol::{
    format::{chunk::ChunkRef, content::Cursor, list::Page, pack::Row, tree::What},
    ids::{ChunkId, SnapshotId},
    limits,
    names::ObjectName,
};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

pub use self::report::{Damage, VerifyReport};
use crate::{
    context::Context,
    error::{Kind, RepoError},
    fetch::Fetcher,
    index::{Index, Segments},
    progress::Progress,
    snapshot::{self, Snapshot},
    trees::TreeReader,
    walk::{Event, Walk},
};

/// Chunks checked together.
const WAVE_CHUNKS: usize = 4096;
/// Damages in a report.
const DAMAGES_MAX: usize = 1000;
/// Files named for one damage.
const FILES_MAX: usize = 10;
/// Ids of a reference list that are compared with the tree: 128 MiB. A longer list
/// is read and opened, but not compared.
const LISTED_MAX: usize = 4 << 20;

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

/// A cache that has nothing: the store itself is to be verified.
struct Bypass;

#[async_trait]
impl Cache for Bypass {
    async fn get(&self, _: &[u8; 32]) -> Option<Bytes> {
        None
    }
    fn insert(&self, _: [u8; 32], _: Bytes) {}
}

/// Verifies.
pub async fn verify(context: Context, job: VerifyJob, progress: Arc<Progress>) -> Result<VerifyReport, RepoError> {
    let cancel = job.cancel.clone();
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(RepoError::cancelled()),
        result = run(context, job, progress) => result,
    }
}

async fn run(context: Context, job: VerifyJob, progress: Arc<Progress>) -> Result<VerifyReport, RepoError> {
    let context = Context { cache: Arc::new(Bypass), ..context };
    let index = Arc::new(Index::new(context.clone(), job.segments.clone()));
    let mut verifier = Verifier {
        trees: TreeReader::new(context.clone(), index.clone()).remembering(),
        fetcher: Fetcher::new(context.clone(), index.clone(), job.downloads),
        context,
        index,
        read_data: job.read_data,
        wave_len: job.memory_bytes.max(limits::MEMORY_BYTES_MIN) / 4,
        progress,
        report: VerifyReport::default(),
        damages: BTreeMap::new(),
        checked: BTreeSet::new(),
        bad: BTreeMap::new(),
        tables: VecDeque::new(),
        tables_read: BTreeSet::new(),
    };
    let mut previous = None;
    for object in &job.snapshots {
        previous = verifier.snapshot(*object, previous).await?;
    }
    for (name, error) in verifier.index.damaged().await? {
        let object = verifier.context.keys.segment(name).to_string();
        verifier.damage(object, &error, None);
    }
    Ok(verifier.finish())
}

struct Verifier {
    context: Context,
    index: Arc<Index>,
    trees: TreeReader,
    fetcher: Fetcher,
    read_data: bool,
    wave_len: usize,
    progress: Arc<Progress>,
    report: VerifyReport,
    damages: BTreeMap<String, Damage>,
    checked: BTreeSet<ChunkId>,
    /// Damaged chunks, and the object to blame.
    bad: BTreeMap<ChunkId, String>,
    tables: VecDeque<(ObjectName, Arc<Vec<Row>>)>,
    tables_read: BTreeSet<ObjectName>,
}

/// Chunks to be checked, and the files that need them.
#[derive(Default)]
struct Wave {
    chunks: Vec<(ChunkRef, usize)>,
    files: Vec<String>,
    len: usize,
}

impl Verifier {
    fn finish(mut self) -> VerifyReport {
        self.report.damages = self.damages.into_values().collect();
        self.report
    }

    fn damage(&mut self, object: String, error: &RepoError, file: Option<&str>) {
        if !self.damages.contains_key(&object) {
            self.report.damages_count += 1;
            self.progress.problems.add(1);
            if self.damages.len() < DAMAGES_MAX {
                let reason = error.told();
                self.damages.insert(object.clone(), Damage { object: object.clone(), reason, files: Vec::new() });
            }
        }
        if let (Some(damage), Some(file)) = (self.damages.get_mut(&object), file)
            && damage.files.len() < FILES_MAX
            && !damage.files.iter().any(|known| known == file)
        {
            damage.files.push(file.into());
        }
    }

    /// Verifies one snapshot; returns its id if it could be read.
    async fn snapshot(
        &mut self,
        object: ObjectName,
        previous: Option<Snapshot>,
    ) -> Result<Option<Snapshot>, RepoError> {
        self.report.snapshots += 1;
        let name = self.context.keys.commit(object).to_string();
        let snapshot = match snapshot::show(&self.context, object).await {
            Ok(snapshot) => snapshot,
            Err(error) if local(&error) => {
                self.damage(name, &error, None);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if let Some(previous) = &previous
            && snapshot.commit.sequence == previous.commit.sequence + 1
            && snapshot.commit.previous != Some(previous.id)
        {
            let error = RepoError::corrupt(format!(
                "it does not follow snapshot {} as its place in the chain says",
                SnapshotId(previous.object.hash.0).short()
            ));
            self.damage(name, &error, None);
        }
        let listed = self.list(&snapshot).await?;
        self.tree(&snapshot, listed.as_ref()).await?;
        Ok(Some(snapshot))
    }

    /// Reads the reference list. None if it is damaged, or too long to compare.
    async fn list(&mut self, snapshot: &Snapshot) -> Result<Option<BTreeSet<ChunkId>>, RepoError> {
        let mut listed = BTreeSet::new();
        let Some(root) = snapshot.commit.list else { return Ok(Some(listed)) };
        let leaves = match snapshot::list_leaves(&self.context, root).await {
            Ok(leaves) => leaves,
            Err(error) if local(&error) => {
                self.damage(self.context.keys.refs(root).to_string(), &error, None);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut whole = true;
        for leaf in leaves {
            match self.leaf(leaf).await {
                Ok(ids) if listed.len() + ids.len() <= LISTED_MAX => listed.extend(ids),
                Ok(_) => whole = false,
                Err(error) if local(&error) => {
                    whole = false;
                    self.damage(self.context.keys.refs(leaf).to_string(), &error, None);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(if whole { Some(listed) } else { None })
    }

    async fn leaf(&self, name: ObjectName) -> Result<Vec<ChunkId>, RepoError> {
        let key = self.context.keys.refs(name);
        let bytes = self.context.objects.get(&key, None).await?;
        if <[u8; 32]>::from(Sha256::digest(&bytes)) != name.hash.0 {
            return Err(RepoError::corrupt("its bytes do not match its name"));
        }
        match Page::open(&bytes, &self.context.keys.secrets.list).map_err(|error| RepoError::decoding(key, error))? {
            Page::Leaf(ids) => Ok(ids),
            Page::Root(_) => Err(RepoError::corrupt("it is a root where a leaf should be")),
        }
    }

    async fn tree(&mut self, snapshot: &Snapshot, listed: Option<&BTreeSet<ChunkId>>) -> Result<(), RepoError> {
        let mut walk = Walk::new("/".into(), snapshot.manifest.root.clone());
        let mut wave = Wave::default();
        while let Some(event) = walk.next(&self.trees).await? {
            match event {
                Event::Enter(..) => {
                    self.report.entries += 1;
                    self.progress.directories.add(1);
                }
                Event::Other(path, entry) => {
                    self.report.entries += 1;
                    self.progress.files.add(1);
                    if let What::File { len, content } = entry.what {
                        self.file(&path, len, Cursor::new(content), &mut wave).await?;
                    }
                }
                Event::Leave(..) => {}
                Event::Damaged(path, error) => {
                    let file = path.to_string_lossy();
                    self.damage(format!("tree of {file}"), &error, Some(&file));
                }
            }
            self.read_trees(snapshot, listed);
            if wave.len >= self.wave_len || wave.chunks.len() >= WAVE_CHUNKS {
                self.check(std::mem::take(&mut wave), listed, snapshot).await?;
            }
        }
        self.read_trees(snapshot, listed);
        self.check(wave, listed, snapshot).await
    }

    fn read_trees(&mut self, snapshot: &Snapshot, listed: Option<&BTreeSet<ChunkId>>) {
        for id in self.trees.take_read() {
            self.report.trees += 1;
            self.listed(snapshot, listed, &id, None);
        }
    }

    fn listed(&mut self, snapshot: &Snapshot, listed: Option<&BTreeSet<ChunkId>>, id: &ChunkId, file: Option<&str>) {
        if listed.is_some_and(|listed| !listed.contains(id)) {
            let error = RepoError::corrupt(format!("chunk {id} is in the tree, but not in the list"));
            self.damage(format!("reference list of snapshot {}", snapshot.id.short()), &error, file);
        }
    }

    async fn file(&mut self, path: &Path, len: u64, mut cursor: Cursor, wave: &mut Wave) -> Result<(), RepoError> {
        let file = path.to_string_lossy().into_owned();
        let number = wave.files.len();
        let mut sum = 0;
        loop {
            match self.trees.next_chunk(&mut cursor).await {
                Ok(Some(reference)) => {
                    sum += u64::from(reference.len);
                    wave.len += reference.len as usize;
                    wave.chunks.push((reference, number));
                }
                Ok(None) if sum == len => break,
                Ok(None) => {
                    let error = RepoError::corrupt(format!("its chunks have {sum} bytes, the file {len}"));
                    self.damage(format!("entry of {file}"), &error, Some(&file));
                    break;
                }
                Err(error) if local(&error) => {
                    self.damage(format!("list of chunks of {file}"), &error, Some(&file));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        wave.files.push(file);
        Ok(())
    }
}

/// Whether an error is about the object that was read, not about the whole store.
fn local(error: &RepoError) -> bool {
    matches!(error.kind, Kind::Corrupt | Kind::NotFound)
}

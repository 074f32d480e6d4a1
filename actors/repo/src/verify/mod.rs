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
mod ids;
mod packs;
mod report;
mod sample;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use env::Cache;
use protocol::{
    format::{content::Cursor, list::Page, tree::What},
    ids::{ChunkId, SnapshotId},
    limits,
    names::ObjectName,
};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use self::{
    chunks::Wave,
    ids::{Checked, Listed},
    packs::Tables,
    report::{Damages, Thing},
    sample::Chooser,
};
pub use self::{
    report::{Cost, Damage, VerifyReport},
    sample::ReadData,
};
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
/// Damaged chunks of which it is remembered what is to blame: 4 MiB.
const BAD_MAX: usize = 32 << 10;

/// What to verify.
#[derive(Debug, Clone)]
pub struct VerifyJob {
    /// The commit objects of the client's snapshots, oldest first.
    pub snapshots: Vec<ObjectName>,
    /// The segments in which their chunks are.
    pub segments: Segments,
    /// How much data is read and opened too, beyond what says where it is.
    pub read: ReadData,
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
    // Everything is looked at, whatever was found before.
    let context = Context { cache: Arc::new(Bypass), distrust: Arc::default(), ..context };
    let index = Arc::new(Index::new(context.clone(), job.segments.clone()));
    let mut verifier = Verifier {
        trees: TreeReader::new(context.clone(), index.clone()).remembering(),
        fetcher: Fetcher::new(context.clone(), index.clone(), job.downloads),
        chooser: Chooser::new(job.read, &*context.rng),
        context,
        index,
        read_data: job.read,
        downloads: job.downloads.clamp(1, limits::TRANSFERS_MAX),
        // Sealed and open, and as much again for what the largest chunks overshoot.
        wave_len: job.memory_bytes.max(limits::MEMORY_BYTES_MIN) / 6,
        progress,
        report: VerifyReport::default(),
        damages: Damages::default(),
        checked: Checked::default(),
        listed: None,
        snapshot: String::new(),
        bad: BTreeMap::new(),
        tables: Tables::default(),
        met: BTreeSet::new(),
    };
    verifier.all(&job.snapshots).await?;
    if let Some(pack) = verifier.chooser.choose_spare() {
        verifier.again(&job.snapshots).await?;
        verifier.report.reads(verifier.context.keys.pack(pack));
    }
    for (name, error) in verifier.index.damaged().await? {
        let thing = Thing::Object(verifier.context.keys.segment(name));
        verifier.damage(&thing, &error, Cost::Nothing, None);
    }
    verifier.damages.finish(&mut verifier.report);
    Ok(verifier.report)
}

struct Verifier {
    context: Context,
    index: Arc<Index>,
    trees: TreeReader,
    fetcher: Fetcher,
    chooser: Chooser,
    read_data: ReadData,
    downloads: usize,
    wave_len: usize,
    progress: Arc<Progress>,
    report: VerifyReport,
    damages: Damages,
    checked: Checked,
    /// The reference list of the snapshot at hand, and its short id.
    listed: Option<Listed>,
    snapshot: String,
    /// Damaged chunks, and what is to blame.
    bad: BTreeMap<ChunkId, Thing>,
    tables: Tables,
    /// Packs whose ends were read: 44 bytes for 16 MiB.
    met: BTreeSet<ObjectName>,
}

impl Verifier {
    async fn all(&mut self, snapshots: &[ObjectName]) -> Result<(), RepoError> {
        let mut previous = None;
        for object in snapshots {
            previous = self.snapshot(*object, previous).await?;
        }
        Ok(())
    }

    /// Goes through everything once more, for the data of a pack that was chosen late.
    async fn again(&mut self, snapshots: &[ObjectName]) -> Result<(), RepoError> {
        let first = std::mem::take(&mut self.report);
        self.checked.clear();
        self.all(snapshots).await?;
        let VerifyReport { bytes_read, .. } = self.report;
        self.report = VerifyReport { bytes_read, ..first };
        Ok(())
    }

    fn damage(&mut self, thing: &Thing, error: &RepoError, cost: Cost, file: Option<&str>) {
        if self.damages.add(thing, error, cost, file) {
            self.progress.problems.add(1);
        }
    }

    /// Verifies one snapshot; returns it if it could be read.
    async fn snapshot(
        &mut self,
        object: ObjectName,
        previous: Option<Snapshot>,
    ) -> Result<Option<Snapshot>, RepoError> {
        self.report.snapshots += 1;
        let thing = Thing::Object(self.context.keys.commit(object));
        let snapshot = match snapshot::show(&self.context, object).await {
            Ok(snapshot) => snapshot,
            Err(error) if local(&error) => {
                self.damage(&thing, &error, Cost::Snapshot, None);
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
            self.damage(&thing, &error, Cost::Nothing, None);
        }
        self.snapshot = snapshot.id.short();
        self.listed = self.list(&snapshot).await?;
        self.tree(&snapshot).await?;
        Ok(Some(snapshot))
    }

    /// Reads the reference list. None if it is damaged, or too long to compare.
    async fn list(&mut self, snapshot: &Snapshot) -> Result<Option<Listed>, RepoError> {
        let mut listed = Listed::default();
        let Some(root) = snapshot.commit.list else { return Ok(listed.finish()) };
        let leaves = match snapshot::list_leaves(&self.context, root).await {
            Ok(leaves) => leaves,
            Err(error) if local(&error) => {
                self.damage(&Thing::Object(self.context.keys.refs(root)), &error, Cost::Nothing, None);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut whole = true;
        for leaf in leaves {
            match self.leaf(leaf).await {
                Ok(ids) => listed.extend(&ids),
                Err(error) if local(&error) => {
                    whole = false;
                    self.damage(&Thing::Object(self.context.keys.refs(leaf)), &error, Cost::Nothing, None);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(if whole { listed.finish() } else { None })
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

    async fn tree(&mut self, snapshot: &Snapshot) -> Result<(), RepoError> {
        let mut walk = Walk::new("/".into(), snapshot.manifest.root.clone());
        let mut wave = Wave::default();
        while let Some(event) = walk.next(&self.trees).await? {
            match event {
                Event::Enter(path, _) => {
                    self.report.entries += 1;
                    self.progress.directories.add(1);
                    self.take_trees(&mut wave, &path);
                }
                Event::Other(path, entry) => {
                    self.report.entries += 1;
                    self.progress.files.add(1);
                    self.take_trees(&mut wave, &path);
                    if let What::File { len, content } = entry.what {
                        self.file(&path, len, Cursor::new(content), &mut wave).await?;
                    }
                }
                Event::Leave(path) => self.take_trees(&mut wave, &path),
                Event::Damaged(path, error) => {
                    let file = path.to_string_lossy();
                    let thing = Thing::Other(format!("tree of {file}"));
                    self.damage(&thing, &error, Cost::Files, Some(&file));
                }
            }
            self.flush(&mut wave).await?;
        }
        self.check(wave).await
    }

    /// Checks a wave when it is full.
    async fn flush(&mut self, wave: &mut Wave) -> Result<(), RepoError> {
        if wave.len >= self.wave_len || wave.data.len() + wave.trees.len() + wave.files.len() >= WAVE_CHUNKS {
            self.check(std::mem::take(wave)).await?;
        }
        Ok(())
    }

    /// Notes the chunks of trees that were read on the way to a path.
    fn take_trees(&mut self, wave: &mut Wave, path: &Path) {
        let read = self.trees.take_read();
        if read.is_empty() {
            return;
        }
        self.report.trees += read.len() as u64;
        let number = wave.files.len();
        wave.files.push(path.to_string_lossy().into_owned());
        wave.trees.extend(read.into_iter().map(|id| (id, number)));
    }

    async fn file(&mut self, path: &Path, len: u64, mut cursor: Cursor, wave: &mut Wave) -> Result<(), RepoError> {
        let file = path.to_string_lossy().into_owned();
        let mut sum = 0;
        wave.files.push(file.clone());
        loop {
            match self.trees.next_chunk(&mut cursor).await {
                Ok(Some(reference)) => {
                    sum += u64::from(reference.len);
                    if reference.is_hole() {
                        continue;
                    }
                    self.flush(wave).await?;
                    if wave.files.is_empty() {
                        wave.files.push(file.clone());
                    }
                    wave.len += reference.len as usize;
                    wave.data.push((reference, wave.files.len() - 1));
                }
                Ok(None) if sum == len => break,
                Ok(None) => {
                    let error = RepoError::corrupt(format!("its chunks have {sum} bytes, the file {len}"));
                    let thing = Thing::Other(format!("entry of {file}"));
                    self.damage(&thing, &error, Cost::Files, Some(&file));
                    break;
                }
                Err(error) if local(&error) => {
                    let thing = Thing::Other(format!("list of chunks of {file}"));
                    self.damage(&thing, &error, Cost::Files, Some(&file));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        self.take_trees(wave, path);
        Ok(())
    }
}

/// Whether an error is about the object that was read, not about the whole store. A
/// version that is not known may as well be a damaged byte: it is named like one.
fn local(error: &RepoError) -> bool {
    matches!(error.kind, Kind::Corrupt | Kind::NotFound | Kind::Invalid)
}

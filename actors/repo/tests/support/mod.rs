//! A small world in memory: files, a store, a cache, and clocks that stand still.
#![allow(dead_code, clippy::unwrap_used, reason = "each test binary uses a part of it")]

pub mod data;
pub mod files;

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use env::{Blocking, Cache, Clock, Rng, blocking::Job};
use protocol::{
    commands::{Lease, ParentSnapshot, View},
    ids::{ClientId, DomainId, LeaseId, LineageId, PublicKey, RepositoryId},
    names::ObjectKey,
    records::{Chunker, Cipher, Codec, Domain, Trust},
    sign::Signer,
    time::UnixMillis,
};
use repo::{
    BackupJob, CancellationToken, Context, Keys, Kind, NoJournal, Objects, Outcome, Overwrite, Progress, ReadData,
    RepoError, RestoreJob, RestoreOptions, RestoreOutcome, Rules, Segments, VerifyJob, VerifyReport,
};
use sha2::Digest as _;

use self::files::MemoryFiles;

/// Runs jobs where they are started, as the simulator does.
pub struct Inline;

impl Blocking for Inline {
    fn start(&self, job: Job) {
        job();
    }
    fn parallelism(&self) -> usize {
        2
    }
}

/// A clock that only tests move.
pub struct StillClock(pub AtomicU64);

#[async_trait]
impl Clock for StillClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::SeqCst))
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
    async fn sleep(&self, _: Duration) {}
}

/// Different bytes each time, the same in every run.
#[derive(Default)]
pub struct CountingRng(AtomicU64);

impl Rng for CountingRng {
    fn fill(&self, bytes: &mut [u8]) {
        let number = self.0.fetch_add(1, Ordering::SeqCst);
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(bytes);
    }
}

/// A cache that keeps everything, and counts.
#[derive(Default)]
pub struct MemoryCache {
    pub pages: Mutex<BTreeMap<[u8; 32], Bytes>>,
}

#[async_trait]
impl Cache for MemoryCache {
    async fn get(&self, key: &[u8; 32]) -> Option<Bytes> {
        self.pages.lock().unwrap().get(key).cloned()
    }
    fn insert(&self, key: [u8; 32], page: Bytes) {
        self.pages.lock().unwrap().insert(key, page);
    }
}

/// A store that checks what it is given, as a real one does.
#[derive(Default)]
pub struct MemoryObjects {
    pub objects: Mutex<BTreeMap<String, Bytes>>,
    pub puts: AtomicUsize,
    pub gets: AtomicUsize,
    /// Fails every PUT from this one on.
    pub fail_put_from: Mutex<Option<(usize, RepoError)>>,
    /// Fails every GET.
    pub fail_gets: Mutex<Option<RepoError>>,
    /// Never answers a PUT.
    pub hang_puts: AtomicBool,
}

#[async_trait]
impl Objects for MemoryObjects {
    async fn put(&self, key: ObjectKey, body: Bytes) -> Result<(), RepoError> {
        let number = self.puts.fetch_add(1, Ordering::SeqCst);
        if self.hang_puts.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if let Some((from, error)) = &*self.fail_put_from.lock().unwrap()
            && number >= *from
        {
            return Err(error.clone());
        }
        assert_eq!(<[u8; 32]>::from(sha2::Sha256::digest(&body)), key.name.hash.0, "{key} does not name its bytes");
        assert!(!body.is_empty());
        let before = self.objects.lock().unwrap().insert(key.to_string(), body);
        assert!(before.is_none(), "{key} was written twice");
        Ok(())
    }

    async fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> Result<Bytes, RepoError> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        if let Some(error) = &*self.fail_gets.lock().unwrap() {
            return Err(error.clone());
        }
        let objects = self.objects.lock().unwrap();
        let body = objects
            .get(&key.to_string())
            .ok_or_else(|| RepoError::new(Kind::NotFound, format!("{key} is not there")))?;
        let range = range.unwrap_or(0..body.len() as u64);
        let end = (range.end as usize).min(body.len());
        Ok(body.slice((range.start as usize).min(end)..end))
    }
}

impl MemoryObjects {
    /// Paths of all objects that contain `part`.
    pub fn paths(&self, part: &str) -> Vec<String> {
        self.objects.lock().unwrap().keys().filter(|path| path.contains(part)).cloned().collect()
    }
    /// Changes an object's bytes.
    pub fn damage(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut objects = self.objects.lock().unwrap();
        let mut bytes = objects[path].to_vec();
        change(&mut bytes);
        objects.insert(path.into(), bytes.into());
    }
    pub fn remove(&self, path: &str) {
        self.objects.lock().unwrap().remove(path).unwrap();
    }
    pub fn bytes(&self, part: &str) -> usize {
        self.objects.lock().unwrap().iter().filter(|(path, _)| path.contains(part)).map(|(_, body)| body.len()).sum()
    }
}

/// A client with its repository.
pub struct World {
    pub files: Arc<MemoryFiles>,
    pub objects: Arc<MemoryObjects>,
    pub cache: Arc<MemoryCache>,
    pub clock: Arc<StillClock>,
    pub context: Context,
    pub history: Vec<Outcome>,
}

pub const START_MS: u64 = 1_800_000_000_000;

pub fn domain(chunker: Chunker) -> Domain {
    Domain {
        id: DomainId([2; 16]),
        name: "home".into(),
        repository: RepositoryId([1; 16]),
        trust: Trust::Trusting,
        chunker,
        codec: Codec::Zstd(1),
        cipher: Cipher::ChaCha20Poly1305,
        generation: 0,
    }
}

impl World {
    pub fn new() -> Self {
        Self::with_chunker(Chunker { min: 4 << 10, average: 16 << 10, max: 64 << 10 })
    }

    pub fn with_chunker(chunker: Chunker) -> Self {
        let files = Arc::new(MemoryFiles::new());
        let objects = Arc::new(MemoryObjects::default());
        let cache = Arc::new(MemoryCache::default());
        let clock = Arc::new(StillClock(AtomicU64::new(START_MS)));
        let client = ClientId::of_key(&PublicKey([3; 32]));
        let keys =
            Keys::new(domain(chunker), client, Signer::from_seed(&[4; 32]), &[(0, [5; 32])], [6; 32], [7; 32]).unwrap();
        let context = Context {
            clock: clock.clone(),
            rng: Arc::new(CountingRng::default()),
            files: files.clone(),
            cache: cache.clone(),
            blocking: Arc::new(Inline),
            objects: objects.clone(),
            keys: Arc::new(keys),
            distrust: Arc::default(),
        };
        Self { files, objects, cache, clock, context, history: Vec::new() }
    }

    /// The next lease: builds on everything that was committed.
    pub fn lease(&self) -> Lease {
        let number = self.history.len() as u64 + 1;
        Lease {
            id: LeaseId { incarnation: 1, index: number },
            repository: RepositoryId([1; 16]),
            domain: DomainId([2; 16]),
            granted: UnixMillis(START_MS),
            expires: UnixMillis(START_MS + 1),
            view: View {
                epoch: 0,
                index: number,
                own: self.segments().own,
                shared: Vec::new(),
                left: Vec::new(),
                condemned: Vec::new(),
            },
            parent: self.history.last().map(parent),
            parent_complete: match self.history.last() {
                Some(last) if !last.facts.complete => {
                    self.history.iter().rev().find(|outcome| outcome.facts.complete).map(parent)
                }
                _ => None,
            },
            lineage: LineageId([5; 16]),
            previous: self.history.last().map(|last| last.snapshot),
            sequence: number,
        }
    }

    pub fn segments(&self) -> Segments {
        let own = self.history.iter().flat_map(|outcome| outcome.facts.segments.iter().copied()).collect();
        Segments { own, ..Segments::default() }
    }

    pub fn job(&self, sources: &[&str]) -> BackupJob {
        BackupJob {
            sources: sources.iter().map(Into::into).collect(),
            rules: Rules::default(),
            stream: None,
            lease: self.lease(),
            host: "nest".into(),
            description: "a test".into(),
            tags: vec!["t".into()],
            program: "test".into(),
            started: UnixMillis(START_MS),
            memory_bytes: 128 << 20,
            uploads: 3,
            left: Vec::new(),
            journal: Arc::new(NoJournal),
            wind_up: CancellationToken::new(),
            part_bytes: u64::MAX,
            cancel: CancellationToken::new(),
        }
    }

    pub async fn try_backup(&self, job: BackupJob) -> Result<Outcome, RepoError> {
        repo::backup(self.context.clone(), job, Arc::new(Progress::default())).await
    }

    /// Backs up, and takes it as decided. Time goes on by a minute.
    pub async fn backup(&mut self, sources: &[&str]) -> Outcome {
        let outcome = self.try_backup(self.job(sources)).await.unwrap();
        self.history.push(outcome.clone());
        self.clock.0.fetch_add(60_000, Ordering::SeqCst);
        outcome
    }

    pub fn restore_job(&self, path: Option<&str>, target: &str) -> RestoreJob {
        RestoreJob {
            snapshot: self.history.last().unwrap().facts.object,
            segments: self.segments(),
            path: path.map(Into::into),
            target: target.into(),
            options: RestoreOptions::default(),
            memory_bytes: 96 << 20,
            downloads: 4,
            cancel: CancellationToken::new(),
        }
    }

    /// Restores over what is there.
    pub async fn restore_over(&self, path: Option<&str>, target: &str, overwrite: Overwrite) -> RestoreOutcome {
        let mut job = self.restore_job(path, target);
        job.options.overwrite = overwrite;
        repo::restore(self.context.clone(), job, Arc::new(Progress::default())).await.unwrap()
    }

    pub async fn restore(&self, path: Option<&str>, target: &str) -> Result<RestoreOutcome, RepoError> {
        repo::restore(self.context.clone(), self.restore_job(path, target), Arc::new(Progress::default())).await
    }

    pub async fn verify(&self, read_data: bool) -> VerifyReport {
        let job = VerifyJob {
            snapshots: self.history.iter().map(|outcome| outcome.facts.object).collect(),
            segments: self.segments(),
            read: if read_data { ReadData::All } else { ReadData::Nothing },
            memory_bytes: 96 << 20,
            downloads: 4,
            cancel: CancellationToken::new(),
        };
        repo::verify(self.context.clone(), job, Arc::new(Progress::default())).await.unwrap()
    }
}

fn parent(outcome: &Outcome) -> ParentSnapshot {
    ParentSnapshot { id: outcome.snapshot, object: outcome.facts.object, epoch: 0 }
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

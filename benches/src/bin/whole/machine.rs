//! The real machine, as far as the data plane needs it; the store and the cache are in memory.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read as _},
    ops::Range,
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use bytes::Bytes;
use env::{
    Blocking, Cache, Clock, Files, Rng,
    blocking::Job,
    files::{Attributes, FileTime, Kind, Metadata, SourceFile, TargetFile},
};
use protocol::{names::ObjectKey, time::UnixMillis};
use repo::{Context, Keys, Objects, RepoError};

/// Everything, ready to be used.
pub fn context(keys: Keys) -> Result<Context, io::Error> {
    Ok(Context {
        clock: Arc::new(Wall { start: Instant::now() }),
        rng: Arc::new(Urandom),
        files: Arc::new(Machine),
        cache: Arc::new(Memory::default()),
        blocking: Arc::new(Threads::new(8)?),
        objects: Arc::new(Memory::default()),
        keys: Arc::new(keys),
    })
}

/// The most memory that this process has had, in KiB.
pub fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

struct Wall {
    start: Instant,
}

#[async_trait]
impl Clock for Wall {
    fn now(&self) -> UnixMillis {
        UnixMillis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64)
    }
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

struct Urandom;

impl Rng for Urandom {
    fn fill(&self, bytes: &mut [u8]) {
        // A benchmark's ids need not be random, but they are.
        let _ = File::open("/dev/urandom").and_then(|mut file| file.read_exact(bytes));
    }
}

/// A fixed number of threads.
struct Threads {
    queue: mpsc::SyncSender<Job>,
}

impl Threads {
    fn new(count: usize) -> io::Result<Self> {
        let (queue, jobs) = mpsc::sync_channel::<Job>(1024);
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..count {
            let jobs = jobs.clone();
            thread::Builder::new().spawn(move || {
                loop {
                    let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    match job {
                        Ok(job) => job(),
                        Err(_) => return,
                    }
                }
            })?;
        }
        Ok(Self { queue })
    }
}

impl Blocking for Threads {
    fn start(&self, job: Job) {
        // Fails only when all threads are gone, at the end of the process.
        let _ = self.queue.send(job);
    }
    fn parallelism(&self) -> usize {
        thread::available_parallelism().map_or(1, Into::into)
    }
}

/// Objects and cache pages.
#[derive(Default)]
struct Memory {
    objects: Mutex<BTreeMap<String, Bytes>>,
    pages: Mutex<BTreeMap<[u8; 32], Bytes>>,
}

#[async_trait]
impl Objects for Memory {
    async fn put(&self, key: ObjectKey, body: Bytes) -> Result<(), RepoError> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_string(), body);
        Ok(())
    }
    async fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> Result<Bytes, RepoError> {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let body = objects.get(&key.to_string());
        let body = body.ok_or_else(|| RepoError::new(repo::Kind::NotFound, format!("{key} is not there")))?;
        let range = range.unwrap_or(0..body.len() as u64);
        let end = (range.end as usize).min(body.len());
        Ok(body.slice((range.start as usize).min(end)..end))
    }
}

#[async_trait]
impl Cache for Memory {
    async fn get(&self, key: &[u8; 32]) -> Option<Bytes> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }
    fn insert(&self, key: [u8; 32], page: Bytes) {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner).insert(key, page);
    }
}

struct Machine;

fn told(metadata: &fs::Metadata) -> Metadata {
    let kind = match metadata.mode() & 0o170_000 {
        0o040_000 => Kind::Directory,
        0o120_000 => Kind::Symlink,
        0o010_000 => Kind::Fifo,
        0o140_000 => Kind::Socket,
        0o020_000 => Kind::CharDevice,
        0o060_000 => Kind::BlockDevice,
        _ => Kind::File,
    };
    Metadata {
        kind,
        len: metadata.len(),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: FileTime { secs: metadata.mtime(), nanos: metadata.mtime_nsec() as u32 },
        ctime: FileTime { secs: metadata.ctime(), nanos: metadata.ctime_nsec() as u32 },
        inode: metadata.ino(),
        device: metadata.dev(),
        links: metadata.nlink(),
        rdev: metadata.rdev(),
    }
}

struct Reading(File);

impl SourceFile for Reading {
    fn metadata(&self) -> io::Result<Metadata> {
        self.0.metadata().map(|metadata| told(&metadata))
    }
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

struct Writing(File);

impl TargetFile for Writing {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }
    fn finish(self: Box<Self>, _: u64, attributes: &Attributes) -> io::Result<()> {
        self.0.set_permissions(fs::Permissions::from_mode(attributes.mode))?;
        let stamp = SystemTime::UNIX_EPOCH + Duration::new(attributes.mtime.secs as u64, attributes.mtime.nanos);
        self.0.set_modified(stamp)
    }
}

impl Files for Machine {
    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        fs::symlink_metadata(path).map(|metadata| told(&metadata))
    }
    fn read_dir(&self, path: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn SourceFile>> {
        Ok(Box::new(Reading(File::open(path)?)))
    }
    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        fs::read_link(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }
    fn create_file(&self, path: &Path) -> io::Result<Box<dyn TargetFile>> {
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Box::new(Writing(file)))
    }
    fn symlink(&self, target: &OsStr, path: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(target, path)
    }
    fn hard_link(&self, existing: &Path, path: &Path) -> io::Result<()> {
        fs::hard_link(existing, path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }
    fn set_attributes(&self, path: &Path, attributes: &Attributes) -> io::Result<()> {
        let stamp = rustix::fs::Timespec { tv_sec: attributes.mtime.secs, tv_nsec: attributes.mtime.nanos.into() };
        let times = rustix::fs::Timestamps { last_access: stamp, last_modification: stamp };
        if attributes.kind != Kind::Symlink {
            fs::set_permissions(path, fs::Permissions::from_mode(attributes.mode))?;
        }
        rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
    fn may_set_owner(&self) -> bool {
        false
    }
}

//! How a simulated machine writes down what it asks for.
//!
//! Invariant: what was asked for stands in the history from the moment it was asked,
//! as something of which nobody knows what became of it. So a machine that dies in the
//! middle leaves just that. Times are those of the world, not of the machine's clocks.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use env::{
    Files,
    files::{FileTime, Kind},
};

use super::{Event, NEVER_MS, What};
use crate::kernel::{Kernel, lock};

/// Bytes that are read of a file at a time.
const READ_BYTES: usize = 256 << 10;

/// A history that is being written.
pub type Shared = Arc<Mutex<Vec<Event>>>;

/// Writes into the history of a run.
#[derive(Clone)]
pub struct Recorder {
    kernel: Arc<Kernel>,
    history: Shared,
    /// What a file held when its inode was last changed: trees are looked at again and
    /// again, and hardly change.
    seen: Arc<Mutex<BTreeMap<u64, Seen>>>,
}

/// A file's content, while its ctime and its length are these.
struct Seen {
    ctime: FileTime,
    len: u64,
    hash: blake3::Hash,
}

/// Something that was asked for, until it is known what came of it.
#[must_use]
pub struct Asked {
    recorder: Recorder,
    place: usize,
}

impl Recorder {
    /// Writes into this history, for a machine that begins a life.
    pub fn new(kernel: &Arc<Kernel>, history: &Shared) -> Self {
        Self { kernel: Arc::clone(kernel), history: Arc::clone(history), seen: Arc::default() }
    }

    /// Something is asked for now: `unclear` is what will have been if no answer comes.
    pub fn ask(&self, unclear: What) -> Asked {
        let mut history = lock(&self.history);
        history.push(Event { from_ms: self.now_ms(), to_ms: NEVER_MS, what: unclear });
        Asked { recorder: self.clone(), place: history.len() - 1 }
    }

    /// Something is so now.
    pub fn note(&self, what: What) {
        self.note_since(self.now_ms(), what);
    }

    /// Something was found to be so, by whoever began to look then.
    pub fn note_since(&self, from_ms: u64, what: What) {
        lock(&self.history).push(Event { from_ms, to_ms: self.now_ms(), what });
    }

    /// The world's time.
    pub fn now_ms(&self) -> u64 {
        self.kernel.now_ns() / 1_000_000
    }

    /// A digest of all names, attributes and bytes below a path, as a restore must bring
    /// them back.
    pub fn digest(&self, files: &dyn Files, root: &Path) -> std::io::Result<String> {
        let mut hasher = blake3::Hasher::new();
        let mut waiting = vec![PathBuf::new()];
        while let Some(relative) = waiting.pop() {
            let path = root.join(&relative);
            let metadata = files.metadata(&path)?;
            let (mode, mtime, links) = (metadata.mode, metadata.mtime, metadata.links);
            hasher.update(format!("{relative:?} {:?} {mode} {mtime:?} {links} ", metadata.kind).as_bytes());
            match metadata.kind {
                Kind::File => {
                    hasher.update(self.content(files, &path)?.as_bytes());
                }
                Kind::Symlink => {
                    hasher.update(files.read_link(&path)?.into_os_string().as_encoded_bytes());
                }
                Kind::Directory => {
                    let names = files.read_dir(&path)?;
                    let mut names: Vec<PathBuf> = names.iter().map(|name| relative.join(name)).collect();
                    names.sort_unstable();
                    waiting.extend(names);
                }
                _ => {}
            }
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    fn content(&self, files: &dyn Files, path: &Path) -> std::io::Result<blake3::Hash> {
        let metadata = files.metadata(path)?;
        let (ctime, len) = (metadata.ctime, metadata.len);
        let mut seen = lock(&self.seen);
        if let Some(seen) = seen.get(&metadata.inode).filter(|seen| (seen.ctime, seen.len) == (ctime, len)) {
            return Ok(seen.hash);
        }
        let (mut hasher, mut buffer) = (blake3::Hasher::new(), vec![0; READ_BYTES]);
        let mut file = files.open(path)?;
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => _ = hasher.update(&buffer[..read]),
            }
        }
        let hash = hasher.finalize();
        seen.insert(metadata.inode, Seen { ctime, len, hash });
        Ok(hash)
    }
}

impl Asked {
    /// This came of it, now.
    pub fn came_of(self, what: What) {
        let to_ms = self.recorder.now_ms();
        if let Some(event) = lock(&self.recorder.history).get_mut(self.place) {
            (event.to_ms, event.what) = (to_ms, what);
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recorder({} events)", lock(&self.history).len())
    }
}

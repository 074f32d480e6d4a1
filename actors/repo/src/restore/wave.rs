//! Waves: as many files, or as much of a file, as fits the memory at once.

use std::{collections::BTreeMap, path::PathBuf};

use env::files::{self, Kind};
use protocol::{
    codec,
    format::{
        chunk::ChunkRef,
        content::Cursor,
        tree::{Attributes, Blob, Entry, What},
    },
    limits,
};

use crate::{
    error::{Kind as ErrorKind, RepoError},
    fetch::Fetched,
    problems::Problems,
    trees::TreeReader,
    walk::{Event, Walk},
};

/// Files in a wave at most.
const FILES_MAX: usize = 2048;

/// One step of restoring, in the order of the walk.
pub enum Action {
    /// Make a directory.
    Directory(PathBuf),
    /// Make a symbolic link.
    Symlink(PathBuf, Blob, files::Attributes),
    /// Give a file that came before a further name.
    HardLink {
        /// Its first name.
        existing: PathBuf,
        /// The further one.
        path: PathBuf,
    },
    /// Set a directory's attributes: everything in it is done.
    Leave(PathBuf, files::Attributes),
}

/// A file, or the part of it that is in this wave.
pub struct Part {
    /// Where it goes.
    pub path: PathBuf,
    /// Its attributes.
    pub attributes: files::Attributes,
    /// Its length.
    pub len: u64,
    /// Its chunks in this wave, and where they go.
    pub chunks: Vec<(u64, ChunkRef)>,
    /// Whether this is its first part.
    pub first: bool,
    /// Whether this is its last part.
    pub last: bool,
    /// Why the rest of it cannot be read from the tree.
    pub damaged: Option<RepoError>,
}

/// What is restored at once.
#[derive(Default)]
pub struct Wave {
    /// Before the files are written: directories and symbolic links.
    pub before: Vec<Action>,
    /// The files. Only the first can have begun before, only the last can go on after.
    pub parts: Vec<Part>,
    /// After the files are written: hard links and directories' attributes.
    pub after: Vec<Action>,
    /// All chunks of `parts`.
    pub refs: Vec<ChunkRef>,
    /// What cannot be restored at all.
    pub problems: Problems,
    /// Whether nothing follows.
    pub last: bool,
}

/// A wave whose chunks were fetched.
pub struct Loaded {
    /// The wave.
    pub wave: Wave,
    /// Its chunks.
    pub fetched: Fetched,
}

/// Walks a tree and cuts it into waves.
pub struct WaveReader {
    walk: Option<Walk>,
    single: Option<(PathBuf, Entry)>,
    /// The directory that becomes the target itself.
    top: Option<(PathBuf, Attributes)>,
    owners: bool,
    /// The file that the last wave did not finish.
    unfinished: Option<Unfinished>,
    /// First names of files that have several, and the hash of their content.
    links: BTreeMap<(u64, u64), (PathBuf, [u8; 32])>,
}

struct Unfinished {
    path: PathBuf,
    attributes: files::Attributes,
    len: u64,
    cursor: Cursor,
    at: u64,
}

impl WaveReader {
    /// Either a walk or a single entry.
    pub fn new(
        walk: Option<Walk>,
        single: Option<(PathBuf, Entry)>,
        top: Option<(PathBuf, Attributes)>,
        owners: bool,
    ) -> Self {
        Self { walk, single, top, owners, unfinished: None, links: BTreeMap::new() }
    }

    /// The next wave: about `len_max` bytes of plaintext.
    pub async fn next(&mut self, trees: &TreeReader, len_max: usize) -> Result<Wave, RepoError> {
        let mut wave = Wave::default();
        let mut len = 0;
        loop {
            if let Some(file) = self.unfinished.take() {
                let first = file.at == 0;
                self.part(trees, &mut wave, file, first, &mut len, len_max).await?;
                if self.unfinished.is_some() {
                    return Ok(wave);
                }
            }
            let actions = wave.before.len() + wave.after.len() + wave.parts.len();
            if len >= len_max || actions >= FILES_MAX {
                return Ok(wave);
            }
            let event = match (self.single.take(), &mut self.walk) {
                (Some((path, entry)), _) => Some(Event::Other(path, entry)),
                (None, Some(walk)) => {
                    // The directory at which the walk started ends with no event of its own.
                    walk.next(trees).await?
                }
                (None, None) => None,
            };
            match event {
                Some(event) => self.plan(&mut wave, event),
                None => {
                    if let Some((path, attributes)) = self.top.take() {
                        wave.after.push(Action::Leave(path, self.attributes(Kind::Directory, &attributes)));
                    }
                    wave.last = true;
                    return Ok(wave);
                }
            }
        }
    }

    fn attributes(&self, kind: Kind, attributes: &Attributes) -> files::Attributes {
        let owner = if self.owners { Some((attributes.uid, attributes.gid)) } else { None };
        files::Attributes { kind, mode: attributes.mode, owner, mtime: attributes.mtime }
    }

    fn plan(&mut self, wave: &mut Wave, event: Event) {
        match event {
            Event::Enter(path, _) => wave.before.push(Action::Directory(path)),
            Event::Leave(path, attributes) => {
                wave.after.push(Action::Leave(path, self.attributes(Kind::Directory, &attributes)));
            }
            Event::Damaged(path, error) => {
                wave.problems.add(&path, format!("the rest of it cannot be read from the snapshot: {}", error.told()));
            }
            Event::Other(path, entry) => self.other(wave, path, entry),
        }
    }

    fn other(&mut self, wave: &mut Wave, path: PathBuf, entry: Entry) {
        let Entry { attributes, what, .. } = entry;
        match what {
            What::File { len, content } => {
                if attributes.links > 1 {
                    let group = (attributes.device, attributes.inode);
                    let hash = *blake3::hash(&codec::encode(&content)).as_bytes();
                    match self.links.get(&group) {
                        Some((existing, same)) if *same == hash => {
                            wave.after.push(Action::HardLink { existing: existing.clone(), path });
                            return;
                        }
                        // It changed between its names while it was backed up: two files.
                        Some(_) => {}
                        None if self.links.len() >= limits::HARD_LINKS_MAX => {}
                        None => {
                            self.links.insert(group, (path.clone(), hash));
                        }
                    }
                }
                let attributes = self.attributes(Kind::File, &attributes);
                self.unfinished = Some(Unfinished { path, attributes, len, cursor: Cursor::new(content), at: 0 });
            }
            What::Symlink { target } => {
                let attributes = self.attributes(Kind::Symlink, &attributes);
                wave.before.push(Action::Symlink(path, target, attributes));
            }
            // A socket is made by who listens on it.
            What::Socket => {}
            What::Fifo => wave.problems.add(&path, "named pipes are recorded, but cannot be restored"),
            What::CharDevice { .. } | What::BlockDevice { .. } => {
                wave.problems.add(&path, "devices are recorded, but cannot be restored");
            }
            What::Directory { .. } => {}
        }
    }

    async fn part(
        &mut self,
        trees: &TreeReader,
        wave: &mut Wave,
        mut file: Unfinished,
        first: bool,
        len: &mut usize,
        len_max: usize,
    ) -> Result<(), RepoError> {
        let mut chunks = Vec::new();
        let mut damaged = None;
        let last = loop {
            if *len >= len_max {
                break false;
            }
            match trees.next_chunk(&mut file.cursor).await {
                Ok(Some(reference)) => {
                    chunks.push((file.at, reference));
                    wave.refs.push(reference);
                    file.at += u64::from(reference.len);
                    *len += reference.len as usize;
                }
                Ok(None) => break true,
                Err(error) if matches!(error.kind, ErrorKind::Corrupt | ErrorKind::NotFound) => {
                    damaged = Some(error);
                    break true;
                }
                Err(error) => return Err(error),
            }
        };
        let (path, attributes) = (file.path.clone(), file.attributes);
        if last && damaged.is_none() && file.at != file.len {
            damaged = Some(RepoError::corrupt("its chunks do not add up to its length"));
        }
        wave.parts.push(Part { path, attributes, len: file.len, chunks, first, last, damaged });
        if !last {
            self.unfinished = Some(file);
        }
        Ok(())
    }
}

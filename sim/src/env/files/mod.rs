//! Source and target trees of a simulated machine. They survive its crashes.

mod tree;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use env::{
    Files,
    files::{Attributes, FileTime, Kind, Metadata, Names, SourceFile, TargetFile, Xattr},
};
pub use tree::User;
use tree::{New, Shared, Tree};

use crate::kernel::{Kernel, Life, clock, lock};

/// Bytes that a checker reads at a time.
const READ_BYTES: usize = 64 << 10;

/// The file system of one machine.
#[derive(Debug)]
pub struct FileSystem {
    tree: Tree,
    user: User,
}

impl FileSystem {
    /// An empty one, on which the node acts as `user`.
    pub fn new(user: User) -> Self {
        Self { tree: Tree::default(), user }
    }
}

/// What stands at a path, as a checker compares it: its attributes and content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its attributes, with inode number, ctime and a directory's length left out as 0.
    pub metadata: Metadata,
    /// The bytes of a file, or the target of a link.
    pub content: Vec<u8>,
}

/// Who is at work: a node's process, or the world outside it, which is root.
#[derive(Debug, Clone)]
enum Hand {
    Process(Life),
    World(Arc<Kernel>),
}

/// The file system as one life, or the world, reaches it.
#[derive(Debug, Clone)]
pub struct SimFiles {
    hand: Hand,
    system: Arc<FileSystem>,
}

impl SimFiles {
    /// As the process of this life.
    pub fn new(life: Life, system: Arc<FileSystem>) -> Self {
        Self { hand: Hand::Process(life), system }
    }

    /// From outside, as root, whether the machine is up or not.
    pub fn outside(kernel: Arc<Kernel>, system: Arc<FileSystem>) -> Self {
        Self { hand: Hand::World(kernel), system }
    }

    fn check(&self) -> io::Result<()> {
        match &self.hand {
            Hand::Process(life) => life.check(),
            Hand::World(_) => Ok(()),
        }
    }

    fn user(&self) -> User {
        match self.hand {
            Hand::Process(_) => self.system.user,
            Hand::World(_) => User::ROOT,
        }
    }

    fn now(&self) -> FileTime {
        let ns = match &self.hand {
            Hand::Process(life) => life.wall_ns(),
            Hand::World(kernel) => clock::EPOCH_NS + kernel.now_ns(),
        };
        FileTime { secs: (ns / 1_000_000_000).cast_signed(), nanos: (ns % 1_000_000_000) as u32 }
    }

    fn find(&self, path: &Path) -> io::Result<Shared> {
        self.check()?;
        self.system.tree.find(path, &self.user())
    }

    fn create(&self, path: &Path, new: &New<'_>) -> io::Result<Shared> {
        self.check()?;
        self.system.tree.create(path, new, &self.user(), self.now())
    }

    /// Writes a whole file, new or not, and makes the directories above it.
    pub fn write(&self, path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        let path = path.as_ref();
        if let Some(parent) = path.parent() {
            self.create_dir_all(parent)?;
        }
        let inode = match self.create(path, &New::File) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.system.tree.open(path, &self.user())?,
            created => created?,
        };
        let mut inode = lock(&inode);
        inode.set_len(0, self.now())?;
        inode.write_at(0, bytes, self.now())
    }

    /// Makes a directory and those above it.
    pub fn create_dir_all(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let above: Vec<&Path> = path.as_ref().ancestors().collect();
        for path in above.into_iter().rev().filter(|path| path.file_name().is_some()) {
            match self.create(path, &New::Directory) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                created => drop(created?),
            }
        }
        Ok(())
    }

    /// Makes a pipe, socket or device.
    pub fn special(&self, path: impl AsRef<Path>, kind: Kind, device: u64) -> io::Result<()> {
        self.create(path.as_ref(), &New::Special(kind, device)).map(drop)
    }

    /// A whole file.
    pub fn read(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let mut file = self.open(path.as_ref())?;
        let (mut bytes, mut buffer) = (Vec::new(), vec![0; READ_BYTES]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(bytes),
                length => bytes.extend_from_slice(&buffer[..length]),
            }
        }
    }

    /// Everything below `path`, by path relative to it: what a restore must bring back.
    pub fn entries(&self, path: impl AsRef<Path>) -> io::Result<BTreeMap<PathBuf, Entry>> {
        let root = path.as_ref();
        let mut entries = BTreeMap::new();
        let mut waiting = vec![PathBuf::new()];
        while let Some(relative) = waiting.pop() {
            let path = root.join(&relative);
            let mut metadata = self.metadata(&path)?;
            (metadata.inode, metadata.ctime) = (0, FileTime::default());
            let content = match metadata.kind {
                Kind::File => self.read(&path)?,
                Kind::Symlink => self.read_link(&path)?.into_os_string().into_encoded_bytes(),
                Kind::Directory => {
                    metadata.len = 0;
                    waiting.extend(self.read_dir(&path)?.iter().map(|name| relative.join(name)));
                    Vec::new()
                }
                _ => Vec::new(),
            };
            entries.insert(relative, Entry { metadata, content });
        }
        Ok(entries)
    }
}

impl Files for SimFiles {
    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let inode = self.find(path)?;
        let inode = lock(&inode);
        Ok(inode.metadata())
    }

    fn read_dir(&self, path: &Path) -> io::Result<Names> {
        self.check()?;
        Ok(self.system.tree.names(path, &self.user())?.into_iter().collect())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn SourceFile>> {
        self.check()?;
        let inode = self.system.tree.open(path, &self.user())?;
        Ok(Box::new(Open { files: self.clone(), inode, offset: 0 }))
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        self.check()?;
        self.system.tree.link_target(path, &self.user())
    }

    /// This file system has none.
    fn xattrs(&self, path: &Path) -> io::Result<Vec<Xattr>> {
        self.find(path).map(|_| Vec::new())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.create(path, &New::Directory).map(drop)
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn TargetFile>> {
        let inode = self.create(path, &New::File)?;
        Ok(Box::new(Open { files: self.clone(), inode, offset: 0 }))
    }

    fn create_node(&self, path: &Path, kind: Kind, rdev: u64) -> io::Result<()> {
        self.special(path, kind, rdev)
    }

    fn symlink(&self, target: &OsStr, path: &Path) -> io::Result<()> {
        self.create(path, &New::Symlink(target)).map(drop)
    }

    fn hard_link(&self, existing: &Path, path: &Path) -> io::Result<()> {
        self.check()?;
        self.system.tree.link(existing, path, &self.user(), self.now())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        // Nothing else happens between these: a node's work is interrupted only where it waits.
        match self.remove(to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.hard_link(from, to)?;
        self.remove(from)
    }

    fn set_attributes(&self, path: &Path, attributes: &Attributes) -> io::Result<()> {
        let inode = self.find(path)?;
        lock(&inode).set_attributes(attributes, &self.user(), self.now())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        self.system.tree.remove(path, &self.user(), self.now())
    }

    fn may_set_owner(&self) -> bool {
        self.user().is_root()
    }
}

/// An open file.
struct Open {
    files: SimFiles,
    inode: Shared,
    offset: u64,
}

impl SourceFile for Open {
    fn metadata(&self) -> io::Result<Metadata> {
        self.files.check()?;
        Ok(lock(&self.inode).metadata())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.files.check()?;
        let length = lock(&self.inode).read_at(self.offset, buffer)?;
        self.offset += length as u64;
        Ok(length)
    }

    /// This file system does not know holes.
    fn data_after(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let len = self.metadata()?.len;
        Ok(if offset < len { Some(offset..len) } else { None })
    }

    fn seek(&mut self, offset: u64) {
        self.offset = offset;
    }

    fn xattrs(&self) -> io::Result<Vec<Xattr>> {
        self.files.check().map(|()| Vec::new())
    }
}

impl TargetFile for Open {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.files.check()?;
        lock(&self.inode).write_at(offset, bytes, self.files.now())
    }

    fn finish(self: Box<Self>, len: u64, attributes: &Attributes) -> io::Result<()> {
        self.files.check()?;
        let (mut inode, now) = (lock(&self.inode), self.files.now());
        inode.set_len(len, now)?;
        inode.set_attributes(attributes, &self.files.user(), now)
    }
}

#[cfg(test)]
mod tests;

//! A file system in memory.
//!
//! Invariant: an inode lives as long as it has a name or is open; every change of
//! content or attributes moves its ctime to the clock of whoever makes it.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io,
    path::{Component, Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use env::files::{Attributes, FileTime, Kind, Metadata};

use crate::kernel::lock;

/// Symbolic links that are followed in one path, as on Linux.
const LINKS_MAX: usize = 40;
/// Bytes of one file at most: all is in memory.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// The number of this file system.
const DEVICE: u64 = 1;

/// An inode, by whoever holds it: directories and open files.
pub type Shared = Arc<Mutex<Inode>>;

/// A file, directory or other thing.
#[derive(Debug)]
pub struct Inode {
    number: u64,
    mode: u32,
    owner: (u32, u32),
    mtime: FileTime,
    ctime: FileTime,
    links: u64,
    body: Body,
}

#[derive(Debug)]
enum Body {
    File(Vec<u8>),
    Directory(BTreeMap<OsString, Shared>),
    Symlink(OsString),
    Special(Kind, u64),
}

impl Inode {
    fn kind(&self) -> Kind {
        match &self.body {
            Body::File(_) => Kind::File,
            Body::Directory(_) => Kind::Directory,
            Body::Symlink(_) => Kind::Symlink,
            Body::Special(kind, _) => *kind,
        }
    }

    /// What `lstat` says.
    pub fn metadata(&self) -> Metadata {
        let len = match &self.body {
            Body::File(bytes) => bytes.len() as u64,
            Body::Directory(names) => 4096 + names.len() as u64,
            Body::Symlink(target) => target.len() as u64,
            Body::Special(..) => 0,
        };
        Metadata {
            kind: self.kind(),
            len,
            allocated: if let Body::File(_) = self.body { len } else { 0 },
            mode: self.mode,
            uid: self.owner.0,
            gid: self.owner.1,
            mtime: self.mtime,
            ctime: self.ctime,
            inode: self.number,
            device: DEVICE,
            links: self.links,
            rdev: if let Body::Special(_, device) = self.body { device } else { 0 },
        }
    }

    /// Copies content from `offset` on; how many bytes there were.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let Body::File(bytes) = &self.body else { return Err(io::ErrorKind::InvalidInput.into()) };
        let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    /// Overwrites content, and lengthens the file as needed.
    pub fn write_at(&mut self, offset: u64, bytes: &[u8], now: FileTime) -> io::Result<()> {
        let end = offset.saturating_add(bytes.len() as u64);
        let Body::File(content) = &mut self.body else { return Err(io::ErrorKind::InvalidInput.into()) };
        if end > FILE_BYTES_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let (offset, end) = (offset as usize, end as usize);
        if content.len() < end {
            content.resize(end, 0);
        }
        content[offset..end].copy_from_slice(bytes);
        self.touch(now);
        Ok(())
    }

    /// Sets the length of a file.
    pub fn set_len(&mut self, len: u64, now: FileTime) -> io::Result<()> {
        let Body::File(content) = &mut self.body else { return Err(io::ErrorKind::InvalidInput.into()) };
        if len > FILE_BYTES_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        content.resize(len as usize, 0);
        self.touch(now);
        Ok(())
    }

    /// Sets what a restore puts back.
    pub fn set_attributes(&mut self, attributes: &Attributes, user: &User, now: FileTime) -> io::Result<()> {
        if let Some(owner) = attributes.owner {
            if !user.is_root() && owner != self.owner {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            self.owner = owner;
        }
        if self.kind() != Kind::Symlink {
            self.mode = attributes.mode & 0o7777;
        }
        self.mtime = attributes.mtime;
        self.ctime = now;
        Ok(())
    }

    fn touch(&mut self, now: FileTime) {
        self.mtime = now;
        self.ctime = now;
    }
}

/// Who acts on the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// User id; 0 may do everything.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl User {
    /// The administrator.
    pub const ROOT: Self = Self { uid: 0, gid: 0 };

    /// Whether permissions do not bind it.
    pub const fn is_root(&self) -> bool {
        self.uid == 0
    }

    fn check(&self, inode: &Inode, bits: u32) -> io::Result<()> {
        let shift = match inode.owner {
            (uid, _) if uid == self.uid => 6,
            (_, gid) if gid == self.gid => 3,
            _ => 0,
        };
        let allowed = self.is_root() || (inode.mode >> shift) & bits == bits;
        if allowed { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

const READ: u32 = 4;
const WRITE_AND_SEARCH: u32 = 3;
const SEARCH: u32 = 1;

/// What a new inode is to be.
pub enum New<'a> {
    /// An empty file.
    File,
    /// An empty directory.
    Directory,
    /// A symbolic link to this target.
    Symlink(&'a OsStr),
    /// A pipe, socket or device, with its number.
    Special(Kind, u64),
}

/// The tree of all names.
#[derive(Debug)]
pub struct Tree {
    root: Shared,
    inodes: AtomicU64,
}

impl Default for Tree {
    fn default() -> Self {
        let root = Inode {
            number: 1,
            mode: 0o755,
            owner: (0, 0),
            mtime: FileTime::default(),
            ctime: FileTime::default(),
            links: 2,
            body: Body::Directory(BTreeMap::new()),
        };
        Self { root: Arc::new(Mutex::new(root)), inodes: AtomicU64::new(2) }
    }
}

impl Tree {
    /// What is at `path`, itself.
    pub fn find(&self, path: &Path, user: &User) -> io::Result<Shared> {
        self.walk(path, user, &mut 0)
    }

    /// Names in the directory at `path`.
    pub fn names(&self, path: &Path, user: &User) -> io::Result<Vec<OsString>> {
        let directory = self.find(path, user)?;
        let directory = lock(&directory);
        let Body::Directory(names) = &directory.body else { return Err(io::ErrorKind::NotADirectory.into()) };
        user.check(&directory, READ)?;
        let mut names: Vec<OsString> = names.keys().cloned().collect();
        // In an order that nobody can mistake for the names' own.
        names.sort_by_key(|name| *blake3::hash(name.as_encoded_bytes()).as_bytes());
        Ok(names)
    }

    /// The regular file at `path`, to be read.
    pub fn open(&self, path: &Path, user: &User) -> io::Result<Shared> {
        let found = self.find(path, user)?;
        let inode = lock(&found);
        if inode.kind() != Kind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        user.check(&inode, READ)?;
        drop(inode);
        Ok(found)
    }

    /// Where the symbolic link at `path` points.
    pub fn link_target(&self, path: &Path, user: &User) -> io::Result<PathBuf> {
        let found = self.find(path, user)?;
        let inode = lock(&found);
        match &inode.body {
            Body::Symlink(target) => Ok(PathBuf::from(target)),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Makes something new at `path`.
    pub fn create(&self, path: &Path, new: &New<'_>, user: &User, now: FileTime) -> io::Result<Shared> {
        let (body, mode, links) = match new {
            New::File => (Body::File(Vec::new()), 0o600, 1),
            New::Directory => (Body::Directory(BTreeMap::new()), 0o700, 2),
            New::Symlink(target) => (Body::Symlink((*target).to_owned()), 0o777, 1),
            New::Special(kind, device) => (Body::Special(*kind, *device), 0o600, 1),
        };
        let inode = Inode {
            number: self.inodes.fetch_add(1, Ordering::Relaxed),
            mode,
            owner: (user.uid, user.gid),
            mtime: now,
            ctime: now,
            links,
            body,
        };
        let inode = Arc::new(Mutex::new(inode));
        self.enter(path, user, now, Arc::clone(&inode))?;
        Ok(inode)
    }

    /// Gives what is at `existing` one more name.
    pub fn link(&self, existing: &Path, path: &Path, user: &User, now: FileTime) -> io::Result<()> {
        let inode = self.find(existing, user)?;
        if lock(&inode).kind() == Kind::Directory {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.enter(path, user, now, Arc::clone(&inode))?;
        let mut inode = lock(&inode);
        inode.links += 1;
        inode.ctime = now;
        Ok(())
    }

    /// Takes a name away; a directory's only if it is empty.
    pub fn remove(&self, path: &Path, user: &User, now: FileTime) -> io::Result<()> {
        let inode = self.find(path, user)?;
        let is_directory = match &lock(&inode).body {
            Body::Directory(names) if !names.is_empty() => return Err(io::ErrorKind::DirectoryNotEmpty.into()),
            body => matches!(body, Body::Directory(_)),
        };
        self.change_parent(path, user, now, |names, name, parent_links| {
            *parent_links -= u64::from(is_directory);
            names.remove(name);
            Ok(())
        })?;
        let mut inode = lock(&inode);
        inode.links = inode.links.saturating_sub(if is_directory { 2 } else { 1 });
        inode.ctime = now;
        Ok(())
    }

    fn enter(&self, path: &Path, user: &User, now: FileTime, inode: Shared) -> io::Result<()> {
        let is_directory = lock(&inode).kind() == Kind::Directory;
        self.change_parent(path, user, now, |names, name, parent_links| {
            if names.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            *parent_links += u64::from(is_directory);
            names.insert(name.to_owned(), inode);
            Ok(())
        })
    }

    fn change_parent(
        &self,
        path: &Path,
        user: &User,
        now: FileTime,
        change: impl FnOnce(&mut BTreeMap<OsString, Shared>, &OsStr, &mut u64) -> io::Result<()>,
    ) -> io::Result<()> {
        // The root has no parent, and exists.
        let name = path.file_name().ok_or(io::ErrorKind::AlreadyExists)?;
        let parent = self.directory(path.parent().unwrap_or(Path::new("/")), user, &mut 0)?;
        let mut parent = lock(&parent);
        user.check(&parent, WRITE_AND_SEARCH)?;
        let Inode { body, links, .. } = &mut *parent;
        let Body::Directory(names) = body else { return Err(io::ErrorKind::NotADirectory.into()) };
        change(names, name, links)?;
        parent.touch(now);
        Ok(())
    }

    /// The directory at `path`, whose last component is followed too.
    fn directory(&self, path: &Path, user: &User, followed: &mut usize) -> io::Result<Shared> {
        let found = self.walk(path, user, followed)?;
        let target = match &lock(&found).body {
            Body::Symlink(target) => path.parent().unwrap_or(Path::new("/")).join(target),
            Body::Directory(_) => return Ok(Arc::clone(&found)),
            _ => return Err(io::ErrorKind::NotADirectory.into()),
        };
        *followed += 1;
        if *followed > LINKS_MAX {
            return Err(io::Error::other("too many levels of symbolic links"));
        }
        self.directory(&target, user, followed)
    }

    /// What is at `path`; only its last component is not followed.
    fn walk(&self, path: &Path, user: &User, followed: &mut usize) -> io::Result<Shared> {
        let mut reached = Arc::clone(&self.root);
        let mut above = PathBuf::from("/");
        for component in path.components() {
            match component {
                Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
                Component::ParentDir => {
                    above.pop();
                    reached = self.directory(&above, user, followed)?;
                    continue;
                }
                Component::Normal(_) => {}
            }
            reached =
                if lock(&reached).kind() == Kind::Symlink { self.directory(&above, user, followed)? } else { reached };
            let next = {
                let directory = lock(&reached);
                let Body::Directory(names) = &directory.body else {
                    return Err(io::ErrorKind::NotADirectory.into());
                };
                user.check(&directory, SEARCH)?;
                names.get(component.as_os_str()).cloned().ok_or(io::ErrorKind::NotFound)?
            };
            above.push(component);
            reached = next;
        }
        Ok(reached)
    }
}

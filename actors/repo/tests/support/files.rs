//! File systems in memory, with the errors that tests ask for.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    io,
    ops::Range,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use env::{
    Files,
    files::{Attributes, FileTime, Kind, Metadata, Names, SourceFile, TargetFile, Xattr},
};
use protocol::format::tree::Blob;

use super::data::Data;

#[derive(Debug, Clone)]
struct Inode {
    metadata: Metadata,
    data: Arc<Data>,
    target: OsString,
    xattrs: Vec<Xattr>,
}

#[derive(Default)]
struct Tree {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    next: u64,
    /// Grows with every change, so that no two changes have the same ctime.
    now: i64,
    unreadable: BTreeSet<PathBuf>,
    /// What happens to files while they are read, and how often it still does.
    happenings: BTreeMap<PathBuf, (u32, Happening)>,
    /// Names that directories tell, although nothing has them any more.
    ghosts: BTreeSet<PathBuf>,
}

/// What happens to a file while it is read.
#[derive(Debug, Clone, Copy)]
pub enum Happening {
    /// Something is written to it.
    Touched,
    /// It becomes longer by so many bytes.
    Grows(usize),
    /// It is cut to this length.
    Shrinks(u64),
    /// Its name is taken away.
    Vanishes,
    /// It cannot be read on.
    Breaks,
}

/// The file system.
#[derive(Clone)]
pub struct MemoryFiles {
    tree: Arc<Mutex<Tree>>,
    opens: Arc<AtomicUsize>,
}

/// What a tree looks like: for comparing two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub kind: Kind,
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: FileTime,
    pub links: u64,
    pub rdev: u64,
    pub data: Arc<Data>,
    pub target: OsString,
    pub xattrs: Vec<Xattr>,
}

impl MemoryFiles {
    pub fn new() -> Self {
        let files =
            Self { tree: Arc::new(Mutex::new(Tree { now: 1_000_000, ..Tree::default() })), opens: Arc::default() };
        files.add("/", Kind::Directory, Vec::new(), OsString::new());
        files
    }

    fn add(&self, path: impl AsRef<Path>, kind: Kind, data: Vec<u8>, target: OsString) -> u64 {
        let mut tree = self.tree.lock().unwrap();
        tree.next += 1;
        tree.now += 1;
        let (inode, now) = (tree.next, FileTime { secs: tree.now, nanos: 123_456_789 });
        let metadata = Metadata {
            kind,
            len: data.len() as u64,
            allocated: (data.len() as u64).next_multiple_of(4096),
            mode: if kind == Kind::Directory { 0o755 } else { 0o644 },
            uid: 1000,
            gid: 1000,
            mtime: now,
            ctime: now,
            inode,
            device: 7,
            links: 1,
            rdev: 0,
        };
        tree.inodes.insert(inode, Inode { metadata, data: Arc::new(Data::new(&data)), target, xattrs: Vec::new() });
        if let Some(old) = tree.names.insert(path.as_ref().into(), inode) {
            tree.inodes.remove(&old);
        }
        inode
    }

    /// Makes a directory and those above it.
    pub fn dir(&self, path: impl AsRef<Path>) {
        for path in path.as_ref().ancestors() {
            if self.metadata(path).is_err() {
                self.add(path, Kind::Directory, Vec::new(), OsString::new());
            }
        }
    }

    /// Writes a file, and the directories above it.
    pub fn write(&self, path: impl AsRef<Path>, data: impl Into<Vec<u8>>) {
        self.dir(path.as_ref().parent().unwrap());
        let mut tree = self.tree.lock().unwrap();
        tree.now += 1;
        let now = FileTime { secs: tree.now, nanos: 5 };
        if let Some(inode) = tree.names.get(path.as_ref()).copied() {
            let inode = tree.inodes.get_mut(&inode).unwrap();
            inode.put(Data::new(&data.into()));
            inode.metadata.mtime = now;
            inode.metadata.ctime = now;
            return;
        }
        drop(tree);
        self.add(path, Kind::File, data.into(), OsString::new());
    }

    /// Writes a file of this length that is a hole but for these pieces.
    pub fn write_sparse(&self, path: impl AsRef<Path>, len: u64, pieces: &[(u64, Vec<u8>)]) {
        self.write(&path, "");
        let mut data = Data::default();
        pieces.iter().for_each(|(offset, bytes)| data.write(*offset, bytes));
        data.set_len(len);
        let mut tree = self.tree.lock().unwrap();
        let inode = tree.names[path.as_ref()];
        tree.inodes.get_mut(&inode).unwrap().put(data);
    }

    /// Sets an extended attribute.
    pub fn label(&self, path: impl AsRef<Path>, name: &str, value: impl Into<Vec<u8>>) {
        let mut tree = self.tree.lock().unwrap();
        tree.now += 1;
        let (inode, now) = (tree.names[path.as_ref()], FileTime { secs: tree.now, nanos: 6 });
        let inode = tree.inodes.get_mut(&inode).unwrap();
        inode.metadata.ctime = now;
        inode.xattrs.retain(|xattr| xattr.name.0 != name.as_bytes());
        inode.xattrs.push(Xattr { name: Blob(name.into()), value: Blob(value.into()) });
        inode.xattrs.sort();
    }

    pub fn link(&self, target: &str, path: impl AsRef<Path>) {
        self.add(path, Kind::Symlink, Vec::new(), target.into());
    }

    pub fn special(&self, path: impl AsRef<Path>, kind: Kind) {
        self.add(path, kind, Vec::new(), OsString::new());
    }

    pub fn unlink(&self, path: impl AsRef<Path>) {
        self.remove(path.as_ref()).unwrap();
    }

    pub fn change(&self, path: impl AsRef<Path>, change: impl FnOnce(&mut Metadata)) {
        let mut tree = self.tree.lock().unwrap();
        let inode = tree.names[path.as_ref()];
        change(&mut tree.inodes.get_mut(&inode).unwrap().metadata);
    }

    pub fn read(&self, path: impl AsRef<Path>) -> Vec<u8> {
        let tree = self.tree.lock().unwrap();
        tree.inodes[&tree.names[path.as_ref()]].data.bytes()
    }

    /// Makes reading fail.
    pub fn deny(&self, path: impl AsRef<Path>) {
        self.tree.lock().unwrap().unreadable.insert(path.as_ref().into());
    }

    /// Has something happen to a file when its start is read, so often.
    pub fn when_read(&self, path: impl AsRef<Path>, times: u32, happening: Happening) {
        self.tree.lock().unwrap().happenings.insert(path.as_ref().into(), (times, happening));
    }

    /// Lets a name be listed that nothing has.
    pub fn haunt(&self, path: impl AsRef<Path>) {
        self.tree.lock().unwrap().ghosts.insert(path.as_ref().into());
    }

    pub fn opens(&self) -> usize {
        self.opens.load(Ordering::SeqCst)
    }

    /// Everything below a directory, by the path below it.
    pub fn seen(&self, below: impl AsRef<Path>) -> BTreeMap<PathBuf, Seen> {
        let tree = self.tree.lock().unwrap();
        tree.names
            .iter()
            .filter_map(|(path, inode)| Some((path.strip_prefix(&below).ok()?.to_path_buf(), &tree.inodes[inode])))
            .filter(|(path, _)| !path.as_os_str().is_empty())
            .map(|(path, inode)| {
                let Metadata { kind, mode, uid, gid, mtime, links, rdev, .. } = inode.metadata;
                let (data, target, xattrs) = (inode.data.clone(), inode.target.clone(), inode.xattrs.clone());
                (path, Seen { kind, mode, owner: (uid, gid), mtime, links, rdev, data, target, xattrs })
            })
            .collect()
    }

    fn missing() -> io::Error {
        io::ErrorKind::NotFound.into()
    }

    fn make(&self, path: &Path, kind: Kind, target: OsString) -> io::Result<u64> {
        if self.metadata(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let parent = self.metadata(path.parent().ok_or_else(Self::missing)?)?;
        if parent.kind != Kind::Directory {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let inode = self.add(path, kind, Vec::new(), target);
        // As a real one does: whoever makes a name changes its directory.
        let now = self.tree.lock().unwrap().now;
        self.change(path.parent().unwrap(), |metadata| metadata.mtime = FileTime { secs: now, nanos: 1 });
        Ok(inode)
    }
}

impl Inode {
    fn put(&mut self, data: Data) {
        (self.metadata.len, self.metadata.allocated) = (data.len, data.allocated());
        self.data = Arc::new(data);
    }
}

struct Reading {
    files: MemoryFiles,
    path: PathBuf,
    inode: u64,
    at: u64,
}

impl Reading {
    fn happen(&self) -> io::Result<()> {
        let mut tree = self.files.tree.lock().unwrap();
        let happening = match tree.happenings.get_mut(&self.path) {
            Some((times @ 1.., happening)) => {
                *times -= 1;
                *happening
            }
            _ => return Ok(()),
        };
        tree.now += 1;
        let now = FileTime { secs: tree.now, nanos: 7 };
        if matches!(happening, Happening::Vanishes) {
            tree.names.remove(&self.path);
        }
        let inode = tree.inodes.get_mut(&self.inode).unwrap();
        inode.metadata.ctime = now;
        let mut data = (*inode.data).clone();
        match happening {
            Happening::Touched => inode.metadata.mtime = now,
            Happening::Grows(more) => data.write(data.len, &vec![b'+'; more]),
            Happening::Shrinks(len) => data.set_len(len),
            Happening::Vanishes => inode.metadata.links -= 1,
            Happening::Breaks => return Err(io::Error::other("the disk is broken")),
        }
        inode.put(data);
        Ok(())
    }
}

impl SourceFile for Reading {
    fn metadata(&self) -> io::Result<Metadata> {
        Ok(self.files.tree.lock().unwrap().inodes[&self.inode].metadata.clone())
    }
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == 0 {
            self.happen()?;
        }
        let data = self.files.tree.lock().unwrap().inodes[&self.inode].data.clone();
        let len = data.read(self.at, buffer);
        self.at += len as u64;
        Ok(len)
    }
    fn data_after(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        Ok(self.files.tree.lock().unwrap().inodes[&self.inode].data.data_after(offset))
    }
    fn seek(&mut self, offset: u64) {
        self.at = offset;
    }
    fn xattrs(&self) -> io::Result<Vec<Xattr>> {
        Ok(self.files.tree.lock().unwrap().inodes[&self.inode].xattrs.clone())
    }
}

struct Writing {
    files: MemoryFiles,
    path: PathBuf,
    data: Data,
}

impl TargetFile for Writing {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.data.write(offset, bytes);
        Ok(())
    }
    fn finish(mut self: Box<Self>, len: u64, attributes: &Attributes) -> io::Result<()> {
        self.data.set_len(len);
        let mut tree = self.files.tree.lock().unwrap();
        let inode = tree.names[&self.path];
        tree.inodes.get_mut(&inode).unwrap().put(std::mem::take(&mut self.data));
        drop(tree);
        self.files.set_attributes(&self.path, attributes)
    }
}

impl Files for MemoryFiles {
    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let tree = self.tree.lock().unwrap();
        let inode = tree.names.get(path).ok_or_else(Self::missing)?;
        Ok(tree.inodes[inode].metadata.clone())
    }
    fn read_dir(&self, path: &Path) -> io::Result<Names> {
        let tree = self.tree.lock().unwrap();
        if tree.unreadable.contains(path) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        // Backwards: callers may not rely on any order.
        let below = tree.names.range(path.to_path_buf()..).take_while(|(name, _)| name.starts_with(path));
        let names = below.map(|(name, _)| name).chain(&tree.ghosts);
        let children = names.filter(|name| name.parent() == Some(path)).collect::<Vec<_>>();
        Ok(children.into_iter().rev().map(|name| name.file_name().unwrap()).collect())
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn SourceFile>> {
        self.opens.fetch_add(1, Ordering::SeqCst);
        let tree = self.tree.lock().unwrap();
        if tree.unreadable.contains(path) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let inode = *tree.names.get(path).ok_or_else(Self::missing)?;
        Ok(Box::new(Reading { files: self.clone(), path: path.into(), inode, at: 0 }))
    }
    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let tree = self.tree.lock().unwrap();
        let inode = tree.names.get(path).ok_or_else(Self::missing)?;
        Ok(tree.inodes[inode].target.clone().into())
    }
    fn xattrs(&self, path: &Path) -> io::Result<Vec<Xattr>> {
        let tree = self.tree.lock().unwrap();
        let inode = tree.names.get(path).ok_or_else(Self::missing)?;
        Ok(tree.inodes[inode].xattrs.clone())
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.make(path, Kind::Directory, OsString::new()).map(drop)
    }
    fn create_file(&self, path: &Path) -> io::Result<Box<dyn TargetFile>> {
        self.make(path, Kind::File, OsString::new())?;
        Ok(Box::new(Writing { files: self.clone(), path: path.into(), data: Data::default() }))
    }
    fn create_node(&self, path: &Path, kind: Kind, rdev: u64) -> io::Result<()> {
        self.make(path, kind, OsString::new())?;
        self.change(path, |metadata| metadata.rdev = rdev);
        Ok(())
    }
    fn symlink(&self, target: &OsStr, path: &Path) -> io::Result<()> {
        self.make(path, Kind::Symlink, target.to_os_string()).map(drop)
    }
    fn hard_link(&self, existing: &Path, path: &Path) -> io::Result<()> {
        let mut tree = self.tree.lock().unwrap();
        let inode = *tree.names.get(existing).ok_or_else(Self::missing)?;
        if tree.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        tree.names.insert(path.into(), inode);
        tree.inodes.get_mut(&inode).unwrap().metadata.links += 1;
        Ok(())
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let _ = self.remove(to);
        self.hard_link(from, to)?;
        self.remove(from)
    }
    fn set_attributes(&self, path: &Path, attributes: &Attributes) -> io::Result<()> {
        self.metadata(path)?;
        self.change(path, |metadata| {
            assert_eq!(metadata.kind, attributes.kind);
            if attributes.kind != Kind::Symlink {
                metadata.mode = attributes.mode;
            }
            if let Some((uid, gid)) = attributes.owner {
                (metadata.uid, metadata.gid) = (uid, gid);
            }
            metadata.mtime = attributes.mtime;
        });
        let mut tree = self.tree.lock().unwrap();
        let inode = tree.names[path];
        tree.inodes.get_mut(&inode).unwrap().xattrs = attributes.xattrs.clone();
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        if self.metadata(path)?.kind == Kind::Directory && !self.read_dir(path)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let mut tree = self.tree.lock().unwrap();
        let inode = tree.names.remove(path).ok_or_else(Self::missing)?;
        tree.inodes.get_mut(&inode).unwrap().metadata.links -= 1;
        Ok(())
    }
    fn may_set_owner(&self) -> bool {
        true
    }
}

/// A name that is not UTF-8.
pub fn odd_name() -> OsString {
    OsString::from_vec(b"caf\xe9 \xff".to_vec())
}

pub fn odd_path(directory: &str) -> PathBuf {
    Path::new(directory).join(OsStr::from_bytes(b"caf\xe9 \xff"))
}

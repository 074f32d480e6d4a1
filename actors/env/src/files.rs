//! Source trees that are backed up, and target trees that are restored.
//!
//! Everything blocks: call it on `Blocking`. No call follows a symbolic link in
//! the last component of a path.

mod names;

use std::{
    ffi::OsStr,
    io,
    ops::Range,
    path::{Path, PathBuf},
};

pub use protocol::{format::tree::Xattr, time::FileTime};

pub use self::names::Names;

/// What a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// What `lstat` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: Kind,
    /// Length in bytes.
    pub len: u64,
    /// How many bytes its file system keeps of it: fewer than `len` if it has holes.
    pub allocated: u64,
    /// Permission bits with setuid, setgid and sticky: the low 12 bits of `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of content.
    pub mtime: FileTime,
    /// Last change of content or attributes.
    pub ctime: FileTime,
    /// Which file it is on its file system.
    pub inode: u64,
    /// Which file system it is on.
    pub device: u64,
    /// How many names it has.
    pub links: u64,
    /// Which device it stands for, if it is one.
    pub rdev: u64,
}

/// The attributes that a restore puts back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// What it is: the mode of a symbolic link is not set.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner and group, if the restoring user may set them.
    pub owner: Option<(u32, u32)>,
    /// Last change of content.
    pub mtime: FileTime,
    /// Extended attributes, by name. They replace those that are there, as far as this
    /// process may change them; what it may not set is an error after everything else is done.
    pub xattrs: Vec<Xattr>,
}

/// A file opened for reading, front to back.
pub trait SourceFile: Send {
    /// What the open file is now.
    fn metadata(&self) -> io::Result<Metadata>;
    /// Reads up to `buffer.len()` bytes; 0 at the end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Where the next bytes that are not a hole begin and end, at or after `offset`.
    /// None if there are none: the rest of the file is a hole, or it ends here. A file
    /// system that does not know holes calls the whole file data.
    fn data_after(&self, offset: u64) -> io::Result<Option<Range<u64>>>;
    /// Goes on reading at `offset`.
    fn seek(&mut self, offset: u64);
    /// As [`Files::xattrs`].
    fn xattrs(&self) -> io::Result<Vec<Xattr>>;
}

/// A file being restored. It is complete only after `finish`.
pub trait TargetFile: Send {
    /// Writes all of `bytes` at `offset`.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Sets the length, sets the attributes on the open file, and closes it. What was
    /// never written is a hole.
    fn finish(self: Box<Self>, len: u64, attributes: &Attributes) -> io::Result<()>;
}

/// The file systems of the machine.
pub trait Files: Send + Sync {
    /// What is at `path`.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;
    /// The names in a directory, in no particular order, without `.` and `..`.
    fn read_dir(&self, path: &Path) -> io::Result<Names>;
    /// Opens a regular file for reading; refuses anything else, without blocking on it.
    fn open(&self, path: &Path) -> io::Result<Box<dyn SourceFile>>;
    /// The target of a symbolic link.
    fn read_link(&self, path: &Path) -> io::Result<PathBuf>;
    /// The extended attributes of what is at `path`, sorted by name; none where the file
    /// system has none. `FileTooLarge` if they are more than `limits::XATTRS_BYTES_MAX`.
    fn xattrs(&self, path: &Path) -> io::Result<Vec<Xattr>>;

    /// Makes a directory, readable by its owner only until its attributes are set.
    /// `AlreadyExists` if anything has that name.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a new file, readable by its owner only until it is finished.
    /// `AlreadyExists` if anything has that name.
    fn create_file(&self, path: &Path) -> io::Result<Box<dyn TargetFile>>;
    /// Makes a named pipe, a socket or a device, usable by its owner only until its
    /// attributes are set. `AlreadyExists` if anything has that name.
    fn create_node(&self, path: &Path, kind: Kind, rdev: u64) -> io::Result<()>;
    /// Makes a symbolic link.
    fn symlink(&self, target: &OsStr, path: &Path) -> io::Result<()>;
    /// Gives the file `existing` the further name `path`.
    fn hard_link(&self, existing: &Path, path: &Path) -> io::Result<()>;
    /// Gives the file `from` the name `to`, in place of the file or link that has it:
    /// at any moment there is one or the other under that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Sets attributes of what is at `path`, itself, not of what it points to.
    fn set_attributes(&self, path: &Path, attributes: &Attributes) -> io::Result<()>;
    /// Removes a file, link or empty directory.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Whether this process may set any owner.
    fn may_set_owner(&self) -> bool;
}

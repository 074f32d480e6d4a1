//! The machine's file systems.
//!
//! Invariant: nothing is followed or opened that is not what was asked for: a
//! file is opened as itself, never through a link, and never waits for a pipe's
//! other end. A new file is readable by its owner only until it is finished.

use std::{
    ffi::{OsStr, OsString},
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use ::env::{
    Files,
    files::{Attributes, FileTime, Kind, Metadata, SourceFile, TargetFile},
};
use rustix::{
    fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, RawDir, Stat, Timespec, Timestamps, UTIME_OMIT, Uid},
    io::Errno,
    thread::CapabilitySet,
};

/// Files at least this long are read ahead further: they are read to the end.
const READ_AHEAD_BYTES_MIN: u64 = 1 << 20;
/// Bytes of directory entries fetched by one system call.
const DIRECTORY_BYTES: usize = 32 << 10;

/// All file systems that this process sees.
#[derive(Debug)]
pub struct HostFiles {
    may_set_owner: bool,
}

impl HostFiles {
    /// Looks up, once, what this process may do.
    pub fn new() -> Self {
        let may_set_owner = match rustix::thread::capabilities(None) {
            Ok(sets) => sets.effective.contains(CapabilitySet::CHOWN),
            Err(_) => rustix::process::geteuid().is_root(),
        };
        Self { may_set_owner }
    }
}

impl Default for HostFiles {
    fn default() -> Self {
        Self::new()
    }
}

impl Files for HostFiles {
    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        metadata_of(&rustix::fs::lstat(path)?)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let directory = open_quietly(path, OFlags::DIRECTORY)?;
        let mut buffer = [MaybeUninit::uninit(); DIRECTORY_BYTES];
        let mut entries = RawDir::new(directory, &mut buffer);
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn SourceFile>> {
        let file = match open_quietly(path, OFlags::NONBLOCK) {
            // What the kernel says of a link, and of a socket.
            Err(Errno::LOOP | Errno::NXIO) => return Err(not_regular()),
            opened => opened?,
        };
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(not_regular());
        }
        if u64::try_from(stat.st_size).is_ok_and(|len| len >= READ_AHEAD_BYTES_MIN) {
            // Advice only: a file system that knows none reads as before.
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Sequential);
        }
        Ok(Box::new(HostSource { file, offset: 0 }))
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let target = rustix::fs::readlinkat(CWD, path, Vec::new())?;
        Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::mkdir(path, Mode::RWXU)?)
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn TargetFile>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, path, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Box::new(HostTarget { file, end: 0 }))
    }

    fn symlink(&self, target: &OsStr, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, CWD, path)?)
    }

    fn hard_link(&self, existing: &Path, path: &Path) -> io::Result<()> {
        // Without AT_SYMLINK_FOLLOW a link to a symbolic link is one to the link itself.
        Ok(rustix::fs::linkat(CWD, existing, CWD, path, AtFlags::empty())?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(rustix::fs::rename(from, to)?)
    }

    fn set_attributes(&self, path: &Path, attributes: &Attributes) -> io::Result<()> {
        if attributes.kind == Kind::Symlink {
            return set_link_attributes(path, attributes);
        }
        // A handle that opens nothing, so a pipe or device feels no touch of it; by
        // its name in /proc the calls below reach the very thing whose kind is checked.
        let handle = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let found = kind_of(rustix::fs::fstat(&handle)?.st_mode)?;
        if found != attributes.kind {
            let reason = format!("there is a {found:?} where a {:?} was expected", attributes.kind);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let name = format!("/proc/self/fd/{}", handle.as_raw_fd());
        let name = name.as_str();
        if let Some((uid, gid)) = owner_of(attributes)? {
            rustix::fs::chown(name, Some(uid), Some(gid))?;
        }
        rustix::fs::chmod(name, Mode::from_raw_mode(attributes.mode))?;
        Ok(rustix::fs::utimensat(CWD, name, &times_of(attributes), AtFlags::empty())?)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match rustix::fs::unlink(path) {
            // Linux says the first of a directory, POSIX the second.
            Err(Errno::ISDIR | Errno::PERM) if rustix::fs::lstat(path).is_ok_and(|stat| is_dir(&stat)) => {
                Ok(rustix::fs::rmdir(path)?)
            }
            removed => Ok(removed?),
        }
    }

    fn may_set_owner(&self) -> bool {
        self.may_set_owner
    }
}

/// A regular file being read.
struct HostSource {
    file: OwnedFd,
    offset: u64,
}

impl SourceFile for HostSource {
    fn metadata(&self) -> io::Result<Metadata> {
        metadata_of(&rustix::fs::fstat(&self.file)?)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = again(|| rustix::io::pread(&self.file, &mut *buffer, self.offset))?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// A regular file being written.
struct HostTarget {
    file: OwnedFd,
    // Behind the last byte written: how long the file is without being told.
    end: u64,
}

impl TargetFile for HostTarget {
    fn write_at(&mut self, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = again(|| rustix::io::pwrite(&self.file, bytes, offset))?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            offset += written as u64;
            bytes = &bytes[written..];
        }
        self.end = self.end.max(offset);
        Ok(())
    }

    fn finish(self: Box<Self>, len: u64, attributes: &Attributes) -> io::Result<()> {
        if len != self.end {
            rustix::fs::ftruncate(&self.file, len)?;
        }
        // A new owner clears setuid and setgid, so the mode comes after it; both
        // change the ctime only, so the times could come anywhere, and come last.
        if let Some((uid, gid)) = owner_of(attributes)? {
            rustix::fs::fchown(&self.file, Some(uid), Some(gid))?;
        }
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(attributes.mode))?;
        Ok(rustix::fs::futimens(&self.file, &times_of(attributes))?)
    }
}

fn set_link_attributes(path: &Path, attributes: &Attributes) -> io::Result<()> {
    if let Some((uid, gid)) = owner_of(attributes)? {
        rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(rustix::fs::utimensat(CWD, path, &times_of(attributes), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Opens for reading, without leaving a new access time behind where that is allowed.
fn open_quietly(path: &Path, extra: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | extra;
    match rustix::fs::open(path, flags | OFlags::NOATIME, Mode::empty()) {
        // Only the owner may ask for that.
        Err(Errno::PERM) => rustix::fs::open(path, flags, Mode::empty()),
        opened => opened,
    }
}

/// Calls again what a signal interrupted.
fn again<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")
}

fn is_dir(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn kind_of(raw_mode: u32) -> io::Result<Kind> {
    Ok(match FileType::from_raw_mode(raw_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Unknown => {
            return Err(io::Error::new(io::ErrorKind::Unsupported, format!("its kind is unknown (mode {raw_mode:o})")));
        }
    })
}

fn owner_of(attributes: &Attributes) -> io::Result<Option<(Uid, Gid)>> {
    match attributes.owner {
        // The kernel reads this number as "leave it".
        Some((u32::MAX, _) | (_, u32::MAX)) => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "no file can have the owner or group 4294967295"))
        }
        owner => Ok(owner.map(|(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid)))),
    }
}

fn times_of(attributes: &Attributes) -> Timestamps {
    let FileTime { secs, nanos } = attributes.mtime;
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: secs, tv_nsec: i64::from(nanos) },
    }
}

#[expect(clippy::useless_conversion, reason = "the widths of these fields differ between architectures")]
fn metadata_of(stat: &Stat) -> io::Result<Metadata> {
    let time = |secs: i64, nanos: u64| FileTime { secs, nanos: u32::try_from(nanos).unwrap_or(0) };
    Ok(Metadata {
        kind: kind_of(stat.st_mode)?,
        len: u64::try_from(stat.st_size).unwrap_or(0),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: time(stat.st_mtime.into(), stat.st_mtime_nsec.into()),
        ctime: time(stat.st_ctime.into(), stat.st_ctime_nsec.into()),
        inode: stat.st_ino.into(),
        device: stat.st_dev.into(),
        links: stat.st_nlink.into(),
        rdev: stat.st_rdev.into(),
    })
}

//! The machine's file systems.
//!
//! Invariant: nothing is followed or opened that is not what was asked for: a
//! file is opened as itself, never through a link, and never waits for a pipe's
//! other end. A new file is readable by its owner only until it is finished.

mod reach;
mod regular;
mod stat;
mod xattrs;

use std::{
    ffi::OsStr,
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
    files::{Attributes, Kind, Metadata, Names, SourceFile, TargetFile, Xattr},
};
use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir},
    io::Errno,
    thread::CapabilitySet,
};

use self::{
    reach::Reach,
    regular::{HostSource, HostTarget},
    stat::{is_dir, kind_of, metadata_of, owner_of, times_of},
    xattrs::Of,
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
        let reach = Reach::of(path)?;
        metadata_of(&rustix::fs::statat(reach.at(), reach.rest(), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Names> {
        let directory = open_quietly(path, OFlags::DIRECTORY)?;
        let mut buffer = [MaybeUninit::uninit(); DIRECTORY_BYTES];
        let mut entries = RawDir::new(directory, &mut buffer);
        let mut names = Names::default();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." && !names.push(OsStr::from_bytes(name)) {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 4 GiB of names"));
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
        Ok(Box::new(HostSource::new(file)))
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let reach = Reach::of(path)?;
        let target = rustix::fs::readlinkat(reach.at(), reach.rest(), Vec::new())?;
        Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
    }

    fn xattrs(&self, path: &Path) -> io::Result<Vec<Xattr>> {
        xattrs::read(Of::Path(&Reach::of(path)?.path()))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let reach = Reach::of(path)?;
        Ok(rustix::fs::mkdirat(reach.at(), reach.rest(), Mode::RWXU)?)
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn TargetFile>> {
        let reach = Reach::of(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(reach.at(), reach.rest(), flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Box::new(HostTarget::new(file)))
    }

    fn create_node(&self, path: &Path, kind: Kind, rdev: u64) -> io::Result<()> {
        let (kind, rdev) = match kind {
            Kind::Fifo => (FileType::Fifo, 0),
            Kind::Socket => (FileType::Socket, 0),
            Kind::CharDevice => (FileType::CharacterDevice, rdev),
            Kind::BlockDevice => (FileType::BlockDevice, rdev),
            Kind::File | Kind::Directory | Kind::Symlink => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let reach = Reach::of(path)?;
        Ok(rustix::fs::mknodat(reach.at(), reach.rest(), kind, Mode::RUSR | Mode::WUSR, rdev)?)
    }

    fn symlink(&self, target: &OsStr, path: &Path) -> io::Result<()> {
        let reach = Reach::of(path)?;
        Ok(rustix::fs::symlinkat(target, reach.at(), reach.rest())?)
    }

    fn hard_link(&self, existing: &Path, path: &Path) -> io::Result<()> {
        let (existing, path) = (Reach::of(existing)?, Reach::of(path)?);
        // Without AT_SYMLINK_FOLLOW a link to a symbolic link is one to the link itself.
        Ok(rustix::fs::linkat(existing.at(), existing.rest(), path.at(), path.rest(), AtFlags::empty())?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (Reach::of(from)?, Reach::of(to)?);
        Ok(rustix::fs::renameat(from.at(), from.rest(), to.at(), to.rest())?)
    }

    fn set_attributes(&self, path: &Path, attributes: &Attributes) -> io::Result<()> {
        let reach = Reach::of(path)?;
        if attributes.kind == Kind::Symlink {
            return set_link_attributes(&reach, attributes);
        }
        // A handle that opens nothing, so a pipe or device feels no touch of it; by
        // its name in /proc the calls below reach the very thing whose kind is checked.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(reach.at(), reach.rest(), flags, Mode::empty())?;
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
        // After the owner, whose change clears capabilities; the mode that comes after it
        // says the same as the ACL.
        let labelled = xattrs::write(Of::Handle(Path::new(name)), &attributes.xattrs);
        rustix::fs::chmod(name, Mode::from_raw_mode(attributes.mode))?;
        rustix::fs::utimensat(CWD, name, &times_of(attributes), AtFlags::empty())?;
        labelled
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let reach = Reach::of(path)?;
        let found = || rustix::fs::statat(reach.at(), reach.rest(), AtFlags::SYMLINK_NOFOLLOW);
        match rustix::fs::unlinkat(reach.at(), reach.rest(), AtFlags::empty()) {
            // Linux says the first of a directory, POSIX the second.
            Err(Errno::ISDIR | Errno::PERM) if found().is_ok_and(|stat| is_dir(&stat)) => {
                Ok(rustix::fs::unlinkat(reach.at(), reach.rest(), AtFlags::REMOVEDIR)?)
            }
            removed => Ok(removed?),
        }
    }

    fn may_set_owner(&self) -> bool {
        self.may_set_owner
    }
}

fn set_link_attributes(reach: &Reach<'_>, attributes: &Attributes) -> io::Result<()> {
    if let Some((uid, gid)) = owner_of(attributes)? {
        rustix::fs::chownat(reach.at(), reach.rest(), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    let labelled = xattrs::write(Of::Path(&reach.path()), &attributes.xattrs);
    rustix::fs::utimensat(reach.at(), reach.rest(), &times_of(attributes), AtFlags::SYMLINK_NOFOLLOW)?;
    labelled
}

/// Opens for reading, without leaving a new access time behind where that is allowed.
fn open_quietly(path: &Path, extra: OFlags) -> rustix::io::Result<OwnedFd> {
    let reach = Reach::of(path)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | extra;
    match rustix::fs::openat(reach.at(), reach.rest(), flags | OFlags::NOATIME, Mode::empty()) {
        // Only the owner may ask for that.
        Err(Errno::PERM) => rustix::fs::openat(reach.at(), reach.rest(), flags, Mode::empty()),
        opened => opened,
    }
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")
}

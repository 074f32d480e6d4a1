//! Directories that are the node's own: readable by nobody else, and durable.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FlockOperation, Mode, OFlags},
    io::Errno,
};

/// Makes `path` and what is missing above it, each for its owner only, and durably.
/// One that exists keeps its attributes: it may be shared on purpose.
pub fn private_dir(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) => sync_dir(parent),
        Err(Errno::EXIST) if path.is_dir() => Ok(()),
        Err(Errno::NOENT) if parent != path => {
            private_dir(parent)?;
            match rustix::fs::mkdir(path, Mode::RWXU) {
                Err(Errno::EXIST) if path.is_dir() => Ok(()),
                made => made.map_err(io::Error::from).and_then(|()| sync_dir(parent)),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes the names in a directory durable.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    let directory = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(rustix::fs::fsync(directory)?)
}

/// A lock on a file, held until it is dropped, or by a crash.
#[derive(Debug)]
pub struct FileLock {
    // Closing the only descriptor of this opening gives the lock back.
    _file: OwnedFd,
}

impl ::env::disk::Guard for FileLock {}

/// Takes the exclusive lock of the file `path`, made if it does not exist;
/// `WouldBlock` if someone has it.
pub fn lock_file(path: &Path) -> io::Result<FileLock> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(FileLock { _file: file })
}

/// `directory/name`, if `name` is one plain path component.
pub fn component(directory: &Path, name: &str) -> io::Result<PathBuf> {
    let plain = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
    if plain {
        Ok(directory.join(name))
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is not a plain file name")))
    }
}

//! Paths that are longer than the kernel takes in one call.
//!
//! Invariant: the kernel is only ever given a path it takes; the directories on the way
//! of a longer one are opened one stretch after the other, and mean what they would in it.

use std::{
    borrow::Cow,
    ffi::OsStr,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use rustix::{
    fs::{CWD, Mode, OFlags},
    io::Errno,
};

/// The longest stretch of a path in one call, in bytes: what Linux takes (4,095), and
/// room for the name in /proc of the directory that it starts from.
const STRETCH_BYTES_MAX: usize = 4000;

/// A path, as the last directory on its way that had to be opened, and the rest.
pub struct Reach<'a> {
    directory: Option<OwnedFd>,
    rest: &'a Path,
}

impl<'a> Reach<'a> {
    /// Opens what must be opened: nothing for all but very long paths.
    pub fn of(path: &'a Path) -> rustix::io::Result<Self> {
        let mut reach = Self { directory: None, rest: path };
        while reach.rest.as_os_str().len() > STRETCH_BYTES_MAX {
            let bytes = reach.rest.as_os_str().as_bytes();
            let end = bytes[..STRETCH_BYTES_MAX].iter().rposition(|byte| *byte == b'/').filter(|end| *end > 0);
            let (stretch, rest) = bytes.split_at(end.ok_or(Errno::NAMETOOLONG)?);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = rustix::fs::openat(reach.at(), OsStr::from_bytes(stretch), flags, Mode::empty())?;
            let slashes = rest.iter().take_while(|byte| **byte == b'/').count();
            reach = Self { directory: Some(directory), rest: Path::new(OsStr::from_bytes(&rest[slashes..])) };
        }
        Ok(reach)
    }

    /// The directory from which [`Self::rest`] leads on.
    pub fn at(&self) -> BorrowedFd<'_> {
        self.directory.as_ref().map_or(CWD, |directory| directory.as_fd())
    }

    /// The rest of the path.
    pub fn rest(&self) -> &'a Path {
        self.rest
    }

    /// The path for calls that start from no directory.
    pub fn path(&self) -> Cow<'a, Path> {
        match &self.directory {
            None => Cow::Borrowed(self.rest),
            Some(directory) => {
                Cow::Owned(Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(self.rest))
            }
        }
    }
}

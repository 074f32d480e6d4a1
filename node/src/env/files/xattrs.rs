//! Extended attributes: POSIX ACLs and capabilities among them.
//!
//! Invariant: a file system that has none, or a kernel that hides some from this
//! process, is no error of the file: what can be seen is what there is.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use ::env::files::Xattr;
use protocol::{format::tree::Blob, limits};
use rustix::{
    fs::{
        XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr, getxattr, lgetxattr, listxattr, llistxattr,
        lremovexattr, lsetxattr, removexattr, setxattr,
    },
    io::Errno,
};

/// What most names and values fit into: no allocation for the many files that have none.
const SMALL_BYTES: usize = 1 << 10;
/// The longest list of names, and the longest value, that Linux hands out.
const LARGE_BYTES: usize = 64 << 10;

/// What attributes are asked of.
#[derive(Clone, Copy)]
pub enum Of<'a> {
    /// What is at a path, itself.
    Path(&'a Path),
    /// What a name in /proc of an open file stands for.
    Handle(&'a Path),
    /// An open file.
    File(BorrowedFd<'a>),
}

impl<'a> Of<'a> {
    /// An open file.
    pub fn file(file: &'a impl AsFd) -> Self {
        Self::File(file.as_fd())
    }

    fn list(self, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Self::Path(path) => llistxattr(path, buffer),
            Self::Handle(path) => listxattr(path, buffer),
            Self::File(file) => flistxattr(file, buffer),
        }
    }

    fn value(self, name: &[u8], buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Self::Path(path) => lgetxattr(path, name, buffer),
            Self::Handle(path) => getxattr(path, name, buffer),
            Self::File(file) => fgetxattr(file, name, buffer),
        }
    }

    fn set(self, name: &[u8], value: &[u8]) -> rustix::io::Result<()> {
        match self {
            Self::Path(path) => lsetxattr(path, name, value, XattrFlags::empty()),
            Self::Handle(path) => setxattr(path, name, value, XattrFlags::empty()),
            Self::File(file) => fsetxattr(file, name, value, XattrFlags::empty()),
        }
    }

    fn remove(self, name: &[u8]) -> rustix::io::Result<()> {
        match self {
            Self::Path(path) => lremovexattr(path, name),
            Self::Handle(path) => removexattr(path, name),
            Self::File(file) => fremovexattr(file, name),
        }
    }
}

/// Reads all of them, by name. Too many of them are an error: nothing bounds what a
/// file system allows.
pub fn read(of: Of<'_>) -> io::Result<Vec<Xattr>> {
    let names = match grown(|buffer| of.list(buffer)) {
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Vec::new()),
        // More names than fit into the longest list.
        Err(Errno::TOOBIG | Errno::RANGE) => return Err(too_many()),
        names => names?,
    };
    let mut xattrs: Vec<Xattr> = Vec::new();
    let mut len = 0;
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match grown(|buffer| of.value(name, buffer)) {
            // It went meanwhile, or is not for this process to see.
            Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM | Errno::ACCESS) => {}
            value => {
                let xattr = Xattr { name: Blob(name.to_vec()), value: Blob(value?) };
                len += xattr.len();
                if len > limits::XATTRS_BYTES_MAX {
                    return Err(too_many());
                }
                xattrs.push(xattr);
            }
        }
    }
    xattrs.sort_unstable();
    Ok(xattrs)
}

fn too_many() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("they have more than {} bytes", limits::XATTRS_BYTES_MAX))
}

fn grown(mut read: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut small = [0; SMALL_BYTES];
    match read(&mut small) {
        Err(Errno::RANGE) => {}
        len => return len.map(|len| small[..len].to_vec()),
    }
    let mut large = vec![0; LARGE_BYTES];
    let len = read(&mut large)?;
    large.truncate(len);
    Ok(large)
}

/// Makes the attributes of something these and no others. All are tried; the first
/// failure is told.
pub fn write(of: Of<'_>, wanted: &[Xattr]) -> io::Result<()> {
    let current = read(of)?;
    let mut current: BTreeMap<Blob, Blob> = current.into_iter().map(|xattr| (xattr.name, xattr.value)).collect();
    let mut failed = None;
    for Xattr { name, value } in wanted {
        if current.remove(name).is_some_and(|there| there == *value) {
            continue;
        }
        if let Err(error) = of.set(&name.0, &value.0) {
            failed.get_or_insert_with(|| describe(name, error));
        }
    }
    for name in current.into_keys() {
        match of.remove(&name.0) {
            // A label that the system itself keeps is not for us to take away.
            Ok(()) | Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM | Errno::ACCESS) => {}
            Err(error) => {
                failed.get_or_insert_with(|| describe(&name, error));
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

fn describe(name: &Blob, error: Errno) -> io::Error {
    let cause = io::Error::from(error);
    io::Error::new(cause.kind(), format!("its extended attribute {name:?} cannot be set: {cause}"))
}

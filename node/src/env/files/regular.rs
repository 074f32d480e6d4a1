//! Regular files that are open.

use std::{io, ops::Range, os::fd::OwnedFd};

use ::env::files::{Attributes, Metadata, SourceFile, TargetFile, Xattr};
use rustix::{
    fs::{Mode, SeekFrom},
    io::Errno,
};

use super::{
    stat::{metadata_of, owner_of, times_of},
    xattrs::{self, Of},
};

/// A file being read.
pub struct HostSource {
    file: OwnedFd,
    offset: u64,
}

impl HostSource {
    /// From its start.
    pub fn new(file: OwnedFd) -> Self {
        Self { file, offset: 0 }
    }
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

    fn data_after(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let start = match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Err(Errno::NXIO) => return Ok(None),
            // It does not know holes.
            Err(Errno::INVAL | Errno::SPIPE | Errno::NOTSUP) => {
                let len = self.metadata()?.len;
                return Ok(if offset < len { Some(offset..len) } else { None });
            }
            start => start?,
        };
        match rustix::fs::seek(&self.file, SeekFrom::Hole(start)) {
            // It was cut off meanwhile.
            Err(Errno::NXIO) => Ok(None),
            end => Ok(Some(start..end?)),
        }
    }

    fn seek(&mut self, offset: u64) {
        self.offset = offset;
    }

    fn xattrs(&self) -> io::Result<Vec<Xattr>> {
        xattrs::read(Of::file(&self.file))
    }
}

/// A file being written.
pub struct HostTarget {
    file: OwnedFd,
    /// Behind the last byte written: how long the file is without being told.
    end: u64,
}

impl HostTarget {
    /// A file that is empty.
    pub fn new(file: OwnedFd) -> Self {
        Self { file, end: 0 }
    }
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
        let labelled = xattrs::write(Of::file(&self.file), &attributes.xattrs);
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(attributes.mode))?;
        rustix::fs::futimens(&self.file, &times_of(attributes))?;
        labelled
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

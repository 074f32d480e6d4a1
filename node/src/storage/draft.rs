//! An object that is being written.
//!
//! Invariant: a draft is nobody's object until it is linked under its name, and
//! its own name goes when it is dropped, whatever happened.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

/// An object that is being written.
#[derive(Debug)]
pub struct Draft {
    file: File,
    path: PathBuf,
}

impl Draft {
    /// Makes an empty draft.
    pub fn create(path: PathBuf) -> io::Result<Self> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)?);
        Ok(Self { file, path })
    }

    /// Adds bytes at the end.
    pub fn write(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        pieces.iter().try_for_each(|piece| self.file.write_all(piece))
    }

    /// Brings the bytes to the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Gives it a name that nothing may have yet: `AlreadyExists` otherwise.
    pub fn link(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::linkat(CWD, &self.path, CWD, path, AtFlags::empty())?)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // What cannot be removed now is removed at the next start.
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "an unfinished object stays until the next start");
        }
    }
}

//! A stream that is backed up as the content of one file.
//!
//! Invariant: it is read once, from its start to its end, or the backup fails: what is
//! left of a broken stream looks like a whole file, and must not become a snapshot.

use std::{
    ffi::OsString,
    fmt,
    os::unix::ffi::OsStringExt as _,
    sync::{Arc, Mutex, PoisonError},
};

use env::files::SourceFile;
use protocol::format::tree::{self, Blob};

use crate::error::RepoError;

/// The stream, and the name of the file in the root directory that it becomes.
#[derive(Clone)]
pub struct Stream {
    name: Blob,
    source: Arc<Mutex<Option<Box<dyn SourceFile>>>>,
}

impl Stream {
    /// What `source` yields, as the file `/name`. Its attributes are what `source` says;
    /// its length is what it comes to. Refuses a name that is no single file name.
    pub fn new(name: OsString, source: Box<dyn SourceFile>) -> Result<Self, RepoError> {
        let name = Blob(name.into_vec());
        if tree::check_name(&name.0).is_err() {
            return Err(RepoError::invalid(format!("{name:?} is not a file name")));
        }
        Ok(Self { name, source: Arc::new(Mutex::new(Some(source))) })
    }

    pub(crate) fn name(&self) -> Blob {
        self.name.clone()
    }

    /// The stream itself, which is there once.
    pub(crate) fn take(&self) -> Result<Box<dyn SourceFile>, RepoError> {
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner).take();
        source.ok_or_else(|| RepoError::invalid("the stream was begun already, and cannot be read a second time"))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("name", &self.name).finish_non_exhaustive()
    }
}

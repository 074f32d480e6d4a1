//! A node's own data directory: a few small files, and databases.
//!
//! Names are single path components chosen by Nuthatch, never by a peer.

use std::{fmt, io};

/// The node's data directory. Calls block; make them on `Blocking`, or at start.
pub trait Disk: Send + Sync {
    /// Opens the storage of a redb database, creating it empty. The caller is its
    /// only user until the backend is dropped; a second opener gets `WouldBlock`.
    fn database(&self, name: &str) -> io::Result<Box<dyn redb::StorageBackend>>;
    /// Reads a whole small file. `NotFound` if it does not exist.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Replaces a whole small file so that, after any crash, it holds either the
    /// old or the new bytes, and the new ones once this has returned. Readable by
    /// its owner only.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Removes a small file, durably. It is no error if it does not exist.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Takes the lock of this name until the guard is dropped; `WouldBlock` if
    /// another process or part of this one has it. Released by a crash.
    fn lock(&self, name: &str) -> io::Result<Box<dyn Guard>>;
    /// Where the data lies, as a person would look for it.
    fn place(&self) -> String;
}

/// Holds a lock until it is dropped.
pub trait Guard: fmt::Debug + Send + Sync {}

//! A node's own data directory: a few small files, and databases.
//!
//! Names are single path components chosen by Nuthatch, never by a peer.

use std::{fmt, io};

/// The node's data directory. Calls block; make them on `Blocking`, or at start.
pub trait Disk: Send + Sync {
    /// Opens a file that is read and written in place, a redb database above all, creating
    /// it empty. The caller is its only user until the backend is dropped; a second opener
    /// gets `WouldBlock`.
    fn file(&self, name: &str) -> io::Result<Box<dyn redb::StorageBackend>>;
    /// Whether there is a file of this name.
    fn exists(&self, name: &str) -> io::Result<bool>;
    /// Reads a whole small file. `NotFound` if it does not exist.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Replaces a whole small file so that, after any crash, it holds either the
    /// old or the new bytes, and the new ones once this has returned. Readable by
    /// its owner only.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Removes a file, durably. It is no error if it does not exist.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Takes the lock of this name until the guard is dropped; `WouldBlock` if
    /// another process or part of this one has it. Released by a crash.
    fn lock(&self, name: &str) -> io::Result<Box<dyn Guard>>;
    /// What tells a small file of this disk from every copy of it. `NotFound` if it does
    /// not exist.
    fn mark(&self, name: &str) -> io::Result<Mark>;
    /// How much room there is where the data lies.
    fn room(&self) -> io::Result<Room>;
    /// Where the data lies, as a person would look for it.
    fn place(&self) -> String;
}

/// Room on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that this node may still take.
    pub free: u64,
    /// Bytes that there are in all.
    pub total: u64,
}

/// What tells a file from a copy of it, and a machine from one that was put back to an
/// earlier state. Reading changes none of it; neither does starting the machine anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The file's number in its file system: a copy has another, unless it took the place
    /// of one that was removed.
    pub inode: u64,
    /// When the file was made, in nanoseconds since 1970, by the file system: a copy was
    /// made later. None where that is not kept.
    pub born_ns: Option<i128>,
    /// When its contents or attributes were last changed, in nanoseconds since 1970, by
    /// the file system, which takes this from nobody (ctime): writing a copy over the
    /// file changes it.
    pub changed_ns: i128,
    /// The generation of the virtual machine: changed by its host when it is cloned, or
    /// put back to a snapshot. None where it cannot be told.
    pub machine: Option<Vec<u8>>,
}

/// Holds a lock until it is dropped.
pub trait Guard: fmt::Debug + Send + Sync {}

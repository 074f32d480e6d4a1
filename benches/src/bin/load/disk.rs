//! A client's data directory, in memory: a hundred thousand real ones would measure the
//! disk of this machine, on which no fleet keeps its clients.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use env::disk::{Disk, Guard, Mark};

/// A few small files, and when one was last replaced.
#[derive(Debug, Default)]
pub struct MemoryDisk(Mutex<Content>);

#[derive(Debug, Default)]
struct Content {
    files: BTreeMap<String, Vec<u8>>,
    locks: BTreeSet<String>,
    replaced: Option<Instant>,
}

/// Holds a lock of such a disk.
#[derive(Debug)]
struct Held(Arc<MemoryDisk>, String);

impl Guard for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.content().locks.remove(&self.1);
    }
}

impl MemoryDisk {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the client last wrote something.
    pub fn replaced(&self) -> Option<Instant> {
        self.content().replaced
    }
}

/// The disk as a client holds it.
#[derive(Debug, Clone)]
pub struct Drive(pub Arc<MemoryDisk>);

impl Disk for Drive {
    fn file(&self, name: &str) -> io::Result<Box<dyn redb::StorageBackend>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, format!("{name}: a client that only joins has no database")))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        Ok(self.0.content().files.contains_key(name))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.0.content().files.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut content = self.0.content();
        content.files.insert(name.to_owned(), bytes.to_vec());
        content.replaced = Some(Instant::now());
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.content().files.remove(name);
        Ok(())
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Guard>> {
        match self.0.content().locks.insert(name.to_owned()) {
            true => Ok(Box::new(Held(self.0.clone(), name.to_owned()))),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn mark(&self, _: &str) -> io::Result<Mark> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn room(&self) -> io::Result<env::disk::Room> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn place(&self) -> String {
        "memory".into()
    }
}

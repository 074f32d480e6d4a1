//! A data directory in memory, for unit tests.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use env::{
    Disk,
    disk::{Guard, Mark, Room},
};
use redb::StorageBackend;

/// A file in memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    /// With these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Arc::new(Mutex::new(bytes.to_vec())))
    }

    /// What is in it.
    pub fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap()
    }
}

impl StorageBackend for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes();
        let there = bytes.get(offset as usize..).and_then(|rest| rest.get(..out.len()));
        out.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes().resize(len as usize, 0);
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (mut bytes, end) = (self.bytes(), offset as usize + data.len());
        let len = bytes.len().max(end);
        bytes.resize(len, 0);
        bytes[offset as usize..end].copy_from_slice(data);
        Ok(())
    }
}

/// Files in memory. One that is open is opened by nobody else.
#[derive(Default)]
pub struct MemoryDisk(Mutex<BTreeMap<String, Memory>>);

impl MemoryDisk {
    /// Names of all files.
    pub fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().keys().cloned().collect()
    }

    /// What is in a file.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.0.lock().unwrap()[name].bytes().clone()
    }

    /// Replaces what is in a file.
    pub fn set(&self, name: &str, bytes: &[u8]) {
        self.0.lock().unwrap().insert(name.into(), Memory::of(bytes));
    }
}

impl Disk for MemoryDisk {
    fn file(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let mut files = self.0.lock().unwrap();
        let file = files.entry(name.into()).or_default();
        if Arc::strong_count(&file.0) > 1 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(file.clone()))
    }
    fn exists(&self, name: &str) -> io::Result<bool> {
        Ok(self.0.lock().unwrap().contains_key(name))
    }
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let files = self.0.lock().unwrap();
        Ok(files.get(name).ok_or(io::ErrorKind::NotFound)?.bytes().clone())
    }
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.set(name, bytes);
        Ok(())
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.lock().unwrap().remove(name);
        Ok(())
    }
    fn lock(&self, _: &str) -> io::Result<Box<dyn Guard>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn mark(&self, _: &str) -> io::Result<Mark> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn room(&self) -> io::Result<Room> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn place(&self) -> String {
        "memory".into()
    }
}

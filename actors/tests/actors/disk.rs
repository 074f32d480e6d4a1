//! A data directory in memory, and randomness that counts.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Mutex,
        atomic::{AtomicU8, Ordering},
    },
};

use env::{
    Disk, Rng,
    disk::{Guard, Mark, Room},
};

#[derive(Default)]
pub struct MemoryDisk(Mutex<BTreeMap<String, Vec<u8>>>);

#[derive(Debug)]
struct Free;

impl Guard for Free {}

impl Disk for MemoryDisk {
    fn file(&self, _: &str) -> io::Result<Box<dyn redb::StorageBackend>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn exists(&self, name: &str) -> io::Result<bool> {
        Ok(self.0.lock().unwrap().contains_key(name))
    }
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.0.lock().unwrap().get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().insert(name.into(), bytes.into());
        Ok(())
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.lock().unwrap().remove(name);
        Ok(())
    }
    fn lock(&self, _: &str) -> io::Result<Box<dyn Guard>> {
        Ok(Box::new(Free))
    }
    fn mark(&self, name: &str) -> io::Result<Mark> {
        self.read(name).map(|_| Mark { inode: 1, born_ns: None, changed_ns: 1, machine: None })
    }
    fn room(&self) -> io::Result<Room> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn place(&self) -> String {
        "memory".into()
    }
}

#[derive(Default)]
pub struct Counting(AtomicU8);

impl Rng for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0.fetch_add(1, Ordering::Relaxed));
    }
}

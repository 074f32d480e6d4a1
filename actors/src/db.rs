//! redb on the node's own disk.

use std::io;

use env::Disk;
use protocol::failure::Failure;
use redb::{Database, StorageBackend};

use crate::small_file;

/// Memory that one small database may use for its pages. Ours hold kilobytes to a
/// few megabytes; redb's default is a gigabyte.
const CACHE_BYTES: usize = 16 << 20;

/// redb takes a concrete backend; `Disk` gives a boxed one.
#[derive(Debug)]
struct Boxed(Box<dyn StorageBackend>);

impl StorageBackend for Boxed {
    fn len(&self) -> Result<u64, io::Error> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> Result<(), io::Error> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.0.write(offset, data)
    }
    fn close(&self) -> Result<(), io::Error> {
        self.0.close()
    }
}

/// Opens a database of the node, creating it empty.
pub fn open(disk: &dyn Disk, name: &str) -> Result<Database, Failure> {
    let backend = disk.database(name).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => Failure::retry(format!(
            "{name} in {} is in use: another nuthatch process works on this data directory",
            disk.place()
        )),
        _ => small_file::failure("open", disk, &error),
    })?;
    redb::Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(Boxed(backend))
        .map_err(|error| failure(name, disk, &error.into()))
}

/// A failure of a database, for a person.
pub fn failure(name: &str, disk: &dyn Disk, error: &redb::Error) -> Failure {
    match error {
        redb::Error::Corrupted(_) => {
            Failure::corrupt(format!("the database {name} in {} is damaged: {error}", disk.place()))
        }
        _ => Failure::internal(format!("the database {name} in {} failed: {error}", disk.place())),
    }
}

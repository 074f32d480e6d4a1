//! One database file: what was written, and what of it a loss of power leaves.

use std::{io, ops::Range, sync::Mutex};

use crate::kernel::{lock, rng::Stream};

/// What a disk writes whole or not at all, in bytes.
pub const SECTOR_BYTES: usize = 512;
/// Largest database of a simulated node: it is all in memory.
const DATABASE_BYTES_MAX: u64 = 256 << 20;

/// One database file.
#[derive(Debug, Default, Clone)]
pub struct Database {
    /// What a process reads.
    pub seen: Vec<u8>,
    /// What would be there after a loss of power.
    pub durable: Vec<u8>,
    /// What leads from the one to the other, in order.
    unsynced: Vec<Change>,
}

/// One change of a file.
#[derive(Debug, Clone)]
pub enum Change {
    /// The length of the file.
    Length(usize),
    /// Some bytes of it.
    Write {
        /// Where.
        offset: usize,
        /// What.
        bytes: Vec<u8>,
    },
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Length(length) => file.resize(*length, 0),
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if file.len() < end {
                    file.resize(end, 0);
                }
                file[*offset..end].copy_from_slice(bytes);
            }
        }
    }

    /// Applies some of its sectors.
    fn tear(&self, file: &mut Vec<u8>, stream: &mut Stream) {
        let Self::Write { offset, bytes } = self else { return self.apply(file) };
        for (sector, bytes) in bytes.chunks(SECTOR_BYTES).enumerate() {
            if stream.chance(500_000) {
                Self::Write { offset: offset + sector * SECTOR_BYTES, bytes: bytes.to_vec() }.apply(file);
            }
        }
    }
}

impl Database {
    /// A file with this content, all of it durable.
    pub fn of(content: Vec<u8>) -> Self {
        Self { seen: content.clone(), durable: content, unsynced: Vec::new() }
    }

    /// Makes everything durable; how many changes that took.
    pub fn sync(&mut self) -> usize {
        let changes = self.unsynced.len();
        for change in self.unsynced.drain(..) {
            change.apply(&mut self.durable);
        }
        changes
    }

    /// Makes a change, which is not durable yet.
    pub fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.unsynced.push(change);
    }

    /// The machine loses power.
    pub fn lose_power(&mut self, stream: &mut Stream) {
        let changes = std::mem::take(&mut self.unsynced);
        match stream.below(3) {
            0 => {}
            1 => {
                let kept = stream.below(changes.len() as u64 + 1) as usize;
                changes[..kept].iter().for_each(|change| change.apply(&mut self.durable));
                if let Some(torn) = changes.get(kept) {
                    torn.tear(&mut self.durable, stream);
                }
            }
            _ => {
                for change in &changes {
                    match stream.below(3) {
                        0 => {}
                        1 => change.apply(&mut self.durable),
                        _ => change.tear(&mut self.durable, stream),
                    }
                }
            }
        }
        self.seen.clone_from(&self.durable);
    }
}

/// An offset in a file that is held in memory.
pub fn place(offset: u64, length: usize) -> io::Result<Range<usize>> {
    let end = offset.checked_add(length as u64).filter(|end| *end <= DATABASE_BYTES_MAX);
    let end = end.ok_or(io::ErrorKind::StorageFull)?;
    Ok(offset as usize..end as usize)
}

/// Reads bytes that must all be there.
pub fn read_at(file: &[u8], offset: u64, out: &mut [u8]) -> io::Result<()> {
    let place = place(offset, out.len())?;
    out.copy_from_slice(file.get(place).ok_or(io::ErrorKind::UnexpectedEof)?);
    Ok(())
}

/// A database in memory that nobody else sees.
#[derive(Debug)]
pub struct Copy(pub Mutex<Vec<u8>>);

impl redb::StorageBackend for Copy {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(lock(&self.0).len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        read_at(&lock(&self.0), offset, out)
    }
    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        Change::Length(place(len, 0)?.start).apply(&mut lock(&self.0));
        Ok(())
    }
    fn sync_data(&self) -> Result<(), io::Error> {
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let offset = place(offset, data.len())?.start;
        Change::Write { offset, bytes: data.to_vec() }.apply(&mut lock(&self.0));
        Ok(())
    }
}
